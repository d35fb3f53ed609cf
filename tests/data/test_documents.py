"""From a name to its documents: sources, rules, and two sides."""

from __future__ import annotations

import inspect

import pytest

from scalept_lab.data import documents, sources, tokens


def test_a_handful_of_documents_still_has_two_sides():
    sides = documents.split(["a", "b", "c"], ["x/1", "x/2", "x/3"], heldout=1e-9)
    assert sorted(map(len, sides)) == [1, 2]


SHORT = "def a_function(of, two): return of + two  # under 200 characters, which is too short for code\n"


def test_local_python_is_cleaned_as_code_and_all_else_as_prose(tmp_path):
    """A text of 95 characters: too short for code, long enough for prose."""
    for name in ("code/a.py", "prose/a.txt", "both/a.py", "both/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(SHORT.replace("two", name.replace("/", "_").replace(".", "_")))
    (tmp_path / "code" / "long.py").write_text(inspect.getsource(documents.split))
    table, report, origin = documents.documents(str(tmp_path / "code"), progress=False)
    assert table["path"].tolist() == ["long.py"] and origin == "local files"
    assert report.steps["too_short"]["documents"] == 1
    assert documents.documents(str(tmp_path / "prose"), progress=False)[0]["path"].tolist() == ["a.txt"]
    assert len(documents.documents(str(tmp_path / "both"), progress=False)[0]) == 2


def test_the_standard_library_is_cleaned_and_a_raw_corpus_is_not(source, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "stdlib_files", lambda: [("stdlib/a.py", SHORT.encode())])
    table, report, origin = documents.documents("stdlib", progress=False)
    assert (len(table), origin, report.documents_before) == (0, "standard library", 1)
    raw = documents.Recipe(("nosuchpackage",), False, "as it comes")
    monkeypatch.setitem(documents.CORPORA, "raw", raw)
    table, report, origin = documents.documents("raw", tmp_path, progress=False)
    assert (len(table), report, origin) == (2, None, "pinned wheels")
    (tmp_path / "wheels" / source.wheel).unlink()
    monkeypatch.setattr(sources, "source_files", lambda source, cache: None)
    with pytest.warns(UserWarning, match="standard library instead"):
        table, _, origin = documents.documents("raw", tmp_path, progress=False)
    assert (table["package"].tolist(), origin) == (["stdlib"], "stdlib fallback")


def test_sides_are_rows_and_a_path_decides():
    names = [f"p/{i}.py" for i in range(200)]
    train, heldout = documents.split([""] * 200, names)
    assert sorted(train + heldout) == list(range(200)) and 1 <= len(heldout) <= 20
    assert all(tokens.on_heldout_side(names[row], 0.05) for row in heldout)
    assert documents.split(["one"], ["p/1"], heldout=1e-9) == ([0], [])
