"""Who forecasts the runs of most compute? The contest of `scalept_lab.laws.contest`, as a table and a figure.

python benchmarks/forecast.py                 # on the kit's own records
python benchmarks/forecast.py FOLDER          # every table of runs in the folder (params, tokens, loss)
python benchmarks/forecast.py FOLDER --figure contest.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from scalept_lab import runs
from scalept_lab.errors import InputError
from scalept_lab.laws.contest import CONTESTANTS, contest
from scalept_lab.laws.points import Points
from scalept_lab.laws.tables import read_points


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


def show(table: list[dict[str, Any]]) -> str:
    lines = []
    for key in dict.fromkeys((row["set"], row["hidden"]) for row in table):
        mine = [row for row in table if (row["set"], row["hidden"]) == key]
        lines.append(
            f"\n{key[0]}: {key[1]} hidden, {mine[0]['runs']} runs seen, {mine[0]['held_out']} held out"
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
        inside = np.average([row["inside"] for row in mine], weights=[row["held_out"] for row in mine])
        interval = (
            "" if np.isnan(inside) else f"   inside {inside:.3f} of all hidden runs   score {width:6.2f} %"
        )
        lines.append(f"  {who:<16} error {error:6.2f} %{interval}")
    return "\n".join(lines)


def draw(table: list[dict[str, Any]], path: Path) -> None:
    from scalept_lab.plots import style

    fig, ax = style.canvas()
    names = list(dict.fromkeys(f"{row['set']}, {row['hidden']}" for row in table))
    marks = {"no change": ("x", 7), "straight line": ("^", 7), "chinchilla": ("s", 6), "auto": ("o", 12)}
    for who, (mark, size) in marks.items():
        mine = {f"{row['set']}, {row['hidden']}": row["error"] for row in table if row["who"] == who}
        errors = [max(mine[name], 1e-3) for name in names]  # a family without noise is met exactly
        ax.plot(
            errors, range(len(names)), mark, label=who, markersize=size, fillstyle="none", markeredgewidth=1.6
        )
    ax.set_xscale("log")
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set_xlabel("mean error on the hidden runs (%)")
    means = {who: np.mean([row["error"] for row in table if row["who"] == who]) for who in marks}
    ax.set_title(
        f"auto misses by {means['auto']:.2f} % on average, the additive form by {means['chinchilla']:.2f} %",
        fontsize=10, loc="right",
    )  # fmt: skip
    ax.legend(loc="best")
    path.write_bytes(style.png(fig))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Who forecasts the runs of most compute?")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    found = contest(folder_sets(options.folder) if options.folder else own_sets())
    print(show(found))
    if options.figure:
        draw(found, options.figure)
