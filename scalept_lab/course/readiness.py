"""Is this machine ready for a class? And the machines of a room, from the files that each of them wrote.

`scalept check --class` asks everything that a course day can stumble over, and builds the corpus if it is not there yet. One row
is one question: what was found, what was wanted, what to do. What a notebook needs is read from its cells, so that a changed
notebook changes its row. Nothing here asks the network, but for one thing: a pinned source that is not installed is fetched if it
can be.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scalept_lab import folders, machine, outside
from scalept_lab.course.here import COURSE, Lesson
from scalept_lab.data import corpora, wheels
from scalept_lab.data.documents import CORPORA, DEFAULT_SOURCES
from scalept_lab.errors import InputError

FILE = 10**6  # bytes of one machine's file
MACHINES = 2000  # of a room

# (least, wanted): below the first a day does not work, below the second it takes longer. Notebooks stay under 1.5 GB, workers
# included; their minutes were measured on two cores of about 100 GFLOP/s each; a course leaves some 200 MB behind.
MEMORY = (1.5e9, 2e9)
CORES = (1, 2)
SPEED = (5, 20)
DISK = (0.3e9, 1e9)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Row(_Part):
    """One question: its answer, what was wanted, and what to do. `share`: found divided by wanted, where both are numbers."""

    name: str = Field(max_length=60)
    ok: bool
    found: str = Field(max_length=500)
    wanted: str = Field(max_length=200)
    do: str = Field("", max_length=500)
    share: float | None = Field(None, ge=0)


class Readiness(_Part):
    """All rows of one machine, and the fingerprint of its default corpus (None: it has none)."""

    schema_version: Literal[1] = 1
    machine: str = Field(max_length=200)
    corpus_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    rows: tuple[Row, ...] = Field(min_length=1, max_length=200)

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    @property
    def weakest(self) -> Row:
        """The first row that is not well; else the one with the least of what is wanted."""
        bad = [row for row in self.rows if not row.ok]
        return (
            bad[0]
            if bad
            else min(self.rows, key=lambda row: float("inf") if row.share is None else row.share)
        )

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.ok, **self.model_dump()}

    def __str__(self) -> str:
        lines, told = [self.machine, ""], _alike(self.rows)
        width = max(len(names) for names, _ in told)
        for names, row in told:
            mark = "NOT" if not row.ok else "ok, but" if row.do else "ok"
            lines.append(f"{mark:<8} {names:<{width}}  {row.found}")
            if row.do:
                lines.append(f"{'':<8} {'':<{width}}  wanted: {row.wanted}; {row.do}")
        bad = ", ".join(names for names, row in _alike(row for row in self.rows if not row.ok))
        return "\n".join([*lines, "", f"NOT ready for class: {bad}" if bad else "ready for class"])


def _alike(rows: Iterable[Row]) -> list[tuple[str, Row]]:
    """Rows with their names; notebooks of which the same is to be said share one: "notebooks 02, 03"."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        kind = row.name.split()[0]
        groups.setdefault((kind, row.ok, row.found, row.do), []).append(row)
    told = []
    for (kind, *_), group in groups.items():
        numbers = [row.name.removeprefix(kind).strip() for row in group]
        told.append((f"{kind}s {', '.join(numbers)}" if group[1:] else group[0].name, group[0]))
    return told


# --- this machine -------------------------------------------------------------------------------------------


def check() -> Readiness:
    """Ask this machine everything; seconds, and some more where the corpus has to be built first."""
    rows, corpus = list(_machine()), _corpus()
    rows += [_packages(), corpus[0], _results(), _processes()]
    rows += [_notebook(lesson) for lesson in COURSE]
    return Readiness(machine=machine.provenance()["machine"], corpus_sha256=corpus[1], rows=tuple(rows))


def _machine() -> Iterator[Row]:
    found = machine.check()
    yield Row(
        name="Python",
        ok=sys.version_info >= (3, 11) and found["torch"] is not None,
        found=f"Python {found['python']}, torch {found['torch']}",
        wanted="Python 3.11 or newer, with torch",
        do="" if found["torch"] else "run make lab once, or install.py of the offline bundle",
    )
    yield _measured(
        "memory",
        found["memory_bytes"],
        MEMORY,
        1e9,
        "GB",
        "close other programs, and open one notebook at a time",
    )
    yield _measured(
        "cores", found["cores"], CORES, 1, "", "plan the double of the minutes; runs of several ranks wait"
    )
    if found["gflops"] is not None:
        slow = "plan more minutes, or show the recorded sweeps in place of long runs"
        yield _measured(
            "speed",
            found["gflops"] * 1e9,
            (SPEED[0] * 1e9, SPEED[1] * 1e9),
            1e9,
            "GFLOP/s on one thread",
            slow,
        )
    place = _existing(folders.cache())
    free = shutil.disk_usage(place).free
    yield _measured("disk", free, DISK, 1e9, "GB free", f"make room on the disk of {place}")


