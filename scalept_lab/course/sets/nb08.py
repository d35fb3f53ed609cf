"""Exercises of notebook 08: valleys, the objective and its gradient, a bootstrap, spending compute, sweeps, and a planted bug."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from scalept_lab.course.answers import UNANSWERED, Verdict, build, choice, judged, number, several
from scalept_lab.course.exercises import Exercise
from scalept_lab.laws.fit import fit_law
from scalept_lab.laws.formulas import LAWS
from scalept_lab.laws.points import check_points
from scalept_lab.laws.search import make_problem
from scalept_lab.laws.search import objective as kits_objective
from scalept_lab.runs import recorded

_hoffmann = LAWS["hoffmann"]
Row = tuple[str, str, bool]


@lru_cache
def _study(seed: int) -> dict[str, np.ndarray]:
    """The recorded study of one seed, its hero last."""
    runs = sorted((r for r in recorded("standard") if r.config["seed"] == seed), key=lambda r: r.C)
    return {key: np.array([getattr(r, key) for r in runs], float) for key in "NDLC"}


# --- 08.1: the bottom of a valley ---------------------------------------------------------------------------


def _vertex(logN, L):
    p2, p1, _ = np.polyfit(np.asarray(logN) - np.mean(logN), L, 2)
    return float(np.mean(logN) - p1 / (2 * p2))


def _best_run(logN, L):
    return float(np.asarray(logN)[int(np.argmin(L))])


def _size(logN, L):
    return float(np.exp(_vertex(logN, L)))


def _loss(logN, L):
    return float(np.polyval(np.polyfit(logN, L, 2), _vertex(logN, L)))


def _forgot_two(logN, L):
    p2, p1, _ = np.polyfit(logN, L, 2)
    return float(-p1 / p2)


def _other_sign(logN, L):
    return -_vertex(logN, L)


def _swapped(logN, L):
    p0, p1, _ = np.polyfit(logN, L, 2)[::-1]
    return float(-p1 / (2 * p0))


def _slices() -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (np.log([6e3, 14e3, 25e3, 38e3]), np.array([2.16, 2.09, 2.10, 2.17])),
        (np.log([1e4, 2e4, 4e4, 8e4]), np.array([2.41, 2.33, 2.31, 2.36])),
        (np.log([1e8, 3e8, 1e9, 3e9, 1e10]), np.array([2.62, 2.48, 2.44, 2.50, 2.66])),
    ]


_VALLEY_SLIPS = (
    (_best_run, "that is the best of the runs, which can only be a size that was tried; fit a parabola."),
    (_size, "that is N itself; the function returns log N."),
    (_loss, "that is the loss at the minimum; the function returns log N there."),
    (_forgot_two, "the derivative of p2·x² is 2·p2·x: a factor of 2 is missing."),
    (_other_sign, "the sign is the other way round."),
    (_swapped, "np.polyfit gives the highest power first; the coefficients are exchanged."),
)

ISOFLOP = Exercise(
    id="08.1",
    kind="build",
    minutes=6,
    difficulty=2,
    question="Write isoflop_minimum(logN, L): given log N and the losses of one slice, return log N where the parabola "
    "through them is lowest.",
    check=build(
        _vertex, _slices, names=("four runs", "flat valley", "published sizes"), rel=1e-3, diagnoses=_VALLEY_SLIPS,
        right="Those are the diamonds of the figure above.",
    ),
    hints=(
        "np.polyfit(x, y, 2) returns the three coefficients of a parabola, the highest power first.",
        "At the lowest point of a parabola its derivative is zero.",
        "Unpack the coefficients, write the derivative of p2·x² + p1·x + p0 as a line in x, and solve for x.",
    ),
    skeleton='''
def isoflop_minimum(logN, L):
    """logN, L: (runs,) log of the parameters, and losses in nats per token. Returns log N at the bottom, a number."""
    ...
''',
    own=lambda: _vertex,
    solution="""
import numpy as np

def isoflop_minimum(logN, L):
    p2, p1, p0 = np.polyfit(logN, L, 2)
    return -p1 / (2 * p2)

