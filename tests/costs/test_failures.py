"""What failures cost: formulas against made-up machines, and against published figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scalept_lab.costs import failures
from scalept_lab.errors import InputError


def test_goodput_is_what_a_simulated_machine_keeps():
    for interval, cost, mtbf, restart in ((600, 30, 7200, 0), (900, 60, 3600, 300), (300, 120, 1800, 600)):
        simulated = failures.simulate(interval, cost, mtbf, restart, intervals=20_000)
        assert failures.goodput(interval, cost, mtbf, restart) == pytest.approx(simulated, rel=0.02)


def test_youngs_interval_is_the_best_where_saving_is_cheap():
    cost, mtbf = 10.0, 1e6
    grid = np.geomspace(100, 1e5, 20_001)
    best = grid[np.argmax(failures.goodput(grid, cost, mtbf))]
    assert (
        failures.best_interval(cost, mtbf) == pytest.approx(math.sqrt(2e7)) == pytest.approx(best, rel=0.01)
    )
    # To first order, saving costs δ/τ, and doing half an interval again τ/2M: there, as much.
    lost = cost / best + best / (2 * mtbf)
    assert lost == pytest.approx(math.sqrt(2 * cost / mtbf), rel=1e-3)
    assert 1 - failures.goodput(best, cost, mtbf) == pytest.approx(lost, rel=0.01)


def test_more_gpus_fail_more_often():
    assert failures.machine_mtbf(1000.0, 10) == 100.0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [((0, 1, 1), "interval"), ((1, 0, 1), "cost"), ((1, 1, -1), "mtbf"), ((1, 1, 1, -1), "restart")],
)
def test_bad_numbers(arguments, text):
    with pytest.raises(InputError, match=text):
        failures.goodput(*arguments)


@pytest.mark.parametrize(("mtbf", "published"), [(24 * 60, 117), (6 * 60, 57), (15, 9.1)])
def test_the_best_interval_is_that_of_daly(mtbf, published):
    """Daly 2006, figures 3 to 5: M = 24 h, 6 h and 15 min, R = 10 min, δ = 5 min; here all in minutes."""
    grid = np.geomspace(1, 500, 20_001)
    best = grid[np.argmax(failures.goodput(grid, 5, mtbf, 10))]
    assert best == pytest.approx(published, rel=0.01)
