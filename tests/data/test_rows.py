"""Rows of tables: what is a row, which part of it is text, and what is told of the rest. Files of each kind: `test_local`."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scalept_lab.data import rows
from scalept_lab.errors import InputError


def read(file, kind, column=None):
    told: dict[str, list[str]] = {}
    found = list(
        rows.texts(file, kind, file.name, column, lambda what, where: told.setdefault(what, []).append(where))
    )
    return found, told


def written(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def test_lines_that_are_broken_keep_their_place(tmp_path):
    lines = ['{"text": "a"}', '{"text": ', '{"text": "a", "text": "b"}', "", '{"text": "c"}', '{"text": ']
    found, told = read(written(tmp_path, "a.jsonl", "\n".join(lines)), ".jsonl")
    assert found == [(0, "a"), (4, "c")]
    assert told == {
        "lines that are no JSON, Expecting value": ["a.jsonl, line 2", "a.jsonl, line 6"],
        "lines that are no JSON, a key stands there twice": ["a.jsonl, line 3"],
    }


def test_the_first_line_may_be_broken_and_a_value_may_have_several_lines(tmp_path):
    found, told = read(written(tmp_path, "a.jsonl", '{"text": \n{"text": "b"}\n{"text": "c"}\n'), ".jsonl")
    assert [text for _, text in found] == ["b", "c"] and list(told.values()) == [["a.jsonl, line 1"]]
    for value in ([{"text": "a"}], {"text": "a"}, {"n": 1, "data": [{"text": "a"}]}):
        for indent in (None, 0, 2):
            found, told = read(written(tmp_path, "a.json", "\n" + json.dumps(value, indent=indent)), ".json")
            assert ([text for _, text in found], told) == (["a"], {})
    with pytest.raises(InputError, match="expected a table of documents"):
        read(written(tmp_path, "b.json", '{"text": \n'), ".json")


def test_rows_have_an_end(tmp_path, monkeypatch):
    """A file can say 10¹² rows without text in a few bytes."""
    monkeypatch.setattr(rows, "ROWS", 100)
    pq.write_table(pa.table({"text": pa.nulls(5000, pa.string())}), tmp_path / "a.parquet")
    found, told = read(tmp_path / "a.parquet", ".parquet")
    assert found == [] and told["what lies behind the first 100 rows"] == ["a.parquet"]
    assert len(told["rows without text"]) == 100


def test_a_text_column_of_numbers_is_refused_before_it_is_read(tmp_path):
    """A row may hold millions of them."""
    pq.write_table(pa.table({"text": [[1, 2]]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"expected text in 'text', got list<element: int64>"):
        read(tmp_path / "a.parquet", ".parquet")


def test_only_columns_that_may_hold_text_are_read(tmp_path):
    table = pa.table({"id": [1], "words": ["a"], "more": pa.array(["b"], pa.large_string()), "tags": [["x"]],
                      "kind": pa.array(["c"]).dictionary_encode(), "vector": [[0.5] * 3]})  # fmt: skip
    assert rows._wanted(table.schema, None) == ["words", "more", "kind"]
    assert rows._wanted(table.append_column("content", [["d"]]).schema, None) == ["content"]
    assert (
        rows._wanted(table.append_column("messages", [[[{"role": "user"}]]]).schema, None)[-1] == "messages"
    )
    assert rows._wanted(table.schema, "id") == ["id"]
    with pytest.raises(InputError, match="no text column 'x'; the columns are id, words"):
        rows._wanted(table.schema, "x")
    with pytest.raises(InputError, match=r"expected a column of text, got \['id'\]"):
        rows._wanted(table.select(["id"]).schema, None)


@pytest.mark.parametrize(
    "head, kind", [("id,text", ".csv"), ("id;text", ".csv"), ("id\ttext", ".csv"), ("id\ttext", ".tsv")]
)
def test_tables_of_words(tmp_path, head, kind):
    between = head[2]
    text = f'{head}\n1{between}"a, ""b""; c\td\ne"\n\n2{between}f\n3\n4{between} \n'
    found, told = read(written(tmp_path, f"a{kind}", text), kind)
    assert found == [(0, 'a, "b"; c\td\ne'), (2, "f")]
    assert told == {
        "rows of another length than the 2 columns": [f"a{kind}, row 3"],
        "rows without text": [f"a{kind}, row 4"],
    }
    found, told = read(tmp_path / f"a{kind}", kind, "id")
    assert [text for _, text in found] == ["1", "2", "4"]
    with pytest.raises(InputError, match="no text column 'x'; the columns are id, text"):
        read(tmp_path / f"a{kind}", kind, "x")


def test_a_quote_that_does_not_end_swallows_nothing(tmp_path):
    with pytest.raises(InputError, match=r"a\.csv: expected a table of documents"):
        read(written(tmp_path, "a.csv", 'id,text\n1,"a\n2,b\n'), ".csv")


def test_a_head_that_is_a_row_is_no_head(tmp_path):
    found, told = read(written(tmp_path, "a.csv", "a cat\na dog\n"), ".csv")
    assert found == [] and list(told.values()) == [["a.csv"]]
