"""The contest of forecasts: hide the runs of most compute, and see who forecasts them.

Two ways to hide: the top 20 % of the runs by compute, and the top decade. Contestants: each form with its bootstrap
interval, `auto` with the interval that holds the form's error, SciPy from many starts on the additive form (no interval), a
straight line in log-log through the best run of each level of compute, and "no change". Scores on the hidden runs: mean
error in %, share inside the 95 % interval, and the interval score in % of the loss (Gneiting & Raftery 2007, eq. 43: width
plus 40 times what lies outside; smaller is better).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from scalept_lab.laws.choice import rows
from scalept_lab.laws.fit import fit_points
from scalept_lab.laws.points import Points
from scalept_lab.laws.search import make_problem, objective, starts
from scalept_lab.laws.skill import interval_score

FORMS = ("auto", "chinchilla", "tied", "power_of_sum")
Forecast = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


def by_form(form: str) -> Callable[[Points, Points], Forecast]:
    def forecast(seen: Points, hidden: Points) -> Forecast:
        found = fit_points(seen, form, bootstrap=1000).predict(hidden.N, hidden.D)
        return found.loss, found.low, found.high

    return forecast


def scipy_additive(seen: Points, hidden: Points) -> Forecast:
    """The slow twin: L-BFGS from 60 of the published starts."""
    from scipy.optimize import minimize  # only the twin needs it

    problem, _ = make_problem(seen, "chinchilla")

    def f(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective(problem, theta[None], gradient=True)
        return value[0], gradient[0]

    grid = np.clip(starts(problem)[0][::75], problem.low, problem.high)
    bounds = list(zip(problem.low, problem.high, strict=True))
    found = [minimize(f, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in grid]
    best = min(found, key=lambda each: each.fun).x
    assert hidden.N is not None
    log_loss, _ = problem.at(hidden.N, hidden.D).predict(best[None], jacobian=False)
    return np.exp(log_loss[0]), None, None


def straight_line(seen: Points, hidden: Points) -> Forecast:
    """log L over log C through the lowest loss of each third of a decade."""
    C, ahead = compute(seen), compute(hidden)
    level = np.floor(3 * np.log10(C))
    best = [np.flatnonzero(level == each)[np.argmin(seen.L[level == each])] for each in np.unique(level)]
    if len(best) < 2:
        return no_change(seen, hidden)
    line = np.polyfit(np.log(C[best]), np.log(seen.L[best]), 1)
    return np.exp(np.polyval(line, np.log(ahead))), None, None


def no_change(seen: Points, hidden: Points) -> Forecast:
    return np.full(len(hidden), seen.L.min()), None, None


CONTESTANTS: dict[str, Callable[[Points, Points], Forecast]] = {
    **{form: by_form(form) for form in FORMS},
    "SciPy additive": scipy_additive, "straight line": straight_line, "no change": no_change,
}  # fmt: skip


def compute(points: Points) -> np.ndarray:
    assert points.N is not None and points.D is not None
    return 6 * points.N * points.D


def hide(points: Points, how: str) -> tuple[Points, Points] | None:
    """The runs that are seen and those that are hidden; nothing where too few are left on a side."""
    C = compute(points)
    order = np.argsort(C, kind="stable")
    cut = int(0.8 * len(C)) if how == "top 20 %" else int(np.sum(C <= C.max() / 10))
    seen, hidden = rows(points, order[:cut]), rows(points, order[cut:])
    enough = len(seen) >= 12 and len(hidden) >= 3
    assert seen.N is not None and seen.D is not None
    return (seen, hidden) if enough and min(len(np.unique(seen.N)), len(np.unique(seen.D))) >= 3 else None


def score(forecast: Forecast, L: np.ndarray) -> tuple[float, float, float]:
    """Mean error in %, share inside the interval, interval score in %."""
    loss, low, high = forecast
    error = float(100 * np.mean(np.abs(L / loss - 1)))
    if low is None or high is None:
        return error, np.nan, np.nan
    inside = (low <= L) & (high >= L)
    return error, float(np.mean(inside)), float(100 * np.mean(interval_score(low, high, L) / L))


def contest(
    sets: Mapping[str, Points],
    who: Sequence[str] = tuple(CONTESTANTS),
    hidden: Sequence[str] = ("top 20 %", "top decade"),
) -> list[dict[str, Any]]:
    """One row for each set, way of hiding and contestant: `set, hidden, who, runs, held_out, error, inside, score`."""
    table = []
    for name, points in sets.items():
        for how in hidden:
            parts = hide(points, how)
            if parts is None:
                continue
            for each in who:
                error, inside, width = score(CONTESTANTS[each](*parts), parts[1].L)
                table.append(
                    {"set": name, "hidden": how, "who": each, "runs": len(parts[0]), "held_out": len(parts[1]),
                     "error": error, "inside": inside, "score": width}
                )  # fmt: skip
    return table
