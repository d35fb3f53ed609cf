"""What a set of runs can tell, and what it cannot: the identifiability card of a fit, and `scalept fit`, which prints it.

Plain sentences and the figures behind them, for the command line and `--json`. Nothing here changes the fit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scalept_lab.checks import whole
from scalept_lab.laws import choice, formulas
from scalept_lab.laws.choice import Fitted, fitted
from scalept_lab.laws.fit import MISFIT, Law, fit_points, trends
from scalept_lab.laws.formulas import NO_SPLIT
from scalept_lab.laws.odd import Odd, odd_runs, rest_of
from scalept_lab.laws.points import Points
from scalept_lab.laws.search import make_problem
from scalept_lab.laws.tables import read_points

TOGETHER = 0.95  # correlation from which two constants are said to trade off
ALONE = 0.5  # leverage from which one run decides something by itself
FAR = 0.25  # loss above the best at a run's compute, as a share, from which the run is called far off
APART = 0.5  # share of the residuals' variance that a column explains, from which the runs are a mixture
SHOWN = 10  # odd runs that the sentences name
SOURCES = ("dataset", "corpus", "data")  # losses on different text never compare


def distinct(points: Points) -> Points:
    """Each run once: rows that agree in all numbers are copies, and copies make intervals too narrow."""
    columns = [getattr(points, key) for key in ("N", "D", "L", "unique", "C")]
    table = np.stack([v for v in columns if v is not None], axis=1)
    _, first = np.unique(table, axis=0, return_index=True)
    if len(first) == len(table):
        return points
    first = np.sort(first)
    labels = {name: tuple(np.asarray(values, object)[first]) for name, values in points.labels.items()}
    note = f"{len(table) - len(first)} of {len(table)} rows repeat another row and count once"
    return replace(choice.rows(points, first), labels=labels, notes=(*points.notes, note))


def card(law: Law) -> dict[str, Any]:
    """The card of a fit: `ranges`, `conditioning`, `known` (95 % interval as a share of the value), `trade_offs`
    (correlation of two constants), `trends` (t values of what the residuals follow), `influence` (leverage of single
    runs), `warnings`, and all of it again as `sentences`.
    """
    points = law.points
    problem, _ = make_problem(points, law.form, variable_name=law.variable)
    found = fitted(problem, problem.theta(**law.params))
    ranges = _ranges(points)
    condition, pairs = _correlations(found)
    known = _known(law)
    influence = _influence(found, points)
    followed = trends(found)
    warnings = _warnings(law, found)
    sentences = [*points.notes]
    sentences += [
        f"{name}: {low:.3g} to {high:.3g} ({np.log10(high / low):.1f} decades)"
        for name, (low, high) in ranges.items()
    ]
    for name, share in known.items():
        size = f"to ±{100 * share:.2g} %" if share < 1 else f"only within a factor of {1 + share:.2g}"
        sentences.append(f"{name} is known {size}")
    sentences += [
        f"{a} and {b} trade off (correlation {value:+.2f}): the runs know a combination of them better than each alone"
        for (a, b), value in pairs.items()
    ]
    sentences += [
        f"residuals {'follow' if abs(t) > MISFIT else 'show no trend in'} {name} (t = {t:+.1f})"
        for name, t in followed.items()
    ]
    sentences += [f"{text} decides by itself: leverage {value:.2f} of 1" for text, value in influence.items()]
    return {
        "points": len(points),
        "ranges": {name: list(pair) for name, pair in ranges.items()},
        "conditioning": condition,
        "known": known,
        "trade_offs": {f"{a}, {b}": value for (a, b), value in pairs.items()},
        "trends": followed,
        "influence": influence,
        "warnings": warnings,
        "sentences": sentences + [f"warning: {text}" for text in warnings],
    }


def _ranges(points: Points) -> dict[str, tuple[float, float]]:
    N, D, C = points.N, points.D, points.C
    columns = {"N": N, "D": D, "C": C}
    if N is not None and D is not None:
        columns |= {"C": 6 * N * D if C is None else C, "D/N": D / N}
    return {name: (float(v.min()), float(v.max())) for name, v in columns.items() if v is not None}


def _correlations(found: Fitted) -> tuple[float, dict[tuple[str, str], float]]:
    """Condition number of JᵀJ with columns of length one, and the pairs of constants that move together."""
    names = [name for name, free in zip(found.problem.names, found.free, strict=True) if free]
    inverse = found.inverse
    if not len(names):
        return 1.0, {}
    spread = np.sqrt(np.diag(inverse))
    correlation = inverse / np.outer(spread, spread)
    condition = float(np.linalg.cond(correlation)) if len(names) > 1 else 1.0
    pairs = {
        (names[i], names[j]): float(correlation[i, j])
        for i in range(len(names))
        for j in range(i + 1, len(names))
        if abs(correlation[i, j]) > TOGETHER
    }
    return condition, pairs


def _known(law: Law) -> dict[str, float]:
    """Half the 95 % interval of each constant as a share of its value, where there are intervals."""
    out = {}
    for name, (low, high) in law.interval95.items():
        value = getattr(law, name) if name in "ab" else law.params[name]
        if value and np.isfinite(value):
            out[name] = float(min((high - low) / 2 / abs(value), 1e9))
    return out


def _influence(found: Fitted, points: Points) -> dict[str, float]:
    """Runs whose own loss decides most of what the law says at their place."""
    _, leverage = found.of(found.problem)
    worst = [int(i) for i in np.argsort(-leverage)[:3] if leverage[i] > ALONE]
    return {_run(points, i): float(leverage[i]) for i in worst}


def _run(points: Points, i: int) -> str:
    sizes = [
        f"{name} = {v[i]:.3g}"
        for name, v in (("N", points.N), ("D", points.D), ("C", points.C))
        if v is not None
    ]
    return f"the run with {', '.join(sizes)}"


def _warnings(law: Law, found: Fitted) -> list[str]:
    points, out = law.points, []
    N, D, C, unique = points.N, points.D, points.C, points.unique
    if choice.follows(points):
        slope = np.polyfit(np.log(N), np.log(D), 1)[0]  # type: ignore[arg-type]
        out.append(
            f"D goes as N^{slope:.2f} in all runs: {NO_SPLIT.split(': ')[1]}, and no exponent of N or D alone; "
            "vary the tokens at one model size"
        )
    out += _units(points)
    if N is not None and D is not None and C is not None:
        ratio = float(np.median(C / (6 * N * D)))
        if not 0.5 < ratio < 2:
            out.append(
                f"the compute given is {ratio:.3g} times 6·N·D: N may hold the embeddings, or a column is in other units"
            )
    if unique is not None and D is not None and np.mean(unique > D * 1.001) > 0.5:
        out.append("unique tokens lie above total tokens in most runs: the two columns may be swapped")
    out += _mixtures(points, found)
    if N is not None and D is not None and law.form not in formulas.ONE_VARIABLE and law.status != NO_SPLIT:
        compute = 6 * N * D
        with np.errstate(all="ignore"):
            sizes, tokens = formulas.split(law.form, law.params, compute)
            best = formulas.loss(law.form, law.params, sizes, tokens, tokens)
        far = points.L > (1 + FAR) * np.maximum(best, 1e-300)
        if far.any():
            out.append(
                f"{int(far.sum())} of {len(points)} runs lie more than {100 * FAR:.0f} % above the best loss for their compute: "
                "they may rule the fit; see what it says without them"
            )
    return out


def _units(points: Points) -> list[str]:
    N, D = points.N, points.D
    small = [
        name for name, v, least in (("params", N, 1e3), ("tokens", D, 1e5)) if v is not None and v.max() < least
    ]  # fmt: skip
    ratio = float(np.median(D / N)) if N is not None and D is not None else 20.0
    if (
        small
        or not 1e-3 < ratio < 1e5
        or (N is not None and D is not None and N.max() < 1e6 and D.max() < 1e5)
    ):
        what = " and ".join(small) or "params and tokens"
        return [
            f"{what}: values this small look like millions or billions (median {ratio:.3g} tokens per parameter); "
            "a plan needs plain numbers, so multiply them out"
        ]
    return []


def _mixtures(points: Points, found: Fitted) -> list[str]:
    """Columns that tell runs apart: text never mixes; other settings mix badly where they explain the residuals."""
    out = []
    residual = found.problem.y - found.problem.predict(found.theta[None], jacobian=False)[0][0]
    for name, values in points.labels.items():
        if len(values) != len(residual):
            continue
        _, group = np.unique(np.asarray(values, str), return_inverse=True)
        counts = np.bincount(group)
        means = np.bincount(group, residual) / counts
        between, within = np.sum(counts * means**2), np.sum((residual - means[group]) ** 2)
        free = max(1, len(residual) - len(counts))
        strong = between / max(1, len(counts) - 1) > 10 * within / free
        share = between / max(between + within, 1e-300)
        if name.lower() in SOURCES or (strong and share > APART):
            out.append(
                f"column {name} has {len(counts)} values, and explains {100 * share:.0f} % of the residuals: "
                "runs that differ in it belong to different laws; fit those of one value at a time"
            )
    return out


def _without_odd(
    law: Law, bounds: Mapping[str, tuple[float, float]]
) -> tuple[list[Odd], dict[str, float] | None]:
    """The runs that cannot be of the law of the others, and the constants without them, None where there are none."""
    strange = odd_runs(law.points, law.form, bounds, law.variable)
    if not strange:
        return [], None
    rest = rest_of(law.points, strange)
    return strange, fit_points(rest, law.form, variable=law.variable, bounds=bounds).params


def fit_file(
    path: str | Path, form: str = "auto", bootstrap: int = 1000, seed: int = 0, *, variable: str = "",
    pinned: Mapping[str, float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """`scalept fit`: the JSON object of the command line for a file of runs. `pinned`: constants held at a value.

    The fit has all rows. `card["odd"]` names those that cannot be of the law of the others, `card["without_odd"]` has the
    constants without them.

    Raises: InputError.
    """
    began = time.perf_counter()
    points = distinct(read_points(path, form))
    bounds = {name: (value, value) for name, value in (pinned or {}).items()}
    law = fit_points(
        points, form, whole("bootstrap", bootstrap, 0, 100_000), seed, variable=variable, bounds=bounds
    )
    strange, params = _without_odd(law, bounds)
    told = card(law)
    told["odd"] = [_run(law.points, each.row) + f": {each.why}" for each in strange]
    told["without_odd"] = params
    if params:
        constants = ", ".join(f"{name} {value:.4g}" for name, value in params.items())
        told["sentences"] += [
            *(f"warning: {text}; it cannot be of the law of the others" for text in told["odd"][:SHOWN]),
            f"all rows are in the fit; without these: {constants}",
        ]
    one = law.form in formulas.ONE_VARIABLE
    return {
        "form": law.form,
        "formula": formulas.FORMULAS[law.form],
        **({"variable": law.variable} if one else {}),
        "params": law.params,
        "objective": law.objective,
        "interval95": {name: list(pair) for name, pair in law.interval95.items()},
        "status": law.status,
        "detail": law.detail,
        "optimal": {"a": None, "b": None} if one else {"a": law.a, "b": law.b},
        "rolling_error_percent": law.choice.errors if law.choice else {},
        "card": told,
        "seconds": time.perf_counter() - began,
    }
