"""The table of a class: whose exercises are right, where the class is stuck, and files that are none."""

from __future__ import annotations

import gzip
import json
import pickle

import pytest
from refusals import one_line

import classroom
from scalept_lab.course.classroom import class_progress
from scalept_lab.learners import Guess, Learner, Prediction, Work


def write(folder, name: str, **exercises: Work) -> None:
    guess = Guess(value=2.0, low=1.9, high=2.1, at="2030-01-01")
    kept = Learner(
        exercises={id.replace("_", "."): work for id, work in exercises.items()},
        predictions={"08.a": Prediction(guesses=[guess], measured=2.05), "99.z": Prediction(guesses=[guess], measured=1.0)},
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(kept.model_dump_json())


@pytest.fixture
def folder(tmp_path):
    """Three learners. In 00.1 all are right, in 00.2 one of three, in 02.1 none of two, in 03.1 not the only one who tried;
    exercise 77.1 is none of the kit's."""
    right, tried = Work(right=True, tries=1), Work(tries=4, hints=2)
    write(tmp_path / "c", "anna", **{"00_1": right, "00_2": right, "77_1": right, "03_1": Work(tries=30)})
    write(tmp_path / "c", "ben", **{"00_1": right, "00_2": tried, "02_1": Work(tries=9)})
    write(tmp_path / "c", "<i>陈伟", **{"00_1": right, "00_2": Work(solution_seen=True), "02_1": tried})
    return tmp_path / "c"


def test_the_table(folder):
    found = class_progress(folder)
    table = found.as_dict()["learners"]
    assert list(table) == ["<i>陈伟", "anna", "ben"]
    assert {name: table[name]["00"]["right"] for name in table} == {"<i>陈伟": 1, "anna": 2, "ben": 1}
    assert table["ben"]["00"]["hints"] == 2 and table["<i>陈伟"]["00"]["solutions"] == 1
    assert [table[name]["08"]["predictions"] for name in table] == [1, 1, 1]  # 99.z is no notebook
    text = str(found)
    assert "00" in text.split("\n")[0] and "05" not in text.split("\n")[0]  # nobody has begun 05
    assert len({line.index("/") for line in text.split("\n")[2:4]}) == 1
    html = found._repr_html_()
    assert "&lt;i&gt;陈伟" in html and "<i>陈" not in html
    json.dumps(found.as_dict())


def test_where_the_class_is_stuck(folder):
    stuck = class_progress(folder).stuck
    assert [(each.id, each.tried, each.solved, each.tries) for each in stuck] == [
        ("02.1", 2, 0, 13),
        ("00.2", 3, 1, 5),
        ("03.1", 1, 0, 30),  # most tries, and only one is stuck
    ]
    assert (
        str(stuck[1])
        == "00.2: 2 of 3 who tried have not solved it (5 tries, 2 hints, 1 looked at the solution)"
    )


def test_who_guesses_best_in_the_notebooks(tmp_path):
    classroom.make(tmp_path, learners=20, runs=6)
    found = class_progress(tmp_path)
    assert found.ledger.best == [classroom.GOOD] and "陈伟 forecasts better than the class" in str(found)


def test_class_files_and_progress_files_side_by_side(folder):
    classroom.make(folder, learners=11, runs=6)
    found = class_progress(folder)
    assert {"../../x", "Ana & Ben", "anna"} < set(found.learners) or {"anna"} < set(found.learners)
    assert len(found.rejected) >= 4 and all("\n" not in each["reason"] for each in found.rejected)


def test_two_files_of_one_name(folder, tmp_path):
    """The same progress twice is one learner; different progress under one name is told and kept apart."""
    lines = classroom.Maker(6, 0).lines(5)
    lines[0]["learner"] = "anna"
    for name in ("one", "two"):
        (folder / f"{name}.jsonl.gz").write_bytes(classroom.packed(lines))
    found = class_progress(folder)
    assert {"anna (anna.json)", "anna (one.jsonl.gz)"} < set(found.learners) and len(found.learners) == 4
    assert found.notes == ["2 files are those of anna: they differ, and are kept apart"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b"[1, 2]", "a JSON object"), ("a.json", b"{", "not JSON"), ("a.json", b'{"config": {}}', "got a run record"),
        ("a.json", b'{"schema_version": 99}', "it is of version 99"), ("a.json", pickle.dumps(print), "UTF-8"),
        ("a.json", b"[" * 200_000, "nested too deep"), ("a.jsonl", b"{}\n", "got run records alone"),
        ("a.jsonl.gz", b"import os\n", "damaged"), ("a.jsonl.gz", gzip.compress(b'{"class_file":0}\n'), "got version 0"),
        ("a.json", b'{"schema_version": 1, "exercises": {"00.1": {"tries": -1}}}', "got another one"),
    ],
)  # fmt: skip
def test_a_file_that_shows_no_progress_is_named_and_left_out(folder, name, content, says):
    (folder / name).write_bytes(content)
    (fault,) = class_progress(folder).rejected
    assert fault["file"] == str(folder / name) and says in fault["reason"] and "\n" not in fault["reason"]
    alone = folder.parent / "alone"
    alone.mkdir()
    (alone / name).write_bytes(content)
    one_line(lambda: class_progress(alone), "expected files of `scalept progress --out NAME.json`", says)


def test_a_folder_without_files_or_none_at_all(tmp_path):
    one_line(lambda: class_progress(tmp_path), "got none (no .json, .jsonl or .jsonl.gz file)")
    one_line(lambda: class_progress(tmp_path / "gone"), "no such file or folder")


def test_the_command_line(folder, capsys):
    from scalept_lab.cli import main

    assert main(["progress", "--class", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        set(found) == {"learners", "best_forecasters", "stuck", "rejected", "notes"}
        and found["stuck"][0]["id"] == "02.1"
    )
    assert main(["progress", "--class", str(folder)]) == 0
    assert "where the class is stuck:\n  02.1: 2 of 2 who tried" in capsys.readouterr().out
    assert main(["progress", "--class", str(folder / "gone")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
