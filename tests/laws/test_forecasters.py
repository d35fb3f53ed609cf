"""The prediction ledger: a proper score, and neither luck nor few predictions make a winner."""

from __future__ import annotations

import numpy as np
import pytest

from scalept_lab.laws import forecasters
from scalept_lab.laws.forecasters import BETTER, FEW, WORSE, Call, ledger


def one(learner, question, low, high, measured=10.0, **more):
    return Call(learner, question, (low + high) / 2, low, high, measured, **more)


def a_class(rng, learners=12, questions=20, sigma=None, quotes=None):
    """Forecasters who see each result with an error of `sigma` (1) and say intervals for an error of `quotes` (their sigma)."""
    calls = []
    for q in range(questions):
        truth, unit = rng.normal(100, 10), 10 ** rng.uniform(-2, 2)  # questions differ in unit and size
        for i in range(learners):
            error = (sigma or {}).get(i, 1.0)
            half = 1.96 * (quotes or {}).get(i, error) * rng.uniform(0.8, 1.2)
            seen = truth + error * rng.standard_normal()
            calls.append(one(f"{i}", f"q{q}", (seen - half) * unit, (seen + half) * unit, truth * unit))
    return calls


def test_by_hand():
    """Question a: widths 2 and 4, the result inside both: scores 2 and 4, median 3, so 2/3 and 4/3, mean 1. Question b: both 2
    wide, Ben misses by 0.1: 2 and 2 + 40·0.1 = 6, median 4, so 1/2 and 3/2. Anna gains 1/3 and 1/2; over 2 + 10 predictions
    that is 5/72."""
    calls = [
        one("Anna", "a", 9, 11),
        one("Ben", "a", 8, 12),
        one("Anna", "b", 9, 11),
        one("Ben", "b", 10.1, 12.1),
    ]
    anna, ben = ledger(calls).rows
    assert (anna.learner, anna.calls, anna.intervals, anna.inside) == ("Anna", 2, 2, 2)
    assert (ben.inside, ben.intervals) == (1, 2)
    assert anna.score == pytest.approx((2 / 3 + 1 / 2) / 2) and ben.score == pytest.approx(
        (4 / 3 + 3 / 2) / 2
    )
    assert anna.standing == pytest.approx(5 / 72) == -ben.standing
    assert anna.sharpness == pytest.approx((2 / 3 + 1) / 2) and anna.verdict == ben.verdict == FEW


def test_skill_against_naive_rivals_that_nobody_chooses_for_himself():
    """Guesses 11 and 10.5 for 10; rivals 12 in two files, 1000 in a third: the median is 12. 1 − ln 1.1/ln 1.2 = 0.477."""
    calls = [
        Call("Anna", "a", 11, None, None, 10, {"no change": 12}),
        Call("Ben", "a", 10.5, None, None, 10, {"no change": 12}),
        Call("Eve", "a", 11, None, None, 10, {"no change": 1000}),
    ]
    skill = {row.learner: row.skill for row in ledger(calls).rows}
    assert skill["Anna"] == skill["Eve"] == pytest.approx(0.4772, abs=1e-4)
    assert skill["Ben"] == pytest.approx(1 - np.log(1.05) / np.log(1.2))


def test_a_lucky_guesser_of_three_is_not_above_a_calibrated_forecaster_of_twenty():
    for seed in range(5):
        calls = a_class(np.random.default_rng(seed), sigma={3: 0.4})
        truth = {call.question: call.measured for call in calls}
        calls += [
            one("lucky", f"q{k}", truth[f"q{k}"] * 0.9999, truth[f"q{k}"] * 1.0001, truth[f"q{k}"])
            for k in range(3)
        ]
        found = ledger(calls)
        names = [row.learner for row in found.rows]
        lucky = found.rows[names.index("lucky")]
        assert lucky.verdict == FEW and names.index("lucky") > names.index("3") == 0
        assert found.best == ["3"] and "3 forecasts better than the class" in found.sentence
        # not because few are put last: it has the best score of all, and still a lower standing
        assert lucky.score == min(row.score for row in found.rows) and lucky.standing < found.rows[0].standing


def test_a_class_of_equals_has_no_winner(monkeypatch):
    """The null: at the level of 5 %, of 60 classes of equals 3 may name somebody; 8 or more would come in 1 of 100."""
    monkeypatch.setattr(forecasters, "DEALS", 200)
    found = [ledger(a_class(np.random.default_rng(seed), learners=10), seed) for seed in range(60)]
    assert sum(bool(each.best) for each in found) <= 7
    assert "nobody forecasts better" in next(each for each in found if not each.best).sentence


@pytest.mark.parametrize(("quotes", "verdict"), [(0.2, WORSE), (5.0, WORSE), (1.0, "as the class")])
def test_one_who_knows_as_much_as_all_does_best_to_say_so(quotes, verdict):
    """The score is proper: with the same error, an interval that is too narrow loses, and one that is too wide loses as
    well."""
    found = ledger(a_class(np.random.default_rng(7), quotes={5: quotes}))
    assert next(row for row in found.rows if row.learner == "5").verdict == verdict


def test_several_may_stand_out_and_the_order_among_them_is_not_told():
    found = ledger(a_class(np.random.default_rng(1), sigma={3: 0.3, 4: 0.3}))
    assert sorted(found.best) == ["3", "4"] and "among them it cannot be told" in found.sentence


def test_what_cannot_be_compared_is_not():
    assert ledger([]).rows == [] and "0 of 0" in ledger([]).sentence
    alone = ledger([one("Anna", f"q{k}", 9, 11) for k in range(20)])
    assert alone.rows[0].verdict == FEW and alone.rows[0].score is None and alone.best == []
    odd = [
        one("Anna", "a", 11, 9), Call("Anna", "b", float("nan"), 1, 2, 1.5), Call("Anna", "c", 1, 1, float("inf"), 1),
        Call("Anna", "d", 0.0, -1, 1, 0.0), Call("Anna", "e", 1, None, 2, 1), Call("Ben", "d", 0.0, 0.0, 0.0, 0.0),
        Call("Anna", "f", 1e308, -1e308, 1e308, 1e308), Call("Ben", "f", 1.0, 1.0, 1.0, 1.0),
    ]  # fmt: skip
    anna, ben = sorted(ledger(odd).rows, key=lambda row: row.learner)
    assert (anna.calls, anna.intervals) == (4, 1) and BETTER not in (anna.verdict, ben.verdict)
    assert all(np.isfinite([row.standing, row.score]).all() for row in (anna, ben))