def _measured(name: str, value: float, limits: tuple[float, float], unit: float, what: str, do: str) -> Row:
    least, wanted = limits
    return Row(
        name=name,
        ok=value >= least,
        found=f"{value / unit:.3g} {what}".strip(),
        wanted=f"{wanted / unit:.3g} {what}".strip() + f" (at least {least / unit:.3g})" * (least != wanted),
        do=do if value < wanted else "",
        share=round(value / wanted, 3),
    )


def _existing(path: Path) -> Path:
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def _packages() -> Row:
    from scalept_lab.course.notebooks import missing

    lacking, count = missing()
    return Row(
        name="packages",
        ok=not lacking,
        found=f"{count} packages installed" if not lacking else f"not installed: {', '.join(lacking)}"[:500],
        wanted="all that pyproject.toml names",
        do="run make lab once while there is a network, or install.py of the offline bundle"
        if lacking
        else "",
    )


def _corpus() -> tuple[Row, str | None]:
    """The default corpus, built now if need be, and its fingerprint from its bytes, whatever its card says."""
    pinned, began = corpora.FINGERPRINTS["python"], time.time()
    do = (
        "a learner alone can work with it, but its losses do not compare and are not pooled: install the packages that "
        "constraints.txt pins, or copy the folder prepared from the cache of a machine that is ready"
    )
    wanted = f"the pinned fingerprint {pinned[:8]}…"
    try:
        with warnings.catch_warnings(action="ignore"):  # the row says what the warning would
            ready = corpora.prepare("python")
        sha = corpora.fingerprint(ready.train, ready.heldout)
    except InputError as error:
        return Row(
            name="corpus", ok=False, found=str(error)[:500], wanted=wanted, do="mend that and check again"
        ), None
    stdlib = ready.card.get("origin") == "stdlib fallback"
    text = "this Python's own library, as the pinned packages are missing" if stdlib else "text"
    found = f"{text}, fingerprint {sha[:8]}…" if sha != pinned else f"fingerprint {sha[:8]}…, the pinned one"
    if ready.folder.stat().st_mtime > began:
        found += f", built now in {time.time() - began:.0f} s"
    elif sha != pinned and not stdlib:
        do = f"delete {ready.folder}, which is damaged or another version's, and check again"
    return Row(
        name="corpus",
        ok=sha == pinned,
        found=found[:500],
        wanted=wanted,
        do="" if sha == pinned else do[:500],
    ), sha


def _results() -> Row:
    place = (
        Path(os.environ["SCALEPT_RESULTS"]) if os.environ.get("SCALEPT_RESULTS") else notebooks() / "results"
    )
    if folders.may_write(place):
        return Row(
            name="results", ok=True, found=f"{place} can be written to"[:500], wanted="a folder for the runs"
        )
    instead = folders.cache() / "results"
    fine = folders.may_write(instead) and not os.environ.get("SCALEPT_RESULTS")
    return Row(
        name="results", ok=fine, found=f"{place} cannot be written to"[:500], wanted="a folder for the runs",
        do=f"runs go to {instead}"[:500] if fine else "set SCALEPT_RESULTS to a folder that this user may write to",
    )  # fmt: skip


def _processes() -> Row:
    """Jupyter talks to its kernels through ports of this machine, and ranks to each other."""
    wanted = "two processes that talk through ports of this machine"
    try:
        began = time.perf_counter()
        _greet()
        _meet()
        return Row(
            name="processes", ok=True, found=f"two met in {time.perf_counter() - began:.1f} s", wanted=wanted
        )
    except Exception as error:  # the launcher's, the system's: whatever keeps them apart is the answer
        reason = " ".join(str(error).split())[-200:]
        do = "let Python use 127.0.0.1 (a firewall, a VPN, a loopback device that is down)"
        return Row(name="processes", ok=False, found=f"they do not meet: {reason}", wanted=wanted, do=do)


def _greet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        with socket.create_connection(server.getsockname(), timeout=5) as caller:
            caller.sendall(b"x")
            with server.accept()[0] as answered:
                answered.settimeout(5)
                if answered.recv(1) != b"x":
                    raise OSError("a byte sent to 127.0.0.1 did not arrive")


def _meet() -> None:
    from scalept_lab.parallel.launcher import launch

    launch(_ranks, 2, seconds=30)


def _ranks() -> int:
    import torch.distributed as dist

    dist.barrier()
    return dist.get_world_size()


# --- what each notebook needs -------------------------------------------------------------------------------


def notebooks() -> Path:
    """The folder of the course: of this checkout, else where one is."""
    places = (machine.ROOT / "notebooks", Path("notebooks"), Path())
    return next((place for place in places if (place / COURSE[0].file).is_file()), places[0])


