"""The search for a law's constants: its objective by hand, its gradient, its starts, and minima no worse than scipy's."""

import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize
from synthetic import published, repeated, small

from scalept_lab.laws import formulas, search
from scalept_lab.laws.fit import fit_law
from scalept_lab.laws.points import check_points
from scalept_lab.laws.search import make_problem, minimise, objective, starts


def problem_for(form):
    N, D, L, U, _ = repeated()
    if form == "power":
        return make_problem(check_points(N, None, L, form=form), form)[0]
    return make_problem(check_points(N, D, L, U, form), form)[0]


def one_by_one(problem, start, weights=None, y=None, delta=1e-3, method="BFGS", bounds=None, **options):
    """One problem by scipy."""

    def f(theta):
        value, gradient = objective(problem, theta[None], delta, weights, y, gradient=True)
        return value[0], gradient[0]

    return scipy_minimize(f, start, jac=True, method=method, bounds=bounds, options=options)


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


def test_the_objective_by_hand():
    """Residuals 0.5 (inside δ = 1: 0.5²/2) and −3 (outside, twice: 1·(3 − 1/2) each)."""
    value, slope = search._huber(np.array([[0.5, -3.0]]), 1.0, np.array([1.0, 2.0]))
    assert value == [0.125 + 2 * 2.5] and slope.tolist() == [[0.5, -2.0]]
    problem = problem_for("chinchilla")
    theta = problem.theta(E=2.0, A=500.0, B=1500.0, alpha=0.35, beta=0.36)[None]
    N, D, L, _, _ = repeated()
    r = np.log(2 + 500 / N**0.35 + 1500 / D**0.36) - np.log(L)
    assert problem.predict(theta)[0][0] - problem.y == pytest.approx(r)
    assert objective(problem, theta, delta=10.0)[0] == pytest.approx(0.5 * (r**2).sum())
    assert objective(problem, theta, delta=10.0, y=problem.y + 1)[0] == pytest.approx(
        0.5 * ((r - 1) ** 2).sum()
    )


def test_repetitions_in_the_problem_are_those_of_the_formula():
    N, D, L, U, law = repeated(noise=0)
    problem = make_problem(check_points(N, D, L, U, "data_constrained"), "data_constrained")[0]
    assert problem.predict(problem.theta(**law)[None], jacobian=False)[0][0] == pytest.approx(np.log(L))
    assert problem.repeats == pytest.approx(D / U - 1)
    rich = make_problem(
        check_points(N, D, L, np.where(U < D, U, 3 * D), "data_constrained"), "data_constrained"
    )[0]
    assert rich.repeats.min() == 0 and rich.repeats == pytest.approx(problem.repeats)


def test_bounds_by_hand():
    """0.01 to 2 for the exponents, e⁻⁷ of the lowest loss to the lowest for E, and the caller's where given."""
    N, D, L, U, _ = repeated()
    problem, name = make_problem(
        check_points(N, D, L, U, "data_constrained"), "data_constrained", {"beta": (0.1, 0.9)}
    )
    low, high = (dict(zip(problem.names, side, strict=True)) for side in (problem.low, problem.high))
    least = np.log(L.min())
    assert name == "" and (low["alpha"], high["alpha"], low["beta"], high["beta"]) == (0.01, 2.0, 0.1, 0.9)
    assert (low["E"], high["E"]) == (pytest.approx(least - 7), pytest.approx(least))
    assert (low["A"], high["A"]) == (pytest.approx(least - 7), pytest.approx(np.log(L.max()) + 5))
    assert (low["R_D"], high["R_D"]) == (pytest.approx(np.log(0.05)), pytest.approx(np.log(1000)))


@pytest.mark.parametrize(
    ("form", "count"), [("power", 150), ("chinchilla", 4500), ("data_constrained", 9000)]
)
def test_the_published_grid_is_that_of_the_constants_before_centring(form, count):
    problem = problem_for(form)
    grid, profiled = starts(problem)
    constants = problem.params(grid)
    assert (
        len(grid) == count and len(profiled) == {"power": 9, "chinchilla": 81, "data_constrained": 162}[form]
    )
    scales = {
        key: np.unique(np.round(np.log(constants[key]), 6)) for key in ("A", "B", "E") if key in constants
    }
    assert scales.pop("E").tolist() == [-1, -0.5, 0, 0.5, 1]
    assert all(values.tolist() == [0, 5, 10, 15, 20, 25] for values in scales.values())
    assert np.unique(constants["alpha"]).tolist() == [0, 0.5, 1, 1.5, 2]
    if form == "data_constrained":
        assert np.unique(np.round(constants["R_D"], 9)).tolist() == [3, 15]


@pytest.mark.parametrize("form", ["power", "chinchilla", "data_constrained"])
def test_a_law_whose_exponents_are_on_the_grid_is_among_the_profiled_starts(form):
    """0.05 + 0.18125 · 1 and · 2: A, B and E then follow by least squares, exactly."""
    N, D, _, U, _ = repeated()
    law = {"E": 1.5, "A": 30.0, "alpha": 0.23125}
    law |= {} if form == "power" else {"B": 900.0, "beta": 0.4125}
    law |= {"R_D": 15.0} if form == "data_constrained" else {}
    L = formulas.loss(form, law, N, D, U)
    problem = make_problem(check_points(N, None if form == "power" else D, L, U, form), form)[0]
    profiled = starts(problem)[1]
    best = profiled[np.argmin(objective(problem, profiled))]
    assert {key: float(value) for key, value in problem.params(best).items()} == pytest.approx(law, rel=1e-6)


