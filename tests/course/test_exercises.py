"""The exercise engine, on exercises of its own; claims and their evidence."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from scalept_lab.course import exercises
from scalept_lab.course.answers import function, number
from scalept_lab.course.exercises import Exercise, claim, evidence
from scalept_lab.errors import InputError


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
