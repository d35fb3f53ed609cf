"""The exercise engine, on exercises of its own."""

from __future__ import annotations

import re

import pytest

from scalept_lab.course import exercises, predictions
from scalept_lab.course.answers import function, number
from scalept_lab.course.exercises import Exercise
from scalept_lab.errors import InputError


@pytest.fixture
def sample(monkeypatch, tmp_path):
    """One made-up notebook, 77, with a number and a function."""
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path))
    found = (
        Exercise(
            "77.1",
            "FLOPs per token?",
            number(6e9, diagnoses=[(2e9, "the forward pass alone")], right="6 N."),
            ("one", "two", "three"),
            "answer = 6e9",
        ),
        Exercise(
            "77.2",
            "Double it.",
            function(lambda x: 2 * x, [(1,), (3,)], diagnoses=[(lambda x: x**2 + x, "squares")]),
            ("a", "b", "c"),
            "def answer(x):\n    return 2 * x",
        ),
    )
    monkeypatch.setattr(exercises, "notebook_exercises", lambda nb: found)
    monkeypatch.setattr(exercises, "_hints_given", {})
    monkeypatch.setattr(exercises, "_right", {})
    return found


def test_check_prints_one_line_each(sample, capsys):
    def half_done(x): ...

    exercises.check("77.1", ...)
    exercises.check("77.1", 6e9)
    exercises.check("77.1", 2e9)
    exercises.check("77.2", half_done)
    exercises.check("77.2", lambda x: 1 / 0)
    assert capsys.readouterr().out.splitlines() == [
        '77.1: not answered yet - replace the three dots; hint("77.1") helps. Wanted: a number, right within 1 %.',
        "77.1: right. 6 N.",
        '77.1: not yet - the forward pass alone hint("77.1") helps. Wanted: a number, right within 1 %.',
        '77.2: not answered yet - replace the three dots; hint("77.2") helps. Wanted: a function, compared to 4 digits.',
        "77.2: not yet - with (1) your function raised ZeroDivisionError: division by zero, at your line 48: "
        '"exercises.check("77.2", lambda x: 1 / 0)". hint("77.2") helps. Wanted: a function, compared to 4 digits.',
    ]


def test_hints_go_up_and_stay_at_the_last(sample, capsys):
    for level in (None, None, None, None, 1):
        exercises.hint("77.1", level)
    levels = re.findall(r"hint (\d) of 3", capsys.readouterr().out)
    assert levels == ["1", "2", "3", "3", "1"]
    with pytest.raises(InputError, match="levels 1 to 3"):
        exercises.hint("77.1", 4)


def test_unknown_ids_say_what_there_is(sample):
    with pytest.raises(InputError, match=r"77\.1, 77\.2"):
        exercises.check("77.9", 1)


def test_unknown_notebook():
    with pytest.raises(InputError, match=r"notebook: expected one of 00, 01, .*, got '99'"):
        exercises.check("99.1", 1)


class Hostile:
    """Whatever is asked of it, it ends something."""

    def __getattr__(self, name):
        raise KeyboardInterrupt

    def __repr__(self):
        raise SystemExit(3)

    def __eq__(self, other):
        raise KeyboardInterrupt

    def __iter__(self):
        raise SystemExit

    def __float__(self):
        raise RecursionError

    def __len__(self):
        return 10**12

    __hash__ = None


def _itself():
    one: list = []
    one.append(one)
    return one


def _wide():
    one: list = []
    one += [one] * 1000
    return one


@pytest.mark.parametrize(
    "made", [Hostile, _itself, _wide, lambda: {1: _itself()}, lambda: (Hostile(), {"a": Hostile()})]
)
@pytest.mark.parametrize("id", ["00.1", "08.2", "01.1"])
def test_no_object_gets_through_a_check(made, id, capsys):
    exercises.check(id, made())
    assert "Traceback" not in capsys.readouterr().out
    assert not exercises.grade(id, made()).ok


def test_no_object_gets_through_a_prediction(capsys):
    for made in (Hostile, _itself, _wide):
        predictions.predict("08.a", made(), otherwise=("no change", 2.4))
        predictions.predict("08.b", "x", options=[made()], otherwise=("no change", "x"))
        assert "stands in" in capsys.readouterr().out
