"""Runs that cannot be of the law that the others follow: a slip of the pen, a column of other units, a lie.

The loss that a law is fitted by counts a wild run little, and yet a single one can hold the law: no loss may lie below E, so
that one loss of 1e-4 takes E to zero, and a run with a thousand times its parameters turns the exponents. So each run is judged
by a law that it has no part in: that of most of the others. It is searched from many small draws of the runs, some of which are
without any wild one, and each draw is refined on the three quarters of all runs that its law fits best (least trimmed squares
with concentration steps, Rousseeuw & Van Driessen 2006; here with the loss and the steps of `search`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scalept_lab.laws import choice
from scalept_lab.laws.choice import MEDIAN, PART, fitted
from scalept_lab.laws.points import Points
from scalept_lab.laws.search import DELTA, Problem, make_problem, minimise, search

FEWEST = 10  # runs: of fewer, five constants follow any
MOST = 0.2  # of the runs: where more are odd, no law is that of the others
FAR, TIMES = 0.1, 6.0  # in log loss and in standard errors: a run is odd that lies beyond both
FLOPS = 10.0  # times the usual ratio of C to 6·N·D, from which a run counted something else
DRAWS, ROUNDS, KEPT = 40, 3, 0.75


@dataclass(frozen=True)
class Odd:
    """A run by its row among the points (from 0), its loss, the loss by the law of the others, and what is odd in words."""

    row: int
    loss: float
    expected: float
    why: str


def odd_runs(
    points: Points, form: str = "auto", bounds: Mapping[str, tuple[float, float]] | None = None, variable: str = ""
) -> list[Odd]:  # fmt: skip
    """The runs that lie more than 10 % and 6 standard errors from the law of the others, or whose C is ten times off, in order.

    None of fewer than 10 runs, and none where more than a fifth would be odd. Arguments as in `fit_law`. Raises: InputError.
    """
    if len(points) < FEWEST:
        return []
    if form == "auto":
        form = choice.candidates(points, bounds or {})[0]
    found = [*_by_loss(points, form, bounds, variable), *_by_flops(points)]
    rows = {each.row: each for each in reversed(found)}
    return [rows[row] for row in sorted(rows)] if len(rows) <= MOST * len(points) else []


def rest_of(points: Points, odd: Sequence[Odd]) -> Points:
    """The points but for these rows, with what tells them apart."""
    kept = np.setdiff1d(np.arange(len(points)), [each.row for each in odd])
    labels = {name: tuple(values[i] for i in kept) for name, values in points.labels.items()}
    runs = tuple(points.runs[i] for i in kept) if points.runs else ()
    return replace(choice.rows(points, kept), runs=runs, labels=labels, notes=points.notes)


def _by_loss(points: Points, form: str, bounds: Any, variable: str) -> list[Odd]:
    # a bound that one loss cannot move: E may be as high as half of them
    problem, _ = make_problem(points, form, bounds, variable, lowest=float(np.median(points.L)))
    P, rows = len(points), np.arange(len(points))
    few = rows if P <= PART else np.linspace(0, P - 1, PART).astype(int)
    theta = _of_most(problem.only(few))
    off = np.abs(problem.y - problem.predict(theta[None], jacobian=False)[0][0])
    odd = off > np.quantile(off, KEPT)
    for _ in range(10):
        used = few[~odd[few]]
        part = problem.only(used)
        if len(used) <= len(theta) + 2:
            return []
        theta = minimise(part, theta[None], DELTA)[0][0]
        law = fitted(part, theta)
        log_loss, leverage = law.of(problem)
        off = problem.y - log_loss
        spread = 1.4826 * float(np.median(np.abs(off[used])))
        spread *= math.sqrt(len(used) / (len(used) - len(theta)))
        before, error = odd, max(spread, 1e-9) * np.sqrt(1 + MEDIAN * leverage)
        odd = (np.abs(off) > FAR) & (np.abs(off) > TIMES * error)
        if (odd == before).all():
            break
    return [
        Odd(int(i), float(points.L[i]), float(np.exp(log_loss[i])),
            f"L {points.L[i]:.4g} where the law of the others gives {np.exp(log_loss[i]):.4g}")
        for i in rows[odd]
    ]  # fmt: skip


def _of_most(problem: Problem) -> np.ndarray:
    """The constants (F,) that leave the smallest residuals on three quarters of the points."""
    P, F, at = len(problem.y), len(problem.names), problem.column
    rng = np.random.default_rng(0)
    theta_SxF, value_S, _ = search(problem, DELTA)
    best = theta_SxF[np.argsort(value_S, kind="stable")[:4]]
    middle = best[0].copy()  # where the search is not held at a bound by a wild run
    middle[at["E"]] = float(np.median(problem.y)) - math.log(2)
    middle[[at[name] for name in ("alpha", "beta") if name in at]] = 0.4
    weights = np.zeros((DRAWS, P))
    for row in weights:
        row[rng.permutation(P)[: max(F + 3, P // 3)]] = 1.0
    theta = np.concatenate([np.tile(np.clip(middle, problem.low, problem.high), (DRAWS, 1)), best])
    weights = np.concatenate([weights, np.ones((len(best), P))])
    kept = math.ceil(KEPT * P)
    for _ in range(ROUNDS):
        theta, _, _ = minimise(problem, theta, 10 * DELTA, weights, steps=60)
        off = np.abs(problem.predict(theta, jacobian=False)[0] - problem.y)
        weights = np.zeros_like(off)
        np.put_along_axis(weights, np.argsort(off, axis=1)[:, :kept], 1.0, axis=1)
    return theta[np.argmin(np.sort(off, axis=1)[:, :kept].sum(1))]


def _by_flops(points: Points) -> list[Odd]:
    if points.N is None or points.D is None or points.C is None:
        return []
    ratio = points.C / (6 * points.N * points.D)
    usual = float(np.median(ratio))
    return [
        Odd(int(i), float(points.L[i]), math.nan, f"C is {ratio[i]:.3g} times 6·N·D, and {usual:.3g} times it in the others")
        for i in np.flatnonzero(np.abs(np.log(ratio / usual)) > math.log(FLOPS))
    ]  # fmt: skip