answer = isoflop_minimum
""",
    wrong=(
        (_best_run, "a size that was tried"),
        (_size, "returns log N."),
        (_loss, "the loss at the minimum"),
        (_forgot_two, "a factor of 2 is missing."),
        (_other_sign, "the other way round"),
        (_swapped, "highest power first"),
    ),
    placeholder=lambda logN, L: ...,
)  # fmt: skip


# --- 08.2: the objective and its gradient -------------------------------------------------------------------


def objective(theta, N, D, L, delta=1e-3):
    """Value and gradient (5,) for theta = (log E, log A, log B, alpha, beta): what serves while the exercise is open."""
    share, r = _parts(theta, N, D, L)
    return _summed(r, np.clip(r, -delta, delta), share, N, D, delta)


def _kits(theta, N, D, L, delta=1e-3) -> float:
    """The value that the search of the kit minimises, with constants centred on the runs."""
    problem, _ = make_problem(check_points(N, D, L, form="chinchilla"), "chinchilla")
    e, a, b, alpha, beta = theta
    centred = np.array([a - alpha * problem.x_mean, alpha, b - beta * problem.z_mean, beta, e])
    return float(kits_objective(problem, centred[None], delta)[0])


def _parts(theta, N, D, L):
    """Shares (3, runs) of the three terms in the predicted loss, and the residuals (runs,) of its logarithm."""
    e, a, b, alpha, beta = theta
    terms = np.array([np.full(len(L), e), a - alpha * np.log(N), b - beta * np.log(D)])
    top = terms.max(0)
    log_hat = top + np.log(np.exp(terms - top).sum(0))
    return np.exp(terms - log_hat), log_hat - np.log(L)


def _summed(r, slope, share, N, D, delta):
    """Sum of Huber terms, and a gradient from the slope of each at its residual."""
    value = np.where(np.abs(r) <= delta, r**2 / 2, delta * (np.abs(r) - delta / 2)).sum()
    weighted = slope * share
    over = [-(weighted[1] * np.log(N)).sum(), -(weighted[2] * np.log(D)).sum()]
    return float(value), np.array([*weighted.sum(1), *over])


def _mean_of(theta, N, D, L, delta=1e-3):
    value, gradient = objective(theta, N, D, L, delta)
    return value / len(L), gradient / len(L)


def _plain_loss(theta, N, D, L, delta=1e-3):
    share, r = _parts(theta, N, D, L)
    r = L * np.exp(r) - L
    return _summed(r, np.clip(r, -delta, delta), share, N, D, delta)


def _sign(theta, N, D, L, delta=1e-3):
    value, gradient = objective(theta, N, D, L, delta)
    return value, -gradient


def _squares(theta, N, D, L, delta=1e-3):
    share, r = _parts(theta, N, D, L)
    _, gradient = _summed(r, r, share, N, D, delta)
    return float((r**2 / 2).sum()), gradient


def _no_clip(theta, N, D, L, delta=1e-3):
    share, r = _parts(theta, N, D, L)
    return _summed(r, r, share, N, D, delta)


def _no_share(theta, N, D, L, delta=1e-3):
    share, r = _parts(theta, N, D, L)
    return _summed(r, np.clip(r, -delta, delta), np.ones_like(share), N, D, delta)


def _exponent_sign(theta, N, D, L, delta=1e-3):
    value, gradient = objective(theta, N, D, L, delta)
    return value, gradient * np.array([1, 1, 1, -1, -1])


def _overflows(theta, N, D, L, delta=1e-3):
    e, a, b, alpha, beta = theta
    with np.errstate(all="ignore"):
        parts = np.array([np.full(len(L), np.exp(e)), np.exp(a) / N**alpha, np.exp(b) / D**beta])
        r = np.log(parts.sum(0)) - np.log(L)
        return _summed(r, np.clip(r, -delta, delta), parts / parts.sum(0), N, D, delta)


_OBJECTIVE_SLIPS: tuple[tuple[Callable, str], ...] = (
    (_mean_of, "that is the mean over the runs; the objective is their sum."),
    (_plain_loss, "the residual is a difference of logarithms, log of the predicted minus log of the measured loss."),
    (_sign, "the value is right, and the gradient points the other way: predicted minus measured, not the reverse."),
    (_squares, "that is half the sum of squares; beyond δ Huber's function goes on as a straight line."),
    (_no_clip, "the value is right; in the gradient, the slope of Huber's function stays at ±δ beyond δ."),
    (_no_share, "the gradient lacks what each term contributes: the derivative of a log-sum-exp is the term's share."),
    (_exponent_sign, "log N and log D enter with a minus sign: a larger exponent makes its term smaller."),
)  # fmt: skip

_THETAS = (
    ("near the minimum", (-1.0, 2.6, 4.9, 0.25, 0.33)),
    ("far from it", (0.5, 5.0, 5.0, 0.5, 0.5)),
)
_WILD = (0.0, 900.0, 5.0, 1.0, 0.3)


def _judge_objective(mine: Callable) -> Verdict:
    data = _study(0)
    runs = (data["N"], data["D"], data["L"])
    rows: list[Row] = []
    results: list[tuple[float, np.ndarray]] = []
    for name, theta in (*_THETAS, ("a wild start", _WILD)):
        found = mine(np.array(theta), *(each.copy() for each in runs), 1e-3)
        if found is None or found is ...:
            return UNANSWERED
        try:
            value, gradient = found
            value, gradient = float(value), np.asarray(gradient, float).ravel()
        except (TypeError, ValueError):
            return Verdict(
                False,
                "return two things: the value, a number, and the gradient, five numbers.",
                rows=tuple(rows),
            )
        if gradient.shape != (5,):
            return Verdict(
                False,
                f"the gradient has {gradient.size} numbers; five constants need five.",
                rows=tuple(rows),
            )
        results.append((value, gradient))
        want = objective(theta, *runs)[0] if theta is _WILD else _kits(theta, *runs)
        close = np.isclose(value, want, rtol=1e-6)
        rows.append((f"value {name}, against the kit's", _agrees(value, want, bool(close)), bool(close)))
        slopes = _differences(theta, runs)
        near = np.allclose(gradient, slopes, rtol=1e-3, atol=1e-5 * np.abs(slopes).max())
        off = "agrees" if near else "differs in " + ", ".join(
            name for name, g, s in zip(("log E", "log A", "log B", "α", "β"), gradient, slopes, strict=True)
            if not np.isclose(g, s, rtol=1e-3, atol=1e-5 * np.abs(slopes).max())
        )  # fmt: skip
        rows.append((f"gradient {name}, against differences", off, bool(near)))
    table = tuple(rows)
    if all(ok for *_, ok in rows):
        return Verdict(True, "The search of the kit minimises just this.", rows=table)
    if all(ok for *_, ok in rows[:4]):
        return Verdict(
            False,
            "the wild start overflows: exp(900) is no float. Subtract the largest term first.",
            rows=table,
        )
    for wrong, text in _OBJECTIVE_SLIPS:
        theirs = [wrong(np.array(theta), *runs, 1e-3) for _, theta in _THETAS]
        if all(np.isclose(a, c, rtol=1e-6) and np.allclose(b, d, rtol=1e-4, atol=1e-9)
               for (a, b), (c, d) in zip(results[:2], theirs, strict=True)):  # fmt: skip
            return Verdict(False, text, rows=table)
    return Verdict(False, next(f"{case}: {found}." for case, found, ok in rows if not ok), rows=table)


def _agrees(value: float, want: float, close: bool) -> str:
    if close:
        return "agrees"
    return (
        f"{value / want:.3g} times too large" if value > want > 0 else f"{value / want:.3g} of what is right"
    )


def _differences(theta: Sequence[float], runs: tuple) -> np.ndarray:
    """Central differences of the value."""
    step, out = 1e-5, []
    for i in range(5):
        at = [np.array(theta, float) for _ in range(2)]
        at[0][i] += step
        at[1][i] -= step
        out.append((objective(at[0], *runs)[0] - objective(at[1], *runs)[0]) / (2 * step))
    return np.array(out)


OBJECTIVE = Exercise(
    id="08.2",
    kind="build",
    minutes=20,
    difficulty=4,
    question="Write objective(theta, N, D, L, delta): the sum of Huber terms over all runs, and its gradient in the five "
    "numbers theta = (log E, log A, log B, α, β).",
    check=judged(_judge_objective, wanted="value to six digits, gradient to 0.1 %"),
    hints=(
        "log of the predicted loss is the log-sum-exp of three terms: log E, log A − α log N and log B − β log D.",
        "Subtract the largest term before exp and add it after log. Chain rule: the slope of Huber's function at the residual, "
        "times the share of each term in the predicted loss, times the derivative of that term.",
        "Put the three terms into an array (3, runs). Share: exp(term − log-sum-exp). Slope of Huber's function: the residual "
        "held between −δ and δ (np.clip). The terms depend on log A with slope 1, and on α with slope −log N.",
    ),
    skeleton='''
def objective(theta, N, D, L, delta=1e-3):
    """theta: (5,) log E, log A, log B, alpha, beta. N, D, L: (runs,) parameters, tokens, nats per token.

    Returns the value, a number, and its gradient, an array (5,).
    """
    ...
''',
    own=lambda: objective,
    solution="""
