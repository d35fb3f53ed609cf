"""Equal answers are equal, whatever their type; and what sets others apart is said without the answer."""

from __future__ import annotations

import fractions
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch

from scalept_lab.course.answers import choice, function, number, several
from scalept_lab.course.equal import difference


@pytest.mark.parametrize(
    "answer",
    [
        10.825, 10.8, "10.825", " 10.8 ", np.float32(10.825), torch.tensor(10.825), torch.tensor([10.825], requires_grad=True),
        [10.825], (np.float64(10.825),), np.array([[10.825]]), fractions.Fraction(10825, 1000), Decimal("10.825"),
        10.825 + 0j, pd.Series([10.825]), pd.DataFrame({"a": [10.825]}), "'10.825'", np.roots([1, -10.825]),
        torch.tensor(10.825, dtype=torch.bfloat16), "1.0825e1", "１０.８２５", "１０．８２５",
    ],
    ids=str,
)  # fmt: skip
def test_numbers_in_every_type(answer):
    assert number(10.825, rel=0.003)(answer).ok


@pytest.mark.parametrize("answer", ["1,048,576", "1_048_576", "1048576", 2**20, "1.048576e6"])
def test_thousands(answer):
    assert number(2**20, rel=1e-9)(answer).ok


@pytest.mark.parametrize(
    "answer", [True, np.True_, None, b"10.825", "ten", "10.8 MB", [1, 2], {}, {"a": 10.825}, 1j, print]
)
def test_no_number(answer):
    verdict = number(10.825)(answer)
    assert not verdict.ok and "number is asked for" in verdict.message


@pytest.mark.parametrize(
    "answer", ["b", " B", "'b'", ["b"], ("B",), np.array("b"), np.str_("b"), {"b"}, "b.", "ｂ"]
)
def test_choices_in_every_type(answer):
    assert choice("b", {"a": "no", "b": ""})(answer).ok


@pytest.mark.parametrize("answer", [24, "24", 24.0, np.int64(24), [24], torch.tensor(24)])
def test_choices_that_are_numbers(answer):
    assert choice(24, {16: "too small", 24: ""})(answer).ok


@pytest.mark.parametrize(
    "answer",
    [{"N": 10, "D": 200}, {"d": "200", " N ": 10}, (10, 200), [10, 200], np.array([10, 200]), torch.tensor([10, 200]),
     pd.Series({"D": 200, "N": 10})],
)  # fmt: skip
def test_parts_in_every_form(answer):
    assert several(N=number(10), D=number(200))(answer).ok


@pytest.mark.parametrize(
    "result",
    [
        lambda x: [x, 2 * x],
        lambda x: (np.float32(x), "2") if x == 1 else (x, 2 * x),
        lambda x: np.array([x, 2 * x], np.float32),
        lambda x: torch.tensor([x, 2 * x]),
        lambda x: [[x], 2 * x],
    ],
)
def test_results_of_functions(result):
    assert function(lambda x: [x, 2 * x], [(1,), (0.1,)])(result).ok


def test_single_precision_is_compared_as_such():
    check = function(lambda x: x / 3, [(1.0,)], rel=1e-9)
    assert check(lambda x: torch.tensor(x / 3)).ok
    assert not check(lambda x: x / 3 + 1e-6).ok
    assert not check(lambda x: torch.tensor(x / 3 + 1e-4)).ok


@pytest.mark.parametrize(
    ("mine", "wanted", "said"),
    [
        ([1, 2, 4], [1, 2, 3], "1 of 3 values differ, off by 33 %"),
        ([1, 2], [1, 2, 3], "2 values, not as many as asked for"),
        (5, [1, 2], "expected 2 values, got a number"),
        ([1, 2], 3, "expected one value, got 2"),
        ({"a": 1}, {"b": 1}, "other keys than asked for: a"),
        (7, {"b": 1}, "expected a dict, got a number"),
        ({1, 2}, {2, 3}, "1 missing, 1 that do not belong there"),
        ("x", "y", "differs"),
        (1, True, "differs"),
        (float("inf"), 2.0, "differs"),
        (4.0, 2.0, "off by 1 times its size"),
        (1.0, 0.0, "differs"),
        (np.nan, np.nan, ""),
        (None, None, ""),
    ],
)
def test_what_sets_them_apart(mine, wanted, said):
    assert difference(mine, wanted, 1e-6, 1e-12) == said


def test_no_message_holds_the_answer():
    target = 27183.5
    for wrong in (1.0, 27183.5 * 8, 2e4, "x", 0):
        assert "27183" not in number(target)(wrong).message
        assert "27183" not in function(lambda: target, [()])(lambda wrong=wrong: wrong).message


def test_a_view_of_more_numbers_than_memory_holds_is_no_answer():
    """A single number, seen 10^11 times, is given as an array of that size in no time."""
    views = (np.broadcast_to(np.float64(1), (10**5, 10**6)), torch.ones(1).expand(10**11))
    for view in views:
        assert not number(1.0)(view).ok
        assert difference(view, [1.0, 2.0], 0.01, 0.0).startswith("expected 2 values")
