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
from scalept_lab.laws.search import Problem, make_problem, search

CUTS = (0.4, 0.5, 0.6, 0.7, 0.8)  # shares of the runs, in the order of compute
LEAST = 8  # runs below a cut
FEW = 10  # runs: below, the exponents are tied
HANDICAP = 0.05  # by so much a form with one constant more must forecast better
PART = 2000  # runs that are enough to judge a form
NEVER_BELOW, NEVER_ABOVE = (
    1.96,
    4.0,
)  # half-width in units of scale: a normal's, and where few residuals would rule
MEDIAN = (
    np.pi / 2
)  # variance of a median against that of a mean, under normal scatter: our Huber loss is nearly a median's
FOLLOWS = 0.05  # scatter of log D around a line in log N, below which D follows N
NO_SPLIT = "D follows N: no split can be told"


@dataclass(frozen=True)
class Fitted:
    """One form fitted to runs, with what is needed to say how sure it is elsewhere."""

    problem: Problem
    theta: np.ndarray
    sigma: float  # standard deviation of log loss, points − constants degrees of freedom
    inverse: np.ndarray  # (JᵀJ)⁻¹ of the constants that are not at a bound
    free: np.ndarray

    def at(self, N: Any, D: Any, unique: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """log L̂ and the leverage JᵀHJ of new runs, each (P,)."""
        log_loss, J = self.problem.at(N, D, unique).predict(self.theta[None])
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


def choose(
    points: Points, forms: Sequence[str], delta: float, bounds: Mapping[str, Any] | None = None, variable: str = ""
) -> Choice:  # fmt: skip
    """Fit every form below each cut, score it above, and choose. Raises: InputError for bounds that no form can keep."""
    if len(points) > PART:
        order = np.argsort(_compute(forms[0], *_columns(points, forms[0], variable)[:2]), kind="stable")
        points = rows(points, order[np.linspace(0, len(order) - 1, PART).astype(int)])
    one = forms[0] in ONE_VARIABLE
    if one and len(points) < FEW:
        return Choice(
            forms[0], why=f"{len(points)} runs are too few to tell forms apart: the plain power law"
        )
    N, D, unique = _columns(points, forms[0], variable)
    C = points.C if points.C is not None and not one else _compute(forms[0], N, D)
    order = np.argsort(C, kind="stable")
    seen: dict[str, list[tuple[int, np.ndarray, Margin, tuple[Any, ...]]]] = {form: [] for form in forms}
    places = _cuts(C[order])
    used = []
    for cut in places:
        below, above = order[:cut], order[cut:]
        if any(len(np.unique(v[below])) < 3 for v in (N, D) if v is not None):
            continue
        part = rows(points, below)
        found = {form: _fit(part, form, delta, bounds, variable) for form in forms}
        used.append(cut)
        new = tuple(None if v is None else v[above] for v in (N, D, unique))
        for form in forms:
            rivals = tuple((1.0, found[other]) for other in forms if other != form)
            margin = Margin(found[form], rivals, float(np.log10(_compute(form, N, D)[below].max())))
            seen[form].append((cut, np.abs(found[form].at(*new)[0] - np.log(points.L[above])), margin, new))
    scored = sum(len(row[1]) for row in seen[forms[0]])
    if len(used) < 2 or scored < LEAST:
        form = forms[0] if one or len(points) >= FEW or "tied" not in forms else "tied"
        return Choice(
            form,
            why=f"{len(points)} runs are too few to forecast any of them from the others: form {form} by default",
        )
    errors = {form: float(np.mean([row[1].mean() for row in seen[form]])) for form in forms}
    costs = {form: errors[form] * (1 + HANDICAP * _extra(form, forms)) for form in forms}
    best = min(forms, key=lambda form: costs[form])
    others = [form for form in forms if form != best]
    weights = {form: min(1.0, (errors[best] + 1e-12) / (errors[form] + 1e-12)) for form in others}
    whole = {form: _fit(points, form, delta, bounds, variable) for form in forms}
    rivals = tuple((weights[form], whole[form]) for form in others)
    sigma = whole[best].sigma
    units, weight = [], []
    for cut, miss, margin, new in seen[best]:
        margin = Margin(
            margin.chosen,
            tuple((w, r) for (w, _), (_, r) in zip(rivals, margin.rivals, strict=True)),
            margin.reach,
        )
        N_new, D_new, unique_new = new
        units.append(miss / np.maximum(margin.scale(N_new, D_new, unique_new, sigma), 1e-12))
        weight.append(
            np.full(len(miss), float(cut) ** 2)
        )  # the later a cut, the more it is like the forecast to come
    half = _quantile(np.concatenate(units), np.concatenate(weight), 0.95)
    top = float(np.log10(_compute(best, N, D).max()))
    margin = Margin(whole[best], rivals, top, float(np.clip(half, NEVER_BELOW, NEVER_ABOVE)))
    percent = {form: 100 * error for form, error in errors.items()}
    told = ", ".join(f"{form} by {percent[form]:.2g} %" for form in sorted(others, key=percent.__getitem__))
    why = f"form {best}: fitted below {len(used)} levels of compute, it missed the runs above by {percent[best]:.2g} %, {told}"
    return Choice(best, percent, len(used), why, margin)


def rows(points: Points, index: np.ndarray) -> Points:
    """Some of the points."""
    N, D, unique, C = (None if v is None else v[index] for v in (points.N, points.D, points.unique, points.C))
    return Points(N, D, points.L[index], unique, C)


def _extra(form: str, forms: Sequence[str]) -> int:
    """How many constants more than the plain form; a tied form is not rewarded for having fewer."""
    return int(form in ("power_of_sum", "broken_power", "data_constrained") and form != forms[0])


def _fit(points: Points, form: str, delta: float, bounds: Mapping[str, Any] | None, variable: str) -> Fitted:
    problem, _ = make_problem(points, form, bounds, variable)
    theta, value, _ = search(problem, delta)
    return fitted(problem, theta[np.argmin(value)])


def _columns(points: Points, form: str, variable: str) -> tuple[Any, Any, Any]:
    if form in ONE_VARIABLE:
        from scalept_lab.laws.points import variable as one_of_them

        return one_of_them(points, variable)[1], None, None
    return points.N, points.D, points.unique


def _compute(form: str, N: Any, D: Any) -> np.ndarray:
    """What runs are ordered by: compute, or the one variable."""
    return np.asarray(N, float) if form in ONE_VARIABLE else 6 * np.asarray(N, float) * np.asarray(D, float)


def _cuts(C: np.ndarray) -> list[int]:
    """Places near CUTS in sorted compute, between runs of different compute, with enough runs on both sides."""
    edges = np.flatnonzero(np.diff(np.log(C)) > 1e-6) + 1
    edges = edges[(edges >= LEAST) & (len(C) - edges >= 3)]
    if not len(edges):
        return []
    return sorted({int(edges[np.argmin(np.abs(edges - share * len(C)))]) for share in CUTS})


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The value that a new one stays below with probability `share`: (n + 1)/n of a quantile, as conformal prediction has it."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    place = np.searchsorted(reached, min(1.0, share * (len(values) + 1) / len(values)))
    return float(values[order[min(int(place), len(values) - 1)]])
