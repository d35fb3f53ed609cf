"""Draws of a law's constants: their spread worked out by hand, their correlation, and what cannot be told."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.laws.draws import draws


def test_four_runs_of_one_constant_halve_the_scatter():
    """L = A in four runs: the logarithm of A is their mean, so its standard deviation is σ/√4."""
    drawn = draws(lambda c: c["A"] * np.ones(4), {"A": 3.0}, sigma=0.1, count=20_000)["A"]
    assert np.log(drawn).std() == pytest.approx(0.05, rel=0.03)
    assert np.median(drawn) == pytest.approx(3.0, rel=2e-3)


def test_a_slope_and_a_scale_have_the_errors_of_linear_regression():
    """log L = log A − b·x at x = 0, 1, 2, 3 with b = 1: slopes of 1 and −x, so that (JᵀJ)⁻¹ = [[14, 6], [6, 4]]/20."""
    x = np.arange(4.0)
    found = draws(lambda c: c["A"] * np.exp(-c["b"] * x), {"A": 2.0, "b": 1.0}, sigma=0.01, count=40_000)
    logs = np.log([found["A"], found["b"]])
    assert np.cov(logs) / 1e-4 == pytest.approx(np.array([[0.7, 0.3], [0.3, 0.2]]), rel=0.04)


def test_no_scatter_leaves_the_constants_as_they_are_and_a_seed_repeats():
    def loss(c):
        return c["A"] * np.arange(1.0, 5.0)

    assert np.allclose(draws(loss, {"A": 2.0}, 0.0, 5)["A"], 2.0)
    one, again, other = (draws(loss, {"A": 2.0}, 0.1, 5, seed)["A"] for seed in (1, 1, 2))
    assert (one == again).all() and (one != other).all()


def test_what_the_runs_do_not_determine_is_refused():
    one_line(
        lambda: draws(lambda c: c["A"] * c["B"] * np.ones(5), {"A": 1.0, "B": 2.0}, 0.1), "A, B", "add runs"
    )
    one_line(lambda: draws(lambda c: c["A"] * np.ones(1), {"A": 1.0}, 0.1), "got 1")
    one_line(lambda: draws(lambda c: c["A"] * np.ones(5), {"A": -1.0}, 0.1), "A: expected a positive number")
