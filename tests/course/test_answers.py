"""What counts as a right answer, and what a wrong one is told."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scalept_lab.course import answers
from scalept_lab.course.answers import choice, function, number, several
from scalept_lab.errors import InputError


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
        ("two", "text"),
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


@pytest.mark.parametrize(
    "answer",
    [2, 2.0, 2.001, np.float32(2), np.array(2.0), np.array([2]), "2", " 2.0 ", [2], (np.float64(2),)],
)
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
    assert (
        function(lambda x: 2 * x, [(1,), (3,)], diagnoses=[(lambda x: x * x, "squares.")])(
            lambda x: x**2
        ).message
        == "squares."
    )


def test_several():
    check = several(N=number(10.0, right="N it is."), D=number(200.0))
    assert check((10, 200)) == answers.Verdict(True, "N it is.")
    assert check({"D": 200, "N": 10}).ok
    assert check((10, 20)).message.startswith("D: ")
    assert "2 parts: N, D" in check(5).message
    assert "keys N, D" in check({"N": 1}).message