import numpy as np

def objective(theta, N, D, L, delta=1e-3):
    e, a, b, alpha, beta = theta
    logN, logD = np.log(N), np.log(D)
    terms = np.array([np.full(len(L), e), a - alpha * logN, b - beta * logD])
    top = terms.max(axis=0)
    log_predicted = top + np.log(np.exp(terms - top).sum(axis=0))
    r = log_predicted - np.log(L)
    inside = np.abs(r) <= delta
    value = np.where(inside, r**2 / 2, delta * (np.abs(r) - delta / 2)).sum()
    pull = np.clip(r, -delta, delta) * np.exp(terms - log_predicted)
    gradient = np.array([
        pull[0].sum(),
        pull[1].sum(),
        pull[2].sum(),
        -(pull[1] * logN).sum(),
        -(pull[2] * logD).sum(),
    ])
    return value, gradient

answer = objective
""",
    wrong=(
        (_mean_of, "is their sum"),
        (_plain_loss, "a difference of logarithms"),
        (_sign, "points the other way"),
        (_squares, "half the sum of squares"),
        (_no_clip, "stays at ±δ"),
        (_no_share, "the term's share"),
        (_exponent_sign, "a minus sign"),
        (_overflows, "Subtract the largest term"),
    ),
    placeholder=lambda theta, N, D, L, delta=1e-3: ...,
)


# --- 08.3: a bootstrap --------------------------------------------------------------------------------------


def bootstrap(refit, fitted, L, constants, K, seed=0):
    """The kit's way, for any law: (K, …) of what `refit` finds in K sets of losses drawn around the fitted ones."""
    rng = np.random.default_rng(seed)
    r = np.log(np.asarray(L)) - np.log(np.asarray(fitted))
    sigma = np.sqrt(np.sum(r**2) / (len(r) - constants))
    return np.array([refit(fitted * np.exp(sigma * rng.standard_normal(len(r)))) for _ in range(K)])


def _all_runs(refit, fitted, L, constants, K, seed=0):
    return bootstrap(refit, fitted, L, 0, K, seed)


def _same_noise(refit, fitted, L, constants, K, seed=0):
    return np.repeat(bootstrap(refit, fitted, L, constants, 1, seed), K, axis=0)


def _added(refit, fitted, L, constants, K, seed=0):
    rng = np.random.default_rng(seed)
    r = np.log(L) - np.log(fitted)
    sigma = np.sqrt(np.sum(r**2) / (len(r) - constants))
    return np.array([refit(fitted + sigma * rng.standard_normal(len(r))) for _ in range(K)])


def _variance(refit, fitted, L, constants, K, seed=0):
    rng = np.random.default_rng(seed)
    r = np.log(L) - np.log(fitted)
    return np.array(
        [
            refit(fitted * np.exp(np.sum(r**2) / (len(r) - constants) * rng.standard_normal(len(r))))
            for _ in range(K)
        ]
    )


def _twice(refit, fitted, L, constants, K, seed=0):
    return (
        bootstrap(
            refit, np.asarray(L), np.asarray(L) * np.exp(np.log(L) - np.log(fitted)), constants, K, seed
        )
        + 1e-3
    )


def _only_ends(refit, fitted, L, constants, K, seed=0):
    return np.quantile(bootstrap(refit, fitted, L, constants, K, seed), (0.025, 0.975), axis=0)


PLANTED, SETS, RUNS = (-0.1, 0.9), 100, 12  # slope and level of the law; sets of runs; runs in a set


