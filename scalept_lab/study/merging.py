"""The records of a class in one file: the same run counts once, and what is no record is named and left out.

Nobody is believed for being first. Of records that tell one run differently, those count that more than half agree on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from scalept_lab.config import run_id
from scalept_lab.errors import InputError
from scalept_lab.runs import RunRecord, files, parse_record, texts, write_records

ALIKE = 0.02  # of the loss: machines that train the same run differ by less
FAULTS = 100  # of one file: then the rest is not read
KEPT = 5 * 10**8  # characters of all records together


@dataclass(frozen=True)
class _Told:
    """What one file says of a run. The record is kept as text, a tenth of the memory."""

    file: str
    line: int
    text: str
    id: str
    status: str
    loss: float | None
    corpus: str


def merge(folders: Iterable[str | Path], out: str | Path) -> dict[str, Any]:
    """Pool the records of a class: the same run counts once, a bad record is named and left out.

    Returns: accepted, duplicates, and rejected as a list of {file, line, reason}; the accepted go to `out`.
    Raises: InputError where there is none to accept, and then writes nothing.
    """
    folders = list(folders)
    rejected: list[dict[str, Any]] = []
    told: dict[str, list[_Told]] = {}
    kept = 0
    for file in [file for folder in folders for file in files(Path(folder))]:
        for one in _told(file, rejected):
            told.setdefault(one.id, []).append(one)
            kept += len(one.text)
            if kept > KEPT:
                raise InputError(
                    f"{file}:{one.line}: expected records of at most {KEPT / 1e6:g} MB in all; merge fewer files"
                )
    accepted, duplicates = [], 0
    for run in told.values():
        agreed, others = _agreed(run)
        duplicates += max(len(agreed) - 1, 0)
        rejected += [_fault(one.file, one.line, _why(one, run, agreed)) for one in others]
        accepted += agreed[:1]
    if not accepted:
        named = ", ".join(map(str, folders[:3])) + (", …" if len(folders) > 3 else "")
        first = (
            "{file}:{line}: {reason}".format_map(rejected[0])
            if rejected
            else "no .json, .jsonl or .parquet file"
        )
        raise InputError(
            f"{named}: expected at least one run record, got {len(rejected)} that are none ({first}); {out} is not written"
        )
    classmates = (parse_record(one.text).model_copy(update={"origin": "classmate"}) for one in accepted)
    write_records(classmates, out)
    return {"accepted": len(accepted), "duplicates": duplicates, "rejected": rejected}


def _told(file: Path, rejected: list[dict[str, Any]]) -> Iterable[_Told]:
    """The records of a file that may be true; the others go to `rejected`."""
    before, line = len(rejected), 1
    try:
        for line, text in texts(file):
            try:
                record = parse_record(text)
                _plausible(record)
            except InputError as error:
                rejected.append(_fault(file, line, error))
                if len(rejected) - before == FAULTS:
                    raise InputError(
                        f"{FAULTS} that are no record: the rest of the file is not read"
                    ) from None
                continue
            yield _Told(str(file), line, text, record.id, record.status, record.L, record.corpus)
    except InputError as error:  # the file as a whole
        rejected.append(_fault(file, line, error))


def _fault(file: str | Path, line: int, reason: object) -> dict[str, Any]:
    return {"file": str(file), "line": line, "reason": str(reason)}


def _agreed(run: Sequence[_Told]) -> tuple[list[_Told], list[_Told]]:
    """Those of one run that more than half agree on, in their order, and the others. A failed one counts where all failed."""
    finished = [one for one in run if one.status != "failed"] or list(run)
    most = Counter((one.corpus, one.status) for one in finished).most_common(1)[0][0]
    losses = [one.loss for one in finished if (one.corpus, one.status) == most and one.loss is not None]
    middle = median(losses) if losses else None
    agreed = [one for one in finished if (one.corpus, one.status) == most and _alike(one.loss, middle)]
    if 2 * len(agreed) <= len(finished):
        return [], finished
    # a run that failed once and was finished elsewhere is told twice, not differently
    failed = [one for one in run if one not in finished]
    return agreed + failed, [one for one in finished if one not in agreed]


def _alike(loss: float | None, other: float | None) -> bool:
    return loss == other or (loss is not None and other is not None and abs(loss - other) <= ALIKE * other)


def _why(one: _Told, run: Sequence[_Told], agreed: Sequence[_Told]) -> str:
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


def _found(one: _Told) -> str:
    return one.status if one.loss is None else f"L {one.loss:g}"


def _plausible(record: RunRecord) -> None:
    """What no run can have measured is a slip of the pen, or worse.

    Raises: InputError for a loss far above the uniform guess, or far below what any text allows; a finished run of nothing, or
    one that cost less than its matrix products; and an id that is not that of the config.
    """
    config = record.config
    if record.id != _named(config):
        raise InputError(
            f"id: expected {_named(config) or 'the hash of a config'}, that of its config, got {record.id}"
        )
    model = config.get("model")
    vocabulary = model.get("vocab_size") if isinstance(model, dict) else None
    if not isinstance(vocabulary, int) or not 2 <= vocabulary <= 10**9:
        vocabulary = 256
    uniform = math.log(vocabulary)
    if (record.L or 0.0) > 2 * uniform:
        raise InputError(f"L: expected at most {2 * uniform:.2f} nats per token, got {record.L}")
    text = config.get("corpus")
    if record.L and record.L < uniform / 20 and isinstance(text, str) and not text.startswith("language"):
        raise InputError(
            f"L: expected at least {uniform / 20:.2f} nats per token, as no text is known better, got {record.L}"
        )
    if record.ok and not (record.N and record.D and record.C):
        raise InputError(
            f"expected N, D and C above 0 of a finished run, got {record.N}, {record.D} and {record.C:g}"
        )
    if record.ok and record.C < 0.9 * 6 * record.N * record.D:
        raise InputError(
            f"C: expected at least 6 N D = {6.0 * record.N * record.D:.3g} FLOPs, got {record.C:.3g}"
        )


def _named(config: dict[str, Any]) -> str:
    try:
        return run_id(config)
    except (TypeError, ValueError, RecursionError):
        return ""
