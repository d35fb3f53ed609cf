"""Skill against naive rivals: by hand, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.errors import InputError
from scalept_lab.laws import forecast_skill, interval_score


def test_by_hand():
    """Errors |ln(2.2/2)| = 0.09531 and |ln(2.5/3)| = 0.18232, mean 0.13882; no change misses ln 2 = 0.69315 and
    ln(4/3) = 0.28768, mean 0.49041: skill 1 − 0.13882/0.49041 = 0.71694."""
    found = forecast_skill([2.2, 2.5], [2.0, 3.0], {"no change": 4.0, "as good": [2.2, 2.5], "exact": [2, 3]})
    assert found["no change"] == pytest.approx(0.71694, abs=1e-4)
    assert found["as good"] == pytest.approx(0) and found["exact"] == -math.inf
    assert forecast_skill(2, 2, {"exact": 2, "off": 3}) == {"exact": 0.0, "off": 1.0}


@pytest.mark.parametrize(
    ("predicted", "measured", "rivals", "said"),
    [
        ([1, 2], [1, 2, 3], {"a": 1}, "predicted: expected 3 values, one for each measurement, got 2"),
        (1, 2, {}, "rivals: expected at least one"),
        (-1, 2, {"a": 1}, "predicted: expected positive numbers"),
        (1, float("nan"), {"a": 1}, "measured: expected positive numbers"),
        (1, 2, {"a": "much"}, "a: expected positive numbers, got 'much'"),
        (1, [], {"a": 1}, "measured: expected positive numbers"),
    ],
)
def test_refusals(predicted, measured, rivals, said):
    with pytest.raises(InputError, match=said):
        forecast_skill(predicted, measured, rivals)


def test_the_score_of_an_interval_by_hand():
    """9 to 11: width 2. For 10 that is all; 8.5 lies 0.5 below, 40·0.5 = 20 more; 11.25 lies 0.25 above, 10 more. At 50 % a miss
    counts 4 times."""
    assert interval_score([9, 9, 9], [11, 11, 11], [10, 8.5, 11.25]).tolist() == pytest.approx([2, 22, 12])
    assert float(interval_score(9, 11, 8.5, level=0.5)) == pytest.approx(4)
    one_line(lambda: interval_score(11, 9, 10), "other way round")


def test_the_honest_interval_has_the_best_score():
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal(100_000)
    score = {half: interval_score(-half, half, drawn).mean() for half in (1.2, 1.6, 1.96, 2.4, 3.0)}
    assert min(score, key=score.get) == 1.96
