"""Figures of mixtures of experts: who gets how much work, and how much of a model a token passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scalept_lab.errors import InputError
from scalept_lab.plots import style as look
from scalept_lab.plots.style import BLUE, COLORS, GREY, MARKERS, SKY, label, log_axis


def plot_load(loads: Mapping[str, Any], title: str = "") -> Figure:
    """Load of each expert over the mean, the busiest first, a line for each name; (E,) or (layers, E), sorted and then averaged.

    Raises: InputError without loads, or if they are not of equally many experts.
    """
    lines = {name: -np.sort(-np.atleast_2d(np.asarray(load, float))) for name, load in loads.items()}
    if len({line.shape[1] for line in lines.values()}) != 1:
        raise InputError("loads: expected one load or more, all of the same number of experts")
    fig, ax = look.canvas(size=(7.0, 3.6))
    for i, (name, load_LxE) in enumerate(lines.items()):
        ranks = np.arange(1, load_LxE.shape[1] + 1)
        drawn = {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)]}
        ax.plot(ranks, load_LxE.mean(0), linewidth=1.6, markersize=6, label=name, **drawn)
    ax.axhline(1, color=GREY, linewidth=1.2, linestyle="--", label="even load")
    ax.set_ylim(bottom=0)
    ax.set_xticks(ranks)
    ax.legend(loc="upper right", **look.LEGEND)
    label(ax, "experts of a layer, the busiest first", "load / mean load", title)
    return fig


def plot_mixtures(rows: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Published mixtures, as `costs.mixtures.table` gives them: all parameters, and those that a token passes.

    Raises: InputError without rows.
    """
    if not rows:
        raise InputError("rows: expected at least one model, got none")
    fig, ax = look.canvas(size=(7.0, 1.3 + 0.5 * len(rows)))
    places = np.arange(len(rows))
    for shift, name, color in ((-0.2, "total", SKY), (0.2, "active", BLUE)):
        values = [row[name] for row in rows]
        ax.barh(
            places + shift,
            values,
            height=0.36,
            color=color,
            label={"total": "held", "active": "passed by a token"}[name],
        )
        for place, value in zip(places + shift, values, strict=True):
            ax.annotate(
                f"{value:.3g}", (value, place), (4, 0), textcoords="offset points", va="center", fontsize=9
            )
    log_axis(ax.xaxis, lambda value: f"{value:g}")
    ax.set_xlim(1, 3 * max(row["total"] for row in rows))
    ax.set_yticks(places, [row["model"] for row in rows])
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), **look.LEGEND)
    label(ax, "parameters (billions)", "model", title)
    return fig
