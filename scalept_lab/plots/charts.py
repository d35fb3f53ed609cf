"""Charts of plain numbers: measurements against one variable, bars, what cleaning removed, memory per GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from scalept_lab.checks import positive
from scalept_lab.costs import counts
from scalept_lab.errors import InputError
from scalept_lab.laws import formulas
from scalept_lab.plots import style as look
from scalept_lab.plots.style import (
    BLUE,
    COLORS,
    GREEN,
    GREY,
    LOSS,
    MARKERS,
    ORANGE,
    SKY,
    VERMILLION,
    label,
    log_axis,
)

Curve = Callable[[np.ndarray], Any]


def plot_loss_against(
    x: Sequence[float], y: Any, *, xlabel: str, ylabel: str = LOSS, err: Any = None,
    curves: Mapping[str, Curve] | None = None, logx: bool = True, logy: bool = True, lowest: bool = False,
    title: str = "", bars: str = "95 % interval of the mean", ylim: tuple[float, float] | None = None,
) -> Figure:  # fmt: skip
    """Measurements against one variable: seeds as small points, their mean as a line, its 95 % interval as a bar.

    x      X values, or for each series its own (a mapping with the names of `y`)
    y      X values, X × seeds (NaN where a run is missing or diverged), or a mapping from names to either: a line each
    err    half-widths (X values, or a mapping) where they are known; else from the seeds, by Student's t
    curves name -> function of x, drawn in the colour of the series of that name in place of its line
    lowest mark the lowest mean of each series, as for a sweep of learning rates
    bars   what the bars are, for the legend; ylim the range of y, for figures that are compared
    Raises: InputError if lengths differ or nothing is left to draw.
    """
    series = y if isinstance(y, Mapping) else {"": y}
    curves = curves or {}
    fig, ax = look.canvas()
    ends, barred = [], False
    for i, (name, values) in enumerate(series.items()):
        X = np.asarray(x[name] if isinstance(x, Mapping) else x, float)
        runs_XxS = np.asarray(values, float)
        runs_XxS = runs_XxS[:, None] if runs_XxS.ndim == 1 else runs_XxS
        if X.shape != runs_XxS.shape[:1]:
            raise InputError(f"{name or 'y'}: expected {len(X)} values, one for each x, got {len(runs_XxS)}")
        order = np.argsort(X)
        X, runs_XxS = X[order], runs_XxS[order]
        mean, half = mean_and_interval(runs_XxS)
        known = err.get(name) if isinstance(err, Mapping) else err
        half = half if known is None else np.asarray(known, float)[order]
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        there = np.isfinite(mean)
        if not there.any():
            continue
        if runs_XxS.shape[1] > 1:
            beside = ScaledTranslation(5 / 72, 0, fig.dpi_scale_trans)
            many = np.repeat(X, runs_XxS.shape[1])
            (dots,) = ax.plot(many, runs_XxS.ravel(), ".", color=color, alpha=0.6, markersize=5)
            dots.set_transform(dots.get_transform() + beside)
        if np.isfinite(half).any():
            ax.errorbar(X, mean, half, fmt="none", ecolor=color, elinewidth=1.4, capsize=3)
            barred = True
        joined = "" if name in curves else "-"
        ax.plot(
            X[there], mean[there], linestyle=joined, marker=marker, color=color, linewidth=1.6, markersize=6
        )
        if name in curves:
            grid = np.geomspace(X[0], X[-1], 100) if logx else np.linspace(X[0], X[-1], 100)
            ax.plot(grid, curves[name](grid), color=color, linewidth=1.6)
        if lowest:
            best = int(np.nanargmin(mean))
            ax.plot(X[best], mean[best], "o", markersize=14, markerfacecolor="none", markeredgecolor=color)
        if name:
            ends.append((X[there][-1], mean[there][-1], name, color))
    if not ax.lines:
        raise InputError("nothing to draw: every value is missing (NaN)")
    if logx:
        log_axis(ax.xaxis)
    if logy:
        log_axis(ax.yaxis, "{:.4g}".format)
    if ylim:
        ax.set_ylim(ylim)
    if ends:
        look.widen(ax, min(0.4, 0.02 + 0.0125 * max(len(name) for *_, name, _ in ends)), logx)
        look.name_ends(ax, ends, away=12)
    if barred:
        bar = Line2D(
            [],
            [],
            color=GREY,
            marker="|",
            markersize=11,
            markeredgewidth=1.4,
            linestyle="",
            label=f"bars: {bars}",
        )
        ax.legend(handles=[bar], loc="best", **look.LEGEND)
    label(ax, xlabel, ylabel, title)
    return fig


def mean_and_interval(runs_XxS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the runs and the half-width of its 95 % interval (NaN below three runs), each (X,)."""
    from scipy.special import stdtrit

    seeds = np.isfinite(runs_XxS).sum(1)
    total = np.nansum(runs_XxS, 1)
    mean = np.divide(total, seeds, out=np.full(len(seeds), np.nan), where=seeds > 0)
    squares = np.nansum((runs_XxS - mean[:, None]) ** 2, 1)
    half = np.full(len(seeds), np.nan)
    many = seeds > 2  # of two runs, Student's factor is 12.7: a bar that hides the figure
    half[many] = stdtrit(seeds[many] - 1, 0.975) * np.sqrt(squares[many] / (seeds[many] - 1) / seeds[many])
    return mean, half


