"""The machines of a room, from the files that `scalept check --class --json` wrote on each of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scalept_lab import outside
from scalept_lab.course.readiness import Readiness
from scalept_lab.errors import InputError, printable

FILE = 10**6  # bytes of one machine's file
MACHINES = 2000


class Room:
    """The machines of a room: `machines` name -> `Readiness`, and `rejected`, files that are none, with the reason."""

    def __init__(self, machines: dict[str, Readiness], rejected: list[dict[str, str]]):
        self.machines, self.rejected = machines, rejected

    @property
    def corpora(self) -> dict[str, list[str]]:
        """Fingerprint ("none": no corpus) -> the machines that have it, the largest group first."""
        groups: dict[str, list[str]] = {}
        for name, found in self.machines.items():
            groups.setdefault(found.corpus_sha256 or "none", []).append(name)
        return dict(sorted(groups.items(), key=lambda item: -len(item[1])))

    @property
    def ok(self) -> bool:
        return (
            all(found.ok for found in self.machines.values()) and len(self.corpora) == 1 and not self.rejected
        )

    def as_json(self) -> dict[str, Any]:
        rows = [
            {"name": name, "ok": found.ok, "weakest": found.weakest.name, "found": found.weakest.found,
             "corpus_sha256": found.corpus_sha256}
            for name, found in self.machines.items()
        ]  # fmt: skip
        return {"ok": self.ok, "machines": rows, "corpora": self.corpora, "rejected": self.rejected}

    def __str__(self) -> str:
        lines = [f"{'machine':<20} {'ready':<6} {'corpus':<9} weakest part"]
        for name, found in sorted(
            self.machines.items(), key=lambda item: (item[1].ok, item[1].weakest.share or 0)
        ):
            weak, sha = found.weakest, found.corpus_sha256
            lines.append(
                f"{printable(name)[:20]:<20} {'yes' if found.ok else 'NO':<6} {sha[:8] if sha else 'none':<9} "
                f"{printable(weak.name)}: {printable(weak.found, None)}"
            )
        groups = list(self.corpora.items())
        for sha, names in groups[1:]:
            lines.append(
                f"another corpus than most ({sha[:8]} in place of {groups[0][0][:8]}): {printable(', '.join(names), None)}; "
                "their runs cannot be pooled with the others"
            )
        lines += [
            f"rejected {printable(one['file'])}: {printable(one['reason'], None)}" for one in self.rejected
        ]
        ready = sum(found.ok for found in self.machines.values())
        return "\n".join([*lines, f"{ready} of {len(self.machines)} machines are ready for class"])


def read(folder: str | os.PathLike[str]) -> Room:
    """The files that `scalept check --class --json` wrote on many machines, each named after its machine.

    They are untrusted: bounded, and nothing in them is executed. Raises: InputError for a folder without one that can be read.
    """
    if not os.path.isdir(folder):
        raise InputError(
            f"{folder}: expected a folder with one file of each machine, found none; give a folder"
        )
    files = sorted(path for path in Path(folder).iterdir() if path.suffix == ".json")
    if not 1 <= len(files) <= MACHINES:
        raise InputError(
            f"{folder}: expected 1 to {MACHINES} files of machines, got {len(files)}; "
            "on each machine: scalept check --class --json > FOLDER/NAME.json"
        )
    machines, rejected = {}, []
    for path in files:
        try:
            machines[path.stem] = _told(path)
        except InputError as error:
            rejected.append({"file": path.name, "reason": str(error).removeprefix(f"{path}: ")})
    if not machines:
        raise InputError(
            f"{folder}: expected files of machines, got {len(files)} that are none ({rejected[0]['reason']})"
        )
    return Room(machines, rejected)


def _told(path: Path) -> Readiness:
    raw = outside.json_object(path, "a machine's answer to scalept check --class --json", FILE)
    if raw.get("schema_version") != 1:
        raise InputError(
            f"{path}: expected schema_version 1, got {str(raw.get('schema_version'))[:20]!r}; "
            "check that machine again with this version of the kit"
        )
    said = raw.pop("ok", None)
    try:
        found = Readiness.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{path}: {where[:60]}: {first['msg'][:100]}; check that machine again") from None
    if said is not found.ok:
        raise InputError(
            f"{path}: it says ok {str(said)[:20]}, and its rows say {found.ok}; check that machine again"
        )
    return found
