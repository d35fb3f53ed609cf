"""Compute-optimal size without a parametric law: from the best run, or a parabola, at each budget of compute.

Approaches 1 and 2 of Hoffmann et al. 2022 (§3.1, §3.2). Both read N_opt off runs of equal compute and fit
N_opt = k · C^a. They differ: the best run can only be a size that was tried, and a parabola assumes that loss
rises alike to both sides of the optimum. On E + A/N^alpha + B/D^beta it does so only if alpha = beta; else
N_opt is off by the same factor at every budget, so that the exponent comes out right and the coefficient
wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import digamma, polygamma

from scalept_lab.errors import InputError
from scalept_lab.laws.fit import error_percent, fit_law, interval
from scalept_lab.laws.points import MIN_POINTS, check_points

# What makes runs one budget, all our own choices. A planned budget is met to within rounding; where compute is only counted
# afterwards it scatters, which shows as runs much closer to each other than to the next ones.
SPAN = 0.1  # decades of compute that one budget may take in all
EQUAL = np.log10(1.02)  # decades that a budget takes which was met to within rounding
APART = 2.0  # times its own width, to the next run on either side
NEAR = 10.0  # a parabola is fitted to sizes within this factor of the best run's
MOST = 0.8  # of the runs of a piece in several budgets met so: then these are what was planned
FEW = 5  # and to so many sizes at least, where there are


@dataclass(frozen=True)
class Slice:
    """The runs of one budget of C FLOPs (rows `index` of the input) and where their loss is lowest.

    `status`: "ok"; "edge: …" where the optimum is the smallest or largest size tried, or lies beyond; "no
    minimum: …" where the parabola opens downward (N_opt is then NaN).
    """

    C: float
    index: np.ndarray
    N_opt: float
    D_opt: float
    loss: float
    status: str
    near: np.ndarray  # the rows that the parabola is fitted to
    parabola: tuple[float, float, float] | None = None  # loss = p0·t² + p1·t + p2, t = log N


@dataclass(frozen=True)
class Frontier:
    """N_opt = k · C^a and D_opt = m · C^b through the optima of all slices that have one."""

    method: str
    a: float
    b: float
    k: float
    m: float
    slices: tuple[Slice, ...]
    warnings: tuple[str, ...]
    interval95: dict[str, tuple[float, float]] = field(default_factory=dict)

    def N(self, C: Any) -> Any:
        return self.k * np.asarray(C, float) ** self.a

    def D(self, C: Any) -> Any:
        return self.m * np.asarray(C, float) ** self.b


def group(C: np.ndarray, N: np.ndarray) -> list[np.ndarray]:
    """Rows of equal compute, smallest first; the last pieces may be single runs.

    Split at the widest gap in log C until each piece is a budget: no wider than SPAN, and APART times its width from the
    runs on either side. A piece like that is split on where most of its runs are in several budgets of three sizes
    that were met to within rounding (EQUAL), so that planned budgets may be as close as they like.
    """
    order = np.argsort(C, kind="stable")
    x, sizes = np.log10(np.asarray(C, float))[order], np.asarray(N)[order]
    edges = np.concatenate([[-np.inf], x, [np.inf]])

    def alone(first: int, last: int) -> bool:
        """Whether rows first … last − 1 are much closer to each other than to the rest."""
        room = min(edges[first + 1] - edges[first], edges[last + 1] - edges[last])
        return last - first == 1 or room >= max(APART * (x[last - 1] - x[first]), 1e-9)

    def cut(first: int, last: int, least: float) -> list[tuple[int, int]]:
        ends = first + 1 + np.flatnonzero(np.diff(x[first:last]) >= least)
        return list(zip([first, *map(int, ends)], [*map(int, ends), last], strict=True))

    def several(first: int, last: int) -> bool:
        """Whether most of these rows are in two or more budgets met to within rounding."""
        parts = [
            b - a for a, b in cut(first, last, EQUAL)
            if x[b - 1] - x[a] <= EQUAL and alone(a, b) and len(set(sizes[a:b])) >= 3
        ]  # fmt: skip
        return len(parts) > 1 and sum(parts) >= MOST * (last - first)

    todo, found = [(0, len(x))], []
    while todo:
        first, last = todo.pop()
        if x[last - 1] - x[first] <= SPAN and alone(first, last) and not several(first, last):
            found.append((first, last))
        else:  # at all of the widest gaps at once: a grid has many
            widest = float(np.diff(x[first:last]).max())
            todo += cut(first, last, 0.999 * widest)
    return [order[first:last] for first, last in sorted(found)]


def parabolas(N: Any, D: Any, L: Any, C: Any = None, *, bootstrap: int = 0, seed: int = 0) -> Frontier:
    """Approach 2: in each budget a parabola of loss over log N (and over log D); its vertex is the optimum.

    N parameters, D tokens, L nats per token, C FLOPs (6·N·D by default), each (P,); at least two budgets with
    three sizes or more, which hold half of the runs (see `group`). The parabola is fitted to sizes within a factor of NEAR
    of the best run's (but to FEW sizes at least): further out loss rises faster than a parabola, and would rule. Where to
    end is our choice.

    `bootstrap`: refits with new noise drawn around the parabolas, with the scatter of each budget, or of all where they look
    alike (see `_scatter`). Redraws with a parabola that opens downward are left out, and counted in
    a warning; where they are half or more, the intervals are without end. Raises: InputError.
    """
    return _frontier("parabola", N, D, L, C, bootstrap, seed)


def best_runs(N: Any, D: Any, L: Any, C: Any = None, *, bootstrap: int = 0, seed: int = 0) -> Frontier:
    """Approach 1 in small: in each budget the run with the lowest loss. Arguments as in `parabolas`."""
    return _frontier("best run", N, D, L, C, bootstrap, seed)


def _frontier(method: str, N: Any, D: Any, L: Any, C: Any, K: int, seed: int) -> Frontier:
    points = check_points(N, D, L)
    assert points.N is not None and points.D is not None
    n, d, loss = np.log(points.N), np.log(points.D), points.L
    compute = 6 * points.N * points.D if C is None else np.asarray(C, float)
    if compute.shape != loss.shape or not np.all(np.isfinite(compute) & (compute > 0)):
        raise InputError(f"C: expected {len(loss)} positive numbers of FLOPs, one for each run")
    groups, thin = _budgets(compute, points.N)
    slices = tuple(_slice(method, index, n, d, loss, compute) for index in groups)
    warnings = [*thin, *(f"C = {s.C:.3g}: {s.status}" for s in slices if s.status != "ok")]
    found = np.array([[s.C, s.N_opt, s.D_opt] for s in slices])
    usable = np.all(np.isfinite(found), axis=1)
    if usable.sum() < 2:
        raise InputError("fewer than two budgets have a minimum; " + "; ".join(warnings))
    logs = np.log(found[usable])
    (a, k), (b, m) = (_line(logs[:, 0], logs[:, column]) for column in (1, 2))
    intervals = {}
    if K:
        rng = np.random.default_rng(seed)
        fine = [s for s, has_minimum in zip(slices, usable, strict=True) if has_minimum]
        log_N, log_D = _redraw(method, fine, n, d, loss, K, rng)
        kept = np.all(np.isfinite(log_N) & np.isfinite(log_D), axis=1)
        if not kept.all():
            warnings.append(
                f"{K - kept.sum()} of {K} redraws left out, where a parabola opened downward: noise can hide the valley "
                "of some budget; sample sizes further apart, or more of them"
            )
        if 2 * kept.sum() <= K:
            intervals = {name: (-np.inf, np.inf) for name in "ab"} | {name: (0.0, np.inf) for name in "km"}
        else:
            a_K, k_K = _line(logs[:, 0], log_N[kept].T)
            b_K, m_K = _line(logs[:, 0], log_D[kept].T)
            draws = {"a": a_K, "b": b_K, "k": _exp(k_K), "m": _exp(m_K)}
            intervals = {name: interval(values) for name, values in draws.items()}
    return Frontier(
        method, float(a), float(b), float(_exp(k)), float(_exp(m)), slices, tuple(warnings), intervals
    )


def _budgets(C: np.ndarray, N: np.ndarray) -> tuple[list[np.ndarray], list[str]]:
    """The groups with three sizes or more, and what to say of the others."""
    groups = group(C, N)
    sizes = [len(np.unique(N[index])) for index in groups]
    full = [index for index, number in zip(groups, sizes, strict=True) if number >= 3]
    inside = sum(map(len, full))
    if 2 * inside < len(C):
        raise InputError(
            f"C: expected runs in budgets of equal compute with three sizes each, got {inside} of {len(C)} runs in "
            "one; give the planned compute as C and the runs of such a sweep alone, or fit a law"
        )
    if len(full) < 2:
        raise InputError(
            f"C: expected at least two budgets of three sizes, got {len(full)}; runs are one budget where their compute "
            f"is within {100 * (10**SPAN - 1):.0f} %, and {APART:g} times that far from the next"
        )
    left = [(index, number) for index, number in zip(groups, sizes, strict=True) if number < 3]
    said = [
        f"C = {C[index].mean():.3g}: left out, {number} of the three sizes needed" for index, number in left
    ]
    if len(said) > 3:
        said = [f"{len(C) - inside} runs left out: they are in no budget of three sizes"]
    return full, said


def _slice(
    method: str, index: np.ndarray, n: np.ndarray, d: np.ndarray, loss: np.ndarray, C: np.ndarray
) -> Slice:
    budget = float(np.exp(np.log(C[index]).mean()))
    low, high = np.exp(n[index].min()), np.exp(n[index].max())
    lowest = index[np.argmin(loss[index])]
    near = _near(index, n, n[lowest])
    t = n[near].mean()
    p = np.polyfit(n[near] - t, loss[near], 2)
    shifted = (float(p[0]), float(p[1] - 2 * p[0] * t), float(np.polyval(p, -t)))
    N_opt, D_opt = (_exp(_vertex(x[near], loss[near][None])[0]) for x in (n, d))
    if method == "best run":
        N_opt, D_opt, best = np.exp(n[lowest]), np.exp(d[lowest]), loss[lowest]
    elif np.isnan(N_opt) or np.isnan(D_opt):
        text = "no minimum: the parabola opens downward; sample sizes further apart"
        return Slice(budget, index, np.nan, np.nan, np.nan, text, near, shifted)
    else:
        best = np.polyval(p, -p[1] / (2 * p[0]))
    status = "ok"
    if not low < N_opt < high or n[lowest] in (n[index].min(), n[index].max()):
        side, size = ("smallest", low) if N_opt < np.sqrt(low * high) else ("largest", high)
        status = (
            f"edge: the best size {N_opt:.3g} is at or beyond the {side} tried, {size:.3g}; add sizes there"
        )
    return Slice(budget, index, float(N_opt), float(D_opt), float(best), status, near, shifted)


def _near(index: np.ndarray, n: np.ndarray, centre: float) -> np.ndarray:
    """Rows of `index` with log N within log NEAR of `centre`, or among the FEW nearest sizes."""
    nearest = np.sort(np.abs(np.unique(n[index]) - centre))
    reach = max(np.log(NEAR), nearest[min(FEW, len(nearest)) - 1])
    return index[np.abs(n[index] - centre) <= reach + 1e-9]


def _vertex(x: np.ndarray, loss_KxP: np.ndarray) -> np.ndarray:
    """Where a parabola through each row of losses over x is lowest, (K,); NaN where it opens downward."""
    centred = x - x.mean()
    p2, p1, _ = np.polyfit(centred, loss_KxP.T, 2)
    return x.mean() - p1 / np.where(p2 > 0, 2 * p2, np.nan)


def _exp(x: Any) -> Any:
    """A vertex far outside, or a coefficient at C = 1, may lie beyond any float: then it is infinite, without a warning."""
    with np.errstate(over="ignore"):
        return np.exp(x)


def _line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Slope and intercept of y (S,) or (S, K) over x (S,)."""
    return np.polyfit(x, y, 1)


