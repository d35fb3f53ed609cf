"""The contest of forecasts: hide the runs of most compute, and see who foretells them.

    python benchmarks/forecast.py                 # on the kit's own records
    python benchmarks/forecast.py FOLDER          # every table of runs in the folder (params, tokens, loss)
    python benchmarks/forecast.py FOLDER --figure contest.png

Two ways to hide: the top 20 % of the runs by compute, and the top decade. Contestants: each form with its bootstrap
interval, `auto` with the interval that holds the form's error, SciPy from many starts on the additive form (no interval), a
straight line in log-log through the best run of each level of compute, and "no change". Scores on the hidden runs: mean
error in %, share inside the 95 % interval, and the interval score in % of the loss (Gneiting & Raftery 2007, eq. 43: width
plus 40 times what lies outside; smaller is better).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from scalept_lab import runs
from scalept_lab.errors import InputError
from scalept_lab.laws.choice import rows
from scalept_lab.laws.fit import fit_law, fit_points
from scalept_lab.laws.points import Points
from scalept_lab.laws.search import make_problem, objective, starts
from scalept_lab.laws.tables import read_points

FORMS = ("auto", "chinchilla", "tied", "power_of_sum")
Forecast = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


def by_form(form: str) -> Callable[[Points, Points], Forecast]:
    def forecast(seen: Points, hidden: Points) -> Forecast:
        found = fit_points(seen, form, bootstrap=1000).predict(hidden.N, hidden.D)
        return found.loss, found.low, found.high

    return forecast


def scipy_additive(seen: Points, hidden: Points) -> Forecast:
    """The slow twin: L-BFGS from 60 of the published starts."""
    problem, _ = make_problem(seen, "chinchilla")

    def f(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective(problem, theta[None], gradient=True)
        return value[0], gradient[0]

    grid = np.clip(starts(problem)[0][::75], problem.low, problem.high)
    bounds = list(zip(problem.low, problem.high, strict=True))
    found = [minimize(f, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in grid]
    best = min(found, key=lambda each: each.fun).x
    assert hidden.N is not None
    log_loss, _ = problem.at(hidden.N, hidden.D).predict(best[None], jacobian=False)
    return np.exp(log_loss[0]), None, None


def straight_line(seen: Points, hidden: Points) -> Forecast:
    """log L over log C through the lowest loss of each third of a decade."""
    C, ahead = compute(seen), compute(hidden)
    level = np.floor(3 * np.log10(C))
    best = [np.flatnonzero(level == each)[np.argmin(seen.L[level == each])] for each in np.unique(level)]
    if len(best) < 2:
        return no_change(seen, hidden)
    line = np.polyfit(np.log(C[best]), np.log(seen.L[best]), 1)
    return np.exp(np.polyval(line, np.log(ahead))), None, None


def no_change(seen: Points, hidden: Points) -> Forecast:
    return np.full(len(hidden), seen.L.min()), None, None


CONTESTANTS: dict[str, Callable[[Points, Points], Forecast]] = {
    **{form: by_form(form) for form in FORMS},
    "SciPy additive": scipy_additive, "straight line": straight_line, "no change": no_change,
}  # fmt: skip


def compute(points: Points) -> np.ndarray:
    assert points.N is not None and points.D is not None
    return 6 * points.N * points.D


def hide(points: Points, how: str) -> tuple[Points, Points] | None:
    """The runs that are seen and those that are hidden; nothing where too few are left on a side."""
    C = compute(points)
    order = np.argsort(C, kind="stable")
    cut = int(0.8 * len(C)) if how == "top 20 %" else int(np.sum(C <= C.max() / 10))
    seen, hidden = rows(points, order[:cut]), rows(points, order[cut:])
    enough = len(seen) >= 12 and len(hidden) >= 3
    assert seen.N is not None and seen.D is not None
    return (seen, hidden) if enough and min(len(np.unique(seen.N)), len(np.unique(seen.D))) >= 3 else None


def score(forecast: Forecast, L: np.ndarray) -> tuple[float, float, float]:
    """Mean error in %, share inside the interval, interval score in %."""
    loss, low, high = forecast
    error = float(100 * np.mean(np.abs(L / loss - 1)))
    if low is None or high is None:
        return error, np.nan, np.nan
    outside = np.maximum(low - L, 0) + np.maximum(L - high, 0)
    return error, float(np.mean(outside == 0)), float(100 * np.mean((high - low + 40 * outside) / L))


def own_sets() -> dict[str, Points]:
    """Families of runs in data/records that vary model size and tokens alike: one recipe, one text."""
    found = {}
    for name in ("standard", "known_entropy"):
        groups: dict[str, list[Any]] = {}
        for record in runs.recorded(name):
            if record.ok:
                groups.setdefault(record.config["corpus"], []).append(record)
        for corpus, each in groups.items():
            N, D, L = (np.array([getattr(record, key) for record in each], float) for key in "NDL")
            found[f"{name}, {corpus}"] = Points(N, D, L)
    return found


def folder_sets(folder: Path) -> dict[str, Points]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in (".csv", ".jsonl", ".json", ".parquet", ".tsv", ".gz"):
            try:
                found[path.name] = read_points(path)
            except InputError as error:
                print(f"left out: {error}", file=sys.stderr)
    return found


def contest(sets: dict[str, Points]) -> list[dict[str, Any]]:
    """One row for each set, way of hiding, and contestant."""
    table = []
    for name, points in sets.items():
        for how in ("top 20 %", "top decade"):
            parts = hide(points, how)
            for who, forecast in CONTESTANTS.items() if parts else ():
                assert parts is not None
                error, inside, width = score(forecast(*parts), parts[1].L)
                table.append(
                    {"set": name, "hidden": how, "who": who, "runs": len(parts[0]), "foretold": len(parts[1]),
                     "error": error, "inside": inside, "score": width}
                )  # fmt: skip
    return table


def show(table: list[dict[str, Any]]) -> str:
    lines = []
    for key in dict.fromkeys((row["set"], row["hidden"]) for row in table):
        mine = [row for row in table if (row["set"], row["hidden"]) == key]
        lines.append(
            f"\n{key[0]}: {key[1]} hidden, {mine[0]['runs']} runs seen, {mine[0]['foretold']} foretold"
        )
        for row in mine:
            interval = (
                ""
                if np.isnan(row["inside"])
                else f"   inside {row['inside']:.2f}   score {row['score']:6.2f} %"
            )
            lines.append(f"  {row['who']:<16} error {row['error']:6.2f} %{interval}")
    lines.append("\nmean over sets")
    for who in CONTESTANTS:
        mine = [row for row in table if row["who"] == who]
        error, width = (np.mean([row[key] for row in mine]) for key in ("error", "score"))
        inside = np.average([row["inside"] for row in mine], weights=[row["foretold"] for row in mine])
        interval = (
            "" if np.isnan(inside) else f"   inside {inside:.3f} of all hidden runs   score {width:6.2f} %"
        )
        lines.append(f"  {who:<16} error {error:6.2f} %{interval}")
    return "\n".join(lines)


def draw(table: list[dict[str, Any]], path: Path) -> None:
    from scalept_lab.plots import style

    fig, ax = style.canvas()
    names = list(dict.fromkeys(f"{row['set']}, {row['hidden']}" for row in table))
    for i, who in enumerate(("auto", "chinchilla", "straight line", "no change")):
        mine = {f"{row['set']}, {row['hidden']}": row["error"] for row in table if row["who"] == who}
        ax.plot(
            [max(mine[name], 1e-3) for name in names], range(len(names)), "os^x"[i], label=who, markersize=7
        )
    ax.set_xscale("log")
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set_xlabel("mean error on the hidden runs (%)")
    ax.legend(loc="best")
    path.write_bytes(style.png(fig))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Who foretells the runs of most compute?")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    found = contest(folder_sets(options.folder) if options.folder else own_sets())
    print(show(found))
    if options.figure:
        draw(found, options.figure)