def _notebook(lesson: Lesson) -> Row:
    """Whether a notebook runs without a network: what its cells ask for, and where that is."""
    name, wanted = f"notebook {lesson.number}", "nothing from the network"
    path = notebooks() / lesson.file
    try:
        code = _code(path)
    except InputError as error:
        return Row(
            name=name, ok=False, found=str(error)[:500], wanted=wanted, do="copy it from the course again"
        )
    found: list[str] = []
    missing: list[str] = []
    for pattern, look in NEEDS:
        for what in dict.fromkeys(re.findall(pattern, code)):
            said, there = look(what)
            if said not in found + missing:
                (found if there else missing).append(said)
    return Row(
        name=name,
        ok=not missing,
        found="; ".join(missing or found)[:500] or "needs nothing but the kit",
        wanted=wanted,
        do="mend that while there is a network, or use the offline bundle" if missing else "",
    )


def _code(path: Path) -> str:
    """The code cells of a notebook but the first, which installs the kit on a hosted machine."""
    found = outside.json_object(path, "a notebook of the course", 20 * 10**6)
    cells = found.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise InputError(f"{path}: expected a notebook of the course, got JSON without a list of cells")
    code = ["".join(map(str, cell.get("source", ""))) for cell in cells if cell.get("cell_type") == "code"]
    return "\n".join(code[1:])


def _recorded(name: str) -> tuple[str, bool]:
    from scalept_lab.runs import data_folder

    there = (data_folder() / "records" / f"{name}.jsonl").is_file()
    return ("recorded sweeps", True) if there else (f"the recorded sweep {name} is missing", False)


@cache
def _text(name: str) -> tuple[str, bool]:
    if corpora.kept(name):
        return f"corpus {name}, in the cache", True
    if name.partition("/")[0] == "language":
        return f"corpus {name}, generated at the first run", True
    if name not in CORPORA:
        return f"the corpus {name} is none of the kit's", False
    lacking = [source for source in CORPORA[name].sources if not _at_hand(source)]
    if lacking:
        return f"the corpus {name} needs the sources of {', '.join(lacking)}, which are not here", False
    return f"corpus {name}, built at the first run", True


@cache
def _at_hand(source: str) -> bool:
    return wheels.at_hand(wheels.SOURCES[source])


def _sources(_: str) -> tuple[str, bool]:
    lacking = [source for source in DEFAULT_SOURCES if not _at_hand(source)]
    if lacking:
        return f"the pinned sources of {', '.join(lacking)} are not here", False
    return "sources of the pinned packages", True


def _made(kind: str, pattern: str) -> Callable[[str], tuple[str, bool]]:
    def look(_: str) -> tuple[str, bool]:
        kept = any(folders.cache().glob(pattern))
        return f"{kind}, {'in the cache' if kept else 'trained at the first run'}", True

    return look


def _network(what: str) -> tuple[str, bool]:
    return f"a cell asks the network: {what}"[:100], False


NEEDS: tuple[tuple[str, Callable[[str], tuple[str, bool]]], ...] = (
    (r'\brecorded\(\s*"([\w-]+)"', _recorded),
    (r'(?:\bprepare\(|\bcorpus=)\s*"([\w./-]+)"', _text),
    (
        r"\bsl\.(?:train|Study|recommend|TrainConfig|compress)\b",
        lambda _: _text("python"),
    ),  # what a run trains on
    (r"\b(?:data\.collect|transfer\.measure)\b", _sources),
    (r"\bcompress\.trained\(", _made("the teacher", "models/*/*.pt")),
    (r"\bmeasure\.(?:pretrained|prepared)\(", _made("the encoder", "transfer/bert-*/curve.json")),
    (r'\b(?:urlopen|hf_hub_download|load_dataset|requests\.get)\(|\bfrom_pretrained\("[\w-]+/', _network),
)
"""What in a cell means what need: (pattern, its answer for what was found). An answer is (what it is, whether it is here)."""


# --- a room -------------------------------------------------------------------------------------------------


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
                f"{_plain(name)[:20]:<20} {'yes' if found.ok else 'NO':<6} {sha[:8] if sha else 'none':<9} "
                f"{_plain(weak.name)}: {_plain(weak.found)}"
            )
        groups = list(self.corpora.items())
        for sha, names in groups[1:]:
            lines.append(
                f"another corpus than most ({sha[:8]} in place of {groups[0][0][:8]}): {_plain(', '.join(names))}; "
                "their runs cannot be pooled with the others"
            )
        lines += [f"rejected {_plain(one['file'])}: {_plain(one['reason'])}" for one in self.rejected]
        ready = sum(found.ok for found in self.machines.values())
        return "\n".join([*lines, f"{ready} of {len(self.machines)} machines are ready for class"])


def room(folder: str | os.PathLike[str]) -> Room:
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


def _plain(text: str) -> str:
    """Without what moves a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
