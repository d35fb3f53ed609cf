"""Known vulnerabilities of the pinned packages, by pip-audit and PyPI's advisories: `make audit`. It needs the network.

pip-audit ends with "No known vulnerabilities found" and status 0 also where it could ask about none of the packages, as behind a
mirror that has no advisories. So its answers are counted here: the status is 0 only where every package was asked about and none
has a known vulnerability, 1 where one has, and 3 where the audit is not done.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
SOUND, FOUND, NOT_DONE = 0, 1, 3
SECONDS = 600


def verdict(output: str, errors: str) -> tuple[int, list[str]]:
    """The exit status and what to print, from pip-audit's JSON and its messages."""
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = errors.strip().splitlines()[-1:] or ["pip-audit said nothing"]
        return NOT_DONE, [f"not done: the advisories could not be had ({reason[0][:200]})"]
    skipped = [each for each in packages if "skip_reason" in each]
    lines = [
        f"{each['name']} {each['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no release yet'}"
        for each in packages
        for fault in each.get("vulns", ())
    ]
    asked = len(packages) - len(skipped)
    if skipped or not packages:
        names = ", ".join(each["name"] for each in skipped[:5]) + (", …" if len(skipped) > 5 else "")
        lines.append(
            f"not done: {asked} of {len(packages)} packages could be asked about, not {names or 'one'}; "
            "is PyPI itself within reach?"
        )
    elif not lines:
        lines.append(f"{asked} packages, none with a known vulnerability")
    faulty = any(each.get("vulns") for each in packages)
    return FOUND if faulty else NOT_DONE if skipped or not packages else SOUND, lines


def main(program: Sequence[str]) -> int:
    command = [*program, "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--format", "json",
               "--progress-spinner", "off"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        status, lines = verdict(done.stdout, done.stderr)
    except (OSError, subprocess.TimeoutExpired) as error:
        status, lines = NOT_DONE, [f"not done: {error}"]
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
