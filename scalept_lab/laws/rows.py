"""Rows of a table file of any kind: a header, and row by row the cells and where they stand.

What the first bytes say counts, not the name. Nothing here needs memory for more than a few rows, but for JSON in one piece,
which is bounded: neither a long file nor one that unpacks to far more than it holds takes the memory of the machine.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import IO, Any, NamedTuple

from scalept_lab.checks import shown
from scalept_lab.errors import InputError
from scalept_lab.laws.points import role_of

BYTES = 2 * 10**9  # of a file, unpacked
WHOLE = 2 * 10**8  # characters of JSON that is parsed in one piece, bytes of a Parquet column
LINE = 10**6  # characters of a line of text
ROWS = 5_000_000
TOO_LARGE = (
    f"expected at most {BYTES / 1e9:g} GB and {ROWS:,} rows; keep the rows and columns that the fit needs"
)


class Table(NamedTuple):
    """A header and its rows, each with its place in the file; `comma` where a cell of text can hold a decimal comma."""

    header: list[str]
    rows: Iterator[tuple[int, Sequence[Any]]]
    unit: str = "line"
    comma: bool = False


def open_table(raw: io.BufferedReader) -> Table:
    """What the first bytes say counts, not the name: a .json file may hold JSON lines, /dev/stdin has no ending."""
    head = raw.peek(64)
    if os.fstat(raw.fileno()).st_size > BYTES:
        raise InputError(TOO_LARGE)
    if head.startswith(b"PAR1"):
        return _parquet(raw)
    if head.startswith(b"PK\x03\x04"):
        raise InputError("not a readable table (a spreadsheet or a ZIP archive); save it as CSV")
    binary: Any = raw
    if head.startswith(b"\x1f\x8b"):
        binary = io.BufferedReader(gzip.GzipFile(fileobj=raw))
        head = binary.peek(64)
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = io.TextIOWrapper(binary, encoding=encoding, newline="")
    if head.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")[:1] in (b"{", b"["):
        return _json(_lines(text, WHOLE))
    return _delimited(_lines(text, LINE))


def _lines(text: IO[str], longest: int) -> Iterator[str]:
    """Lines, of which none is longer and all together are no more than a machine can hold."""
    size = 0
    with text:  # its own end, or Python warns of a file that nobody closed
        for number, line in enumerate(iter(lambda: text.readline(longest + 1), ""), 1):
            size += len(line)
            if len(line) > longest:
                raise InputError(f"line {number}: expected at most {longest:,} characters; is it a table?")
            if size > BYTES or number > 2 * ROWS:
                raise InputError(TOO_LARGE)
            yield line


def _delimited(lines: Iterator[str]) -> Table:
    """CSV. Comments count as blank lines, so that numbers of lines stay those of the file."""
    first, above, skipped = "", "", 0
    for line in lines:
        skipped += 1
        if line.strip() and not line.lstrip().startswith("#"):
            first = line
            break
        above = line.strip().lstrip("#") or above
    delimiter = _delimiter(first)
    header = _split(first, delimiter)
    # numpy.savetxt makes a comment of its header
    commented = _split(above, _delimiter(above))
    if "L" in map(role_of, commented) and "L" not in map(role_of, header):
        header, delimiter = commented, _delimiter(above)
        lines, skipped = chain([first], lines), skipped - 1

    def rows() -> Iterator[tuple[int, Sequence[Any]]]:
        text = ("\n" if line.lstrip().startswith("#") else line for line in lines)
        reader = csv.reader(text, delimiter=delimiter)
        for row in reader:
            if len(row) == len(header) and (row[0].strip() or any(map(str.strip, row))):
                yield reader.line_num + skipped, row
            elif any(map(str.strip, row)):
                raise InputError(
                    f"line {reader.line_num + skipped}: expected {len(header)} values as in the header, got {len(row)}"
                )

    return Table(header, rows(), comma=True)


def _delimiter(header: str) -> str:
    """The one that gives the most names that are known, then the most names."""
    return max(
        ",;\t|", key=lambda d: (len({*map(role_of, _split(header, d))} - {""}), len(_split(header, d)))
    )


def _split(line: str, delimiter: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]


def _json(lines: Iterator[str]) -> Table:
    """A first line that is an object makes it JSON lines; all else is one piece, which has to fit into memory."""
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    number, first = next(numbered, (1, ""))
    try:
        row = json.loads(_bounded(first))
    except json.JSONDecodeError:
        row = None
    if isinstance(row, dict) and not _of_lists(row):
        return _objects(chain([(number, row)], _parsed(numbered, "line")), "line")
    pieces, size = [first], len(first)
    for _, line in numbered:
        pieces.append(line)
        size += len(line)
        if size > WHOLE:
            break
    return _json_whole(_bounded("".join(pieces)))


def _bounded(text: str) -> str:
    """JSON as it is, unless it makes far more of the memory than it is long: `[],` takes 64 bytes."""
    if len(text) > WHOLE or (len(text) > LINE and sum(map(text.count, "[{,")) > 4 * ROWS):
        raise InputError(
            f"expected at most {WHOLE:,} characters and {4 * ROWS:,} values of JSON in one piece; "
            "give one object a line (.jsonl)"
        )
    return text


def _parsed(texts: Iterable[tuple[int, Any]], unit: str) -> Iterator[tuple[int, Any]]:
    for number, text in texts:
        try:
            yield number, json.loads(_bounded(str(text)))
        except json.JSONDecodeError as error:
            raise InputError(f"{unit} {number}: not JSON ({error})") from None


def _json_whole(text: str) -> Table:
    """A list of objects, object by object; else an object of lists, or of what pandas makes of a column."""
    decode, space = json.JSONDecoder().raw_decode, re.compile(r"[\s,]*")

    def skip(at: int) -> int:
        return space.match(text, at).end()  # type: ignore[union-attr]

    def rows(at: int, until: str) -> Iterator[tuple[int, Any]]:
        number = 0
        while (at := skip(at)) < len(text) or until:
            if text.startswith(until or "]", at):
                return
            number += 1
            try:
                row, at = decode(text, at)
            except json.JSONDecodeError as error:
                raise InputError(f"row {number}: not JSON ({error})") from None
            yield number, row

    if text.lstrip().startswith("["):
        return _objects(rows(text.index("[") + 1, "]"), "row")
    found = decode(text, skip(0))[0]
    if not _of_lists(found):
        return _objects(rows(0, ""), "row")
    columns = {k: list(v.values()) if isinstance(v, dict) else v for k, v in found.items()}
    columns = {key: values for key, values in columns.items() if isinstance(values, list)}
    lengths = {key: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{shown(key)} has {n}" for key, n in list(lengths.items())[:5])
        raise InputError(f"columns differ in length: {told}")
    return Table(list(columns), enumerate(zip(*columns.values(), strict=True), 1), "row")


def _of_lists(value: Any) -> bool:
    """Whether the loss is a column (a list, or what pandas writes: an object by index) and not a single value."""
    return isinstance(value, dict) and any(
        isinstance(column, (list, dict)) for key, column in value.items() if role_of(key) == "L"
    )


def _objects(rows: Iterator[tuple[int, Any]], unit: str) -> Table:
    """Rows that are objects: the first one has the names."""

    def checked(row: Any, number: int) -> dict[str, Any]:
        if not isinstance(row, dict):
            raise InputError(f'{unit} {number}: expected an object such as {{"loss": 2.5}}, got {shown(row)}')
        return row

    start, first = next(rows, (1, {}))
    header = list(checked(first, start))

    def values() -> Iterator[tuple[int, Sequence[Any]]]:
        for number, row in chain([(start, first)], rows):
            yield number, [*map(checked(row, number).get, header)]

    return Table(header, values(), unit)


def _parquet(raw: IO[bytes]) -> Table:
    """Numbers, and text as a dictionary: one long text that a small file names often is kept once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(raw)
    text = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
    file = pq.ParquetFile(raw, read_dictionary=text)
    if file.metadata.num_rows > ROWS:
        raise InputError(TOO_LARGE)
    sizes: dict[str, int] = {}
    groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
    large_file = sum(group.total_byte_size for group in groups) > WHOLE
    # a damaged column entry ends the process, so ask only where it matters
    for group in groups if large_file else ():
        for number in range(file.metadata.num_columns):
            column = group.column(number)
            sizes[column.path_in_schema] = (
                sizes.get(column.path_in_schema, 0) + column.total_uncompressed_size
            )
    names = [
        field.name
        for field in file.schema_arrow
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        or pa.types.is_decimal(field.type) or field.name in text or pa.types.is_dictionary(field.type)
    ]  # fmt: skip
    large = [name for name in names if sizes.get(name, 0) > WHOLE]
    if any(role_of(name) or name == "record" for name in large):
        raise InputError(f"column {shown(large[0])} unpacks to more than {WHOLE / 1e6:g} MB; keep fewer rows")
    names = [name for name in names if name not in large]
    if "record" in names:  # as scalept merge writes it
        names = ["record"]
    batches = file.iter_batches(batch_size=1000 if names == ["record"] else 20_000, columns=names)
    rows = enumerate((row for batch in batches for row in zip(*map(_plain, batch.columns), strict=True)), 1)
    if names == ["record"]:
        return _objects(_parsed(((number, text) for number, (text,) in rows), "row"), "row")
    return Table(names, rows, "row")


def _plain(column: Any) -> list[Any]:
    if not hasattr(column, "dictionary"):
        return column.to_pylist()
    values = column.dictionary.to_pylist()
    return [None if i is None else values[i] for i in column.indices.to_pylist()]