def plot_bars(
    labels: Sequence[str], values: Sequence[float], errors: Sequence[float] | None = None, *, xlabel: str,
    reference: tuple[str, float] | None = None, notes: Sequence[str] | None = None, form: str = "{:.3g}",
    title: str = "", ylabel: str = "",
) -> Figure:  # fmt: skip
    """Horizontal bars, the first on top, each with its value written out (or with its entry of `notes`).

    errors: half-widths of intervals; reference: (name, value) of a vertical line. Raises: InputError if lengths differ.
    """
    if not len(labels) == len(values) or (errors is not None and len(errors) != len(values)):
        raise InputError(
            f"expected as many labels as values (and errors), got {len(labels)} and {len(values)}"
        )
    if not len(values):
        raise InputError("values: expected at least one bar, got none")
    shown = np.nan_to_num(np.asarray(values, float))
    half = np.zeros(len(shown)) if errors is None else np.nan_to_num(np.asarray(errors, float))
    rows = np.arange(len(shown))
    fig, ax = look.canvas(size=(7.0, 1.4 + 0.36 * len(shown)))
    bars = {"xerr": half, "error_kw": {"capsize": 3}} if errors is not None else {}
    ax.barh(rows, shown, height=0.66, color=SKY, **bars)
    ax.set_yticks(rows, [str(name) for name in labels], fontsize=10)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    texts = notes or [form.format(value) if np.isfinite(value) else "not measured" for value in values]
    for row, value, more, text in zip(rows, shown, half, texts, strict=True):
        ax.annotate(
            text, (max(0.0, value + more), row), (5, 0), textcoords="offset points", va="center", fontsize=9.5
        )
    longest = max(len(text) for text in texts)
    ax.margins(x=0.05 + 0.014 * longest)
    if reference:
        ax.axvline(reference[1], color=VERMILLION, linewidth=1.4, linestyle="--", label=reference[0])
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, **look.LEGEND)
    ax.autoscale_view()
    if shown.min() >= 0:
        ax.set_xlim(left=0)
    label(ax, xlabel, ylabel, title)
    return fig


def plot_cleaning(report: Any, title: str = "") -> Figure:
    """What each rule of a cleaning step removed: a bar for its share of the bytes, with counts.

    `report`: a table by rule with the columns documents, bytes and share (`CleaningReport.table()`), or the same as a
    mapping rule -> row. Without shares the bars are megabytes.
    """
    rows = report.to_dict("index") if hasattr(report, "to_dict") else dict(report)
    if not rows:
        raise InputError("report: expected at least one rule, got an empty table")
    with_share = all("share" in row for row in rows.values())
    values = [100 * row["share"] if with_share else row["bytes"] / 1e6 for row in rows.values()]
    notes = [f"{row['documents']:,} documents, {row['bytes'] / 1e6:.3g} MB" for row in rows.values()]
    names = [str(rule).replace("_", " ") for rule in rows]
    xlabel = "share of all bytes removed (%)" if with_share else "removed (MB)"
    return plot_bars(names, values, notes=notes, xlabel=xlabel, title=title, ylabel="rule")


