"""The search for a law's constants: its objective by hand, its gradient, its starts, and minima no worse than scipy's."""

import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize
from synthetic import published, repeated, small

from scalept_lab.laws.fit import fit_law
from scalept_lab.laws.points import check_points
from scalept_lab.laws.search import make_problem, minimise, objective, starts


def problem_for(form):
    N, D, L, U, _ = repeated()
    if form == "power":
        return make_problem(check_points(N, None, L, form=form), form)[0]
    return make_problem(check_points(N, D, L, U, form), form)[0]


def one_by_one(problem, start, weights=None, y=None, delta=1e-3, method="BFGS", **options):
    """One problem by scipy."""

    def f(theta):
        value, gradient = objective(problem, theta[None], delta, weights, y, gradient=True)
        return value[0], gradient[0]

    return scipy_minimize(f, start, jac=True, method=method, options=options)


@pytest.mark.parametrize("form", ["chinchilla", "power", "data_constrained"])
def test_gradient_is_that_of_finite_differences(form):
    problem = problem_for(form)
    rng = np.random.default_rng(0)
    theta = np.clip(starts(problem)[1][::7] + 0.01, problem.low + 0.1, problem.high - 0.1)
    weights = rng.integers(0, 3, len(problem.y)).astype(float)
    for delta in (1e-3, 10.0):
        _, gradient = objective(problem, theta, delta, weights, gradient=True)
        for i in range(theta.shape[1]):
            step = np.zeros(theta.shape[1])
            step[i] = 1e-6
            up, down = (objective(problem, theta + sign * step, delta, weights) for sign in (1, -1))
            scale = np.abs(gradient).max(axis=1)
            assert np.abs((up - down) / 2e-6 - gradient[:, i]).max() < 1e-4 * scale.max()


def test_constants_and_theta_are_inverse():
    problem = problem_for("data_constrained")
    params = {"E": 1.0, "A": 20.0, "B": 30.0, "alpha": 0.3, "beta": 0.4, "R_D": 7.0}
    assert {k: float(v) for k, v in problem.params(problem.theta(**params)).items()} == pytest.approx(params)


@pytest.mark.parametrize("data", [published(), small(), small(seed=3)])
def test_no_worse_than_separate_starts(data):
    """A small twin of the published procedure: L-BFGS from 60 of the 4,500 starts (benchmarks/ has all)."""
    law = fit_law(*data)
    problem, _ = make_problem(check_points(*data), "chinchilla")
    grid = starts(problem)[0]
    assert len(grid) == 4500
    chosen = grid[np.random.default_rng(0).choice(len(grid), 60, replace=False)]
    reached = [
        run.fun
        for run in (one_by_one(problem, start, method="L-BFGS-B", ftol=1e-14, gtol=1e-12) for start in chosen)
    ]
    assert law.objective <= min(reached) * (1 + 1e-6)


@pytest.mark.parametrize("method", ["pairs", "noise"])
def test_batched_refits_equal_one_at_a_time(method):
    N, D, L = published(P=100)
    problem, _ = make_problem(check_points(N, D, L), "chinchilla")
    start = problem.theta(**fit_law(N, D, L).params)
    rng = np.random.default_rng(1)
    K, weights, y = 40, None, None
    if method == "pairs":
        weights = rng.multinomial(100, np.full(100, 0.01), size=K).astype(float)
    else:
        y = problem.y + 0.01 * rng.standard_normal((K, 100))
    theta, value, done = minimise(problem, np.tile(start, (K, 1)), weights=weights, y=y)
    assert done.all()
    pick = lambda v, k: None if v is None else v[k]  # noqa: E731
    for k in range(K):
        alone = one_by_one(problem, start, pick(weights, k), pick(y, k), gtol=1e-10, maxiter=3000)
        assert value[k] <= alone.fun * (1 + 1e-9)
        if alone.fun <= value[k] * (1 + 1e-9):  # else scipy stopped early, which is its fault
            assert theta[k] == pytest.approx(alone.x, abs=1e-4)
