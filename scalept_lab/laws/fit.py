"""Fit a scaling law to measured points, with intervals on everything that follows from it.

`fit_law` minimises the sum-Huber objective on log loss (Hoffmann et al. 2022, §D.2) from 4,500 scored starts, in the form
it is given, or in the one that forecasts best (`scalept_lab.laws.choice`). `Law` answers with the loss it predicts, the
compute-optimal split, and how far to trust either; `scalept_lab.laws.card` says what these runs can tell at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from scalept_lab.checks import one_of, positive, shown, whole
from scalept_lab.errors import InputError
from scalept_lab.laws import choice, formulas
from scalept_lab.laws.choice import Choice
from scalept_lab.laws.formulas import INSIDE, NO_SPLIT
from scalept_lab.laws.odd import odd_runs, rest_of
from scalept_lab.laws.points import Points, check_points
from scalept_lab.laws.search import DELTA, Problem, make_problem, mean_trap, minimise, objective, search

SMALL = 40  # below so many points, resampling them often leaves too few different ones to fit
# forms whose refits creep: after so many steps they are near enough for an interval
REFIT_STEPS = {"power_of_sum": 120, "broken_power": 120}
LARGE = 5000  # above so many points, refits tell no more than their limit for many points
MOST = 200_000  # points that are fitted; of more, so many are taken, evenly over compute
MISFIT = 3.5  # t value of a trend in the residuals from which the form is said to be wrong


@dataclass(frozen=True)
class Prediction:
    """Loss in nats per token and the 95 % interval of a new measurement: floats, or arrays if asked for many."""

    loss: Any
    low: Any
    high: Any


def error_percent(measured: Any, predicted: Any) -> Any:
    """Error of a prediction in % of it, of one loss or of an array: positive when the loss came out worse than predicted."""
    return 100 * (measured / predicted - 1)


@dataclass(frozen=True)
class Law:
    """A fitted law. `law(N, D)` is its loss; bootstrap `samples` give `predict` and `optimal` their intervals.

    `status`: "converged"; "misfit: …", the residuals follow a variable; "optimum outside the sampled range"; "at a
    bound: NAME"; "D follows N: no split can be told"; or "not converged". `detail` says what that means here.
    `choice`: how the form was chosen, and how wide its forecasts have to be, where it was chosen. `objective`: sum of
    Huber terms on log loss. `sigma`: standard deviation of log loss around the law, with points − parameters degrees of
    freedom. `samples`: (K,) of each parameter, and of `sigma`.
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
    choice: Choice | None = field(default=None, repr=False)

    def __call__(self, N: Any, D: Any = None, unique: Any = None) -> np.ndarray:
        """Loss at N and D (a form in one variable: at X = N). Raises: InputError."""
        N, D, unique = _sizes(self.form, N, D, unique)
        return formulas.loss(self.form, self.params, N, D, unique)

    @property
    def a(self) -> float:
        """N_opt grows as C^a under C = 6·N·D; NaN for the power form."""
        return float(formulas.exponent(self.form, self.params))

    @property
    def b(self) -> float:
        return 1 - self.a

    def predict(self, N: Any, D: Any = None, unique: Any = None) -> Prediction:
        """Loss of a new run and the 95 % interval of its measurement.

        The interval holds what is unsure of the parameters and the noise of runs (bootstrap), and where the form was
        chosen also the error of that form, as far as forecasts of the past showed it. Raises: InputError.
        """
        margin = self.choice.margin if self.choice else None
        N, D, unique = _sizes(self.form, N, D, unique)
        if not self.samples and margin is None:
            raise InputError("this fit has no bootstrap samples, so no interval; fit with bootstrap=1000")
        loss = formulas.loss(self.form, self.params, N, D, unique)
        low, high = np.full(loss.shape, np.inf), np.full(loss.shape, -np.inf)
        if self.samples:
            shaped = [None if v is None else np.asarray(v, float)[..., None] for v in (N, D, unique)]
            spread = formulas.loss(self.form, self.samples, *shaped)
            K = spread.shape[-1]
            draws = np.random.default_rng(0).standard_normal((8, K))  # several for each: a smoother quantile
            noise = np.exp(np.clip(self.samples["sigma"] * draws, -100, 100))
            low, high = np.quantile(spread[..., None, :] * noise, (0.025, 0.975), axis=(-2, -1))
        if margin is not None:
            n, d, u = (None if v is None else np.broadcast_to(v, loss.shape).ravel() for v in (N, D, unique))
            half = np.minimum(margin.half * margin.scale(n, d, u), 100.0).reshape(loss.shape)
            low, high = np.minimum(low, loss * np.exp(-half)), np.maximum(high, loss * np.exp(half))
        if loss.ndim:
            return Prediction(loss, low, high)
        return Prediction(float(loss), float(low), float(high))

    def optimal(
        self, C: float, flops_per_token: formulas.FlopsPerToken = 6.0, unique: float | None = None
    ) -> formulas.Optimum:
        """The split of C FLOPs with the lowest loss.

        `flops_per_token`: k in C = k·N·D, or a function of N (an array). Intervals are those of the parameters
        alone; `predict` adds the noise of a run. Raises: InputError, also where D followed N in the runs.
        """
        C = positive("flops", C)
        if self.status == NO_SPLIT:
            raise InputError(f"{NO_SPLIT}: {self.detail}")
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
        p = self.points
        assert p.N is not None and p.D is not None
        ranges = {"N": (p.N.min(), p.N.max()), "D": (p.D.min(), p.D.max())}
        return formulas.placed(N, D, ranges)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The central 95 % of bootstrap values."""
    low, high = np.nanquantile(np.clip(values, -1e300, 1e300), (0.025, 0.975))
    return float(low), float(high)


def _sizes(form: str, N: Any, D: Any, unique: Any) -> list[Any]:
    """N, D and unique tokens as arrays. Raises: InputError for what is missing, negative, zero or no number."""
    found: list[Any] = []
    needed = ("N",) if form in formulas.ONE_VARIABLE else ("N", "D")
    for name, value in zip(("N", "D", "unique"), (N, D, unique), strict=True):
        if value is None:
            if name in needed:
                raise InputError(
                    f"{name}: form {form} predicts loss from {' and '.join(needed)}, got no {name}"
                )
            found.append(None)
            continue
        try:
            array = np.asarray(value, float)
        except (TypeError, ValueError):
            raise InputError(f"{name}: expected positive numbers, got {shown(value)}") from None
        wrong = ~(np.isfinite(array) & (array > 0))
        if wrong.any():
            raise InputError(f"{name}: expected positive numbers, got {array[wrong].ravel()[0]:g}")
        found.append(array)
    if form in formulas.ONE_VARIABLE:
        found[1:] = [None, None]
    return found


def fit_law(
    N: Any, D: Any, L: Any, form: str = "chinchilla", unique: Any = None, bootstrap: int = 0, seed: int = 0,
    *, C: Any = None, variable: str = "", method: str = "auto", delta: float = DELTA, reduction: str = "sum",
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> Law:  # fmt: skip
    """Fit `form` to P measured points: N parameters, D tokens, L nats per token, each (P,).

    form: one of `formulas.FORMULAS` (`data_constrained` needs `unique`: unique tokens of each run), or `auto`: the one
        that forecasts best, which also makes the intervals of `predict` hold the form's own error.
    variable: the one that `power` and `broken_power` take: params, tokens or flops; by default the one that varies,
        or compute if both do (`C` where it is given, else 6·N·D).
    bootstrap: number of refits behind the intervals. method: "pairs" draws points with replacement; "noise"
        keeps the points and draws new losses around the fitted law, with Student's t spread for points −
        parameters degrees of freedom; "auto" takes pairs from 40 points on (below, a draw of points often
        cannot be fitted), and from 5,001 on the limit that refits come to (Koenker & Bassett 1978, theorem 4.2).
    delta: width of Huber's quadratic part in log loss. 1e-3 is that of Hoffmann et al. and nearly a median;
        near the noise (1e-2) it is nearly least squares, with narrower intervals where no run is an outlier.
    reduction: "mean" divides the objective by P and hands it to L-BFGS with its default tolerances, which
        then stops before the minimum (Besiroglu et al. 2024): kept to show the trap.
    bounds: limits by name, on top of 0 <= E <= min(L) and those in BOUNDS; equal limits pin a constant, as in
        {"E": (1.7, 1.7)}.
    Raises: InputError.
    """
    points = check_points(N, D, L, unique, form, C=C)
    one_of("method", method, ("auto", "pairs", "noise"))
    one_of("reduction", reduction, ("sum", "mean"))
    bootstrap = whole("bootstrap", bootstrap, 0, 100_000)
    delta = positive("delta", delta)
    return fit_points(
        points, form, bootstrap, seed, variable=variable, method=method, delta=delta, reduction=reduction, bounds=bounds
    )  # fmt: skip


def fit_points(
    points: Points, form: str = "chinchilla", bootstrap: int = 0, seed: int = 0,
    *, variable: str = "", method: str = "auto", delta: float = DELTA, reduction: str = "sum",
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> Law:  # fmt: skip
    """`fit_law` for points that are checked already. Raises: InputError."""
    chosen = None
    if len(points) > MOST:
        by = points.L if points.N is None or points.D is None else points.N * points.D
        kept = choice.evenly(points, by, MOST)
        note = f"fitted to {MOST:,} of {len(points):,} runs, taken evenly over compute"
        points = replace(kept, notes=(*points.notes, note))
    if form == "auto":
        chosen = choice.choose(points, choice.candidates(points, bounds or {}), delta, bounds, variable)
        form = chosen.form
    problem, name = make_problem(points, form, bounds, variable)
    unknowns = int(np.sum(problem.low < problem.high))
    if len(points) <= unknowns:
        raise InputError(
            f"form {form} has {unknowns} constants to find and there are {len(points)} runs, so it can match them all exactly "
            "and forecast nothing; add runs, pin a constant, or take form tied or power"
        )
    theta_SxF, value_S, done_S = search(problem, delta)
    best = int(np.argmin(value_S))
    theta, value, done = theta_SxF[best], float(value_S[best]), bool(done_S[best])
    if reduction == "mean":
        theta = mean_trap(problem, delta)
        reached = float(objective(problem, theta[None], delta)[0])
        done = reached <= value * (1 + 1e-6)
        lowest, value = value, reached
    found = choice.fitted(problem, theta)
    params = {key: float(v) for key, v in problem.params(theta).items()}
    law = Law(form, params, value, "", "", found.sigma, points, name, choice=chosen)
    status, detail = _status(law, problem, theta, done, found)
    if reduction == "mean" and not done:
        detail = (
            f"stopped at a sum of {value:.4g} where {lowest:.4g} can be reached: a mean this small meets the "
            "optimizer's default tolerance far from the minimum"
        )
    if chosen is not None and chosen.why:
        detail = f"{detail}; {chosen.why}"
    law = replace(law, status=status, detail=detail)
    if not bootstrap:
        return law
    if method == "auto" and len(points) > LARGE:
        return _many(law, problem, theta, found, bootstrap, seed)
    return _bootstrap(law, problem, theta, theta_SxF, value_S, bootstrap, seed, method, delta)


def _status(
    law: Law, problem: Problem, theta: np.ndarray, done: bool, found: choice.Fitted
) -> tuple[str, str]:
    if not done:
        return "not converged", "no start came to rest; losses that hardly vary or wild outliers do that"
    if law.form not in formulas.ONE_VARIABLE and choice.follows(law.points):
        return NO_SPLIT, (
            "in all runs D is the same power of N, so nothing tells what either of them does; vary the tokens at one "
            "model size, or fit form power, which forecasts along this path"
        )
    pinned = problem.low == problem.high
    low, high = theta <= problem.low, theta >= problem.high
    held = [name for name, at in zip(problem.names, (low | high) & ~pinned, strict=True) if at]
    if held:
        text = f"the points do not determine {held[0]} (held at {law.params[held[0]]:.3g})"
        return f"at a bound: {', '.join(held)}", f"{text}; widen the range of N and D, or add runs"
    if law.form not in formulas.ONE_VARIABLE:
        assert law.points.N is not None and law.points.D is not None
        C = float(np.median(6 * law.points.N * law.points.D))
        place = law.optimal(C).status
        if place != INSIDE:
            text = f"at the median compute {C:.3g} the best {place}; shift the sizes of the runs"
            return "optimum outside the sampled range", text
    followed = {name: t for name, t in trends(found).items() if abs(t) > MISFIT}
    if followed:
        worst = max(followed, key=lambda name: abs(followed[name]))
        return f"misfit: residuals follow {worst}", (
            f"the form is wrong for these runs by more than their scatter (t = {followed[worst]:.1f}); "
            "a forecast far from them can be off by more than its parameters tell; form auto allows for that"
        )
    return "converged", f"at a minimum inside the bounds, {len(law.points)} points"


def trends(found: choice.Fitted) -> dict[str, float]:
    """t values of what a right form leaves no trace of in its residuals: curvature in log D/N and in log C (or log X).

    Each variable is first cleared of what the constants of the law can take up (an added-variable test). The largest
    residuals are cut at three times the median one: single outliers are no trend. Empty where the fit is all but exact.
    """
    problem = found.problem
    log_loss, J = problem.predict(found.theta[None])
    assert J is not None
    J, r = J[0][found.free], problem.y - log_loss[0]
    P, F = len(r), len(J)
    if found.sigma < 1e-6 or P - F < 6:
        return {}
    usual = float(np.median(np.abs(r)))
    r = np.clip(r, -4.5 * usual, 4.5 * usual)  # three standard deviations of a normal with this median
    tried = (
        {"log X": problem.x}
        if problem.z is None
        else {"log D/N": problem.z - problem.x, "log C": problem.z + problem.x}
    )
    out = {}
    basis = np.vstack([J, np.ones(P)])
    r = r - np.linalg.lstsq(basis.T, r, rcond=None)[0] @ basis
    for name, x in tried.items():
        column = (x - x.mean()) ** 2
        if np.ptp(x) < 1e-9:
            continue
        column = column - np.linalg.lstsq(basis.T, column, rcond=None)[0] @ basis
        size = np.sqrt(column @ column)
        if size < 1e-6 * np.sqrt(P):
            continue
        slope = column @ r / size
        left = max(float(r @ r) - slope**2, 1e-300) / max(1, P - F - 2)
        out[name] = float(slope / np.sqrt(left))
    return out


def _many(law: Law, problem: Problem, theta: np.ndarray, found: choice.Fitted, K: int, seed: int) -> Law:
    """Draws from the limit of refits for many points: normal around theta, with the covariance of a median regression."""
    rng = np.random.default_rng(seed)
    r = np.sort(np.abs(problem.y - problem.predict(theta[None], jacobian=False)[0][0]))
    near = max(1, round(len(r) * 0.2))
    density = near / len(r) / (2 * max(r[near - 1], 1e-12))  # of residuals at zero
    draws = np.tile(theta, (K, 1))
    root = np.linalg.cholesky(found.inverse + 1e-18 * np.eye(len(found.inverse)))
    draws[:, found.free] += rng.standard_normal((K, len(root))) @ root.T / (2 * density)
    draws = np.clip(draws, problem.low, problem.high)
    return _sampled(law, problem, draws, np.full(K, law.sigma), law.detail)


def _bootstrap(law, problem, theta, found_SxF, value_S, K, seed, method, delta) -> Law:
    """Refit K resamples together, from the fitted law and from up to two other minima of the search."""
    rng = np.random.default_rng(seed)
    P, free = len(problem.y), max(1, len(problem.y) - len(theta))
    sigma_K = law.sigma * np.sqrt(free / rng.chisquare(free, K))
    steps = REFIT_STEPS.get(law.form, 500)
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
    best_KxF, best_K, done_K = minimise(problem, np.tile(theta, (K, 1)), delta, weights, targets, steps)
    for start in seeds[1:]:
        other_KxF, other_K, other_done = minimise(
            problem, np.tile(start, (K, 1)), delta, weights, targets, steps
        )
        won = other_K < best_K
        best_KxF[won], best_K[won], done_K[won] = other_KxF[won], other_K[won], other_done[won]
    detail = law.detail
    if not done_K.all():
        detail += f"; {int((~done_K).sum())} of {K} refits stopped before they reached a minimum"
    return _sampled(law, problem, best_KxF, sigma_K, detail)


def _sampled(law: Law, problem: Problem, theta_KxF: np.ndarray, sigma_K: np.ndarray, detail: str) -> Law:
    samples = {name: np.asarray(v) for name, v in problem.params(theta_KxF).items()}
    intervals = {name: interval(values) for name, values in samples.items()}
    if law.form not in formulas.ONE_VARIABLE:
        a_K = formulas.exponent(law.form, samples)
        intervals |= {"a": interval(a_K), "b": interval(1 - a_K)}
    return replace(law, samples={**samples, "sigma": sigma_K}, interval95=intervals, detail=detail)


def fit_records(records: Iterable[Any], form: str = "chinchilla", **options: Any) -> Law:
    """Fit to `scalept_lab.runs.RunRecord`s, leaving out those without a loss; `options` as in `fit_law`.

    Runs that cannot be of the law of the others (`odd_runs`) are left out as well, and `detail` names them.
    Raises: InputError if the runs were trained on different text: their losses do not compare.
    """
    runs = [record for record in records if record.L is not None]
    corpora = {record.provenance.get("corpus_sha256", "") for record in runs}
    if len(corpora) > 1:
        raise InputError(
            f"the runs come from {len(corpora)} different corpora; fit those of one corpus at a time"
        )
    given = [record.config.get("unique_tokens") for record in runs]
    unique = None
    if form == "data_constrained" or (form == "auto" and any(given)):
        unique = [min(record.D, amount or record.D) for record, amount in zip(runs, given, strict=True)]
    N, D, L, C = ([getattr(record, key) for record in runs] for key in ("N", "D", "L", "C"))
    points = check_points(N, D, L, unique, form, C=C)
    points = replace(points, runs=tuple(record.id for record in runs))
    strange = odd_runs(points, form, options.get("bounds"), options.get("variable", ""))
    rest = rest_of(points, strange)
    law = fit_law(rest.N, rest.D, rest.L, form, rest.unique, C=rest.C, **options)
    told = "".join(f"; left out: run {points.runs[each.row]}, {each.why}" for each in strange)
    return replace(law, points=replace(law.points, runs=rest.runs), detail=law.detail + told)