def plot_memory(
    params: float = 7.5e9, gpus: int = 64, zero: int = 0, precision: str = "mixed", limit_gb: float = 80.0
) -> Figure:
    """Memory per GPU for parameters, gradients and optimizer at every ZeRO stage, against what a GPU holds.

    `zero` is the stage in full colour. Activations are not counted. Raises: InputError.
    """
    stages = [counts.memory(params, gpus, stage, precision) for stage in range(4)]
    chosen = counts.memory(params, gpus, zero, precision)["total"] / 1e9
    limit_gb = positive("limit_gb", limit_gb)
    fig, ax = look.canvas()
    bottom = np.zeros(4)
    names = {"params": "parameters", "grads": "gradients", "optimizer": "optimizer"}
    for key, color in zip(names, (BLUE, ORANGE, GREEN), strict=True):
        height = np.array([stage[key] / 1e9 for stage in stages])
        bars = ax.bar(range(4), height, bottom=bottom, color=color, width=0.62)
        for stage, bar in enumerate(bars):
            bar.set_alpha(1.0 if stage == zero else 0.4)
        bottom += height
    for stage, total in enumerate(bottom):
        ax.annotate(f"{total:.3g} GB", (stage, total), (0, 4), textcoords="offset points", ha="center", fontsize=10,
                    fontweight="bold" if stage == zero else "normal")  # fmt: skip
    limit = ax.axhline(
        limit_gb, color=VERMILLION, linewidth=1.4, linestyle="--", label=f"a GPU with {limit_gb:g} GB"
    )
    ax.set_xticks(
        range(4),
        ["0: nothing\nsharded", "1:\noptimizer", "2: and\ngradients", "3: and\nparameters"],
        fontsize=9,
    )
    ax.grid(visible=False, axis="x")
    ax.set_ylim(0, 1.25 * max(bottom.max(), limit_gb))
    keys = [
        Patch(color=color, label=name)
        for name, color in zip(names.values(), (BLUE, ORANGE, GREEN), strict=True)
    ]
    ax.legend(handles=[*keys, limit], loc="upper right", ncols=4, **look.LEGEND)
    verdict = "fits" if chosen < limit_gb else "does not fit"
    title = f"{look.short(params)} parameters on {gpus:,} GPUs, ZeRO stage {zero}: {chosen:.3g} GB each, {verdict}"
    label(ax, "ZeRO stage", "memory per GPU (GB)", title)
    return fig


def plot_repeats(
    unique: float = 1e5, epochs: float = 4, R_D: float = 15.39,
    measured: tuple[Sequence[float], Sequence[float]] | None = None, title: str = "",
) -> Figure:  # fmt: skip
    """What passes over the same text are worth in fresh tokens, against fresh text and the most repeating can give.

    The law is eq. 5 of Muennighoff et al. 2023; `epochs` is marked and, without a `title`, told there. `measured`: (epochs,
    fresh tokens they were worth), drawn as points. Raises: InputError.
    """
    unique, R_D = positive("unique", unique), positive("R_D", R_D)
    if not epochs >= 1:
        raise InputError(f"epochs: expected at least 1, got {epochs}")
    points = ([], []) if measured is None else measured
    last = max(64.0, 2.0 * epochs, *np.asarray(points[0], float))
    grid = np.geomspace(1, last, 120)
    worth = float(formulas.effective(unique * epochs, unique, R_D))
    fig, ax = look.canvas()
    ax.plot(grid, unique * grid, color=GREY, linestyle="--", linewidth=1.4)
    ax.plot(grid, formulas.effective(unique * grid, unique, R_D), color=BLUE, linewidth=2.2)
    ax.axhline(unique * (1 + R_D), color=GREY, linestyle=":", linewidth=1.4)
    ax.plot(*points, "o", color="black", markersize=6)
    ax.plot(epochs, worth, "D", color=VERMILLION, markersize=9, zorder=4)
    log_axis(ax.xaxis, "{:g}".format)
    log_axis(ax.yaxis)
    look.widen(ax, 0.2)
    look.name_ends(ax, [
        (last, unique * last, "fresh text", GREY),
        (last, float(formulas.effective(unique * last, unique, R_D)), "repeated text", BLUE),
    ])  # fmt: skip
    ax.annotate("the most that repeating can give", (1, unique * (1 + R_D)), (0, 5), textcoords="offset points", color=GREY,
                fontsize=9.5)  # fmt: skip
    share = worth / (unique * epochs)
    title = (
        title
        or f"{epochs:g} passes over {look.short(unique)} tokens are worth {look.short(worth)} fresh ones: {share:.0%}"
    )
    label(ax, "passes over the same tokens", "fresh tokens of the same worth", title)
    return fig
