"""The records of a class in one file: the same run counts once, and what is no record is named and left out.

Nobody is believed for being first. Of records that tell one run differently, those count that more than half agree on.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from scalept_lab.errors import InputError, printable
from scalept_lab.runs import RunRecord, files, parse_record, texts, write_texts
from scalept_lab.study import exports
from scalept_lab.study.plausible import plausible, settings_of

ALIKE = 0.02  # of the loss: machines that train the same run differ by less
FAULTS = 100  # of one file: then the rest is not read
KEPT = 5 * 10**8  # characters of all records together
PROGRESS = "a learner's progress, which holds no runs; `scalept progress --class` reads it"


@dataclass(frozen=True, eq=False)  # each is itself alone, so that sets of them are quick
class Told:
    """What one file says of a run. The record is kept as text, a tenth of the memory: a classmate's, with its learners.

    learners: who told it. settings: the name of the run without its seed, for runs that differ in nothing else. plain: whether
    its size and tokens are those of its config (`plausible.as_configured`), as in all runs of a sweep. content: alike for copies.
    """

    file: str
    line: int
    text: str
    id: str
    status: str
    loss: float | None
    corpus: str
    N: int
    D: int
    C: float
    settings: str
    plain: bool
    created: str
    learners: tuple[str, ...]
    content: str = ""

    def record(self) -> RunRecord:
        return parse_record(self.text)


def _marked_text(record: RunRecord, learners: Sequence[str]) -> str:
    """A classmate's record in one line of JSON, with the learners' names in its provenance."""
    provenance = {**record.provenance, "learners": list(learners)}
    return record.model_copy(update={"origin": "classmate", "provenance": provenance}).model_dump_json()


@dataclass(frozen=True)
class Gathered:
    """The records of a class. accepted: each run once, told by all `learners` who agree on it. told: each learner's own word of
    these runs. rejected: {file, line, reason}. class_files: learner -> what the learner handed in beside the runs.
    notes: sentences on what the teacher should know.
    """

    accepted: list[Told]
    told: list[Told]
    duplicates: int
    rejected: list[dict[str, Any]]
    class_files: dict[str, exports.ClassFile] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def merge(folders: Iterable[str | Path], out: str | Path) -> dict[str, Any]:
    """Pool the records of a class: the same run counts once, a bad record is named and left out.

    Returns: accepted, duplicates, and rejected as a list of {file, line, reason}; the accepted go to `out`.
    Raises: InputError where there is none to accept, and then writes nothing.
    """
    return write(gather(folders, f"{out} is not written"), out)


def write(found: Gathered, out: str | Path) -> dict[str, Any]:
    """The accepted records to a file, each with its learners; returns the counts of `merge`."""
    write_texts((one.text for one in found.accepted), out)
    return {"accepted": len(found.accepted), "duplicates": found.duplicates, "rejected": found.rejected}


def gather(folders: Iterable[str | Path], otherwise: str = "nothing is pooled") -> Gathered:
    """Read folders of class files, of run records or of studies, and single files.

    Raises: InputError where there is no record to accept; `otherwise` ends its line.
    """
    places = [Path(folder) for folder in folders]
    sources = [(folder, file) for folder in places for file in files(folder)]
    rejected: list[dict[str, Any]] = []
    headers = _headers([file for _, file in sources], rejected)
    refused = {fault["file"] for fault in rejected}
    names, notes = _named_apart(headers)
    runs: dict[str, list[Told]] = {}
    kept = 0
    for folder, file in sources:
        if str(file) in refused:
            continue
        learner = names.get(file, "")
        for one in _told(file, learner, _stem(folder), rejected):
            runs.setdefault(one.id, []).append(one)
            kept += len(one.text)
            if kept > KEPT:
                raise InputError(
                    f"{file}:{one.line}: expected records of at most {KEPT / 1e6:g} MB in all; merge fewer files"
                )
    accepted, told, duplicates = [], [], 0
    for run in runs.values():
        agreed, others = _agreed(run)
        duplicates += max(len(agreed) - 1, 0)
        rejected += [_fault(one.file, one.line, _why(one, run, agreed)) for one in others]
        told += agreed
        if agreed:
            who = dict.fromkeys(name for one in agreed for name in one.learners)
            accepted.append(_as_told_by(_middle(agreed), tuple(who)))
    if not accepted:
        shown = ", ".join(map(str, places[:3])) + (", …" if len(places) > 3 else "")
        first = (
            "{file}:{line}: {reason}".format_map(rejected[0])
            if rejected
            else "no .json, .jsonl, .jsonl.gz or .parquet file"
        )
        raise InputError(
            f"{shown}: expected at least one run record, got {len(rejected)} that are none ({first}); {otherwise}"
        )
    class_files = {names[file]: found for file, found in headers.items()}
    return Gathered(accepted, told, duplicates, rejected, class_files, notes)


def _headers(files: Iterable[Path], rejected: list[dict[str, Any]]) -> dict[Path, exports.ClassFile]:
    """Those of class files; a file whose first line is that of one and cannot be read goes to `rejected`."""
    found = {}
    for file in files:
        try:
            if (head := exports.header(file)) is not None:
                found[file] = head
        except InputError as error:
            rejected.append(_fault(file, 1, str(error).removeprefix(f"{file}:1: ").removeprefix(f"{file}: ")))
    return found


def _as_told_by(one: Told, learners: tuple[str, ...]) -> Told:
    if learners == one.learners:
        return one
    return replace(one, learners=learners, text=_marked_text(one.record(), learners))


def leave_out(found: Gathered, learners: set[str]) -> Gathered:
    """The same without these learners. A run that others told as well stays, as theirs."""

    def rest(runs: list[Told]) -> list[Told]:
        left = [(one, tuple(name for name in one.learners if name not in learners)) for one in runs]
        return [_as_told_by(one, names) for one, names in left if names]

    told = rest(found.told)
    by_run: dict[str, list[Told]] = {}
    for one in told:
        by_run.setdefault(one.id, []).append(one)
    accepted = [
        replace(_middle(by_run[one.id]), learners=one.learners)
        for one in rest(found.accepted)
        if one.id in by_run
    ]
    files = {name: file for name, file in found.class_files.items() if name not in learners}
    return replace(found, accepted=accepted, told=told, class_files=files)


def _named_apart(headers: dict[Path, exports.ClassFile]) -> tuple[dict[Path, str], tuple[str, ...]]:
    """File -> the learner's name, with the file's beside it where several files give that name; and what to say of these."""
    often = Counter(found.learner for found in headers.values())
    names: dict[Path, str] = {}
    for file, found in headers.items():
        name = found.learner if often[found.learner] == 1 else f"{found.learner} ({printable(file.name)})"
        while name in names.values():  # the same file name in two folders
            name += "′"
        names[file] = name
    notes = [
        f"{count} files are those of {name}: they are kept apart"
        for name, count in often.items()
        if count > 1
    ]
    return names, tuple(notes)


def _told(file: Path, learner: str, folder: str, rejected: list[dict[str, Any]]) -> Iterable[Told]:
    """The records of a file that may be true; the others go to `rejected`. Of a file that names no learner, those count whom an
    earlier merge put into the record, or the folder."""
    before, line = len(rejected), 1
    try:
        for line, text in texts(file):
            try:
                record = parse_record(text)
                plain = plausible(record)
                settings = settings_of(record)
            except InputError as error:
                progress = file.suffix == ".json" and '"exercises"' in text[:200]
                rejected.append(_fault(file, line, PROGRESS if progress else error))
                if len(rejected) - before == FAULTS:
                    raise InputError(
                        f"{FAULTS} that are no record: the rest of the file is not read"
                    ) from None
                continue
            learners = (learner,) if learner else _marks(record) or (folder,)
            yield Told(
                str(file), line, _marked_text(record, learners), record.id, record.status, record.L, record.corpus,
                record.N, record.D, record.C, settings, plain,
                str(record.provenance.get("created", ""))[:40], learners, _content(record),
            )  # fmt: skip
    except InputError as error:  # the file as a whole
        rejected.append(_fault(file, line, str(error).removeprefix(f"{file}: ")))


def _content(record: RunRecord) -> str:
    """A fingerprint of what was measured, whoever tells it. No run takes the same seconds twice: equal ones are copies."""
    return hashlib.sha256(_marked_text(record, ()).encode()).hexdigest()


def _stem(source: Path) -> str:
    """A name for who is known by a folder or a file alone."""
    name = source.resolve().name if source.name in ("", "..") else source.name
    return printable(name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".parquet"))


def _marks(record: RunRecord) -> tuple[str, ...]:
    marks = record.provenance.get("learners")
    if not isinstance(marks, list):
        return ()
    return tuple(printable(str(mark)) for mark in marks[:1000])


def _fault(file: str | Path, line: int, reason: object) -> dict[str, Any]:
    return {"file": str(file), "line": line, "reason": str(reason)}


def _agreed(run: Sequence[Told]) -> tuple[list[Told], list[Told]]:
    """Those of one run that more than half of the files agree on, in their order, and the others. A file has one voice, however
    often it tells the run, and so has a record, however many files hold a copy of it. A failed one counts where all failed."""
    if len(run) == 1:
        return list(run), []
    finished = [one for one in run if one.status != "failed"] or list(run)
    most = Counter((one.corpus, one.status) for one in _once(finished)).most_common(1)[0][0]
    losses = [
        one.loss for one in _once(finished) if (one.corpus, one.status) == most and one.loss is not None
    ]
    middle = median(losses) if losses else None
    agreed = [one for one in finished if (one.corpus, one.status) == most and _alike(one.loss, middle)]
    if 2 * len(_once(agreed)) <= len(_once(finished)):
        return [], finished
    # a run that failed once and was finished elsewhere is told twice, not differently
    there, chosen = set(finished), set(agreed)
    return agreed + [one for one in run if one not in there], [one for one in finished if one not in chosen]


def _once(run: Sequence[Told]) -> list[Told]:
    """The first of each file, and of these the first of each content."""
    files = {one.file: one for one in reversed(run)}.values()
    return list({one.content or one.file: one for one in files}.values())[::-1]


def _middle(agreed: Sequence[Told]) -> Told:
    """The one in the middle of those that agree, so that being first gains nothing."""
    losses = [one.loss for one in agreed if one.loss is not None]
    if len(losses) < 3:
        return agreed[0]
    middle = median(losses)
    return min(agreed, key=lambda one: math.inf if one.loss is None else abs(one.loss - middle))


def _alike(loss: float | None, other: float | None) -> bool:
    return loss == other or (loss is not None and other is not None and abs(loss - other) <= ALIKE * other)


def _why(one: Told, run: Sequence[Told], agreed: Sequence[Told]) -> str:
    """What another file says of the run, and what came of it."""
    apart = [
        each for each in (*agreed, *run)
        if (each.corpus, each.status) != (one.corpus, one.status) or not _alike(each.loss, one.loss)
    ]  # fmt: skip
    other = apart[0] if apart else agreed[0]
    there = f"{other.file}:{other.line}"
    differs = f"{_found(one)} here, {_found(other)} in {there}"
    if one.corpus != other.corpus:
        differs = f"trained on other text than in {there}"
    return f"run {one.id}: {differs}; " + (
        "more records agree with that one" if agreed else "neither is taken"
    )


def _found(one: Told) -> str:
    return one.status if one.loss is None else f"L {one.loss:g}"