def _redraw(
    method: str,
    slices: list[Slice],
    n: np.ndarray,
    d: np.ndarray,
    loss: np.ndarray,
    K: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """log N_opt and log D_opt (K, slices) of losses redrawn around the parabolas, each with the scatter of its budget."""
    fitted = [np.polyval(s.parabola, n[s.near]) for s in slices]  # type: ignore[arg-type]
    squares = np.array([np.sum((loss[s.near] - f) ** 2) for s, f in zip(slices, fitted, strict=True)])
    sigma = _scatter(squares, np.array([len(s.near) - 3.0 for s in slices]), K, rng)
    out_N, out_D = np.empty((K, len(slices))), np.empty((K, len(slices)))
    for i, (s, f) in enumerate(zip(slices, fitted, strict=True)):
        drawn = f + sigma[:, [i]] * rng.standard_normal((K, len(f)))
        if method == "best run":
            chosen = s.near[np.argmin(drawn, axis=1)]
            out_N[:, i], out_D[:, i] = n[chosen], d[chosen]
        else:
            out_N[:, i], out_D[:, i] = _vertex(n[s.near], drawn), _vertex(d[s.near], drawn)
    return out_N, out_D


def _scatter(squares: np.ndarray, free: np.ndarray, K: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of each budget's sigma, (K, budgets), from its sum of squares with `free` degrees of freedom.

    Student's t: few runs leave sigma itself uncertain. One sigma for all, if the logarithms of the variances differ by no more
    than chance makes them (their own variance is trigamma(free / 2)); else each budget its own, which is wider, and right
    where the noise differs. A budget of three runs has no scatter of its own and takes that of all.
    """
    total, seen = free.sum(), free > 0
    if not total:
        raise InputError(
            "bootstrap: three runs in each budget leave no scatter to judge by; add a fourth size"
        )
    half = free[seen] / 2
    logs = np.log(np.maximum(squares[seen], np.finfo(float).tiny)) - digamma(half)
    pooled = np.sqrt(squares.sum() / rng.chisquare(total, (K, 1)))
    if len(half) < 2 or np.var(logs, ddof=1) <= polygamma(1, half).mean():
        return np.broadcast_to(pooled, (K, len(free)))
    return np.where(seen, np.sqrt(squares / rng.chisquare(np.maximum(free, 1), (K, len(free)))), pooled)


def rollout(
    N: Any,
    D: Any,
    L: Any,
    C: Any = None,
    *,
    form: str = "chinchilla",
    steps: int = 3,
    bootstrap: int = 500,
    **options: Any,
) -> list[dict[str, Any]]:
    """Would the fit have predicted the next larger runs? Fit on the smaller, score on those, and go on.

    Runs are ordered by compute C (6·N·D by default). The smaller half (at least eight) starts as evidence,
    the rest is cut into `steps` parts of growing compute; each part is predicted from everything below it.
    Returns one row per step: `fitted` and `scored` runs, `C_fitted` and `C_scored` (largest), `error_percent`
    (mean of measured against predicted; positive: worse than predicted), `worst_percent` (largest in size),
    `inside` (share of measurements in the 95 % interval), `status` of the fit. `options` go to `fit_law`.
    Raises: InputError.
    """
    points = check_points(N, D, L, form=form)
    assert points.N is not None and points.D is not None
    compute = 6 * points.N * points.D if C is None else np.asarray(C, float)
    order = np.argsort(compute, kind="stable")
    first = max(MIN_POINTS + 2, len(order) // 2)
    if len(order) - first < steps or steps < 1:
        raise InputError(
            f"expected at least {first + max(steps, 1)} runs for {steps} steps, got {len(order)}"
        )
    table, seen = [], order[:first]
    for part in np.array_split(order[first:], steps):
        law = fit_law(points.N[seen], points.D[seen], points.L[seen], form, bootstrap=bootstrap, **options)
        forecast = law.predict(points.N[part], points.D[part])
        measured = points.L[part]
        error = error_percent(measured, forecast.loss)
        inside = (forecast.low <= measured) & (measured <= forecast.high)
        table.append(
            {
                "fitted": len(seen), "scored": len(part),
                "C_fitted": float(compute[seen].max()), "C_scored": float(compute[part].max()),
                "error_percent": float(error.mean()), "worst_percent": float(error[np.argmax(np.abs(error))]),
                "inside": float(inside.mean()), "status": law.status,
            }
        )  # fmt: skip
        seen = np.concatenate([seen, part])
    return table
