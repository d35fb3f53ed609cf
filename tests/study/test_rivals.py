"""Rivals and the score: naive plans can run and spend the budget; skill is 0 for them, 1 for the best; nulls score nothing."""

from __future__ import annotations

import pytest
from refusals import one_line

from scalept_lab.study import plan as planning
from scalept_lab.study import review, rivals
from scalept_lab.study.judge import judge_of
from scalept_lab.study.scenarios import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_naive_plan_keeps_all_but_the_seal_and_spends_the_budget(name):
    made = rivals.naive(name)
    assert [each.question for each in review.check(made) if not each.ok] == ["is sealed with a prediction"]
    assert 0.98 < planning.bill(made)["share"] <= 1


def test_the_habits_are_what_they_are_called():
    for name in ("day", "serving"):
        assert 15 < rivals.naive(name).tokens / rivals.naive(name).N < 30
    month = rivals.naive("month")
    assert month.layout.tensor == 8 and month.layout.data == 128
    larger = month.replace(model=rivals.sized(month.model.width + 1024))
    assert not planning.counted(larger).fits
    assert rivals.naive("robots").layout.tensor == 1


@pytest.mark.parametrize("name", ["day", "robots", "serving"])
def test_the_best_plan_can_run_and_none_of_its_neighbours_is_better(name):
    top, law = rivals.best(name), judge_of(name)
    assert all(each.ok for each in review.check(planning.seal(top)))
    place = rivals.WIDTHS.index(top.model.width)
    for i in (place - 1, place + 1):
        near = rivals.fastest(top.case, rivals.WIDTHS[i])
        assert near is None or law.loss(near.N, near.tokens) >= law.loss(top.N, top.tokens)


def test_skill_is_0_for_the_naive_plan_1_for_the_best_and_a_half_between():
    top, low = rivals.score(rivals.best("serving")), rivals.score(rivals.naive("serving"))
    assert (
        (top.skill, top.regret) == (1, 0) and top.verdict == "better than the naive plan" and top.share == 1
    )
    assert low.skill == 0 and low.share == 0 and low.verdict == "not told apart from the naive plan"
    fewer = rivals.best("serving")
    fewer = fewer.replace(tokens=fewer.tokens / 2)
    found = rivals.score(fewer)
    by_hand = 1 - (found.loss - top.best) / (top.naive - top.best)
    assert found.skill == pytest.approx(by_hand) and 0 < found.skill < 1


def test_a_worse_plan_is_told_so():
    made = rivals.naive("serving")
    found = rivals.score(made.replace(tokens=made.tokens / 4))
    assert found.verdict == "worse than the naive plan" and found.skill < 0 and found.share == 0


def test_two_plans_can_be_too_near_to_tell():
    assert rivals.score(rivals.best("day")).verdict == "not told apart from the naive plan"


def test_what_cannot_run_has_no_score():
    made = rivals.naive("day")
    one_line(lambda: rivals.score(made.replace(tokens=3 * made.tokens)), "keeps the budget", "mend it first")
    one_line(lambda: rivals.naive("moon"), "expected one of day")
