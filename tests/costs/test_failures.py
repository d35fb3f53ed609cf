"""What failures cost: the formulas by hand, and machines that fail at random."""

from __future__ import annotations

import math

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.costs import failures
from scalept_lab.errors import InputError


def test_by_hand():
    assert failures.machine_mtbf(5e7, 1000) == 5e4
    assert failures.best_interval(30, 6000) == 600  # √(2 · 30 · 6000)
    # (τ + δ)/M = ln 2: τ / (M · (2 − 1)), times e^(−R/M) = ½
    tau = 1000 * math.log(2) - 50
    assert failures.goodput(tau, 50, 1000) == pytest.approx(tau / 1000)
    assert failures.goodput(tau, 50, 1000, restart=1000 * math.log(2)) == pytest.approx(tau / 2000)


def test_an_array_of_intervals_keeps_its_shape_and_the_best_is_near_youngs():
    times = np.geomspace(60, 6000, 400).reshape(20, 20)
    share = failures.goodput(times, 30, 6000, 120)
    assert share.shape == (20, 20) and share[3, 4] == failures.goodput(float(times[3, 4]), 30, 6000, 120)
    assert times.ravel()[share.argmax()] == pytest.approx(600, rel=0.05)
    assert type(failures.goodput(600, 30, 6000)) is float


def test_what_hardly_ever_gets_done_is_zero_and_no_overflow():
    assert 0 <= failures.goodput(1e9, 5, 1e3) < 1e-200
    assert 0 <= failures.goodput(60, 5, 1e3, restart=1e7) < 1e-200


@pytest.mark.parametrize(
    ("interval", "cost", "mtbf", "restart"), [(300, 60, 900, 200), (1000, 20, 700, 0), (100, 90, 5000, 800)]
)
def test_a_made_up_machine_gets_what_the_formula_says(interval, cost, mtbf, restart):
    found = failures.simulate(interval, cost, mtbf, restart, 8000, seed=3)
    assert found == pytest.approx(failures.goodput(interval, cost, mtbf, restart), rel=0.03)
    assert failures.simulate(interval, cost, mtbf, restart, 50) == failures.simulate(
        interval, cost, mtbf, restart, 50, seed=0
    )
    assert found != failures.simulate(interval, cost, mtbf, restart, 8000, seed=4)


def test_a_machine_that_never_fails_loses_only_the_time_of_saving():
    assert failures.simulate(300, 60, 1e15, 200, 10) == pytest.approx(300 / 360)


def test_no_times_and_no_machines_are_refused():
    one_line(lambda: failures.best_interval(0, 10), "cost: expected a positive number, got 0")
    one_line(lambda: failures.goodput([60, -1], 5, 1e4), "interval: expected a positive number, got ")
    one_line(lambda: failures.goodput(60, 5, 1e4, -1), "restart: expected a number of at least 0")
    one_line(lambda: failures.simulate(60, 5, 1e4, 10, 0), "intervals: expected a whole number of at least 1")
    one_line(lambda: failures.machine_mtbf(1e6, 0), "gpus")


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
