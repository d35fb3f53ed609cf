"""Which form forecasts these runs best, and by how much it misses: judged on runs that the fit had not seen.

Rolling-origin evaluation (Tashman 2000): cut the runs at several levels of compute, fit every form to those below the
cut, and score it on those above. The form with the smallest error is chosen; a form with a constant more must win by
`HANDICAP`. The same forecasts tell how wide an interval has to be: a residual counts in units of `scale`, which knows the
scatter of runs, how far a point lies from the fitted ones, and how much the forms disagree there; the 95 % quantile of
those units is the width, as in conformal prediction (Vovk et al. 2005; with a scale: Lei et al. 2018, §5.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scalept_lab.laws.formulas import ONE_VARIABLE
from scalept_lab.laws.points import Points
from scalept_lab.laws.points import variable as one_variable
from scalept_lab.laws.search import Problem, make_problem, search

CUTS = (0.4, 0.5, 0.6, 0.7, 0.8)  # shares of the runs, in the order of compute
LEAST = 8  # runs below a cut
ENOUGH = 20  # runs: below, forecasts of the past are too few to choose by
FEW = 10  # runs: below, the exponents are tied
EXACT = 1e-6  # error in log loss that is as good as none
HANDICAP = 0.05  # by so much a form with one constant more must forecast better
FREER = ("power_of_sum", "broken_power", "data_constrained")  # forms with a constant more
PART = 2000  # runs that are enough to judge a form
# half-width in units of scale: a normal's, and where few residuals would rule
NEVER_BELOW, NEVER_ABOVE = 1.96, 4.0
# variance of a median against that of a mean, under normal scatter: our Huber loss is nearly a median's
MEDIAN = np.pi / 2
FOLLOWS = 0.05  # scatter of log D around a line in log N, below which D follows N


@dataclass(frozen=True)
class Fitted:
    """One form fitted to runs, with what is needed to say how sure it is elsewhere."""

    problem: Problem
    theta: np.ndarray
    sigma: float  # standard deviation of log loss, points − constants degrees of freedom
    inverse: np.ndarray  # (JᵀJ)⁻¹ of the constants that are not at a bound
    free: np.ndarray

    def at(self, N: Any, D: Any, unique: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """log L̂ and the leverage Jᵀ(JᵀJ)⁻¹J of new runs, each (P,)."""
        return self.of(self.problem.at(N, D, unique))

    def of(self, places: Problem) -> tuple[np.ndarray, np.ndarray]:
        """The same for a problem's points, such as those that were fitted."""
        log_loss, J = places.predict(self.theta[None])
        assert J is not None
        J = J[0][self.free]
        return log_loss[0], np.einsum("fp,fg,gp->p", J, self.inverse, J)


def fitted(problem: Problem, theta: np.ndarray) -> Fitted:
    log_loss, J = problem.predict(theta[None])
    assert J is not None
    free = (theta > problem.low + 1e-9) & (theta < problem.high - 1e-9)
    J = J[0][free]
    squares = np.sum((log_loss[0] - problem.y) ** 2)
    H = J @ J.T
    H += (1e-9 * np.trace(H) / max(1, len(H)) + 1e-14) * np.eye(len(H))
    sigma = np.sqrt(squares / max(1, len(problem.y) - free.sum()))
    return Fitted(problem, theta, float(sigma), np.linalg.inv(H), free)


@dataclass(frozen=True)
class Margin:
    """How far a new run may lie from the chosen form: `half` times the scale there, in log loss.

    `rivals`: the other forms and their plausibility, 1 where they forecast as well as the chosen one.
    """

    chosen: Fitted
    rivals: tuple[tuple[float, Fitted], ...]
    reach: float  # log10 of the largest compute (or X) fitted
    half: float = NEVER_BELOW

    def scale(self, N: Any, D: Any, unique: Any = None, sigma: float | None = None) -> np.ndarray:
        """Scatter of a run, grown with the leverage of its place and with the decades ahead, and the forms' disagreement."""
        log_loss, leverage = self.chosen.at(N, D, unique)
        ahead = np.maximum(np.log10(_compute(self.chosen.problem.form, N, D)) - self.reach, 0.0)
        own = (sigma or self.chosen.sigma) * np.sqrt(1 + MEDIAN * leverage) * (1 + ahead / 2)
        apart = np.zeros_like(log_loss)
        for weight, rival in self.rivals:
            apart = np.maximum(apart, weight * np.abs(rival.at(N, D, unique)[0] - log_loss))
        return np.sqrt(own**2 + apart**2 / 2)


