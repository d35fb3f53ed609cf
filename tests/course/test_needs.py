"""What notebooks need, read from their cells, and whether it is here."""

from __future__ import annotations

import json

import pytest
from refusals import one_line

from scalept_lab.course import here, needs
from scalept_lab.data import wheels


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one notebook, whose second code cell the test writes; nothing that is pinned is here."""
    needs._at_hand.cache_clear()
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(wheels, "installed_files", lambda source: None)
    monkeypatch.setattr(wheels, "_pip_download", lambda *_: pytest.fail("the network was asked"))

    def asked(code: str) -> tuple[list[str], list[str]]:
        needs._at_hand.cache_clear()
        cells = [
            {"cell_type": "code", "source": ["urlopen('set-up of a hosted machine')"]},
            {"cell_type": "markdown", "source": 'recorded("words")'},
            {"cell_type": "code", "source": code.splitlines(keepends=True)},
        ]
        (tmp_path / here.COURSE[0].file).write_text(json.dumps({"cells": cells}))
        return needs.of(tmp_path / here.COURSE[0].file)

    yield asked
    needs._at_hand.cache_clear()


@pytest.mark.parametrize(
    ("code", "ok", "said"),
    [
        ("x = 1", True, ""),
        ('sl.runs.recorded(\n    "standard")', True, "recorded sweeps"),
        ('sl.recorded("no_such")', False, "the recorded sweep no_such is missing"),
        ('sl.prepare("language")', True, "corpus language, generated at the first run"),
        ('sl.prepare("python-small")', False, "python-small needs the sources of mpmath, networkx, pygments"),
        ('sl.Sweep(width=8, corpus="owner/name")', False, "owner/name is none of the kit's"),
        (
            'sl.Study("mine")',
            False,
            "the corpus python needs the sources of mpmath, networkx, pygments, sympy",
        ),
        ('sl.data.collect(["sympy"])', False, "the pinned sources of mpmath"),
        ("sl.compress.trained(config)", False, "the corpus python"),
        ('urllib.request.urlopen("x")', False, "a cell asks the network"),
        ('BertModel.from_pretrained("google/bert")', False, "a cell asks the network"),
        ("BertModel.from_pretrained(folder)", True, ""),
    ],
)
def test_a_notebooks_needs_are_read_from_its_cells(course, code, ok, said):
    found, missing = course(code)
    assert (not missing) is ok and said in "; ".join(missing or found), (found, missing)


def test_what_is_kept_and_what_will_be_trained_is_said(course, tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "installed_files", lambda source: [])
    assert "corpus python, built at the first run; the teacher, trained at" in "; ".join(
        course("sl.compress.trained(c)")[0]
    )
    kept = tmp_path / "cache" / "models" / "0" / "a.pt"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"")
    assert "the teacher, in the cache" in "; ".join(course("sl.compress.trained(c)")[0])


def test_a_wheel_in_the_cache_serves_as_well_and_a_damaged_one_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "installed_files", lambda source: None)
    source = wheels.SOURCES["mpmath"]
    assert not wheels.at_hand(source, tmp_path)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / source.wheel).write_bytes(b"cut short")
    assert not wheels.at_hand(source, tmp_path)
    monkeypatch.setattr(wheels.outside, "file_sha256", lambda path: source.wheel_sha256)
    assert wheels.at_hand(source, tmp_path)


def test_every_notebook_of_the_course_needs_nothing_that_the_kit_does_not_bring(monkeypatch):
    monkeypatch.setattr(needs, "_at_hand", lambda source: True)
    asked = {lesson.number: needs.of(needs.notebooks() / lesson.file) for lesson in here.COURSE}
    assert not any(missing for _, missing in asked.values()), asked
    said = {number: "; ".join(found) for number, (found, _) in asked.items()}
    assert "recorded sweeps" in said["08"] and "corpus language" in said["12"]
    assert "the teacher" in said["11"] and "the encoder" in said["09"]


@pytest.mark.parametrize("content", [None, "", "[1]", '{"cells": 3}', '{"cells": [3]}'])
def test_a_file_that_is_no_notebook(tmp_path, content):
    path = tmp_path / "00.ipynb"
    if content is not None:
        path.write_text(content)
    one_line(lambda: needs.of(path), "a notebook of the course")
