"""Licences of everything that is installed for the kit, by what each package says of itself: `make licences`.

The licence's name stands in the metadata in one of three places: an SPDX expression (PEP 639), a classifier, or free text; else
there may be a file to read. A package that says nothing is shown as "not said", and the exit status is 1, so that somebody looks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
UNSAID = "not said"


def licence(package: Distribution) -> str:
    """In a few words, from the metadata of a package."""
    told = package.metadata
    if expression := told.get("License-Expression"):
        return expression
    classified = [
        line.rpartition(" :: ")[2]
        for line in told.get_all("Classifier") or []
        if line.startswith("License ::") and not line.endswith(":: OSI Approved")
    ]
    if classified:
        return ", ".join(dict.fromkeys(classified))
    free = (told.get("License") or "").strip()
    if free:
        return free.splitlines()[0][:60]
    files = told.get_all("License-File")
    return f"see its {files[0]}" if files else UNSAID


def rows(names: Iterable[str]) -> list[tuple[str, str, str]]:
    """(package, version, licence) of those that are installed."""
    found = []
    for name in names:
        try:
            package = distribution(name)
        except PackageNotFoundError:  # of another extra, or another system
            continue
        found.append((name, package.version, licence(package)))
    return found


def pinned(text: str) -> list[str]:
    return re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)


def main() -> int:
    found = rows(pinned(CONSTRAINTS.read_text(encoding="utf-8")))
    width = max(len(name) for name, *_ in found)
    for name, version, said in sorted(found, key=lambda row: (row[2], row[0])):
        print(f"{name:<{width}}  {version:<16}  {said}")
    unsaid = [name for name, _, said in found if said == UNSAID]
    print(
        f"\n{len(found)} packages, {len(unsaid)} of which say nothing{': ' * bool(unsaid)}{', '.join(unsaid)}"
    )
    return bool(unsaid)


if __name__ == "__main__":
    sys.exit(main())
