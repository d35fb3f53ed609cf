"""Run records: the seam between training and everything that reads results. No torch here.

One JSON file per run, named by the hash of its config. A file is written under a temporary name, flushed to disk and
renamed, so that a reader never sees half a record and no lock is needed, not even on a network home folder.
Nothing that is read from a file is executed or unpickled.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scalept_lab import outside, scratch
from scalept_lab.checks import LARGEST, unknown
from scalept_lab.config import first_line
from scalept_lab.errors import InputError
from scalept_lab.folders import writing

RECORD = 10**6  # bytes of the JSON of one record; those that ship have at most 7,000
UNPACKED, LINES = 10**8, 10**5  # bytes and lines of a compressed file, which can be far longer than it looks
CLASS_FILE = '{"class_file":'  # how the first line of a learner's file for the class begins (`study.exports`)


class RunRecord(BaseModel):
    """One training run. N counts non-embedding parameters; D tokens; C floating-point operations; L nats per token.

    Of a mixture of experts N counts those that a token passes, so that C is about 6 N D there, too, and N_total all.
    `L` is the held-out loss after the last step; it is None when the run diverged or failed.
    `curve` holds (step, tokens seen, training loss) along the way.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    config: dict[str, Any]
    N: int = Field(ge=0, le=LARGEST)
    N_total: int = Field(ge=0, le=LARGEST)
    D: int = Field(ge=0, le=LARGEST)
    C: float = Field(ge=0, le=1e36)
    L: float | None = Field(gt=0, le=1e6)
    curve: list[tuple[int, int, float]] = []
    metrics: dict[str, float] = {}
    seconds: float = Field(ge=0, le=1e12)
    peak_rss_bytes: int = Field(ge=0, le=LARGEST)
    status: Literal["ok", "diverged", "failed"] = "ok"
    error: str | None = None
    provenance: dict[str, Any] = {}
    origin: Literal["live", "recorded", "classmate"] = "live"

    @model_validator(mode="after")
    def _status_matches_loss(self) -> RunRecord:
        if (self.status == "ok") != (self.L is not None):
            raise ValueError(f"status {self.status!r} does not go with L = {self.L}")
        return self

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def corpus(self) -> str:
        """The fingerprint of the tokens trained on: losses compare only where this agrees."""
        return str(self.provenance.get("corpus_sha256", ""))


class Store:
    """A folder with one record per file. Any number of processes may write to it at once."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.json"

    def get(self, run_id: str) -> RunRecord | None:
        """The finished run of this id, or None. A file that cannot be read counts as missing: it is trained again."""
        try:
            record = parse_record(outside.text(self.path(run_id), "a run record", RECORD))
        except InputError:
            return None
        return record if record.id == run_id else None  # a file under another run's name is not that run

    def finished(self, run_id: str, corpus_sha256: str) -> RunRecord | None:
        """The record of a run that needs no training any more: trained on the text of this fingerprint, and not failed.

        A diverged run is a result.
        """
        record = self.get(run_id)
        return record if record and record.status != "failed" and record.corpus == corpus_sha256 else None

    def save(self, record: RunRecord) -> Path:
        """Keep a record. One of the same run on other text is moved aside, to `<id>.json.<its fingerprint>`."""
        path, old = self.path(record.id), self.get(record.id)
        if old is not None and old.status != "failed" and old.corpus != record.corpus:
            with writing(path):
                os.replace(path, path.with_name(f"{path.name}.{old.corpus[:12] or 'unknown'}"))
        write_atomically(path, record.model_dump_json(indent=1) + "\n")
        return path

    def records(self) -> list[RunRecord]:
        """All records, in the order of their compute."""
        found = [self.get(path.stem) for path in sorted(self.folder.glob("*.json"))]
        return sorted((record for record in found if record), key=lambda record: (record.C, record.id))


def parse_record(text: str) -> RunRecord:
    """Raises: InputError with the first fault, in one line."""
    try:
        return RunRecord.model_validate_json(text)
    except ValidationError as error:
        raise InputError(first_line(error, "run record")) from None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `content` so that `path` holds either all of it or what was there before, even if the power goes.

    Raises: InputError where there is no room or no right to write it.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(path.parent.absolute())
        _replace(path, content)


@functools.cache
def _sweep_once(folder: Path) -> None:
    """Remove the drafts of writers that were killed, at this process's first writing in a folder."""
    scratch.sweep(folder, r"\..+\.[0-9a-f]{8}\.tmp")


