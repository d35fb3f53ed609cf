"""What is kept of a learner: it survives restarts, other notebooks, cut and foreign files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scalept_lab import learners
from scalept_lab.course import compare, exercises, learner, predict
from scalept_lab.errors import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path))
    monkeypatch.setattr(exercises, "_hints_given", {})
    learners.tell.cache_clear()
    return tmp_path


def test_nothing_open_leaves_a_trace(folder, capsys):
    exercises.check("00.1", ...)
    predict("00.a", ..., otherwise=("no change", 2.0))
    compare("00.a", 2.1)
    repr(learner.progress())
    assert not list(folder.iterdir())


def test_answers_hints_and_solutions_are_counted(folder, capsys):
    exercises.check("00.1", 3)
    exercises.hint("00.1")
    exercises.hint("00.1")
    exercises.check("00.1", 10.825)
    exercises.check("00.1", 3)  # right once is right
    exercises.solution("00.2")
    kept = learner.read()
    assert kept.exercises["00.1"] == learner.Work(right=True, tries=3, hints=2)
    assert kept.exercises["00.2"].solution_seen
    (row,) = learner.progress("00").rows
    assert (row.right, row.hints) == (1, 2)
    exercises._hints_given.clear()  # a new kernel
    exercises.hint("00.1")
    assert "hint 3 of 3" in capsys.readouterr().out


def test_another_process_sees_it(folder):
    exercises.check("00.1", 10.825)
    code = "from scalept_lab.course import progress; print(progress('00').rows[0].right)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1", done.stderr


def test_many_writers_lose_nothing(folder):
    def one(index):
        with learner.change() as kept:
            kept.exercises.setdefault(f"00.{index}", learner.Work()).tries += 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(40)))
    assert len(learner.read().exercises) == 40
    assert [path.name for path in folder.iterdir()] == ["learner.json"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"schema_version": 1, "exercises": {"00.1": {"rig', "cannot be read"),
        ('{"schema_version": 99, "exercises": {}}', "it is of version 99, this is version 1"),
        ("[1, 2]", "it is of version None"),
        ('{"schema_version": 1, "exercises": {"00.1": {"right": "perhaps"}}}', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("\x00\x01", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_kept_beside_the_new_one(folder, content, why, capsys):
    (folder / "learner.json").write_text(content)
    exercises.check("00.1", 10.825)
    said = capsys.readouterr().err
    assert why in said and said.count("\n") == 1
    assert learner.read().exercises["00.1"].right
    (aside,) = [path for path in folder.iterdir() if path.name != "learner.json"]
    assert aside.read_text() == content


def test_a_lock_that_a_dead_process_left_is_taken_over(folder, monkeypatch):
    monkeypatch.setattr(learner, "PATIENCE", 0.1)
    (folder / ".learner.json.lock").touch()
    exercises.check("00.1", 10.825)
    assert learner.read().exercises["00.1"].right


def test_a_lock_that_goes_from_hand_to_hand_is_waited_for(folder, monkeypatch):
    """However long that takes: whoever takes it from a living holder loses a guess."""
    monkeypatch.setattr(learner, "PATIENCE", 0.2)
    lock, over = folder / ".learner.json.lock", time.monotonic() + 1.0

    def busy() -> None:
        while time.monotonic() < over:
            (folder / "next").touch()
            os.replace(folder / "next", lock)  # the next one is always quicker than we are
            time.sleep(0.05)
        lock.unlink()

    lock.touch()
    others = threading.Thread(target=busy)
    others.start()
    exercises.check("00.1", 10.825)
    assert time.monotonic() >= over - 0.1
    others.join()
    assert learner.read().exercises["00.1"].right and not lock.exists()


def test_a_notebook_that_stood_still_takes_nothing_from_the_others(folder, capsys):
    """Its lock was taken away as a dead one's, and another has written since."""
    lock = folder / ".learner.json.lock"
    with learner.change() as kept:
        kept.exercises["00.1"] = learner.Work(right=True)
        lock.unlink()
        with learner.change() as other:
            other.exercises["00.2"] = learner.Work(right=True)
        lock.touch()  # and one more is at it
    assert set(learner.read().exercises) == {"00.2"} and lock.exists()
    assert "changed by another notebook meanwhile; run the cell again" in capsys.readouterr().err


def test_where_nothing_can_be_written_the_notebook_goes_on(folder, monkeypatch, capsys):
    (folder / "file").touch()
    monkeypatch.setenv("SCALEPT_RESULTS", str(folder / "file" / "below"))
    exercises.check("00.1", 10.825)
    exercises.check("00.1", 10.825)
    out, err = capsys.readouterr()
    assert out.count("00.1: right.") == 2
    assert err.count("your progress is not kept") == 1 and err.count("\n") == 1


def test_export_and_its_refusal(folder, tmp_path):
    with pytest.raises(InputError, match="nothing is kept yet"):
        learner.export(tmp_path / "me.json")
    exercises.check("00.1", 10.825)
    place = learner.export(tmp_path / "me.json")
    assert json.loads(place.read_text())["exercises"]["00.1"]["right"] is True


def test_the_command_line(folder, tmp_path, capsys):
    from scalept_lab.cli import main

    exercises.check("00.1", 10.825)
    capsys.readouterr()
    assert main(["progress", "--json", "--out", str(tmp_path / "out.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["notebooks"]["00"]["right"] == 1
    assert found["notebooks"]["00"]["open"] == len(exercises.notebook_exercises("00")) - 1
    assert main(["progress", "99"]) == 2
    assert capsys.readouterr().err.startswith("scalept progress: notebook: expected one of 00, 01")


def test_the_terminal_above_the_notebooks_finds_their_file(tmp_path, monkeypatch):
    monkeypatch.delenv("SCALEPT_RESULTS")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks" / "results").mkdir(parents=True)
    assert learner.path() == Path("results", "learner.json")
    (tmp_path / "notebooks" / "results" / "learner.json").touch()
    assert learner.path() == Path("notebooks", "results", "learner.json")
    monkeypatch.setenv("SCALEPT_RESULTS", "elsewhere")  # who names a place means it
    assert learner.path() == Path("elsewhere", "learner.json")
    monkeypatch.delenv("SCALEPT_RESULTS")
    os.makedirs("results")
    Path("results", "learner.json").touch()
    assert learner.path() == Path("results", "learner.json")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"schema_version": 1, "predictions": {"08.a": {"measured": NaN}}}',
        '{"schema_version": 1, "predictions": {"08.a": {"measured": "\\ud800"}}}',
        "7",
        "",
    ],
)
def test_a_file_that_is_none_is_kept_aside_whole(folder, content, capsys):
    (folder / "learner.json").write_text(content)
    assert learner.read() == learner.Learner()
    (aside,) = folder.glob("learner-*.json")
    assert aside.read_text() == content
    (line,) = capsys.readouterr().err.splitlines()
    assert f"it is kept as {aside.name}, and a new file begins" in line and line.count(str(folder)) == 1


def test_a_folder_in_its_place_is_moved_aside(folder):
    (folder / "learner.json").mkdir()
    exercises.check("00.1", 1)
    assert (folder / "learner.json").is_file() and len(list(folder.glob("learner-*"))) == 1
