"""Rows of tables as documents: JSON, CSV, Parquet and Arrow, and which part of a row is its text.

Tables are untrusted. They are read a few rows at a time, and what one row, or all rows without a text, may cost is bounded.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

from scalept_lab import outside
from scalept_lab.checks import shown
from scalept_lab.data.characters import PACKED, NotUTF8, characters, unpacked
from scalept_lab.errors import InputError

LINE = 50_000_000  # characters of one row of JSON or CSV
ROWS = 1_000_000  # of one file; the budget is in bytes of text, and a row without text has none
SLICE = 32  # rows of a table that are turned into Python's objects at a time
NAMED = ("text", "content")  # columns that hold the text, where a table has one of them
CHATS = ("messages", "conversations")
# Keys of a row that say where a text is from, not what it says
ABOUT = {"id", "idx", "index", "uuid", "url", "uri", "link", "source", "date", "timestamp", "created", "author", "license",
         "licence", "lang", "language", "split", "path", "filename", "meta", "metadata"}  # fmt: skip
Told = Callable[[str, str], None]  # takes what was left out, and where


def texts(file: Path, kind: str, name: str, column: str | None, told: Told) -> Iterator[tuple[int, str]]:
    """(place, text) of the rows of a table that have one; `told` hears of the others. `kind` is its ending: ``.jsonl``, …

    Raises: InputError for a damaged file and for a text column that holds no text.
    """
    with outside.opened(file, "a table of documents", unpacks=True) as raw:
        try:
            with_text = False
            for place, row in _rows(file, kind, raw, name, column, told):
                if place >= ROWS:
                    told(f"what lies behind the first {ROWS:,} rows", name)
                    return
                if isinstance(row, dict) and "text" in row:
                    with_text = True
                elif with_text and isinstance(row, dict) and column is None:
                    row = {"text": None}  # the others have one: what is left here tells of it
                text = text_of(row, f"row {place:,}", column)
                if text is None or not text.strip():
                    told("rows without text", f"{name}, row {place:,}")
                else:
                    yield place, text
        except NotUTF8 as error:
            told("files that are not UTF-8, convert them", f"{name}, which {error}")


def _rows(
    file: Path, kind: str, raw: IO[bytes], name: str, column: str | None, told: Told
) -> Iterator[tuple[int, Any]]:
    """(place, row); a line that cannot be read has a place and no row."""
    if kind in (".json", ".jsonl"):
        return _of_json(unpacked(file, raw), name, told)
    if kind in (".csv", ".tsv"):
        return _of_csv(unpacked(file, raw), kind, name, column, told)
    seekable = io.BytesIO(unpacked(file, raw).read()) if file.suffix.lower() in PACKED else raw
    return enumerate(_of_columns(kind, seekable, column))


def _of_columns(kind: str, raw: Any, column: str | None) -> Iterator[Any]:
    """The rows of Parquet or Arrow, a few at a time; only columns that may hold text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind == ".arrow":
        whole = (
            raw.read(6) == b"ARROW1"
        )  # with a table of contents at its end; else a stream, as datasets writes it
        raw.seek(0)
        reader = pa.ipc.open_file(raw) if whole else pa.ipc.open_stream(raw)
        wanted = _wanted(reader.schema, column)
        batches: Iterable[Any] = (
            (reader.get_batch(i) for i in range(reader.num_record_batches)) if whole else reader
        )
        for batch in batches:
            batch.validate(full=True)  # places behind the end would be read as they are
            for start in range(0, batch.num_rows, SLICE):
                yield from batch.slice(start, SLICE).select(wanted).to_pylist()
    else:
        source = pq.ParquetFile(raw)
        for batch in source.iter_batches(
            batch_size=SLICE, columns=_wanted(source.schema_arrow, column), use_threads=False
        ):
            yield from batch.to_pylist()


def _wanted(schema: Any, column: str | None) -> list[str]:
    """The columns to read: the one that is named, else the one that is called as texts are, else all of text and chats."""
    import pyarrow as pa

    for name in [column] if column is not None else NAMED:
        if name in schema.names:
            kind = schema.field(name).type
            if pa.types.is_nested(kind) and "string" not in str(kind):  # a row may hold millions of them
                raise InputError(f"expected text in {name!r}, got {str(kind)[:60]}; name a column of text")
            return [name]
    if column is not None:
        raise _no_column(column, schema.names)
    found = [
        field.name
        for field in schema
        if "string" in str(field.type) and (_plain(field) or field.name in CHATS)
    ]
    if not found:
        raise InputError(f"expected a column of text, got {shown(schema.names, 200)}")
    return found


def _plain(field: Any) -> bool:
    import pyarrow as pa

    return not pa.types.is_nested(field.type)