def _replace(path: Path, content: str | bytes) -> None:
    # not mkstemp, whose files only their owner can read
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    _drafts.add(temporary)
    try:
        with open(temporary, "xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        _drafts.discard(temporary)


_drafts: set[Path] = set()


def discard_drafts() -> None:
    """Remove what this process has begun to write: the last thing that it does when it is ended from outside."""
    for draft in list(_drafts):
        draft.unlink(missing_ok=True)


def read_records(path: str | Path) -> list[RunRecord]:
    """Records from a folder of .json files, a .jsonl file (compressed as .jsonl.gz, too) or a .parquet file.

    Raises: InputError naming the file and the line of the first record that is not one.
    """
    records = []
    for file in files(Path(path)):
        for line, text in texts(file):
            try:
                records.append(parse_record(text))
            except InputError as error:
                raise InputError(f"{file}:{line}: {error}") from None
    return records


def write_records(records: Iterable[RunRecord], path: str | Path) -> None:
    """Many records in one file to ship: .jsonl (a record a line) or .parquet (a column of the same JSON)."""
    write_texts((record.model_dump_json() for record in records), path)


def write_texts(texts: Iterable[str], path: str | Path) -> None:
    """The same for records that are JSON texts already, each in one line."""
    path, lines = Path(path), list(texts)
    if path.suffix == ".parquet":
        import pandas as pd

        buffer = io.BytesIO()
        pd.DataFrame({"id": [json.loads(line)["id"] for line in lines], "record": lines}).to_parquet(buffer)
        write_atomically(path, buffer.getvalue())
    elif path.suffix == ".jsonl":
        write_atomically(path, "".join(line + "\n" for line in lines))
    else:
        raise InputError(f"expected a .jsonl or .parquet file to write, got {path.name!r}")


def files(path: Path) -> list[Path]:
    """The files with records in a folder (a study's, too), or the one file that `path` is."""
    if (path / "study.json").is_file():
        return [file for part in ("runs", "hero") if (path / part).is_dir() for file in files(path / part)]
    if path.is_dir():
        kinds = (".json", ".jsonl", ".jsonl.gz", ".parquet")
        return sorted(file for file in path.iterdir() if file.name.endswith(kinds) and file.is_file())
    if not path.exists():
        raise InputError(
            f"no such file or folder: {path}; give a folder of run records, a .jsonl or a .parquet file"
        )
    return [path]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """(line, JSON text) of every record in a file; the first line of a class file is none. Raises: InputError for one that cannot
    be read."""
    if path.suffix == ".parquet":
        yield from _rows(path)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        for number, line in lines(path):
            if line.strip() and not (number == 1 and line.startswith(CLASS_FILE)):
                yield number, line
    else:
        yield 1, outside.text(path, "a run record", RECORD)


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a .jsonl or .jsonl.gz file with their numbers, each of at most `RECORD` bytes and all of at most `UNPACKED`.

    A byte that is not UTF-8 makes a line that is no record. Raises: InputError.
    """
    with outside.opened(path, "a file of run records") as packed:
        file = gzip.GzipFile(fileobj=packed) if path.suffix == ".gz" else packed
        number = read = 0
        while line := file.readline(RECORD + 1):
            number, read = number + 1, read + len(line)
            _short(path, number, line)
            if file is not packed:
                _few(path, number, read)
            yield number, line.decode("utf-8", errors="replace")


def _rows(path: Path) -> Iterator[tuple[int, str]]:
    """The same of a Parquet file. A text that it names often is kept once: 800 bytes can name one of 2 MB 4,000 times.

    All are read before the first is given: what is made of them does not count as memory that unpacking takes.
    """
    import pyarrow.parquet as pq

    found: list[str] = []
    read = 0
    with outside.opened(path, "a Parquet file with a column 'record'", unpacks=True) as file:
        table = pq.ParquetFile(file, read_dictionary=["record"])
        for batch in table.iter_batches(batch_size=1000, columns=["record"]):
            column = batch.column("record").dictionary_encode()
            values = ["" if value is None else str(value) for value in column.dictionary.to_pylist()]
            for index in column.indices.to_pylist():
                found.append("" if index is None else values[index])
                read += len(found[-1])
                _short(path, len(found), found[-1])
                _few(path, len(found), read)
    yield from enumerate(found, 1)


def _few(path: Path, number: int, read: int) -> None:
    """What is compressed can be far longer than it looks."""
    if read > UNPACKED or number > LINES:
        raise InputError(
            f"{path}:{number}: expected at most {LINES:,} lines and {UNPACKED / 1e6:g} MB unpacked, got more"
        )


def _short(path: Path, number: int, text: str | bytes) -> None:
    if len(text) > RECORD:
        raise InputError(f"{path}:{number}: expected a run record of at most {RECORD / 1e6:g} MB, got more")


def recorded(name: str) -> list[RunRecord]:
    """The runs of a sweep that ships with the kit, by the name of its file in `data/records` (without .jsonl).

    Raises: InputError listing the names there are.
    """
    folder = data_folder() / "records"
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        raise unknown("recorded sweep", name, sorted(file.stem for file in folder.glob("*.jsonl")))
    return read_records(path)


def data_folder() -> Path:
    """The kit's `data/`: beside the package in a checkout, inside it when installed as a wheel."""
    package = Path(__file__).resolve().parent
    inside = package / "shipped"
    return inside if inside.is_dir() else package.parent / "data"