@dataclass(frozen=True)
class Choice:
    """The form chosen, the rolling error of each form tried (mean |log error| over cuts, in %), and why.

    `cuts`: how many forecasts of the past were made; 0 where there are too few runs to make any, and `margin` is None.
    """

    form: str
    errors: dict[str, float] = field(default_factory=dict)
    cuts: int = 0
    why: str = ""
    margin: Margin | None = None


def follows(points: Points) -> bool:
    """Whether D is a power of N throughout, so that no fit can tell what either of them does."""
    if points.N is None or points.D is None:
        return False
    n, d = np.log(points.N), np.log(points.D)
    if min(np.ptp(n), np.ptp(d)) < 1e-9:
        return False
    residual = d - np.polyval(np.polyfit(n, d, 1), n)
    return bool(np.std(residual) < FOLLOWS and np.corrcoef(n, d)[0, 1] > 0)


def candidates(points: Points, bounds: Mapping[str, Any]) -> tuple[str, ...]:
    """The forms that these runs can have: those in one variable where N and D do not vary apart from each other."""
    varied = [v is not None and len(np.unique(v)) >= 3 for v in (points.N, points.D)]
    if not all(varied) or follows(points):
        return ("power", "broken_power")
    if points.unique is not None and np.any(np.greater(points.D, points.unique * (1 + 1e-9))):  # type: ignore[arg-type]
        return ("chinchilla", "data_constrained")
    plain = ("chinchilla", "tied", "power_of_sum")
    return tuple(form for form in plain if form != "power_of_sum" or not set(bounds) & {"alpha", "beta"})


@dataclass(frozen=True)
class _Past:
    """One forecast of the past by one form: |log error| of each run above the cut, and what the margin would have been."""

    cut: int
    miss: np.ndarray
    chosen: Fitted
    rivals: tuple[Fitted, ...]
    reach: float
    new: tuple[Any, Any, Any]


def choose(
    points: Points, forms: Sequence[str], delta: float, bounds: Mapping[str, Any] | None = None, variable: str = ""
) -> Choice:  # fmt: skip
    """Fit every form below each cut, score it above, and choose. Raises: InputError for bounds that no form can keep.

    With fewer than ENOUGH runs, or levels of compute for fewer than two cuts, the first form stands, or the tied one.
    """
    past = {} if len(points) < ENOUGH else _forecasts(points, forms, delta, bounds, variable)
    if not past or len(past[forms[0]]) < 2 or sum(len(each.miss) for each in past[forms[0]]) < LEAST:
        form = "tied" if len(points) < FEW and "tied" in forms else forms[0]
        return Choice(
            form,
            why=f"form {form} by default: {len(points)} runs are too few to see which form forecasts best",
        )
    errors = {form: float(np.mean([each.miss.mean() for each in past[form]])) for form in forms}
    # on runs without noise all errors are rounding: EXACT, so that the plainer form wins
    best = min(forms, key=lambda form: (errors[form] + EXACT) * (1 + HANDICAP * (form in FREER)))
    others = [form for form in forms if form != best]
    weights = [min(1.0, (errors[best] + EXACT) / (errors[form] + EXACT)) for form in others]
    thin = _thinned(points, forms[0], variable)
    whole = {form: _fit(thin, form, delta, bounds, variable) for form in forms}
    units, weight = [], []
    for each in past[best]:
        margin = Margin(each.chosen, tuple(zip(weights, each.rivals, strict=True)), each.reach)
        N, D, unique = each.new
        units.append(each.miss / np.maximum(margin.scale(N, D, unique, whole[best].sigma), 1e-12))
        # the later a cut, the more it is like what is to come
        weight.append(np.full(len(each.miss), each.cut**2.0))
    half = float(
        np.clip(_quantile(np.concatenate(units), np.concatenate(weight), 0.95), NEVER_BELOW, NEVER_ABOVE)
    )
    N, D, _ = _columns(points, best, variable)
    rivals = tuple(zip(weights, (whole[form] for form in others), strict=True))
    margin = Margin(whole[best], rivals, float(np.log10(_compute(best, N, D).max())), half)
    percent = {form: 100 * error for form, error in errors.items()}
    told = ", ".join(
        f"{form} by {percent[form]:.2g} %" for form in sorted(others, key=lambda form: percent[form])
    )
    cuts = len(past[best])
    why = f"form {best}: fitted below {cuts} levels of compute, it missed the runs above by {percent[best]:.2g} %, {told}"
    return Choice(best, percent, cuts, why, margin)


