"""Guesses: kept before the result is known, never over one another, and scored beside naive rivals."""

from __future__ import annotations

import numpy as np
import pytest

from scalept_lab.course import compare, learner, predict
from scalept_lab.errors import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path))
    return tmp_path


def test_left_open_the_naive_guess_stands_in(capsys):
    assert (
        predict("08.a", ..., otherwise=("no change", 2.41)) is None
    )  # a cell that ends with it shows nothing more
    compare("08.a", 2.2, {"no change": 2.41, "straight line": 2.25})
    assert capsys.readouterr().out.splitlines() == [
        '08.a: left open; "no change" stands in.',
        "08.a: measured 2.2",
        "  no change  2.41  +9.5 %",
        "  straight line  2.25  +2.3 %  skill against it -3.06",
    ]


def test_a_guess_is_scored_against_the_rivals(capsys):
    """Skill by hand: 1 − ln(2.3/2.2) / ln(2.41/2.2) = 1 − 0.044452/0.091169 = 0.5124."""
    predict("08.a", np.float32(2.3), low=2.1, high=2.4)
    compare("08.a", 2.2, {"no change": 2.41})
    out = capsys.readouterr().out
    assert "your guess  2.3  +4.5 %, inside your interval" in out
    assert "no change  2.41  +9.5 %  skill against it +0.51" in out


def test_a_second_guess_stays_beside_the_first_and_one_after_the_result_is_not_scored(capsys):
    predict("08.a", 3.0)
    predict("08.a", 3.0)  # the cell is run again
    predict("08.a", 2.5)
    assert "your first guess, 3, stays beside it and is the one that is scored" in capsys.readouterr().out
    compare("08.a", 2.0)
    predict("08.a", 2.0)
    assert "the result was known already, so it is not scored" in capsys.readouterr().out
    found = learner.read().predictions["08.a"]
    assert [guess.value for guess in found.guesses] == [3.0, 2.5, 2.0]
    assert [guess.after_result for guess in found.guesses] == [False, False, True]
    compare("08.a", 2.1)  # another run of the cell: the first measurement stands
    assert learner.read().predictions["08.a"].measured == 2.0 and found.scored.value == 3.0


def test_choices(capsys):
    predict("08.b", " BPE ", options=("bytes", "bpe"), otherwise=("x", "bytes"))
    predict("08.c", "24", options=(16, 24), otherwise=("x", 16))
    compare("08.b", "BPE")
    compare("08.c", 16)
    out = capsys.readouterr().out
    assert "your guess  bpe  right" in out and "your guess  24  +50.0 %" in out


@pytest.mark.parametrize(
    ("value", "more", "said"),
    [
        ("about two", {}, "expected a number, got 'about two': not kept"),
        (float("nan"), {}, "expected a number, got 'nan'"),
        ([1, 2], {}, "expected a number, got '[1, 2]'"),
        (True, {}, "expected a number, got 'True'"),
        (2.0, {"low": 3.0}, "an interval that does not hold the guess"),
        (2.0, {"high": "x"}, "expected a number for high, got 'x'"),
        ("c", {"options": ("a", "b")}, "expected one of 'a', 'b', got 'c'"),
    ],
)
def test_what_is_no_guess_is_told_and_not_kept(value, more, said, capsys, folder):
    predict("08.a", value, otherwise=("no change", 2.4), **more)
    out = capsys.readouterr().out
    assert said in out and 'not kept; "no change" stands in.' in out and out.count("\n") == 1
    assert not list(folder.iterdir())


@pytest.mark.parametrize("id", ["08.1", "8.a", "08", "08.A", None])
def test_an_id_is_a_notebook_and_a_letter(id):
    with pytest.raises(InputError, match=r'expected an id like "08\.a"'):
        predict(id, 1)


def test_nothing_measured_is_not_scored(capsys):
    predict("08.a", 2.0)
    compare("08.a", float("nan"))
    assert "nothing was measured" in capsys.readouterr().out
    assert learner.read().predictions["08.a"].measured is None


def test_progress_says_how_good_the_guesses_are():
    predict("08.a", 2.2, low=2.0, high=2.4)
    compare("08.a", 2.0)
    predict("08.b", 3.0, low=2.9, high=3.1)
    compare("08.b", 4.0)
    found = learner.progress("08")
    assert found.calibration == (1, 2)
    assert found.mean_error == pytest.approx((0.1 + 0.25) / 2)
    assert "1 of 2 results lie inside the interval that you gave" in repr(found)
    assert "17.5 % on average" in found._repr_html_()


class Odd:
    """Raises at whatever is asked of it."""

    def __init__(self, error):
        self._error = error

    def _fail(self, *_):
        raise self._error

    __float__ = __str__ = __repr__ = __eq__ = __len__ = __bool__ = _fail
    __hash__ = None


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt(), SystemExit(1), RecursionError(), MemoryError()]
)
def test_a_measurement_may_be_any_object(error, capsys):
    predict("08.a", 2.0, otherwise=("odd", Odd(error)))
    predict("08.b", ..., otherwise=("odd", Odd(error)))
    compare("08.a", Odd(error), {"odd": Odd(error)})
    compare("08.b", 2.0, {"odd": Odd(error), "no change": 2.5})
    said = capsys.readouterr().out
    assert "08.a: what was measured " in said and "so nothing is scored." in said
    assert learner.read().predictions["08.a"].measured is None


def test_what_is_kept_can_be_read_again():
    """Infinity is none in JSON, and half of a letter none in UTF-8."""
    predict("08.a", 2.0)
    compare("08.a", "up\ud800\n", {"huge": 10**400, "no change": 2.5, "nothing": float("nan")})
    kept = learner.read().predictions["08.a"]
    assert (kept.measured, kept.rivals) == ("up\\ud800 ", {"no change": 2.5})
