"""Is this machine ready for a class? One verdict, from one row for each question.

`scalept check --class` asks everything that a course day can stumble over, and builds the corpus if it is not there yet. One row
says what was found, what was wanted and what to do. Nothing here asks the network, but for one thing: a pinned source that is not
installed is fetched if it can be. `room` reads the answers of many machines.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from scalept_lab import folders, machine
from scalept_lab.course import needs
from scalept_lab.course.here import COURSE, Lesson
from scalept_lab.data import corpora
from scalept_lab.errors import InputError

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
        do=do[:500] if value < wanted else "",
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
        Path(os.environ["SCALEPT_RESULTS"])
        if os.environ.get("SCALEPT_RESULTS")
        else needs.notebooks() / "results"
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


def _notebook(lesson: Lesson) -> Row:
    """Whether a notebook runs without a network."""
    name, wanted = f"notebook {lesson.number}", "nothing from the network"
    try:
        found, missing = needs.of(needs.notebooks() / lesson.file)
    except InputError as error:
        do = "copy it from the course again"
        return Row(name=name, ok=False, found=str(error)[:500], wanted=wanted, do=do)
    return Row(
        name=name,
        ok=not missing,
        found="; ".join(missing or found)[:500] or "needs nothing but the kit",
        wanted=wanted,
        do="mend that while there is a network, or use the offline bundle" if missing else "",
    )