def _forecasts(
    points: Points, forms: Sequence[str], delta: float, bounds: Mapping[str, Any] | None, variable: str
) -> dict[str, list[_Past]]:  # fmt: skip
    """What each form would have said below each cut."""
    points = _thinned(points, forms[0], variable)
    N, D, unique = _columns(points, forms[0], variable)
    x = _compute(forms[0], N, D)
    C = points.C if points.C is not None and forms[0] not in ONE_VARIABLE else x
    order = np.argsort(C, kind="stable")
    past: dict[str, list[_Past]] = {form: [] for form in forms}
    for cut in _cuts(C[order]):
        below, above = order[:cut], order[cut:]
        if any(len(np.unique(v[below])) < 3 for v in (N, D) if v is not None):
            continue
        part = rows(points, below)
        found = {form: _fit(part, form, delta, bounds, variable) for form in forms}
        new = (N[above], None if D is None else D[above], None if unique is None else unique[above])
        for form in forms:
            miss = np.abs(found[form].at(*new)[0] - np.log(points.L[above]))
            rivals = tuple(found[other] for other in forms if other != form)
            past[form].append(_Past(cut, miss, found[form], rivals, float(np.log10(x[below].max())), new))
    return past


def _thinned(points: Points, form: str, variable: str) -> Points:
    """At most PART of the points, evenly over compute: enough to judge a form."""
    if len(points) <= PART:
        return points
    N, D, _ = _columns(points, form, variable)
    return evenly(points, _compute(form, N, D), PART)


def evenly(points: Points, by: np.ndarray, most: int) -> Points:
    """`most` of the points, evenly in the order of `by`."""
    order = np.argsort(by, kind="stable")
    return rows(points, order[np.linspace(0, len(order) - 1, most).astype(int)])


def rows(points: Points, index: np.ndarray) -> Points:
    """Some of the points."""
    N, D, unique, C = (None if v is None else v[index] for v in (points.N, points.D, points.unique, points.C))
    return Points(N, D, points.L[index], unique, C)


def _fit(points: Points, form: str, delta: float, bounds: Mapping[str, Any] | None, variable: str) -> Fitted:
    problem, _ = make_problem(points, form, bounds, variable)
    theta, value, _ = search(problem, delta)
    return fitted(problem, theta[np.argmin(value)])


def _columns(points: Points, form: str, variable: str) -> tuple[Any, Any, Any]:
    if form in ONE_VARIABLE:
        return one_variable(points, variable)[1], None, None
    return points.N, points.D, points.unique


def _compute(form: str, N: Any, D: Any) -> np.ndarray:
    """What runs are ordered by: compute, or the one variable."""
    return np.asarray(N, float) if form in ONE_VARIABLE else 6 * np.asarray(N, float) * np.asarray(D, float)


def _cuts(C: np.ndarray) -> list[int]:
    """Places near CUTS in sorted compute, at the widest step around, so that runs of one budget stay together."""
    P, steps = len(C), np.diff(np.log(C))
    edges = np.arange(LEAST, P - 2)
    edges = edges[steps[edges - 1] > 1e-6]
    found = set()
    for share in CUTS:
        near = edges[np.abs(edges - share * P) <= max(1.0, P / 10)]
        if len(near):
            found.add(int(near[np.argmax(steps[near - 1])]))
    return sorted(found)


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The value that a new one stays below with probability `share`: (n + 1)/n of a quantile, as conformal prediction has it."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    place = np.searchsorted(reached, min(1.0, share * (len(values) + 1) / len(values)))
    return float(values[order[min(int(place), len(values) - 1)]])
