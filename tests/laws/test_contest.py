"""The contest hides the runs of most compute, and its scores are those of the formulas."""

import numpy as np
import pytest
from synthetic import published

from scalept_lab.laws.contest import CONTESTANTS, contest, hide, no_change, score, straight_line
from scalept_lab.laws.points import Points


def test_the_hidden_runs_have_the_most_compute():
    points = Points(*published())
    for how in ("top 20 %", "top decade"):
        seen, hidden = hide(points, how)
        assert len(seen) + len(hidden) == 240
        assert (seen.N * seen.D).max() <= (hidden.N * hidden.D).min()
    assert len(hide(points, "top 20 %")[1]) == 48
    assert hide(Points(*published(P=14)), "top 20 %") is None


def test_scores_by_hand():
    """Inside, width 1; .1 above, width 1: (1 + 1 + 40 · .1)/2 in % of a loss of 2."""
    told = (np.array([2.0, 1.6]), np.array([1.5, 0.9]), np.array([2.5, 1.9]))
    error, inside, points = score(told, np.array([2.0, 2.0]))
    assert (error, inside, points) == (pytest.approx(12.5), 0.5, pytest.approx(150))
    assert np.isnan(score((told[0], None, None), np.array([2.0, 2.0]))[1])


def test_the_naive_rivals():
    N = np.geomspace(1e6, 1e9, 13)
    points = Points(N, 20 * N, 100 * N**-0.1)
    ahead = Points(10 * N[-1:], 200 * N[-1:], np.ones(1))
    assert straight_line(points, ahead)[0] == pytest.approx(100 * (10 * N[-1]) ** -0.1)
    assert no_change(points, ahead)[0] == pytest.approx(points.L.min())


def test_all_contestants_on_a_planted_law():
    table = contest({"planted": Points(*published(P=80))}, hidden=["top 20 %"])
    found = {row["who"]: row for row in table}
    assert set(found) == set(CONTESTANTS) and found["auto"]["held_out"] == 16
    assert found["SciPy additive"]["error"] == pytest.approx(found["chinchilla"]["error"], rel=0.05)
    assert found["auto"]["error"] < 1.5 < found["no change"]["error"] and found["auto"]["inside"] > 0.8