def _of_json(raw: Any, name: str, told: Told) -> Iterator[tuple[int, Any]]:
    """JSON lines, or a list of rows in one piece, alone or as the one list of an object."""
    lines: Iterator[tuple[int, str]] = (
        (place, line) for place, line in enumerate(_lines(raw)) if line.strip()
    )
    place, first = next(lines, (0, ""))
    try:
        row = _value(first)
    except ValueError as error:
        after, second = next(lines, (0, ""))
        if first.strip() in ("[", "{") or not _is_row(second):  # a value of several lines
            row = _value("".join(chain([first, second], (line for _, line in lines))))
            lines = iter(())
        else:
            told(f"lines that are no JSON, {_reason(error)}", f"{name}, line {place + 1:,}")
            row, place = _value(second), after
    if isinstance(row, list):
        yield from enumerate(row)
        return
    if not isinstance(row, dict):
        raise InputError(f"expected rows in JSON, got {shown(row)}")
    following = next(lines, None)
    lists = [
        value for value in row.values() if isinstance(value, list) and value and isinstance(value[0], dict)
    ]
    if following is None and len(lists) == 1 and not {*CHATS, "text"} & row.keys():
        yield from enumerate(lists[0])
        return
    yield place, row
    for place, line in chain([following] if following else [], lines):
        try:
            row = _value(line)
        except ValueError as error:
            told(f"lines that are no JSON, {_reason(error)}", f"{name}, line {place + 1:,}")
        else:
            yield place, row


def _value(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # Python's reader keeps the last
        raise ValueError("a key stands there twice")
    return found


def _is_row(line: str) -> bool:
    try:
        return isinstance(_value(line), dict)
    except ValueError:
        return False


def _reason(error: ValueError) -> str:
    """Without the place in the line, so that equal faults count as one."""
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error).partition(";")[0]


def _of_csv(raw: Any, kind: str, name: str, column: str | None, told: Told) -> Iterator[tuple[int, Any]]:
    """Rows under a head that names the text column: without one, no line can be told from a head."""
    lines = _lines(raw)
    head = next(lines, "")
    delimiter = "\t" if kind == ".tsv" else max(",;\t", key=head.count)
    csv.field_size_limit(LINE)
    rows = csv.reader(chain([head], lines), delimiter=delimiter, strict=True)
    names = next(rows, [])
    if column is not None and column not in names:
        raise _no_column(column, names)
    if column is None and not set(NAMED) & set(names):
        told("tables whose first line has no column 'text' or 'content'", name)
        return
    for place, row in enumerate(rows):
        if not row:
            continue
        if len(row) != len(names):
            told(f"rows of another length than the {len(names)} columns", f"{name}, row {place:,}")
        else:
            yield place, dict(zip(names, row, strict=True))


def _lines(raw: Any) -> Iterator[str]:
    """Lines of text, none longer than LINE."""
    rest = ""
    for text in characters(raw):
        lines = (rest + text).split("\n")
        rest = lines.pop()
        if len(rest) > LINE:
            raise InputError(f"expected rows of at most {LINE:,} characters; give one object a line")
        yield from (line + "\n" for line in lines)
    if rest:
        yield rest


def text_of(row: Any, where: str, column: str | None = None) -> str | None:
    """The text of a row (see `local.documents`), None where it has none. Raises: InputError for a column that is missing or
    holds something else than text."""
    if isinstance(row, str) and column is None:
        return row
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected an object with a text, got {shown(row)}")
    if column is not None and column not in row:
        raise _no_column(column, row)
    name = column if column is not None else next((key for key in NAMED if key in row), None)
    if name is not None:
        value = row[name]
        if value is not None and not isinstance(value, str):
            raise InputError(
                f"{where}: expected text in {name!r}, got {shown(value)}; name a column of text, or write it out flat"
            )
        return value
    for name in CHATS:
        if isinstance(row.get(name), list):
            return "\n\n".join(filter(None, map(_said, row[name]))) or None
    values = (value for key, value in row.items() if str(key).lower() not in ABOUT and isinstance(value, str))
    return "\n".join(values) or None


def _no_column(column: str, names: Iterable[Any]) -> InputError:
    known = ", ".join(map(str, names))
    return InputError(f"no text column {column!r}; the columns are {known[:200]}{'…' * (len(known) > 200)}")


def _said(message: Any) -> str:
    """Who speaks, and what, in the two layouts of chats; parts that are no text are passed over."""
    if not isinstance(message, dict):
        return ""
    who, what = message.get("role", message.get("from")), message.get("content", message.get("value"))
    if isinstance(what, list):
        parts = (part.get("text") if isinstance(part, dict) else part for part in what)
        what = "".join(part for part in parts if isinstance(part, str))
    return f"{who}: {what}" if isinstance(what, str) and what else ""
