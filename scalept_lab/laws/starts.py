"""Where a fit begins: the regression problem with its bounds, and the starts.

Hoffmann et al. 2022 ran an optimizer from each of 4,500 starts. Scoring all of them costs one evaluation
each; the few best, and the few best of a second grid that solves for E, A and B by least squares, then lead
to the same minimum (benchmarks/bench_fit.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np

from scalept_lab.errors import InputError
from scalept_lab.laws.huber import CHUNK, Problem, minimise, objective
from scalept_lab.laws.points import Points, variable

BOUNDS = {"alpha": (0.01, 2.0), "beta": (0.01, 2.0), "R_D": (0.05, 1000.0)}
POLISH = 8  # starts of each kind that are followed to a minimum; more never changed the result


def make_problem(
    points: Points, form: str, bounds: Mapping[str, tuple[float, float]] | None = None
) -> tuple[Problem, str]:
    """The centred regression problem for checked points, and the power form's variable (else "")."""
    name, X = variable(points) if form == "power" else ("", points.N)
    assert X is not None
    x, y = np.log(X), np.log(points.L)
    z = repeats = log_unique = None
    z_mean = 0.0
    if form != "power":
        assert points.D is not None
        z = np.log(points.D)
        z_mean = float(z.mean())
        z = z - z_mean
    if form == "data_constrained":
        assert points.D is not None and points.unique is not None
        unique = np.minimum(points.unique, points.D)
        repeats, log_unique = points.D / unique - 1, np.log(unique) - z_mean
    problem = Problem(form, x - x.mean(), y, z, repeats, log_unique, float(x.mean()), z_mean)
    unknown = set(bounds or {}) - {"alpha", "beta", "E", "R_D"}
    if unknown:
        raise InputError(f"bounds: expected alpha, beta, E or R_D, got {sorted(unknown)[0]}")
    floor = float(np.exp(y.min() - 7.0))  # a thousandth of the lowest loss: as good as zero
    limits = {**BOUNDS, "E": (0.0, float(points.L.min())), **(bounds or {})}
    pairs = []
    for parameter in problem.names:
        if parameter in "AB":  # these after centring: the reducible loss at the middle of the points
            pairs.append((np.log(floor), y.max() + 5.0))
        elif parameter in ("E", "R_D"):
            pairs.append(tuple(np.log(np.maximum(limits[parameter], floor if parameter == "E" else 1e-6))))
        else:
            pairs.append(limits[parameter])
    low, high = np.array(pairs, float).T
    if not np.all(low < high):
        raise InputError(f"bounds: expected a lower limit below the upper one, got {dict(bounds or {})}")
    return replace(problem, low=low, high=high), name


@lru_cache
def _grid(form: str) -> np.ndarray:
    """The 4,500 starts of Hoffmann et al. 2022 (§D.2): log A, log B 0…25, alpha, beta 0…2, log E −1…1."""
    scale, power, level = np.arange(0, 26, 5.0), np.arange(0, 2.1, 0.5), np.arange(-1, 1.1, 0.5)
    if form == "power":
        return np.array(list(itertools.product(scale, power, level)))
    axes = [scale, power, scale, power, level]
    return np.array(
        list(itertools.product(*axes, *([np.log([3.0, 15.0])] if form == "data_constrained" else [])))
    )


def starts(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """The published grid, and profiled starts (exponents on a grid, E, A, B by least squares), each (S, F)."""
    grid = _grid(problem.form).copy()
    grid[:, 0] -= grid[:, 1] * problem.x_mean
    exponents = np.linspace(0.05, 1.5, 9)
    weight = np.exp(-problem.y)  # relative errors
    decays = np.array([3.0, 15.0]) if problem.form == "data_constrained" else np.array([1.0])
    profiled = []
    for decay in decays:
        z = problem.z
        if problem.form == "data_constrained":
            assert problem.repeats is not None and problem.log_unique is not None
            z = problem.log_unique + np.log1p(-decay * np.expm1(-problem.repeats / decay))
        pairs = [(a, 0.0) for a in exponents] if z is None else list(itertools.product(exponents, exponents))
        for alpha, beta in pairs:
            columns = [np.exp(-alpha * problem.x)] + ([] if z is None else [np.exp(-beta * z)])
            design_FxP = np.stack([*columns, np.ones_like(weight)]) * weight
            solved = np.linalg.lstsq(design_FxP.T, np.ones_like(weight), rcond=None)[0]
            logs = np.log(np.maximum(solved, 1e-3 * np.exp(problem.y.min())))
            row = [logs[0], alpha, logs[-1]] if z is None else [logs[0], alpha, logs[1], beta, logs[2]]
            profiled.append(row + ([np.log(decay)] if problem.form == "data_constrained" else []))
    if problem.form != "power":
        grid[:, 2] -= grid[:, 3] * problem.z_mean
    return grid, np.clip(np.array(profiled), problem.low, problem.high)


def search(problem: Problem, delta: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best starts of each kind, followed to their minima: what `minimise` returns."""
    inside = [np.clip(candidates, problem.low, problem.high) for candidates in starts(problem)]
    return minimise(problem, np.concatenate([_best(problem, s, delta) for s in inside]), delta)


def _best(problem: Problem, theta_SxF: np.ndarray, delta: float) -> np.ndarray:
    parts = np.array_split(theta_SxF, max(1, len(theta_SxF) // CHUNK))
    score_S = np.concatenate([objective(problem, part, delta) for part in parts])
    return theta_SxF[np.argsort(score_S, kind="stable")[:POLISH]]


def mean_trap(problem: Problem, delta: float) -> np.ndarray:
    """Where L-BFGS stops when it is handed the mean of the terms instead of their sum."""
    from scipy.optimize import minimize  # only this lesson needs it

    def mean(theta):
        value, gradient = objective(problem, theta[None], delta, gradient=True)
        return value[0] / len(problem.y), gradient[0] / len(problem.y)

    best = _best(problem, starts(problem)[0], delta)
    runs = [minimize(mean, start, jac=True, method="L-BFGS-B") for start in best]
    return min(runs, key=lambda run: run.fun).x