def _judge_bootstrap(mine: Callable) -> Verdict:
    x = np.linspace(0.0, 4.0, RUNS)
    design = np.linalg.pinv(np.stack([x, np.ones(RUNS)], 1))
    truth, K = PLANTED[0] * x + PLANTED[1], 200
    rng = np.random.default_rng(8)
    widths, inside, centre = [], 0, []
    for i in range(SETS):
        log_L = truth + 0.02 * rng.standard_normal(RUNS)
        found = design @ log_L
        fitted = np.exp(found[0] * x + found[1])
        samples = mine(lambda L: design @ np.log(L), fitted.copy(), np.exp(log_L), 2, K, i)
        if samples is None or samples is ...:
            return UNANSWERED
        samples = np.asarray(samples, float)
        if samples.shape != (K, 2):
            text = f"the result has the shape {samples.shape}; one row for each refit is asked for, ({K}, 2) here."
            return Verdict(
                False, text + (" Return the refits; the interval comes later." if len(samples) == 2 else "")
            )
        low, high = np.quantile(samples[:, 0], (0.025, 0.975))
        sigma = np.sqrt(np.sum((log_L - np.log(fitted)) ** 2) / (RUNS - 2))
        widths.append((high - low) / (2 * 1.96 * sigma / np.sqrt(np.sum((x - x.mean()) ** 2))))
        centre.append((samples[:, 0].mean() - found[0]) / max(high - low, 1e-12))
        inside += low <= PLANTED[0] <= high
    ratio, shift = float(np.mean(widths)), float(np.mean(centre))
    again = np.asarray(mine(lambda L: design @ np.log(L), fitted.copy(), np.exp(log_L), 2, K, i), float)
    rows: tuple[Row, ...] = (
        (f"{SETS} planted laws: slope inside its 95 % interval", f"{inside} times", 85 <= inside <= 99),
        ("width of the interval, in units of the exact one", f"{ratio:.2f}", bool(abs(ratio - 1) < 0.05)),
        ("refits lie around the fit", f"shifted by {abs(shift):.2f} widths", bool(abs(shift) < 0.05)),
        (
            "the same seed gives the same refits",
            "yes" if np.array_equal(again, samples) else "no",
            np.array_equal(again, samples),
        ),
    )
    if all(ok for *_, ok in rows):
        return Verdict(
            True,
            "It works for any law that you can refit, and assumes only that the law is right.",
            rows=rows,
        )
    if ratio < 1e-6:
        return Verdict(
            False,
            "all refits are equal: is the generator made anew, with the same seed, for each of them?",
            rows=rows,
        )
    if abs(shift) >= 0.05:
        return Verdict(
            False, "the refits do not lie around the fit: draw the new losses around `fitted`.", rows=rows
        )
    if abs(ratio - np.sqrt((RUNS - 2) / RUNS)) < 0.03:
        return Verdict(
            False,
            "a little too narrow: a fit bends towards its runs, so divide the squares by runs minus constants.",
            rows=rows,
        )
    if ratio < 0.1:
        return Verdict(
            False, "far too narrow: the noise has the size of a variance; take its square root.", rows=rows
        )
    if 0.3 < ratio < 0.8:
        return Verdict(
            False, "too narrow: the noise belongs to log L, so it is a factor exp(…) on the loss.", rows=rows
        )
    if not rows[-1][2]:
        return Verdict(False, "seed the generator with `seed`, once, before the loop.", rows=rows)
    return Verdict(False, f"the interval is {ratio:.2f} times as wide as it should be.", rows=rows)


BOOTSTRAP = Exercise(
    id="08.3",
    kind="build",
    minutes=12,
    difficulty=3,
    question="Write bootstrap(refit, fitted, L, constants, K, seed): refit the law to K sets of losses with fresh noise around "
    "the fitted ones, and return what the refits find.",
    check=judged(_judge_bootstrap, seconds=60, wanted="on planted laws, intervals of the exact width, to 5 %"),
    hints=(
        "First the scatter σ of log L around the law, from the residuals of the fit you have.",
        "K times: multiply the fitted losses by exp(σ · standard normal draws), and call refit on them. Make one generator, "
        "np.random.default_rng(seed), before the loop.",
        "σ² is the sum of squared residuals of log L over (runs − constants). Collect what refit returns in a list of K, and "
        "return it as an array.",
    ),
    skeleton='''
def bootstrap(refit, fitted, L, constants, K, seed=0):
    """refit: losses (runs,) -> the constants of the law refitted to them. fitted, L: (runs,) losses of the law, and measured.
    constants: how many the law has. Returns an array (K, …), one row for each refit.
    """
    ...
''',
    own=lambda: bootstrap,
    solution="""
import numpy as np

def bootstrap(refit, fitted, L, constants, K, seed=0):
    rng = np.random.default_rng(seed)
    residuals = np.log(L) - np.log(fitted)
    free = len(L) - constants
    sigma = np.sqrt((residuals**2).sum() / free)
    refits = []
    for _ in range(K):
        noise = sigma * rng.standard_normal(len(L))
        refits.append(refit(fitted * np.exp(noise)))
    return np.array(refits)

answer = bootstrap
""",
    wrong=(
        (_all_runs, "runs minus constants"),
        (_same_noise, "all refits are equal"),
        (_added, "belongs to log L"),
        (_variance, "square root"),
        (_twice, "draw the new losses around"),
        (_only_ends, "Return the refits"),
    ),
    placeholder=lambda refit, fitted, L, constants, K, seed=0: ...,
)  # fmt: skip


# --- 08.4: the exponent of those who count without embeddings ------------------------------------------------

OMEGA = 32_000 * (40 / 12) ** (
    1 / 3
)  # embeddings of a family with vocabulary 32,000 and width = 40 · depth: OMEGA·N^(1/3)
LOW, HIGH = 1e16, 1e19


def _best_counted(C: float, omega: float) -> float:
    N = np.geomspace(1e3, 1e12, 40_001)
    return float(N[np.argmin(_hoffmann(N + omega * np.cbrt(N), C / (6 * N)))])


def _slope(omega: float = OMEGA) -> float:
    return float(np.log(_best_counted(HIGH, omega) / _best_counted(LOW, omega)) / np.log(HIGH / LOW))


def _slope_of_all() -> float:
    total = [N + OMEGA * np.cbrt(N) for N in (_best_counted(LOW, OMEGA), _best_counted(HIGH, OMEGA))]
    return float(np.log(total[1] / total[0]) / np.log(HIGH / LOW))


EXPONENT = Exercise(
    id="08.4",
    kind="compute",
    minutes=12,
    difficulty=3,
    question="A family has 32,000 tokens in its vocabulary and a width of 40 times its depth, so that its embeddings are "
    "ω·N^(1/3) parameters beside the N others, with ω = 32,000·(40/12)^(1/3). Hoffmann's law holds for all parameters "
    "together. Somebody counts N without embeddings, and C = 6·N·D: which exponent a does he find between 1e16 and 1e19 FLOPs?",
    check=number(
        _slope,
        rel=0.015,
        diagnoses=(
            (lambda: _slope(0.0), "that is the exponent of those who count everything; leave the embeddings out of N and C."),
            (lambda: 1 - _slope(), "that is the exponent of D_opt; the tokens grow as C^(1 − a)."),
            (lambda: 1 / _slope(), "that is the slope of log C against log N; exchange the two."),
            (lambda: _slope_of_all(), "that is the slope of all parameters; he plots those without embeddings."),
        ),
        slips=(),
        right="Close to the 0.73 of Kaplan et al., out of a law whose own exponent is 0.45: the way of counting did that.",
    ),
    hints=(
        "At a fixed C every N gives D = C/(6N). The loss is that of the law at N + ω·N^(1/3) parameters and D tokens.",
        "Try a fine grid of N (1e3 to 1e12) at both budgets, and take the best N of each.",
        "The slope is the difference of log N over the difference of log C.",
    ),
    solution="""
import numpy as np
from scalept_lab.laws.formulas import LAWS

omega = 32_000 * (40 / 12) ** (1 / 3)

def best_size(C):
    N = np.geomspace(1e3, 1e12, 200_001)
    loss = LAWS["hoffmann"](N + omega * N ** (1 / 3), C / (6 * N))
    return N[np.argmin(loss)]

answer = np.log(best_size(1e19) / best_size(1e16)) / np.log(1e19 / 1e16)
""",
    wrong=(
        (_hoffmann.a, "count everything"),
        (1 - _slope(), "tokens grow"),
        (1 / _slope(), "exchange the two"),
        (_slope_of_all(), "all parameters"),
    ),
)  # fmt: skip


