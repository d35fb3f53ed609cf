"""The search for a law's constants: sum-Huber regression on log loss from several starts, many problems at once.

The objective of Hoffmann et al. 2022 (§D.2): sum over runs of Huber_δ(log L̂ − log L), δ = 1e-3. Every form of
`scalept_lab.laws.formulas` is L = E + R with its own reducible loss R, so that log L̂ = logaddexp(log E, log R). Two changes
make the search fast, and move no minimum:

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
from scalept_lab.laws.formulas import ONE_VARIABLE
from scalept_lab.laws.points import Points, variable

DELTA = 1e-3
SHORT = 40  # steps after which the few problems still on their way are gathered into fewer chunks
STRAIGHT = 12  # steps before the curvature of the law itself is worth computing: most are done by then
CHUNK = 128  # problems advanced together: their arrays of 240 points then stay in the processor's cache
MANY = 2000  # points: from so many on, starts are scored on a part of them
SHARPNESS = 0.5  # width of a broken power law's bend, in units of log X

NAMES = {
    "power": ("A", "alpha", "E"),
    "broken_power": ("A", "alpha", "alpha_2", "X_0", "E"),
    "chinchilla": ("A", "alpha", "B", "beta", "E"),
    "tied": ("A", "alpha", "B", "E"),
    "power_of_sum": ("A", "alpha", "B", "beta", "E", "kappa"),
    "data_constrained": ("A", "alpha", "B", "beta", "E", "R_D"),
}
PRINTED = ("E", "A", "B", "alpha", "beta", "kappa", "R_D", "alpha_2", "X_0")


@dataclass(frozen=True)
class Problem:
    """P points of one form, ready to fit.

    A row of theta holds the constants in the order of NAMES: log A' = log A − alpha · mean(log N), alpha, …, log E,
    log R_D, log X_0 (centred). The power of a sum is written as R = (u^(1/kappa) + v^(1/kappa))^kappa with
    u = A'/N^alpha', v = B'/D^beta': these two keep their meaning whatever kappa is, so a search over kappa is easy.
    """

    form: str
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
        return NAMES[self.form]

    @property
    def column(self) -> dict[str, int]:
        """Where a constant stands in theta; the tied form's beta is its alpha."""
        found = {name: i for i, name in enumerate(self.names)}
        return {**found, "beta": found["alpha"]} if self.form == "tied" else found

    def only(self, rows: np.ndarray) -> Problem:
        """The same problem on some of its points."""
        z, repeats, unique = (None if v is None else v[rows] for v in (self.z, self.repeats, self.log_unique))
        return replace(self, x=self.x[rows], y=self.y[rows], z=z, repeats=repeats, log_unique=unique)

    def at(self, N: np.ndarray, D: np.ndarray | None = None, unique: np.ndarray | None = None) -> Problem:
        """The same form at other places, which have no losses yet: N (or X), D and unique tokens, each (P,)."""
        x, z, repeats, log_unique = np.log(N) - self.x_mean, None, None, None
        if self.z is not None:
            assert D is not None
            z = np.log(D) - self.z_mean
            if self.form == "data_constrained":
                fresh = D if unique is None else np.minimum(unique, D)
                repeats, log_unique = D / fresh - 1, np.log(fresh) - self.z_mean
        empty = np.zeros_like(x)
        return replace(self, x=x, y=empty, z=z, repeats=repeats, log_unique=log_unique)

    def params(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Constants as printed (E, A, alpha, …), from theta of shape (..., F)."""
        out = {name: theta[..., i] for name, i in self.column.items()}
        for scale, power, mean in (("A", "alpha", self.x_mean), ("B", "beta", self.z_mean)):
            if scale in out:
                log = out[scale] + out[power] * mean
                if "kappa" in out:
                    out[power] = out[power] / out["kappa"]
                    log = log / out["kappa"]
                out[scale] = np.exp(np.minimum(log, 700.0))
        out["E"] = np.exp(out["E"])
        if "R_D" in out:
            out["R_D"] = np.exp(out["R_D"])
        if "X_0" in out:
            out["X_0"] = np.exp(out["X_0"] + self.x_mean)
        return {name: out[name] for name in PRINTED if name in out}

    def theta(self, **p: float) -> np.ndarray:
        """The inverse of `params`."""
        kappa = p.get("kappa", 1.0)
        found = {"A": kappa * np.log(p["A"]) - kappa * p["alpha"] * self.x_mean, "E": np.log(p["E"])}
        if "B" in p:
            found["B"] = kappa * np.log(p["B"]) - kappa * p["beta"] * self.z_mean
        for name in ("alpha", "beta"):
            found[name] = kappa * p.get(name, 0.0)
        found |= {name: p[name] for name in ("kappa", "alpha_2") if name in p}
        found |= {"R_D": np.log(p["R_D"])} if "R_D" in p else {}
        found |= {"X_0": np.log(p["X_0"]) - self.x_mean} if "X_0" in p else {}
        return np.array([found[name] for name in self.names])

    def predict(self, theta: np.ndarray, jacobian: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
        """log L̂ (K, P) and its derivative (K, F, P) at theta (K, F)."""
        at = {name: theta[:, i, None] for name, i in self.column.items()}
        e = at["E"]
        if self.form in ("power_of_sum", "broken_power"):
            rho, slopes = self._bent(at, jacobian)
            ratio = np.exp(np.clip(rho - e, -300.0, 300.0))
            log_f = e + np.log1p(ratio)
            if not jacobian:
                return log_f, None
            J = np.empty((*theta.shape, len(self.y)))
            inverse = 1 / (1 + ratio)
            share = ratio * inverse
            for name, slope in slopes.items():
                np.multiply(share, slope, out=J[:, self.column[name]])
            J[:, self.column["E"]] = inverse
            return log_f, J
        terms, positions = [at["A"] - at["alpha"] * self.x], [self.x]
        if self.form == "data_constrained":
            assert self.repeats is not None and self.log_unique is not None
            r = np.exp(at["R_D"])
            decay = np.exp(-self.repeats / r)
            gain = 1 + r * (1 - decay)
            positions.append(self.log_unique + np.log(gain))
        elif self.z is not None:
            positions.append(self.z)
        if len(positions) > 1:
            terms.append(at["B"] - at["beta"] * positions[1])
        # relative to log E: E is the largest term or close to it on any data worth fitting
        shares = [np.exp(np.minimum(term - e, 300.0)) for term in terms]
        total = 1 + sum(shares)
        log_f = e + np.log(total)
        if not jacobian:
            return log_f, None
        J = np.empty((*theta.shape, len(self.y)))
        inverse = 1 / total
        seen: set[int] = set()
        for scale, power, share, position in zip("AB", ("alpha", "beta"), shares, positions, strict=False):
            i, j = self.column[scale], self.column[power]
            np.multiply(share, inverse, out=J[:, i])
            if j in seen:
                J[:, j] -= J[:, i] * position
            else:
                np.multiply(J[:, i], -position, out=J[:, j])
            seen.add(j)
        J[:, self.column["E"]] = inverse
        if self.form == "data_constrained":
            d_gain = r * (1 - decay) - self.repeats * decay  # d gain / d log R_D
            J[:, self.column["R_D"]] = -at["beta"] * J[:, self.column["B"]] * d_gain / gain
        return log_f, J

    def _bent(self, at, slopes: bool):
        """log R (K, P) of the two forms that are no plain sum, and its slope by each constant."""
        if self.form == "broken_power":
            bend = (self.x - at["X_0"]) / SHARPNESS
            soft = SHARPNESS * np.logaddexp(0.0, bend)
            rho = at["A"] - at["alpha"] * self.x - (at["alpha_2"] - at["alpha"]) * soft
            if not slopes:
                return rho, {}
            past = 1 / (1 + np.exp(-np.clip(bend, -300, 300)))
            turned = (at["alpha_2"] - at["alpha"]) * past
            return rho, {"A": 1.0, "alpha": soft - self.x, "alpha_2": -soft, "X_0": turned}
        kappa = at["kappa"]
        assert self.z is not None
        u, v = at["A"] - at["alpha"] * self.x, at["B"] - at["beta"] * self.z
        gap = np.clip((v - u) / kappa, -300.0, 300.0)
        ratio = np.exp(gap)
        log_sum = np.log1p(ratio)
        rho = u + kappa * log_sum
        if not slopes:
            return rho, {}
        second = ratio / (1 + ratio)
        first = 1 - second
        return rho, {
            "A": first, "alpha": -self.x * first, "B": second, "beta": -self.z * second,
            "kappa": log_sum - gap * second,  # the entropy of the two shares
        }  # fmt: skip


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
        full = H + (_bend(problem, theta, J, slope, g) - (J * slope[:, None, :]) @ outer) * free
        convex = np.linalg.eigvalsh(full)[:, 0] > 0  # elsewhere Newton's step would head for a saddle
        H[convex] = full[convex]
    g = np.where(held, 0.0, g)
    step = -np.linalg.solve(H, g[:, :, None])[:, :, 0]
    return step, -0.5 * np.sum(g * step, axis=1)


def _bend(problem, theta, J, slope, g):
    """Sum over points and terms of slope · share · φφᵀ, φ = (1, −x): with − slope · JJᵀ the second derivative
    of logsumexp (exact but for log R_D). Without it, steps along the flat valley between E and the exponents
    crawl.
    """
    if problem.form in ("power_of_sum", "broken_power"):
        return _bend_of_one_term(problem, theta, J, slope, g)
    H = np.zeros((*g.shape, g.shape[1]))
    at = problem.column
    if problem.form == "tied":  # alpha's column of J holds both terms
        by_x, by_z = -J[:, at["A"]] * problem.x, -J[:, at["B"]] * problem.z
    else:
        by_x, by_z = J[:, at["alpha"]], J[:, at["beta"]] if "beta" in at else None
    for scale, power, column, x in (("A", "alpha", by_x, problem.x), ("B", "beta", by_z, problem.z)):
        if scale not in at:
            continue
        i, j = at[scale], at[power]
        along = np.einsum("kp,kp->k", column, slope)
        H[:, i, i] = g[:, i]
        H[:, i, j] = H[:, j, i] = along
        H[:, j, j] -= np.einsum("kp,kp->k", column, slope * x)
    H[:, at["E"], at["E"]] = g[:, at["E"]]
    return H


def _bend_of_one_term(problem, theta, J, slope, g):
    """The same where R is one term: slope · share · (∇ρ∇ρᵀ + ∇²ρ), ρ = log R."""
    at, E = problem.column, problem.column["E"]
    value = {name: theta[:, i, None] for name, i in at.items()}
    share = 1 - J[:, E]
    weight = slope / np.maximum(share, 1e-12)
    H = (J * weight[:, None, :]) @ J.transpose(0, 2, 1)
    H[:, E, :] = H[:, :, E] = 0.0
    H[:, E, E] = g[:, E]
    if problem.form == "power_of_sum":
        kappa = value["kappa"]
        u, v = value["A"] - value["alpha"] * problem.x, value["B"] - value["beta"] * problem.z
        gap = np.clip((v - u) / kappa, -300.0, 300.0)
        second = 1 / (1 + np.exp(-gap))
        turn = np.zeros_like(J)  # how each constant moves the gap between the two terms, times kappa
        columns = {"A": -1.0, "alpha": problem.x, "B": 1.0, "beta": -problem.z, "kappa": -gap}
        for name, column in columns.items():
            turn[:, at[name]] = column
        bend = slope * share * second * (1 - second) / kappa
        return H + (turn * bend[:, None, :]) @ turn.transpose(0, 2, 1)
    past = 1 / (1 + np.exp(-np.clip((problem.x - value["X_0"]) / SHARPNESS, -300, 300)))
    along = np.sum(slope * share * past, axis=1)
    i, j, k = at["alpha"], at["alpha_2"], at["X_0"]
    H[:, i, k] -= along
    H[:, k, i] -= along
    H[:, j, k] += along
    H[:, k, j] += along
    turned = (value["alpha_2"] - value["alpha"]) * past * (1 - past) / SHARPNESS
    H[:, k, k] -= np.sum(slope * share * turned, axis=1)
    return H


BOUNDS = {
    "alpha": (0.01, 2.0), "beta": (0.01, 2.0), "alpha_2": (0.01, 4.0), "kappa": (0.1, 2.0), "R_D": (0.05, 1000.0),
}  # fmt: skip
POLISH = 8  # starts of each kind that are followed to a minimum; more never changed the result
BOUNDED = ("alpha", "beta", "E", "R_D", "kappa", "alpha_2")


def make_problem(
    points: Points,
    form: str,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    variable_name: str = "",
    lowest: float | None = None,
) -> tuple[Problem, str]:
    """The centred regression problem for checked points, and the variable of a form that has one (else "").

    `variable_name`: params, tokens or flops, for those forms. Equal limits hold a constant where they are. `lowest`: the highest
    that E may be, the lowest loss by default.
    Raises: InputError for limits that leave nothing between them.
    """
    one = form in ONE_VARIABLE
    name, X = variable(points, variable_name) if one else ("", points.N)
    assert X is not None
    x, y = np.log(X), np.log(points.L)
    z = repeats = log_unique = None
    z_mean = 0.0
    if not one:
        assert points.D is not None
        z = np.log(points.D)
        z_mean = float(z.mean())
        z = z - z_mean
    if form == "data_constrained":
        assert points.D is not None and points.unique is not None
        unique = np.minimum(points.unique, points.D)
        repeats, log_unique = points.D / unique - 1, np.log(unique) - z_mean
    problem = Problem(form, x - x.mean(), y, z, repeats, log_unique, float(x.mean()), z_mean)
    return _bounded(problem, bounds or {}, lowest or float(points.L.min())), name


def _bounded(problem: Problem, bounds: Mapping[str, tuple[float, float]], lowest: float) -> Problem:
    known = [name for name in BOUNDED if name in problem.names]
    if problem.form == "power_of_sum":  # its alpha is a ratio of two columns of theta
        known = [name for name in known if name not in ("alpha", "beta")]
    for name, pair in bounds.items():
        if name not in known:
            raise InputError(f"bounds: form {problem.form} can bound {', '.join(known)}, got {name}")
        low, high = pair
        if not 0 <= low <= high:
            raise InputError(f"bounds: {name} expected 0 <= low <= high, got {low:g} and {high:g}")
    if "E" in bounds and bounds["E"][0] >= lowest:
        raise InputError(
            f"bounds: E at {bounds['E'][0]:g} or above leaves nothing to learn below the lowest loss, {lowest:g}; "
            "E is the loss that no model and no data remove"
        )
    floor = float(np.exp(problem.y.min() - 7.0))  # a thousandth of the lowest loss: as good as zero
    limits = {**BOUNDS, "E": (0.0, lowest), **bounds}
    limits["E"] = (limits["E"][0], min(limits["E"][1], lowest))
    pairs = []
    for name in problem.names:
        if name in "AB":  # these after centring: the reducible loss at the middle of the points
            pairs.append((np.log(floor), problem.y.max() + 5.0))
        elif name in ("E", "R_D"):
            pairs.append(tuple(np.log(np.maximum(limits[name], floor if name == "E" else 1e-6))))
        elif name == "X_0":
            pairs.append(tuple(np.quantile(problem.x, (0.1, 0.9))))
        else:
            pairs.append(limits[name])
    low, high = np.array(pairs, float).T
    return replace(problem, low=low, high=high)


@lru_cache
def _grid(form: str) -> np.ndarray:
    """The 4,500 starts of Hoffmann et al. 2022 (§D.2): log A, log B 0…25, alpha, beta 0…2, log E −1…1."""
    scale, power, level = np.arange(0, 26, 5.0), np.arange(0, 2.1, 0.5), np.arange(-1, 1.1, 0.5)
    if form == "power":
        return np.array(list(itertools.product(scale, power, level)))
    if form == "tied":
        return np.array(list(itertools.product(scale, power, scale, level)))
    axes = [scale, power, scale, power, level]
    return np.array(
        list(itertools.product(*axes, *([np.log([3.0, 15.0])] if form == "data_constrained" else [])))
    )


def starts(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """The published grid, and profiled starts (exponents on a grid, E, A, B by least squares), each (S, F)."""
    at = problem.column
    grid = _grid(problem.form).copy()
    grid[:, at["A"]] -= grid[:, at["alpha"]] * problem.x_mean
    if "B" in at:
        grid[:, at["B"]] -= grid[:, at["beta"]] * problem.z_mean
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
        if problem.form == "tied":
            pairs = [(a, a) for a in np.linspace(0.05, 1.5, 30)]
        for alpha, beta in pairs:
            columns = [np.exp(-alpha * problem.x)] + ([] if z is None else [np.exp(-beta * z)])
            design_FxP = np.stack([*columns, np.ones_like(weight)]) * weight
            solved = np.linalg.lstsq(design_FxP.T, np.ones_like(weight), rcond=None)[0]
            logs = np.log(np.maximum(solved, 1e-3 * np.exp(problem.y.min())))
            row = {
                "A": logs[0],
                "alpha": alpha,
                "B": logs[1],
                "beta": beta,
                "E": logs[-1],
                "R_D": np.log(decay),
            }
            profiled.append([row[name] for name in problem.names])
    return grid, np.clip(np.array(profiled), problem.low, problem.high)


def search(problem: Problem, delta: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best starts of each kind, followed to their minima: what `minimise` returns."""
    few = problem
    if len(problem.y) > MANY:  # the starts are far apart: a part of the points tells the good from the bad
        few = problem.only(np.linspace(0, len(problem.y) - 1, MANY).astype(int))
    if problem.form in ("power_of_sum", "broken_power"):
        found = _grown(few, delta)
    else:
        inside = [np.clip(candidates, problem.low, problem.high) for candidates in starts(few)]
        found = np.concatenate([_best(few, s, delta) for s in inside])
    if few is not problem:
        theta, value, _ = minimise(few, found, delta)
        found = theta[np.argsort(value, kind="stable")[:2]]
    return minimise(problem, found, delta)


def _grown(problem: Problem, delta: float) -> np.ndarray:
    """Starts (S, F) of a form with one bend more than another: that form's minima, with the bend here and there."""
    parent = {"power_of_sum": "chinchilla", "broken_power": "power"}[problem.form]
    keep = [problem.names.index(name) for name in NAMES[parent]]
    simple = replace(problem, form=parent, low=problem.low[keep], high=problem.high[keep])
    theta, value, _ = search(simple, delta)
    rows = []
    for found in theta[np.argsort(value, kind="stable")[:4]]:
        known = dict(zip(NAMES[parent], found, strict=True))
        if problem.form == "power_of_sum":
            bends = [{"kappa": kappa} for kappa in (1.0, 0.6, 0.3)]
        else:
            bends = [
                {"alpha_2": known["alpha"] * turn, "X_0": place}
                for turn in (1.0, 0.5, 2.5)
                for place in np.quantile(problem.x, (0.25, 0.5, 0.75))
            ]
        rows += [[{**known, **bend}[name] for name in problem.names] for bend in bends]
    return np.clip(np.array(rows), problem.low, problem.high)


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
