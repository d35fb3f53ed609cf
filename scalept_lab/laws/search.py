"""The search for a law's constants: sum-Huber regression on log loss from several starts, many problems at once.

The objective of Hoffmann et al. 2022 (§D.2): sum over runs of Huber_δ(log L̂ − log L), δ = 1e-3, with
log L̂ = logsumexp(log A − alpha·log N, log B − beta·log D, log E). Two changes make it fast, and move no minimum:

* log N and log D are centred, so that log A and alpha no longer pull on each other;
* all starts, and all bootstrap resamples, move together as arrays of shape (K problems, P points), each by damped Newton steps
  with analytic gradients.

With δ far below the noise the objective is nearly a sum of absolute values: its second derivative sees only the few points
inside ±δ. A pure Newton step then overshoots, a reweighted least-squares step (weights δ/|r| outside) is safe and slow. The
step here mixes the two by `caution`: down after a success, up after a failure.

Hoffmann et al. ran an optimizer from each of 4,500 starts. Scoring all of them costs one evaluation each; the few best, and the
few best of a second grid that solves for E, A and B by least squares, then lead to the same minimum (benchmarks/bench_fit.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from scalept_lab.errors import InputError
from scalept_lab.laws.points import Points, variable

DELTA = 1e-3
SHORT = 40  # steps after which the few problems still on their way are gathered into fewer chunks
STRAIGHT = 12  # steps before the curvature of the law itself is worth computing: most are done by then
CHUNK = 128  # problems advanced together: their arrays of 240 points then stay in the processor's cache


@dataclass(frozen=True)
class Problem:
    """P points of one form, ready to fit.

    theta = (log A', alpha[, log B', beta], log E[, log R_D]), log A' = log A − alpha · mean(log N).
    """

    form: str  # chinchilla, power or data_constrained
    x: np.ndarray  # log N (or log X), centred, (P,)
    y: np.ndarray  # log L, (P,)
    z: np.ndarray | None = None  # log D, centred, (P,)
    repeats: np.ndarray | None = None  # D/U − 1, at least 0, (P,)
    log_unique: np.ndarray | None = None  # log of U, centred like z, (P,)
    x_mean: float = 0.0
    z_mean: float = 0.0
    low: np.ndarray = field(default_factory=lambda: np.empty(0))  # bounds of theta
    high: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def names(self) -> tuple[str, ...]:
        return {
            "power": ("A", "alpha", "E"),
            "chinchilla": ("A", "alpha", "B", "beta", "E"),
            "data_constrained": ("A", "alpha", "B", "beta", "E", "R_D"),
        }[self.form]

    def params(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Constants as printed (E, A, alpha, …), from theta of shape (..., F)."""
        out = {name: theta[..., i] for i, name in enumerate(self.names)}
        out["A"] = np.exp(out["A"] + out["alpha"] * self.x_mean)
        if "B" in out:
            out["B"] = np.exp(out["B"] + out["beta"] * self.z_mean)
        out["E"] = np.exp(out["E"])
        if "R_D" in out:
            out["R_D"] = np.exp(out["R_D"])
        return {name: out[name] for name in ("E", "A", "B", "alpha", "beta", "R_D") if name in out}

    def theta(self, **p: float) -> np.ndarray:
        """The inverse of `params`."""
        theta = [np.log(p["A"]) - p["alpha"] * self.x_mean, p["alpha"]]
        if self.form != "power":
            theta += [np.log(p["B"]) - p["beta"] * self.z_mean, p["beta"]]
        theta.append(np.log(p["E"]))
        return np.array(theta + ([np.log(p["R_D"])] if self.form == "data_constrained" else []))

    def predict(self, theta: np.ndarray, jacobian: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
        """log L̂ (K, P) and its derivative (K, F, P) at theta (K, F)."""
        t = theta[:, :, None]
        z: np.ndarray | None = None
        terms = [t[:, 0] - t[:, 1] * self.x]
        if self.form == "data_constrained":
            assert self.repeats is not None and self.log_unique is not None
            r = np.exp(t[:, 5])
            decay = np.exp(-self.repeats / r)
            gain = 1 + r * (1 - decay)
            z = self.log_unique + np.log(gain)
        elif self.form == "chinchilla":
            z = self.z
        if z is not None:
            terms.append(t[:, 2] - t[:, 3] * z)
        e = t[:, 2 * len(terms)]
        # logsumexp relative to log E: E is the largest term or close to it on any data worth fitting
        shares = [np.exp(np.minimum(term - e, 300.0)) for term in terms]
        total = 1 + sum(shares)
        log_f = e + np.log(total)
        if not jacobian:
            return log_f, None
        J = np.empty((*theta.shape, len(self.y)))
        inverse = 1 / total
        for i, (share, position) in enumerate(zip(shares, (self.x, z), strict=False)):
            np.multiply(share, inverse, out=J[:, 2 * i])
            np.multiply(J[:, 2 * i], -position, out=J[:, 2 * i + 1])  # type: ignore[operator]
        J[:, 2 * len(terms)] = inverse
        if self.form == "data_constrained":
            d_gain = r * (1 - decay) - self.repeats * decay  # d gain / d log R_D
            J[:, 5] = -t[:, 3] * J[:, 2] * d_gain / gain
        return log_f, J


def objective(
    problem: Problem, theta: np.ndarray, delta: float = DELTA, weights: np.ndarray | None = None,
    y: np.ndarray | None = None, gradient: bool = False,
):  # fmt: skip
    """Sum-Huber objective (K,), with `gradient` also its derivative (K, F), at theta (K, F).

    `weights` (P,) or (K, P): how often each point counts; `y` likewise: targets other than the problem's.
    """
    log_f, J = problem.predict(theta, jacobian=gradient)
    r = log_f - (problem.y if y is None else y)
    w = np.ones_like(problem.y) if weights is None else weights
    value, slope = _huber(r, delta, w)
    if not gradient:
        return value
    assert J is not None
    return value, np.einsum("kfp,kp->kf", J, slope)


def _huber(r: np.ndarray, delta: float, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of Huber terms (K,) at residuals r (K, P), and its slope (K, P) by each of them."""
    c = np.clip(r, -delta, delta)
    slope = w * c
    return np.sum(slope * (r - 0.5 * c), axis=-1), slope


def minimise(
    problem: Problem, starts: np.ndarray, delta: float = DELTA, weights: np.ndarray | None = None,
    y: np.ndarray | None = None, steps: int = 500, tolerance: float = 1e-10,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """From every start (K, F) to a minimum inside the bounds: theta (K, F), objective (K,), converged (K,).

    `weights` and `y` as in `objective`: every row is a problem of its own.
    """
    K = len(starts)
    theta, value, done = np.array(starts, float), np.empty(K), np.zeros(K, bool)
    for taken in (range(min(steps, SHORT)), range(SHORT, steps)):
        left = np.flatnonzero(~done)
        for first in range(0, len(left), CHUNK):
            part = left[first : first + CHUNK]
            w, targets = (v[part] if v is not None and v.ndim == 2 else v for v in (weights, y))
            theta[part], value[part], done[part] = _descend(
                problem, theta[part], delta, w, targets, taken, tolerance
            )
    return theta, value, done


def _descend(problem, start, delta, weights, y, counts, tolerance):
    K = len(start)
    y = problem.y if y is None else y
    w = np.ones_like(problem.y) if weights is None else weights
    out_theta, out_value, out_done = np.clip(start, problem.low, problem.high), np.empty(K), np.zeros(K, bool)
    live, theta, caution, stalls = np.arange(K), out_theta.copy(), np.full(K, 1.0), np.zeros(K, int)
    log_f, J = problem.predict(theta)
    r = log_f - y
    value, _ = _huber(r, delta, w)
    for count in counts:
        step, expected = _step(problem, theta, J, r, w, delta, caution, bent=count >= STRAIGHT)
        trial = np.clip(theta + np.clip(step, -2.0, 2.0), problem.low, problem.high)
        log_f, J_new = problem.predict(trial)
        r_new = log_f - y
        value_new, _ = _huber(r_new, delta, w)
        better = value_new < value
        gain = np.where(better, value - value_new, 0.0)
        stalls = np.where(gain <= tolerance * value, stalls + 1, 0)
        finished = (stalls >= 6) | ((expected <= 1e-14 * value) & (caution <= 1))
        theta, value = np.where(better[:, None], trial, theta), np.where(better, value_new, value)
        r, J = np.where(better[:, None], r_new, r), np.where(better[:, None, None], J_new, J)
        caution = np.clip(np.where(better, caution / 4, caution * 6), 1e-6, 1e6)
        if finished.any():
            out_theta[live[finished]], out_value[live[finished]] = theta[finished], value[finished]
            out_done[live[finished]] = True
            keep = ~finished
            live, theta, value, r, J = live[keep], theta[keep], value[keep], r[keep], J[keep]
            caution, stalls = caution[keep], stalls[keep]
            w = w[keep] if w.ndim == 2 else w
            y = y[keep] if y.ndim == 2 else y
            if not len(live):
                break
    out_theta[live], out_value[live] = theta, value
    return out_theta, out_value, out_done


def _step(problem, theta, J, r, w, delta, caution, bent):
    """Damped step (K, F) and the decrease it expects (K,); `bent` adds the law's own second derivative."""
    size, (_, slope) = np.abs(r), _huber(r, delta, w)
    g = np.einsum("kfp,kp->kf", J, slope)
    # a coordinate at its bound and pushed outward stays there (Bertsekas 1982, projected Newton)
    held = ((theta <= problem.low) & (g > 0)) | ((theta >= problem.high) & (g < 0))
    curvature = w * np.where(size > delta, caution[:, None] * delta / np.maximum(size, delta), 1.0)
    outer = J.transpose(0, 2, 1)
    safe = (J * curvature[:, None, :]) @ outer
    diagonal = np.einsum("kff->kf", safe)
    ridge = (1e-10 + 1e-3 * caution[:, None] ** 2) * diagonal
    ridge += 1e-10 * diagonal.max(axis=1, keepdims=True) + 1e-14
    free = ~(held[:, :, None] | held[:, None, :])
    damping = np.eye(g.shape[1]) * (ridge + held)[:, None, :]
    H = safe * free + damping
    if bent and len(H):
        full = H + (_bend(problem, J, slope, g) - (J * slope[:, None, :]) @ outer) * free
        convex = np.linalg.eigvalsh(full)[:, 0] > 0  # elsewhere Newton's step would head for a saddle
        H[convex] = full[convex]
    g = np.where(held, 0.0, g)
    step = -np.linalg.solve(H, g[:, :, None])[:, :, 0]
    return step, -0.5 * np.sum(g * step, axis=1)


def _bend(problem, J, slope, g):
    """Sum over points and terms of slope · share · φφᵀ, φ = (1, −x): with − slope · JJᵀ the second derivative
    of logsumexp (exact but for log R_D). Without it, steps along the flat valley between E and the exponents
    crawl.
    """
    H = np.zeros((*g.shape, g.shape[1]))
    positions = (problem.x,) if problem.form == "power" else (problem.x, problem.z)
    for i, x in zip((0, 2), positions, strict=False):
        H[:, i, i] = g[:, i]
        H[:, i, i + 1] = H[:, i + 1, i] = g[:, i + 1]
        H[:, i + 1, i + 1] = -np.einsum("kp,kp->k", J[:, i + 1], slope * x)
    last = 2 * len(positions)
    H[:, last, last] = g[:, last]
    return H


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