# --- 08.5: a model that has to fit ---------------------------------------------------------------------------

BUDGET, LARGEST = 1e22, 1e9
_tokens = BUDGET / (6 * LARGEST)


@lru_cache
def _share(budget: float = BUDGET) -> float:
    """Part of the compute with which the best split reaches the loss of the largest model that fits."""
    reached = float(_hoffmann(LARGEST, budget / (6 * LARGEST)))
    C = np.geomspace(1e19, 1e23, 40_001)
    loss = np.array([_hoffmann.optimal(c).loss for c in C[::100]])
    return float(np.exp(np.interp(-reached, -loss, np.log(C[::100])))) / budget


FITS = Exercise(
    id="08.5",
    kind="compute",
    minutes=10,
    difficulty=3,
    question="You have 1e22 FLOPs, and the phone on which the model will run holds 1e9 parameters. Under Hoffmann's printed "
    "constants and C = 6·N·D: on how many tokens D do you train the largest model that fits, and what share of the 1e22 FLOPs "
    "would have reached the same loss with the best split?",
    check=several(
        D=number(
            _tokens,
            rel=0.02,
            diagnoses=(
                (BUDGET / LARGEST, "this spends C = N·D; a token costs 6·N FLOPs in training."),
                (20 * LARGEST, "this is 20 tokens per parameter, and leaves most of the budget unspent."),
                (lambda: _hoffmann.optimal(BUDGET).D, "these are the tokens of the best split, whose model does not fit."),
            ),
        ),
        share=number(
            _share,
            rel=0.04,
            diagnoses=(
                (lambda: 1 - _share(), "that is the share that was lost; asked for is what would have sufficed."),
                (lambda: 1 / _share(), "that is by how much more was spent; a share lies below 1."),
                (lambda: LARGEST / _hoffmann.optimal(BUDGET).N, "that is the ratio of the sizes; compare compute at equal loss."),
            ),
        ),
    ),
    hints=(
        "D follows from the budget and the size. Put both into the law: which loss is reached?",
        "LAWS[\"hoffmann\"].optimal(C).loss is what the best split reaches with C. For which C is it the same loss?",
        "Try a grid of C below 1e22, take the one whose best loss is nearest to yours, and divide it by 1e22.",
    ),
    solution="""
import numpy as np
from scalept_lab.laws.formulas import LAWS

hoffmann = LAWS["hoffmann"]
on_tokens = 1e22 / (6 * 1e9)
reached = hoffmann(1e9, on_tokens)
compute = np.geomspace(1e20, 1e22, 4001)
lowest = np.array([hoffmann.optimal(c).loss for c in compute])
answer = {"D": on_tokens, "share": compute[np.argmin(np.abs(lowest - reached))] / 1e22}
""",
    wrong=(
        ({"D": BUDGET / LARGEST, "share": 0.5}, "a token costs 6·N"),
        ({"D": 20 * LARGEST, "share": 0.5}, "20 tokens per parameter"),
        ({"D": _hoffmann.optimal(BUDGET).D, "share": 0.5}, "does not fit"),
        ({"D": _tokens, "share": 1 - _share()}, "the share that was lost"),
        ({"D": _tokens, "share": 1 / _share()}, "a share lies below 1"),
        ({"D": _tokens, "share": 100 * _share()}, "percent"),
        ({"D": _tokens, "share": LARGEST / _hoffmann.optimal(BUDGET).N}, "the ratio of the sizes"),
    ),
    placeholder={"D": ..., "share": ...},
)  # fmt: skip


# --- 08.6: a model that will be used -------------------------------------------------------------------------


def cheapest(p, loss, served):
    """(N, D) of the law with constants `p` that reach `loss` and cost least, training 6·N·D and serving 2·N·served."""
    low = (p["A"] / (loss - p["E"])) ** (1 / p["alpha"])  # below it no amount of data is enough
    left, right = 1.0001 * low, 1e4 * low
    for _ in range(2):  # a coarse grid, and a fine one around its best
        N = np.geomspace(left, right, 20_001)
        room = np.maximum(loss - p["E"] - p["A"] / N ** p["alpha"], 1e-12)
        D = (p["B"] / room) ** (1 / p["beta"])
        at = int(np.argmin(6 * N * D + 2 * N * served))
        left, right = max(1.0001 * low, N[at] / 1.05), 1.05 * N[at]
    return float(N[at]), float(D[at])


def _training_only(p, loss, served):
    return cheapest(p, loss, 0.0)


def _six_for_all(p, loss, served):
    return cheapest(p, loss, 3 * served)


def _per_token(p, loss, served):
    """As if N cost nothing in training."""
    N, D = cheapest(p, loss, 0.0)
    return N / 2, D * 2


_LIVES = ((2.05, 0.0), (2.05, 2e12), (2.0, 1e13), (2.2, 5e11))


