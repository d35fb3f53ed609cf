"""Claims: what holds, what fails, and what a claim has to be told to be worth something."""

from __future__ import annotations

import math

import pytest

from scalept_lab.course import claims
from scalept_lab.course.claims import claim, evidence, verdict_of
from scalept_lab.errors import InputError


@pytest.mark.parametrize(
    ("difference", "at_least", "verdict"),
    [
        ([0.1, 0.12, 0.09], 0.0, "HOLDS"),
        ([0.1, 0.12, 0.09], 0.2, "FAILS"),
        ([0.1, 0.12, 0.09], 0.1, "NOT SHOWN"),
        ([-0.1, -0.12, -0.09], 0.0, "FAILS"),
        ([0.3, -0.1, 0.1], 0.0, "NOT SHOWN"),
        ([0.0, 0.0, 0.0], 0.0, "NOT SHOWN"),
        (3, 0.0, "HOLDS"),
        (0, 0.0, "FAILS"),
        ([0.1, math.nan, 0.2], 0.0, "NOT SHOWN"),
        (None, 0.0, "NOT SHOWN"),
        ([], 0.0, "NOT SHOWN"),
    ],
)
def test_a_difference_is_judged_by_its_interval(difference, at_least, verdict, capsys):
    claim("more data helps", difference, than="no change", at_least=at_least)
    assert capsys.readouterr().out == f"CLAIM {verdict}: more data helps\n"


def test_the_interval_is_students():
    """By hand: 1, 2, 6 have mean 3 and standard deviation 7^.5; t(0.975, 2) = 4.302653; half = 4.302653 (7/3)^.5."""
    _, interval = verdict_of([1, 2, 6])
    assert interval.mean == pytest.approx(3)
    assert interval.high - 3 == pytest.approx(4.302653 * (7 / 3) ** 0.5, rel=1e-6)


def test_a_claim_that_also_holds_on_null_data_is_empty(capsys):
    claim("a", [0.1, 0.11, 0.12], than="no change", null=[0.1, 0.12, 0.11])
    claim("b", [0.1, 0.11, 0.12], than="no change", null=lambda: [0.1, -0.12, 0.01])
    claim("c", [-0.1, -0.11, -0.12], than="no change", null=1)
    assert capsys.readouterr().out == "CLAIM EMPTY: a\nCLAIM HOLDS: b\nCLAIM FAILS: c\n"


def test_words_are_no_difference():
    with pytest.raises(InputError, match="difference: expected a number, or one for each seed, got str"):
        claim("a", "much", than="no change")


def test_evidence_names_the_rival(monkeypatch):
    monkeypatch.setattr(claims, "_claims", {})
    claim("a", [1, 2, 3], than="<b>x</b>", null=0)
    assert repr(evidence()) == "holds     a: +2 (-0.4841 to +4.484), than <b>x</b>, null +0".replace(
        "holds    ", "not shown"
    )
    assert "&lt;b&gt;x" in evidence()._repr_html_()


def test_evidence_shows_the_numbers_and_escapes(monkeypatch):
    monkeypatch.setattr(claims, "_claims", {})
    claim("first", 0.5, "nothing")
    claim("<b>second</b>", 1, "nothing", detail="a & b")
    claim("first", 0.25, "nothing", detail="again")
    first = "holds     first: +0.25, than nothing, again"
    assert repr(evidence()) == f"holds     <b>second</b>: +1, than nothing, a & b\n{first}"
    assert "&lt;b&gt;second&lt;/b&gt;" in evidence()._repr_html_() and "a &amp; b" in evidence()._repr_html_()
    assert repr(evidence(1)).startswith("holds     first")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, RecursionError, MemoryError])
def test_a_difference_may_be_any_object(error):
    class Odd:
        def __float__(self):
            raise error

        __array__ = __len__ = __getitem__ = __float__

    with pytest.raises(InputError, match="difference: expected a number, or one for each seed, got Odd"):
        claim("It is so", Odd(), "nothing")
    with pytest.raises(InputError, match="got int"):
        claim("It is so", 10**400, "nothing")
