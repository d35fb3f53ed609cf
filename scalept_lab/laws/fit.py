"""Fit a scaling law to measured points, with intervals on everything that follows from it.

`fit_law` minimises the sum-Huber objective on log loss (Hoffmann et al. 2022, §D.2) from 4,500 scored starts;
`Law` answers with the loss it predicts, the compute-optimal split, and how far to trust either.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from scalept_lab.checks import one_of, positive, whole
from scalept_lab.errors import InputError
from scalept_lab.laws import formulas
from scalept_lab.laws.points import Points, check_points
from scalept_lab.laws.search import DELTA, Problem, make_problem, mean_trap, minimise, objective, search
from scalept_lab.laws.tables import read_points

INSIDE = "inside the sampled range"
SMALL = 40  # below so many points, resampling them often leaves too few different ones to fit


@dataclass(frozen=True)
class Prediction:
    """Loss in nats per token and the 95 % interval of a new measurement: floats, or arrays if asked for many."""

    loss: Any
    low: Any
    high: Any


def error_percent(measured: Any, predicted: Any) -> Any:
    """Error of a prediction in % of it, of one loss or of an array: positive when the loss came out worse than foretold."""
    return 100 * (measured / predicted - 1)


@dataclass(frozen=True)
class Law:
    """A fitted law. `law(N, D)` is its loss; bootstrap `samples` give `predict` and `optimal` their intervals.

    `status`: "converged", "at a bound: NAME", "optimum outside the sampled range", or "not converged";
    `detail` says what that means here. `objective`: sum of Huber terms on log loss. `sigma`: standard
    deviation of log loss around the law, with points − parameters degrees of freedom. `samples`: (K,) of each
    parameter, and of `sigma`.
    """

    form: str
    params: dict[str, float]
    objective: float
    status: str
    detail: str
    sigma: float
    points: Points
    variable: str = ""
    interval95: dict[str, tuple[float, float]] = field(default_factory=dict)
    samples: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __call__(self, N: Any, D: Any = None, unique: Any = None) -> np.ndarray:
        """Loss at N and D (for the power form: at X = N)."""
        return formulas.loss(self.form, self.params, N, D, unique)

    @property
    def a(self) -> float:
        """N_opt grows as C^a under C = 6·N·D; NaN for the power form."""
        return float(formulas.exponent(self.form, self.params))

    @property
    def b(self) -> float:
        return 1 - self.a

    def predict(self, N: Any, D: Any = None, unique: Any = None) -> Prediction:
        """Loss of a new run; the 95 % interval holds what is unsure of the parameters and the noise of runs."""
        if not self.samples:
            raise InputError("this fit has no bootstrap samples, so no interval; fit with bootstrap=1000")
        shaped = [None if v is None else np.asarray(v, float)[..., None] for v in (N, D, unique)]
        spread = formulas.loss(self.form, self.samples, *shaped)
        K = spread.shape[-1]
        draws = np.random.default_rng(0).standard_normal((8, K))  # several for each: a smoother quantile
        noise = np.exp(np.clip(self.samples["sigma"] * draws, -100, 100))
        low, high = np.quantile(spread[..., None, :] * noise, (0.025, 0.975), axis=(-2, -1))
        loss = self(N, D, unique)
        if loss.ndim:
            return Prediction(loss, low, high)
        return Prediction(float(loss), float(low), float(high))

    def optimal(
        self, C: float, flops_per_token: formulas.FlopsPerToken = 6.0, unique: float | None = None
    ) -> formulas.Optimum:
        """The split of C FLOPs with the lowest loss.

        `flops_per_token`: k in C = k·N·D, or a function of N (an array). Intervals are those of the parameters
        alone; `predict` adds the noise of a run. Raises: InputError.
        """
        C = positive("flops", C)
        N, D = (float(v) for v in formulas.split(self.form, self.params, C, flops_per_token, unique))
        intervals = {}
        if self.samples:
            with np.errstate(all="ignore"):
                Ns, Ds = formulas.split(self.form, self.samples, C, flops_per_token, unique)
                losses = formulas.loss(self.form, self.samples, Ns, Ds, unique)
            columns = {"N": Ns, "D": Ds, "tokens_per_param": Ds / Ns, "loss": losses}
            intervals = {name: interval(values) for name, values in columns.items()}
        return formulas.Optimum(C, N, D, D / N, float(self(N, D, unique)), intervals, self._place(N, D))

    def _place(self, N: float, D: float) -> str:
        for name, value, sampled in (("N", N, self.points.N), ("D", D, self.points.D)):
            assert sampled is not None
            low, high = sampled.min(), sampled.max()
            if not low <= value <= high:
                return f"{name} = {value:.3g} lies outside the sampled range {low:.3g} to {high:.3g}"
        return INSIDE


def interval(values: np.ndarray) -> tuple[float, float]:
    """The central 95 % of bootstrap values."""
    low, high = np.nanquantile(np.clip(values, -1e300, 1e300), (0.025, 0.975))
    return float(low), float(high)


def fit_law(
    N: Any, D: Any, L: Any, form: str = "chinchilla", unique: Any = None, bootstrap: int = 0, seed: int = 0,
    *, method: str = "auto", delta: float = DELTA, reduction: str = "sum",
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> Law:  # fmt: skip
    """Fit `form` to P measured points: N parameters, D tokens, L nats per token, each (P,).

    form: `chinchilla`, `data_constrained` (give `unique`: unique tokens of each run), or `power` in the one
        variable that varies (N or D may be None; if both vary, in 6·N·D).
    bootstrap: number of refits behind the intervals. method: "pairs" draws points with replacement; "noise"
        keeps the points and draws new losses around the fitted law, with Student's t spread for points −
        parameters degrees of freedom; "auto" takes pairs from 40 points on (below, a draw of points often
        cannot be fitted).
    delta: width of Huber's quadratic part in log loss. 1e-3 is that of Hoffmann et al. and nearly a median;
        near the noise (1e-2) it is nearly least squares, with narrower intervals where no run is an outlier.
    reduction: "mean" divides the objective by P and hands it to L-BFGS with its default tolerances, which
        then stops before the minimum (Besiroglu et al. 2024): kept to show the trap.
    bounds: limits by name, on top of 0 <= E <= min(L) and those in BOUNDS.
    Raises: InputError.
    """
    points = check_points(N, D, L, unique, form)
    one_of("method", method, ("auto", "pairs", "noise"))
    one_of("reduction", reduction, ("sum", "mean"))
    bootstrap = whole("bootstrap", bootstrap, 0)
    problem, name = make_problem(points, form, bounds)
    delta = positive("delta", delta)
    theta_SxF, value_S, done_S = search(problem, delta)
    best = int(np.argmin(value_S))
    theta, value, done = theta_SxF[best], float(value_S[best]), bool(done_S[best])
    if reduction == "mean":
        theta = mean_trap(problem, delta)
        reached = float(objective(problem, theta[None], delta)[0])
        done = reached <= value * (1 + 1e-6)
        lowest, value = value, reached
    residual = problem.y - problem.predict(theta[None], jacobian=False)[0][0]
    sigma = float(np.sqrt(np.sum(residual**2) / max(1, len(points) - len(theta))))
    params = {key: float(v) for key, v in problem.params(theta).items()}
    law = Law(form, params, value, "", "", sigma, points, name)
    status, detail = _status(law, problem, theta, done)
    if reduction == "mean" and not done:
        detail = (
            f"stopped at a sum of {value:.4g} where {lowest:.4g} can be reached: a mean this small meets the "
            "optimizer's default tolerance far from the minimum"
        )
    law = replace(law, status=status, detail=detail)
    if not bootstrap:
        return law
    return _bootstrap(law, problem, theta, theta_SxF, value_S, bootstrap, seed, method, delta)


def _status(law: Law, problem: Problem, theta: np.ndarray, done: bool) -> tuple[str, str]:
    if not done:
        return "not converged", "no start came to rest; losses that hardly vary or wild outliers do that"
    low, high = theta <= problem.low, theta >= problem.high
    held = [name for name, at in zip(problem.names, low | high, strict=True) if at]
    if held:
        text = f"the points do not determine {held[0]} (held at {law.params[held[0]]:.3g})"
        return f"at a bound: {', '.join(held)}", f"{text}; widen the range of N and D, or add runs"
    if law.form != "power":
        assert law.points.N is not None and law.points.D is not None
        C = float(np.median(6 * law.points.N * law.points.D))
        place = law.optimal(C).status
        if place != INSIDE:
            text = f"at the median compute {C:.3g} the best {place}; shift the sizes of the runs"
            return "optimum outside the sampled range", text
    return "converged", f"at a minimum inside the bounds, {len(law.points)} points"


def _bootstrap(law, problem, theta, found_SxF, value_S, K, seed, method, delta) -> Law:
    """Refit K resamples together, from the fitted law and from up to two other minima of the search."""
    rng = np.random.default_rng(seed)
    P, free = len(problem.y), max(1, len(problem.y) - len(theta))
    sigma_K = law.sigma * np.sqrt(free / rng.chisquare(free, K))
    weights = targets = None
    if method == "pairs" or (method == "auto" and P >= SMALL):
        weights = rng.multinomial(P, np.full(P, 1 / P), size=K).astype(float)
    else:
        fitted = problem.predict(theta[None], jacobian=False)[0][0]
        targets = fitted + sigma_K[:, None] * rng.standard_normal((K, P))
    seeds = [theta]
    for other in found_SxF[np.argsort(value_S)]:
        if len(seeds) < 3 and all(np.abs(other - known).max() > 0.05 for known in seeds):
            seeds.append(other)
    best_KxF, best_K, done_K = minimise(problem, np.tile(theta, (K, 1)), delta, weights, targets)
    for start in seeds[1:]:
        other_KxF, other_K, other_done = minimise(problem, np.tile(start, (K, 1)), delta, weights, targets)
        won = other_K < best_K
        best_KxF[won], best_K[won], done_K[won] = other_KxF[won], other_K[won], other_done[won]
    samples = {name: np.asarray(v) for name, v in problem.params(best_KxF).items()}
    intervals = {name: interval(values) for name, values in samples.items()}
    if law.form != "power":
        a_K = formulas.exponent(law.form, samples)
        intervals |= {"a": interval(a_K), "b": interval(1 - a_K)}
    detail = law.detail
    if not done_K.all():
        detail += f"; {int((~done_K).sum())} of {K} refits did not come to rest"
    return replace(law, samples={**samples, "sigma": sigma_K}, interval95=intervals, detail=detail)


def fit_records(records: Iterable[Any], form: str = "chinchilla", **options: Any) -> Law:
    """Fit to `scalept_lab.runs.RunRecord`s, leaving out those without a loss; `options` as in `fit_law`.

    Raises: InputError if the runs were trained on different text: their losses do not compare.
    """
    runs = [record for record in records if record.L is not None]
    corpora = {record.provenance.get("corpus_sha256", "") for record in runs}
    if len(corpora) > 1:
        raise InputError(
            f"the runs come from {len(corpora)} different corpora; fit those of one corpus at a time"
        )
    unique = None
    if form == "data_constrained":
        unique = [min(record.D, record.config.get("unique_tokens") or record.D) for record in runs]
    N, D, L = ([getattr(record, key) for record in runs] for key in ("N", "D", "L"))
    law = fit_law(N, D, L, form, unique, **options)
    return replace(law, points=replace(law.points, runs=tuple(record.id for record in runs)))


def fit_cli(
    path: str | Path, form: str = "chinchilla", bootstrap: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """`scalept fit`: the JSON object of the command line for a CSV of points. Raises: InputError."""
    began = time.perf_counter()
    points = read_points(path, form)
    law = fit_law(points.N, points.D, points.L, form, points.unique, bootstrap, seed)
    exponents = {"a": None, "b": None} if form == "power" else {"a": law.a, "b": law.b}
    return {
        "params": law.params,
        "objective": law.objective,
        "interval95": {name: list(pair) for name, pair in law.interval95.items()},
        "status": law.status,
        "seconds": time.perf_counter() - began,
        "optimal": exponents,
    }