def _judge_cheapest(mine: Callable) -> Verdict:
    p = LAWS["hoffmann-unrounded"].params
    rows: list[Row] = []
    given: list[tuple[float, float]] = []
    for loss, served in _LIVES:
        found = mine(dict(p), loss, served)
        if found is None or found is ...:
            return UNANSWERED
        try:
            N, D = (float(each) for each in found)
        except (TypeError, ValueError):
            return Verdict(False, "return two numbers, N and D.", rows=tuple(rows))
        given.append((N, D))
        name = f"loss {loss}, {served:.0e} tokens served"
        if not (N > 0 and D > 0 and np.isfinite([N, D]).all()):
            rows.append((name, "N or D is no positive number", False))
            continue
        reached = p["E"] + p["A"] / N ** p["alpha"] + p["B"] / D ** p["beta"]
        n, d = cheapest(p, loss, served)
        more = (6 * N * D + 2 * N * served) / (6 * n * d + 2 * n * served) - 1
        same = abs(reached - loss) < 2e-3
        ok = bool(same and more < 5e-3)
        said = f"{100 * more:.1f} % dearer than need be" if same else f"reaches {reached:.3f}"
        rows.append((name, "agrees" if ok else said, ok))
    table = tuple(rows)
    if all(ok for *_, ok in rows):
        return Verdict(
            True,
            "The more a model will be used, the smaller it should be and the longer it should train.",
            rows=table,
        )
    for wrong, text in _CHEAPEST_SLIPS:
        if all(np.allclose(a, wrong(p, *life), rtol=0.03) for a, life in zip(given, _LIVES, strict=True)):
            return Verdict(False, text, rows=table)
    if not all("dearer" in found or ok for _, found, ok in rows):
        return Verdict(
            False,
            "the pair does not reach the loss: D follows from it, B/D^β = loss − E − A/N^α.",
            rows=table,
        )
    return Verdict(
        False,
        "the loss is reached, at more than the lowest cost: is the grid of N fine and wide enough?",
        rows=table,
    )


_CHEAPEST_SLIPS = (
    (
        _training_only,
        "that is cheapest to train; serving costs 2·N FLOPs for every token, and has to be added.",
    ),
    (_six_for_all, "a token served is a forward pass alone: 2·N FLOPs, not 6·N."),
)

CHEAPEST = Exercise(
    id="08.6",
    kind="build",
    minutes=15,
    difficulty=3,
    question="Write cheapest(p, loss, served): the N and D that reach a loss at the lowest total of training, 6·N·D FLOPs, and "
    "serving, 2·N FLOPs for each of the tokens served.",
    check=judged(_judge_cheapest, wanted="the loss to 0.002, the cost to 0.5 %"),
    hints=(
        "At a given loss each N has exactly one D. So there is one unknown, as in the valleys before.",
        "From the law: B/D^β = loss − E − A/N^α. Where the right side is not positive, the model is too small for any D.",
        "A grid of N (np.geomspace, some ten thousand sizes) from the smallest that can reach the loss; D for each; the total "
        "cost of each; the lowest of them.",
    ),
    skeleton='''
def cheapest(p, loss, served):
    """p: constants E, A, B, alpha, beta of a law. loss: to be reached, nats per token. served: tokens in the model's life.

    Returns N (parameters) and D (training tokens), two numbers.
    """
    ...
''',
    own=lambda: cheapest,
    solution="""
import numpy as np

def cheapest(p, loss, served):
    smallest = (p["A"] / (loss - p["E"])) ** (1 / p["alpha"])
    N = smallest * np.geomspace(1.001, 1e4, 50_000)
    room = loss - p["E"] - p["A"] / N ** p["alpha"]
    D = (p["B"] / room) ** (1 / p["beta"])
    training = 6 * N * D
    serving = 2 * N * served
    best = np.argmin(training + serving)
    return N[best], D[best]

answer = cheapest
""",
    wrong=(
        (_training_only, "has to be added"),
        (_six_for_all, "a forward pass alone"),
        (_per_token, "does not reach the loss"),
    ),
    placeholder=lambda p, loss, served: ...,
)


# --- 08.7: a sweep under a budget ----------------------------------------------------------------------------

SWEEP_BUDGET = 1.6e12
FEWEST = 6  # a law of five constants needs one run more


def cheapest_first(runs, budget):
    """The naive sweep: as many runs as the budget holds."""
    chosen, left = [], budget
    for i in np.argsort(runs["C"], kind="stable"):
        if runs["C"][i] <= left:
            chosen.append(int(i))
            left -= runs["C"][i]
    return chosen


