"""Rows of a table file: what each kind gives, with its place, and how much of a file is read at most."""

from __future__ import annotations

import gc
import gzip
import json
import os
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from refusals import one_line

from scalept_lab.laws import rows
from scalept_lab.laws.rows import open_table

CSV = "params,tokens,loss\n10,200,3.5\n20,500,2.5\n40,900,2.25\n"
CELLS = [("10", "200", "3.5"), ("20", "500", "2.5"), ("40", "900", "2.25")]
FRAME = pd.DataFrame({"params": [10, 20, 40], "tokens": [200, 500, 900], "loss": [3.5, 2.5, 2.25]})
OBJECTS = FRAME.to_dict("records")
JSONL = "".join(json.dumps(each) + "\n" for each in OBJECTS)
NUMBERS = [(10, 200, 3.5), (20, 500, 2.5), (40, 900, 2.25)]


@pytest.fixture
def read(tmp_path) -> Callable:
    """Header, unit and the rows by number of a file of this content."""

    def call(content: str | bytes) -> tuple[list[str], str, dict[int, tuple]]:
        path = tmp_path / "table"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with open(path, "rb") as raw:
            table = open_table(raw)
            return table.header, table.unit, {number: tuple(row) for number, row in table.rows}

    return call


@pytest.mark.parametrize(
    ("content", "places", "cells"),
    [
        (CSV, ["line", 2, 3, 4], CELLS),
        (CSV.replace(",", "\t"), ["line", 2, 3, 4], CELLS),
        (CSV.replace("20,", '"20",'), ["line", 2, 3, 4], CELLS),
        (CSV.replace("\n", "\n\n"), ["line", 3, 5, 7], CELLS),
        (CSV.replace("20", "# one\n20", 1), ["line", 2, 3, 4], [("10", "# one"), ("20",)]),
        ("# one\n" + CSV.replace("\n20", "\n  # two\n ,  ,\n20"), ["line", 3, 6, 7], CELLS),
        ("# params,tokens,loss\n" + CSV.partition("\n")[2], ["line", 2, 3, 4], CELLS),
        (CSV.encode("utf-16"), ["line", 2, 3, 4], CELLS),
        (gzip.compress(CSV.encode(), mtime=0), ["line", 2, 3, 4], CELLS),
        (JSONL, ["line", 1, 2, 3], NUMBERS),
        ("\n" + JSONL.replace("\n", "\n\n"), ["line", 2, 4, 6], NUMBERS),
        (json.dumps(OBJECTS, indent=2), ["row", 1, 2, 3], NUMBERS),
        ("\n".join(json.dumps(each, indent=2) for each in OBJECTS), ["row", 1, 2, 3], NUMBERS),
        (FRAME.to_json(), ["row", 1, 2, 3], NUMBERS),
        (FRAME.to_parquet(), ["row", 1, 2, 3], NUMBERS),
    ],
)  # fmt: skip
def test_every_kind_gives_its_rows_and_where_they_stand(read, content, places, cells):
    if cells not in (CELLS, NUMBERS):  # a mark inside a row is no comment, and the row is then cut in two
        return one_line(lambda: read(content), "line 2: expected 3 values as in the header, got 2")
    header, unit, found = read(content)
    assert (header, [unit, *found], [*found.values()]) == (["params", "tokens", "loss"], places, cells)


def test_a_quoted_cell_may_hold_what_separates(read):
    header, _, found = read('params;"of, what; where";loss\n10;"a;b, c";3.5\n')
    assert header == ["params", "of, what; where", "loss"] and found == {2: ("10", "a;b, c", "3.5")}


def test_a_row_of_json_lacks_what_it_lacks(read):
    assert read('{"loss": 2, "params": 3}\n{"params": 4, "more": 5}\n')[2] == {1: (2, 3), 2: (None, 4)}


def test_columns_of_parquet_that_are_neither_numbers_nor_text_are_left_out(read):
    frame = FRAME.assign(curve=[[1.0]] * 3, when=pd.Timestamp(0), kind=pd.Categorical(["a", None, "b"]))
    header, _, found = read(frame.to_parquet())
    assert header == ["params", "tokens", "loss", "kind"] and found[2] == (20, 500, 2.5, None)
    assert found[3] == (40, 900, 2.25, "b")


def test_no_file_is_left_open(read, tmp_path):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read(CSV)
        read(gzip.compress(JSONL.encode(), mtime=0))
        one_line(lambda: read("params,loss\n1,2\n3\n4,5"), "line 3")
        gc.collect()
    # what else is collected here (a kernel's sockets, of a test before) is not this reader's
    assert [str(each.message) for each in told if str(tmp_path) in str(each.message)] == []


@pytest.mark.parametrize(
    "content",
    [CSV.encode(), gzip.compress(CSV.encode(), mtime=0), FRAME.to_json().encode(), FRAME.to_parquet()],
)
def test_what_comes_through_a_pipe_is_read_unless_it_must_be_sought_in(content):
    end, start = os.pipe()
    with open(start, "wb") as write:
        write.write(content)
    with open(end, "rb") as raw:
        if content.startswith(b"PAR1"):
            with pytest.raises(OSError):
                open_table(raw)
        else:
            table = open_table(raw)
            assert table.header == ["params", "tokens", "loss"] and len([*table.rows]) == 3


# --- bounds


@pytest.mark.parametrize(
    ("limit", "value", "content", "words"),
    [
        ("BYTES", 50, CSV, "rows; keep"),
        ("BYTES", 150, gzip.compress(("#" * 50 + "\n").encode() * 99, mtime=0), "rows; keep"),
        ("LINE", 40, CSV + "1" * 41, "line 5: expected at most 40 characters"),
        ("ROWS", 2, FRAME.to_parquet(), "rows; keep"),
        ("ROWS", 2, "\n" * 5, "rows; keep"),
        ("WHOLE", 100, json.dumps(OBJECTS, indent=1), "JSON in one piece"),
        ("WHOLE", 100, JSONL.replace("3.5", "3" + " " * 99), "line 1: expected at most 100"),
        ("WHOLE", 20, FRAME.to_parquet(), "column 'params' unpacks to more than"),
    ],
)  # fmt: skip
def test_what_is_too_large_is_refused(read, monkeypatch, limit, value, content, words):
    monkeypatch.setattr(rows, limit, value)
    one_line(lambda: read(content), words)


def test_a_json_of_many_small_lists_is_refused_before_it_is_parsed(read):
    one_line(lambda: read("[" + "[]," * 10_000_001), "values of JSON in one piece")


@pytest.mark.parametrize("column", ["dataset", "loss", "record", "note"])
def test_a_small_parquet_that_names_one_long_text_often(tmp_path, column):
    """A dictionary of one text of 2 MB, for 4,000 rows: 22 kB that were 8 GB."""
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), ["x" * 2_000_000])
    path = Path(tmp_path, "points.parquet")
    pq.write_table(pa.table({"params": range(4000), column: long}), path, store_schema=False)
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    tracemalloc.start()
    with open(path, "rb") as raw:
        if column == "record":
            one_line(lambda: open_table(raw), "row 1: not JSON")
        else:
            assert sum(len(row[1]) for _, row in open_table(raw).rows) == 8_000_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6 and pool.bytes_allocated() - before < 50e6