def test_the_best_starts_of_each_kind_are_followed_and_where_steps_run_out_it_says_so():
    problem = problem_for("chinchilla")
    theta, value, done = search.search(problem, 1e-3)
    assert theta.shape == (2 * search.POLISH, 5) and done.all()
    assert value == pytest.approx(objective(problem, theta))
    start = np.tile(starts(problem)[1][40], (2, 1))
    short, _, unfinished = minimise(problem, start, steps=2)
    assert not unfinished.any() and np.abs(short - start).max() > 0
    still, same, _ = minimise(problem, start, steps=0)
    assert still == pytest.approx(start) and same == pytest.approx(objective(problem, start))


def test_a_minimum_at_a_bound_is_the_one_that_scipy_finds():
    """Free, E settles at 0.58; held at 0.4 or less, it stops there and the exponents settle elsewhere."""
    N, D, L = small()
    problem = make_problem(check_points(N, D, L), "chinchilla", {"E": (0.1, 0.4)})[0]
    theta, value, done = minimise(problem, starts(problem)[1])
    best = int(np.argmin(value))
    assert done[best] and np.exp(theta[best, 4]) == pytest.approx(0.4)
    bounds = list(zip(problem.low, problem.high, strict=True))
    alone = one_by_one(problem, theta[best] + 0.01, method="L-BFGS-B", bounds=bounds, ftol=1e-15, gtol=1e-12)
    assert value[best] <= alone.fun * (1 + 1e-6)


def bent(form):
    rng = np.random.default_rng(3)
    n, d = 10 ** rng.uniform(6, 9, 30), 10 ** rng.uniform(8, 11, 30)
    L = (1.8 + np.sqrt((60 / n**0.28) ** 2 + (180 / d**0.29) ** 2)) * np.exp(0.01 * rng.standard_normal(30))
    problem, _ = make_problem(check_points(n, None if form == "broken_power" else d, L, form=form), form)
    constants = {
        "E": 1.5,
        "A": 300.0,
        "B": 800.0,
        "alpha": 0.35,
        "beta": 0.4,
        "kappa": 0.7,
        "alpha_2": 0.6,
        "X_0": 2e7,
    }
    if form == "broken_power":
        constants["A"] = 90.0
    return problem, problem.theta(**constants)


@pytest.mark.parametrize("form", ["chinchilla", "tied", "power_of_sum", "broken_power"])
def test_first_and_second_derivatives_are_those_of_differences(form):
    """With delta far above the residuals the objective is a sum of squares, whose second derivative is smooth."""
    problem, theta = bent(form)
    assert np.all((problem.low < theta) & (theta < problem.high))
    _, slope = objective(problem, theta[None], 10.0, gradient=True)
    F = len(theta)
    found, differences = np.empty(F), np.empty((F, F))
    for i, step in enumerate(1e-5 * np.eye(F)):
        found[i] = (
            objective(problem, (theta + step)[None], 10.0) - objective(problem, (theta - step)[None], 10.0)
        )[0] / 2e-5
        up, down = (
            objective(problem, (theta + sign * step)[None], 10.0, gradient=True)[1][0] for sign in (1, -1)
        )
        differences[i] = (up - down) / 2e-5
    assert slope[0] == pytest.approx(found, rel=1e-4, abs=1e-7)
    log_f, J = problem.predict(theta[None])
    r = log_f - problem.y
    outer = J.transpose(0, 2, 1)
    curved = J @ outer + search._bend(problem, theta[None], J, r, slope) - (J * r[:, None, :]) @ outer
    assert curved[0] == pytest.approx(differences, rel=1e-4, abs=1e-6 * np.abs(differences).max())


@pytest.mark.parametrize("form", ["chinchilla", "tied", "power_of_sum", "broken_power"])
def test_constants_and_theta_are_each_others_inverse_and_agree_with_the_formula(form):
    problem, theta = bent(form)
    params = {name: float(value) for name, value in problem.params(theta).items()}
    assert problem.theta(**params) == pytest.approx(theta)
    place = np.array([3e7]), np.array([5e9])
    log_loss, _ = problem.at(*place).predict(theta[None])
    assert float(np.exp(log_loss[0, 0])) == pytest.approx(float(formulas.loss(form, params, 3e7, 5e9)))


@pytest.mark.parametrize("kappa", [0.4, 1.0])
def test_a_planted_power_of_a_sum_is_recovered(kappa):
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform(6, 9, 60), 10 ** rng.uniform(8, 11, 60)
    truth = {"E": 1.7, "A": 300.0, "B": 900.0, "alpha": 0.4, "beta": 0.35, "kappa": kappa}
    law = fit_law(n, d, formulas.loss("power_of_sum", truth, n, d), "power_of_sum")
    assert law.params == pytest.approx(truth, rel=1e-4) and law.a == pytest.approx(0.35 / 0.75, rel=1e-4)