def far_and_wide(runs, budget):
    """One run as far out as can be paid, in the middle of its slice, and the cheap ones for breadth."""
    C = np.asarray(runs["C"])
    slices = np.round(2 * np.log10(C))
    top = [i for i in np.flatnonzero(slices == slices.max()) if C[i] <= budget]
    top.sort(key=lambda i: runs["N"][i])
    first = int(top[len(top) // 2 - (len(top) % 2 == 0)])
    others = {key: np.delete(np.asarray(runs[key]), first) for key in ("N", "D", "C")}
    kept = cheapest_first(others, budget - C[first])
    return [first, *(i + (i >= first) for i in kept)]


@lru_cache
def forecasts(chosen: tuple[int, ...]) -> np.ndarray:
    """Error of the hero's forecast, |log|, for each of five seeds, by the law fitted to the chosen runs."""
    out = []
    for seed in range(5):
        data, rows = _study(seed), list(chosen)
        law = fit_law(data["N"][rows], data["D"][rows], data["L"][rows])
        out.append(abs(float(np.log(law(data["N"][-1], data["D"][-1]) / data["L"][-1]))))
    return np.array(out)


def candidates() -> dict[str, np.ndarray]:
    """The runs that a sweep may choose from: all of the recorded study but its hero, without their losses."""
    return {key: _study(0)[key][:-1].copy() for key in "NDC"}


def _judge_sweep(mine: Callable) -> Verdict:
    runs = candidates()
    found = mine({key: values.copy() for key, values in runs.items()}, SWEEP_BUDGET)
    if found is None or found is ...:
        return UNANSWERED
    try:
        rows = [int(i) for i in np.asarray(list(found)).ravel()]
    except (TypeError, ValueError):
        return Verdict(False, "return the row numbers of the runs that you choose, as a list.")
    if len(set(rows)) != len(rows) or not all(0 <= i < len(runs["C"]) for i in rows):
        return Verdict(False, f"each row number at most once, from 0 to {len(runs['C']) - 1}.")
    spent = float(runs["C"][rows].sum())
    if spent > SWEEP_BUDGET:
        return Verdict(False, f"these runs cost {spent:.3g} FLOPs; the budget is {SWEEP_BUDGET:.2g}.")
    if len(rows) < FEWEST:
        return Verdict(False, f"{len(rows)} runs cannot fix the five constants of a law; {FEWEST} at least.")
    naive, own = forecasts(tuple(sorted(cheapest_first(runs, SWEEP_BUDGET)))), forecasts(tuple(sorted(rows)))
    table: tuple[Row, ...] = (
        ("runs, and what they cost", f"{len(rows)}, {spent:.3g} FLOPs", True),
        ("naive sweep: mean error of the hero's forecast", f"{100 * naive.mean():.1f} %", True),
        (
            "yours, over the same five seeds",
            f"{100 * own.mean():.1f} %",
            bool(own.mean() < 0.75 * naive.mean()),
        ),
        ("seeds in which yours was nearer", f"{int((own < naive).sum())} of 5", True),
    )
    if table[2][2]:
        return Verdict(
            True, "Reach beats number: a forecast lives on the runs nearest to what it forecasts.", rows=table
        )
    if sorted(rows) == sorted(cheapest_first(runs, SWEEP_BUDGET)):
        return Verdict(
            False, "that is the naive sweep: many runs, all of them far below the hero.", rows=table
        )
    if runs["C"][rows].max() < 0.5 * runs["C"].max():
        return Verdict(
            False,
            "all your runs lie far below the hero; what does one larger run cost you in small ones?",
            rows=table,
        )
    return Verdict(
        False,
        "not clearly better than the naive sweep. Do the runs differ enough in N, and in D/N?",
        rows=table,
    )


def _too_dear(runs, budget):
    return list(range(len(runs["C"])))


def _three(runs, budget):
    return [0, 6, 13]


def _no_far(runs, budget):
    return [i for i in range(10)]


DESIGN = Exercise(
    id="08.7",
    kind="design",
    minutes=15,
    difficulty=3,
    question="Write choose(runs, budget): which of the runs do you pay for, so that a law fitted to them forecasts the hero? You "
    "know N, D and C of each, not its loss, and have 1.6e12 FLOPs. Your sweep has to forecast the five recorded heroes with at "
    "most three quarters of the error of the naive sweep, which takes the cheapest runs first.",
    check=judged(_judge_sweep, seconds=90, wanted="at most three quarters of the naive sweep's error"),
    hints=(
        "The naive sweep buys thirteen runs and none from the largest slice. What could its money buy there?",
        "A law needs runs that differ in N and in D/N, which cheap runs can give, and runs near to what it forecasts.",
        "Take one run of the largest slice, in the middle of its sizes, and spend what is left on the cheapest ones.",
    ),
    skeleton='''
def choose(runs, budget):
    """runs: a dict of arrays "N", "D", "C" (16,): parameters, tokens, FLOPs. budget: FLOPs.

    Returns the row numbers of the runs to train, a list.
    """
    ...
''',
    own=lambda: far_and_wide,
    solution="""
import numpy as np

def choose(runs, budget):
    C = runs["C"]
    largest = np.flatnonzero(C > 0.9 * C.max())
    largest = largest[np.argsort(runs["N"][largest])]
    chosen = [int(largest[(len(largest) - 1) // 2])]
    left = budget - C[chosen[0]]
    for i in np.argsort(C):
        if i not in chosen and C[i] <= left:
            chosen.append(int(i))
            left -= C[i]
    return chosen

answer = choose
""",
    wrong=(
        (cheapest_first, "the naive sweep"),
        (_too_dear, "the budget is"),
        (_three, "cannot fix the five constants"),
        (_no_far, "far below the hero"),
    ),
    placeholder=lambda runs, budget: ...,
)


# --- 08.8: a planted bug -------------------------------------------------------------------------------------


def _study_code(below: float, above: float, reverse: bool = False, inner: bool = False):
    """The study with slices that hold the runs from `below` to `above` in log(C / budget)."""

    def exponent(N, D, L, C, budgets):
        best = []
        for budget in budgets:
            far = np.log(C / budget)
            near = (far > below) & (far < above)
            x = np.log(N[near]) - np.log(N[near]).mean()
            p2, p1, _ = np.polyfit(x, L[near], 2)
            best.append(np.log(N[near]).mean() - p1 / (2 * p2))
        keep = slice(1, -1) if inner else slice(None)
        x, y = np.log(budgets)[keep], np.array(best)[keep]
        return np.polyfit(y, x, 1)[0] if reverse else np.polyfit(x, y, 1)[0]

    return exponent


mended = _study_code(-0.1, 0.1)
buggy = _study_code(-np.inf, 0.1)  # without the absolute value, all smaller budgets are in the slice, too


def planted_study(seed: int, decades: float) -> tuple[tuple, float]:
    """A study of exact losses, and the exponent of its law. Sizes go 8 times below and above the optimum of each budget."""
    rng = np.random.default_rng([seed, 88])
    alpha, beta = rng.uniform(0.28, 0.42, 2)
    p = dict(E=1.7, A=400.0, B=500.0, alpha=alpha, beta=beta)
    budgets = 1e18 * 10 ** (decades * np.arange(5))
    G = (alpha * p["A"] / (beta * p["B"])) ** (1 / (alpha + beta))
    N = np.concatenate([G * (c / 6) ** (beta / (alpha + beta)) * np.geomspace(1 / 8, 8, 7) for c in budgets])
    C = np.repeat(budgets, 7) * np.exp(
        rng.uniform(-0.01, 0.01, len(N))
    )  # whole steps: a budget is met to a percent
    D = C / (6 * N)
    L = p["E"] + p["A"] / N**alpha + p["B"] / D**beta
    order = rng.permutation(len(N))
    return (N[order], D[order], L[order], C[order], budgets), float(beta / (alpha + beta))


def _judge_bug(mine: Callable) -> Verdict:
    rows: list[Row] = []
    same, flipped, lost = True, True, False
    for seed, decades in ((0, 0.5), (1, 0.5), (2, 1.0)):
        study, truth = planted_study(seed, decades)
        try:
            with np.errstate(all="ignore"):
                found = mine(*(each.copy() for each in study))
        except TypeError as error:
            if "expected non-empty vector" not in str(error):
                raise
            found, lost = np.nan, True  # np.polyfit was handed no run at all
        if found is None or found is ...:
            return UNANSWERED
        try:
            value = float(found)
        except (TypeError, ValueError):
            return Verdict(False, "the function returns one number, the exponent a.", rows=tuple(rows))
        same &= bool(np.isclose(value, buggy(*study), rtol=1e-4))
        flipped &= bool(np.isclose(value, 1 / truth, rtol=0.02))
        ok = bool(abs(value / truth - 1) < 0.01)
        off = "agrees" if ok else f"off by {100 * (value / truth - 1):+.0f} %"
        rows.append(
            (f"planted law {seed + 1}, budgets {'half ' if decades < 1 else ''}a decade apart", off, ok)
        )
    table = tuple(rows)
    if all(ok for *_, ok in rows):
        return Verdict(True, "Each slice now holds the runs of its own budget and no others.", rows=table)
    if same:
        return UNANSWERED
    if lost:
        return Verdict(
            False,
            "no run is left in some slice: whole steps meet a budget only to about one percent.",
            rows=table,
        )
    if flipped:
        return Verdict(False, "the slope is now that of log C against log N.", rows=table)
    return Verdict(
        False,
        "on planted laws the exponent is still wrong. Count how many runs each slice holds.",
        rows=table,
    )


def _one_slice(N, D, L, C, budgets):
    return _study_code(-1e-6, 1e-6)(N, D, L, C, budgets)


BUG = Exercise(
    id="08.8",
    kind="debug",
    minutes=12,
    difficulty=3,
    question="The function below reads the exponent a off an IsoFLOP study. It runs, and its answers look sensible, but on exact "
    "losses from planted laws they are wrong. Find the bug and mend it.",
    check=judged(_judge_bug, wanted="the exponent of three planted laws, to 1 %"),
    hints=(
        "Print, for each budget, how many runs the function takes. There are seven sizes in each slice.",
        "np.log(C / budget) is 0 for a run of the slice. What is it for the runs of the other slices, above and below?",
        "The first line in the loop decides which runs belong to a slice. It bounds the distance on one side alone.",
    ),
    skeleton='''
def exponent(N, D, L, C, budgets):
    """N, D, L, C: (runs,) parameters, tokens, losses, FLOPs. budgets: (slices,) FLOPs. Returns a in N_opt ~ C^a."""
    best = []
    for budget in budgets:
        near = np.log(C / budget) < 0.1
        x = np.log(N[near]) - np.log(N[near]).mean()
        p2, p1, _ = np.polyfit(x, L[near], 2)
        best.append(np.log(N[near]).mean() - p1 / (2 * p2))
    return np.polyfit(np.log(budgets), best, 1)[0]
''',
    own=lambda: mended,
    solution="""
import numpy as np

def exponent(N, D, L, C, budgets):
    best = []
    for budget in budgets:
        near = np.abs(np.log(C / budget)) < 0.1  # without abs, the runs of all smaller budgets came along
        x = np.log(N[near]) - np.log(N[near]).mean()
        p2, p1, _ = np.polyfit(x, L[near], 2)
        best.append(np.log(N[near]).mean() - p1 / (2 * p2))
    return np.polyfit(np.log(budgets), best, 1)[0]

answer = exponent
""",
    wrong=(
        (_study_code(-0.1, 0.1, reverse=True), "log C against log N"),
        (_study_code(-2.4, 2.4), "how many runs each slice holds"),
        (_one_slice, "no run is left"),
    ),
    placeholder=buggy,
)


# --- 08.9 and 08.10: read -------------------------------------------------------------------------------------

EDGE = Exercise(
    id="08.9",
    kind="read",
    minutes=3,
    difficulty=1,
    question="Four slices of equal compute, with losses for sizes that grow to the right: whose optimum must not go into a fit "
    "of N_opt against C?",
    check=choice(
        "C",
        {
            "A": "its lowest loss stands at the third of four sizes, with higher losses on both sides.",
            "B": "it is flat near the bottom, but the loss rises to both sides of the lowest run.",
            "C": "",
            "D": "its sizes are the largest of all, but the best of them has a worse neighbour on both sides.",
        },
        right="The loss still falls at the largest size tried: the slice says 'larger', and not how much larger.",
    ),
    hints=(
        "An optimum is bracketed when a smaller and a larger size both do worse.",
        "Find the lowest loss of each slice and see which column it stands in.",
        "In one slice the lowest loss stands in the last column, so nothing larger was tried.",
    ),
    solution='answer = "C"  # 1.96 at the largest size: the minimum may lie anywhere beyond',
    wrong=(("A", "the third of four sizes"), ("B", "rises to both sides"), ("D", "worse neighbour")),
)

MEAN = Exercise(
    id="08.10",
    kind="read",
    minutes=4,
    difficulty=2,
    question="Dividing the objective by the number of points moves no minimum. Why does the fit come out differently?",
    check=choice(
        "tolerance",
        {
            "minimum": "a positive factor scales the hill and leaves its lowest point where it was.",
            "tolerance": "",
            "outliers": "every point keeps its share of the total, so outliers weigh what they weighed before.",
            "delta": "Huber's delta is a width in log loss; it is the same for the sum and for the mean.",
        },
        right="All slopes are 240 times smaller, so an optimizer with a fixed tolerance is content far too early.",
    ),
    hints=(
        "A constant factor moves no minimum, and weighs no point differently against another.",
        "So the question is not what is minimised, but when the optimizer is content.",
        "L-BFGS ends when the gradient, or the progress of a step, falls below a fixed small number.",
    ),
    solution='answer = "tolerance"  # fixed thresholds on gradient and progress, met 240 times sooner',
    wrong=(
        ("minimum", "leaves its lowest point"),
        ("outliers", "keeps its share"),
        ("delta", "a width in log loss"),
    ),
)

EXERCISES: tuple[Any, ...] = (
    ISOFLOP, OBJECTIVE, BOOTSTRAP, EXPONENT, FITS, CHEAPEST, DESIGN, BUG, EDGE, MEAN,
)  # fmt: skip
