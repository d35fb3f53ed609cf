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

from scalept_lab.errors import InputError
from scalept_lab.laws.fit import error_percent, fit_law, interval
from scalept_lab.laws.points import MIN_POINTS, check_points

GAP = 0.1  # decades of compute between two budgets; runs closer than that belong to one


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


def group(C: np.ndarray, gap: float = GAP) -> list[np.ndarray]:
    """Rows of equal compute, smallest first: a budget ends where log10 C jumps by more than `gap`."""
    order = np.argsort(C, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(np.log10(C[order])) > gap) + 1)


def parabolas(N: Any, D: Any, L: Any, C: Any = None, *, bootstrap: int = 0, seed: int = 0) -> Frontier:
    """Approach 2: in each budget a parabola of loss over log N (and over log D); its vertex is the optimum.

    N parameters, D tokens, L nats per token, C FLOPs (6·N·D by default), each (P,); at least two budgets with
    three sizes or more. `bootstrap`: refits with new noise drawn around the parabolas. Raises: InputError.
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
    groups = group(compute)
    sizes = [len(np.unique(points.N[index])) for index in groups]
    thin = [
        f"C = {compute[index].mean():.3g}: left out, {number} of the three sizes needed"
        for index, number in zip(groups, sizes, strict=True)
        if number < 3
    ]
    groups = [index for index, number in zip(groups, sizes, strict=True) if number >= 3]
    if len(groups) < 2:
        raise InputError(
            f"expected at least two budgets of three sizes, got {len(groups)}: runs count as one budget "
            f"when their compute differs by less than {100 * (10**GAP - 1):.0f} %"
        )
    slices = tuple(_slice(method, index, n, d, loss, compute) for index in groups)
    warnings = (*thin, *(f"C = {s.C:.3g}: {s.status}" for s in slices if s.status != "ok"))
    found = np.array([[s.C, s.N_opt, s.D_opt] for s in slices])
    usable = np.all(np.isfinite(found), axis=1)
    if usable.sum() < 2:
        raise InputError("fewer than two budgets have a minimum; " + "; ".join(warnings))
    logs = np.log(found[usable])
    (a, k), (b, m) = (_line(logs[:, 0], logs[:, column]) for column in (1, 2))
    intervals = {}
    if K:
        rng = np.random.default_rng(seed)
        draws = _redraw(
            method, [s for s, fine in zip(slices, usable, strict=True) if fine], n, d, loss, K, rng
        )
        a_K, k_K = _line(logs[:, 0], draws[0].T)
        b_K, m_K = _line(logs[:, 0], draws[1].T)
        intervals = {
            "a": interval(a_K), "b": interval(b_K), "k": interval(np.exp(k_K)), "m": interval(np.exp(m_K)),
        }  # fmt: skip
    return Frontier(
        method, float(a), float(b), float(np.exp(k)), float(np.exp(m)), slices, warnings, intervals
    )


def _slice(
    method: str, index: np.ndarray, n: np.ndarray, d: np.ndarray, loss: np.ndarray, C: np.ndarray
) -> Slice:
    budget = float(np.exp(np.log(C[index]).mean()))
    low, high = np.exp(n[index].min()), np.exp(n[index].max())
    lowest = index[np.argmin(loss[index])]
    p = np.polyfit(n[index] - n[index].mean(), loss[index], 2)
    t = n[index].mean()
    shifted = (float(p[0]), float(p[1] - 2 * p[0] * t), float(np.polyval(p, -t)))
    if method == "best run":
        N_opt, D_opt, best = np.exp(n[lowest]), np.exp(d[lowest]), loss[lowest]
    elif p[0] <= 0:
        text = "no minimum: the parabola opens downward; sample sizes further apart"
        return Slice(budget, index, np.nan, np.nan, np.nan, text, shifted)
    else:
        best = np.polyval(p, -p[1] / (2 * p[0]))
        N_opt, D_opt = (np.exp(_vertex(x[index], loss[index][None])[0]) for x in (n, d))
    status = "ok"
    if not low < N_opt < high or n[lowest] in (n[index].min(), n[index].max()):
        side, size = ("smallest", low) if N_opt < np.sqrt(low * high) else ("largest", high)
        status = (
            f"edge: the best size {N_opt:.3g} is at or beyond the {side} tried, {size:.3g}; add sizes there"
        )
    return Slice(budget, index, float(N_opt), float(D_opt), float(best), status, shifted)


def _vertex(x: np.ndarray, loss_KxP: np.ndarray) -> np.ndarray:
    """Where a parabola through each row of losses over x has its extremum, (K,)."""
    centred = x - x.mean()
    p2, p1, _ = np.polyfit(centred, loss_KxP.T, 2)
    return x.mean() - p1 / (2 * p2)


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
    """log N_opt and log D_opt (K, slices) of losses redrawn around the parabolas with their pooled scatter."""
    fitted = [np.polyval(s.parabola, n[s.index]) for s in slices]  # type: ignore[arg-type]
    squares = sum(float(np.sum((loss[s.index] - f) ** 2)) for s, f in zip(slices, fitted, strict=True))
    free = sum(len(s.index) - 3 for s in slices)
    if not free:
        raise InputError(
            "bootstrap: three runs in each budget leave no scatter to judge by; add a fourth size"
        )
    sigma_K = np.sqrt(squares / rng.chisquare(free, K))  # Student's t: few runs leave sigma itself uncertain
    out_N, out_D = np.empty((K, len(slices))), np.empty((K, len(slices)))
    for i, (s, f) in enumerate(zip(slices, fitted, strict=True)):
        drawn = f + sigma_K[:, None] * rng.standard_normal((K, len(f)))
        if method == "best run":
            chosen = s.index[np.argmin(drawn, axis=1)]
            out_N[:, i], out_D[:, i] = n[chosen], d[chosen]
        else:
            out_N[:, i], out_D[:, i] = _vertex(n[s.index], drawn), _vertex(d[s.index], drawn)
    return out_N, out_D


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
    """Would the fit have foretold the next larger runs? Fit on the smaller, score on those, and go on.

    Runs are ordered by compute C (6·N·D by default). The smaller half (at least eight) starts as evidence,
    the rest is cut into `steps` parts of growing compute; each part is foretold from everything below it.
    Returns one row per step: `fitted` and `scored` runs, `C_fitted` and `C_scored` (largest), `error_percent`
    (mean of measured against predicted; positive: worse than foretold), `worst_percent` (largest in size),
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
        foretold = law.predict(points.N[part], points.D[part])
        measured = points.L[part]
        error = error_percent(measured, foretold.loss)
        inside = (foretold.low <= measured) & (measured <= foretold.high)
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
