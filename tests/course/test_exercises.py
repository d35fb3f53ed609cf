"""The exercise engine, and every exercise held to its promises: no placeholder passes, each solution does."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from scalept_lab.course import answers, exercises
from scalept_lab.course.answers import choice, function, number, several
from scalept_lab.course.exercises import Exercise, claim, evidence, grade
from scalept_lab.errors import InputError

SETS = {nb: exercises.notebook_exercises(nb) for nb in exercises.notebook_numbers()}
ALL = [pytest.param(nb, exercise, id=exercise.id) for nb, found in SETS.items() for exercise in found]


# --- every exercise of every notebook -----------------------------------------------------------------------


@pytest.mark.parametrize("nb", SETS)
def test_set_has_three_or_more_with_ids_of_its_notebook(nb):
    ids = [exercise.id for exercise in SETS[nb]]
    assert ids == [f"{nb}.{k}" for k in range(1, len(ids) + 1)]
    assert len(ids) >= 3


@pytest.mark.parametrize(("nb", "exercise"), ALL)
def test_form(nb, exercise):
    assert isinstance(exercise, Exercise)
    assert exercise.question.strip()
    assert len(exercise.hints) == 3 and all(text.strip() for text in exercise.hints)
    assert len(set(exercise.hints)) == 3
    assert exercise.wrong, "give at least one typical wrong answer with its diagnosis"


@pytest.mark.parametrize(("nb", "exercise"), ALL)
def test_placeholder_does_not_pass(nb, exercise):
    assert not grade(exercise.id, exercise.placeholder).ok
    assert grade(exercise.id, ...) == answers.UNANSWERED


@pytest.mark.parametrize(("nb", "exercise"), ALL)
def test_solution_passes(nb, exercise, capsys):
    space: dict = {"__name__": "solution"}
    exec(compile(exercise.solution, f"<solution {exercise.id}>", "exec"), space)
    verdict = grade(exercise.id, space["answer"])
    assert verdict.ok, verdict.message
    capsys.readouterr()
    exercises.solution(exercise.id)
    assert capsys.readouterr().out.strip() == exercise.solution.strip()


@pytest.mark.parametrize(("nb", "exercise"), ALL)
def test_wrong_answers_get_their_own_diagnosis(nb, exercise):
    messages = []
    for bad, fragment in exercise.wrong:
        verdict = grade(exercise.id, bad)
        assert verdict.answered and not verdict.ok, f"{bad!r} is not refused"
        assert fragment in verdict.message, f"{bad!r}: {verdict.message!r}"
        messages.append(verdict.message)
    assert len(set(messages)) == len(messages), "two wrong answers share one diagnosis"


# --- the engine, on exercises of its own --------------------------------------------------------------------


@pytest.fixture
def sample(monkeypatch):
    """One made-up notebook, 77, with a number and a function."""
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
    return found


def test_check_prints_one_line_each(sample, capsys):
    def half_done(x): ...

    exercises.check("77.1", ...)
    exercises.check("77.1", 6e9)
    exercises.check("77.1", 2e9)
    exercises.check("77.2", half_done)
    exercises.check("77.2", lambda x: 1 / 0)
    assert capsys.readouterr().out.splitlines() == [
        '77.1: not answered yet - replace the three dots; hint("77.1") helps.',
        "77.1: right. 6 N.",
        '77.1: not yet - the forward pass alone hint("77.1") helps.',
        '77.2: not answered yet - replace the three dots; hint("77.2") helps.',
        "77.2: not yet - with (1) your function raised ZeroDivisionError: division by zero. "
        'hint("77.2") helps.',
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


@pytest.mark.parametrize(
    ("answer", "fragment"),
    [
        (200.0, "percent"),
        (-2.0, "sign"),
        (2000, "unit"),
        (16.0, "bits where bytes"),
        (2 / math.log(2), "bits where nats"),
        (2.1, "too large, by less than a tenth"),
        (1.0, "factor of 1.5"),
        (0.0, "too small"),
        ("2", "text"),
        (True, "truth value"),
        (np.True_, "number"),
        (None, "None"),
        (math.nan, "nan"),
        (10**400, "inf"),
        (lambda: 2, "forget to call"),
        ([2.0, 3.0], "list"),
    ],
)
def test_number_diagnoses(answer, fragment):
    verdict = number(2.0)(answer)
    assert not verdict.ok
    assert fragment in verdict.message


@pytest.mark.parametrize("answer", [2, 2.0, 2.001, np.float32(2), np.array(2.0), np.array([2])])
def test_number_accepts_what_is_one_number(answer):
    assert number(lambda: 2.0)(answer).ok


def test_choice():
    check = choice("b", {"a": "A is for apples.", "b": "", "c": "C is not."})
    assert check(" B ").ok
    assert check("a").message == "A is for apples."
    assert "'a', 'b', 'c'" in check(3).message
    with pytest.raises(InputError):
        choice("z", {"a": ""})


def test_function_compares_structures_and_names_the_input():
    check = function(lambda x: {"y": np.array([x, 2.0]), "ok": True}, [(1.0,), (2.0,)])
    assert check(lambda x: {"y": [x, 2], "ok": True}).ok
    assert "with (1) your function returns" in check(lambda x: {"y": [x, 3], "ok": True}).message
    assert not check(lambda x: {"y": [x, 2], "ok": 1}).ok
    assert "function is asked for" in check(3).message
    assert function(lambda x: 2 * x, [(1,), (3,)], diagnoses=[(lambda x: x * x, "squares.")])(
        lambda x: x**2
    ) == answers.Verdict(False, "squares.")


def test_several():
    check = several(N=number(10.0, right="N it is."), D=number(200.0))
    assert check((10, 200)) == answers.Verdict(True, "N it is.")
    assert check({"D": 200, "N": 10}).ok
    assert check((10, 20)).message.startswith("D: ")
    assert "2 parts: N, D" in check(5).message
    assert "keys N, D" in check({"N": 1}).message


# --- claims -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "margin", "spread", "verdict"),
    [
        (True, None, None, "HOLDS"),
        (np.bool_(True), 0.2, 0.1, "HOLDS"),
        (True, 0.1, 0.1, "NOT SHOWN"),
        (True, 0.05, 0.1, "NOT SHOWN"),
        (True, math.nan, None, "NOT SHOWN"),
        (True, 0.2, math.nan, "NOT SHOWN"),
        (True, None, 0.1, "NOT SHOWN"),
        (math.nan, 0.2, 0.1, "NOT SHOWN"),
        (np.float32("nan"), None, None, "NOT SHOWN"),
        (None, None, None, "NOT SHOWN"),
        (False, math.nan, 0.1, "NOT SHOWN"),
        (False, None, None, "FAILS"),
        (False, -0.2, 0.1, "FAILS"),
    ],
)
def test_claim_prints_its_verdict_and_no_number(condition, margin, spread, verdict, capsys):
    claim("more data helps", condition, margin, spread)
    assert capsys.readouterr().out == f"CLAIM {verdict}: more data helps\n"


def test_evidence_shows_the_numbers_and_escapes(monkeypatch):
    monkeypatch.setattr(exercises, "_claims", {})
    claim("first", True, 0.5, 0.1)
    claim("<b>second</b>", True, detail="a & b")
    claim("first", True, 0.25, 0.125, "again")
    first = "holds     first: margin 0.25, spread 0.125, again"
    assert repr(evidence()) == f"holds     <b>second</b>: a & b\n{first}"
    assert "&lt;b&gt;second&lt;/b&gt;" in evidence()._repr_html_() and "a &amp; b" in evidence()._repr_html_()
    assert repr(evidence(1)).startswith("holds     first")
