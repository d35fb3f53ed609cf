"""How a figure looks, how it is shown, and the charts that need neither a record nor a law.

Every `plot_…` function of the course is pure: values in, a matplotlib `Figure` out. Nothing here touches
`pyplot`, whose global list of figures would grow with every redraw of an explorer.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalept_lab import costs
from scalept_lab.errors import InputError

# Okabe & Ito's palette: its colours stay apart for every common form of colour blindness.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#6B6B6B"
COLORS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # a second way to tell series apart

LOSS = "held-out loss (nats per token)"
TOKENS, PARAMETERS, FLOPS = "training tokens D", "non-embedding parameters N", "training compute C (FLOPs)"


class Picture(Figure):
    """A figure that appears in a notebook as PNG, whether or not a matplotlib backend for notebooks is set."""

    def _repr_png_(self) -> bytes:
        return png(self)


def canvas(rows: int = 1, columns: int = 1, size: tuple[float, float] = (7.0, 4.2), **shared: Any) -> tuple[Figure, Any]:
    """A figure and its axes (one, or an array), in the style of the course."""
    fig = Picture(figsize=size, layout="constrained")
    axes = fig.subplots(rows, columns, **shared)
    for ax in np.atleast_1d(axes).ravel():
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#e3e3e3", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=9.5)
    return fig, axes


def label(ax: Axes, x: str, y: str, title: str = "") -> None:
    ax.set_xlabel(x, fontsize=10.5)
    ax.set_ylabel(y, fontsize=10.5)
    if title:
        ax.set_title(title, loc="left", fontsize=11)


def short(value: float) -> str:
    """6144 -> "6.1k", 4.04e10 -> "40B": how sizes of models and data are spoken of."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:
            scaled = float(f"{value / unit:.2g}") if value < 99.5 * unit else round(value / unit)
            return f"{scaled:g}{name}"
    return f"{value:.3g}"


def power_of_ten(value: float) -> str:
    """3e11 -> "3×10¹¹" as mathtext."""
    if not value > 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    mantissa = mantissa.removesuffix(".0")
    return f"$10^{{{int(exponent)}}}$" if mantissa == "1" else f"${mantissa}\\times10^{{{int(exponent)}}}$"


def log_axis(axis: Any, form: Callable[[float], str] = short) -> None:
    """A log scale whose labels are `form`ed, at 1, 2 and 5 where less than two decades are shown."""
    axis.axes.set_xscale("log") if axis.axis_name == "x" else axis.axes.set_yscale("log")
    low, high = axis.get_view_interval()
    decades = np.log10(high / low) if low > 0 else 9.0
    if decades < 0.8:  # a loss between 1.4 and 2.6: round numbers say more than powers of ten
        axis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axis.set_minor_locator(ticker.NullLocator())
    else:
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,), numticks=12))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: form(value)))
    axis.set_minor_formatter(ticker.NullFormatter())


def size_colors(count: int) -> list[Any]:
    """`count` colours from dark to light for ordered things such as model sizes; the palest end stays unused."""
    return [mpl.colormaps["viridis"](i) for i in np.linspace(0.0, 0.85, max(2, count))[:count]]


def name_ends(ax: Axes, ends: Sequence[tuple[float, float, str, Any]], gap: float = 0.05) -> None:
    """Write a name at the end (x, y, name, colour) of each line, moved apart where two would overlap."""
    to_axes = ax.transData + ax.transAxes.inverted()
    placed: list[tuple[float, float]] = []
    for x, y, name, color in sorted(ends, key=lambda end: end[1]):
        u, v = to_axes.transform((x, y))
        while clash := [b for a, b in placed if abs(a - u) < 0.13 and abs(b - v) < gap * 0.999]:
            v = max(clash) + gap
        placed.append((u, v))
        ax.annotate(name, (u, v), (6, 0), xycoords="axes fraction", textcoords="offset points", va="center",
                    color=color, fontsize=9.5, annotation_clip=False)  # fmt: skip


# --- showing ----------------------------------------------------------------------------------------------------------


def png(fig: Figure, dpi: int = 140) -> bytes:
    """The figure as PNG. The same figure gives the same bytes."""
    out = io.BytesIO()
    fig.savefig(out, format="png", dpi=dpi, facecolor="white")
    return out.getvalue()


def show(fig: Figure, alt: str) -> None:
    """Show a figure in a notebook, with `alt`: a sentence for those who cannot see it. PNG only, sharp on any screen.

    Raises: InputError if `alt` says next to nothing.
    """
    if not isinstance(alt, str) or len(alt.strip()) < 20:
        raise InputError(f"alt: expected a sentence that says what the figure shows, got {alt!r}")
    from IPython.display import display

    width, height = (round(100 * inches) for inches in fig.get_size_inches())
    display(
        {"image/png": png(fig), "text/plain": repr(fig)},
        raw=True,
        metadata={"image/png": {"alt": alt.strip(), "width": width, "height": height}},
    )


# --- charts of plain numbers --------------------------------------------------------------------------------------------

Curve = Callable[[np.ndarray], Any]


def plot_loss_against(
    x: Sequence[float], y: Any, *, xlabel: str, ylabel: str = LOSS, err: Any = None, curves: Mapping[str, Curve] | None = None,
    logx: bool = True, logy: bool = True, lowest: bool = False, title: str = "",
) -> Figure:  # fmt: skip
    """Measurements against one variable: seeds as small points, their mean as a line, 95 % intervals of the mean as bars.

    x      X values, or for each series its own (a mapping with the names of `y`)
    y      X values, X × seeds (NaN where a run is missing or diverged), or a mapping from names to either: a line each
    err    half-widths (X values, or a mapping) where they are known; else from the seeds, by Student's t
    curves name -> function of x, drawn in the colour of the series of that name in place of its line
    lowest mark the lowest mean of each series, as for a sweep of learning rates
    Raises: InputError if lengths differ or nothing is left to draw.
    """
    series = y if isinstance(y, Mapping) else {"": y}
    curves = curves or {}
    fig, ax = canvas()
    ends = []
    for i, (name, values) in enumerate(series.items()):
        X = np.asarray(x[name] if isinstance(x, Mapping) else x, float)
        runs_XxS = np.asarray(values, float)
        runs_XxS = runs_XxS[:, None] if runs_XxS.ndim == 1 else runs_XxS
        if X.shape != runs_XxS.shape[:1]:
            raise InputError(f"{name or 'y'}: expected {len(X)} values, one for each x, got {len(runs_XxS)}")
        order = np.argsort(X)
        X, runs_XxS = X[order], runs_XxS[order]
        seeds, mean, half = _mean_and_interval(runs_XxS)
        known = err.get(name) if isinstance(err, Mapping) else err
        half = half if known is None else np.asarray(known, float)[order]
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        there = np.isfinite(mean)
        if not there.any():
            continue
        if runs_XxS.shape[1] > 1:
            ax.plot(np.repeat(X, runs_XxS.shape[1]), runs_XxS.ravel(), ".", color=color, alpha=0.45, markersize=5)
        if np.isfinite(half).any():
            ax.errorbar(X, mean, half, fmt="none", ecolor=color, elinewidth=1.4, capsize=3)
        ax.plot(X[there], mean[there], "" if name in curves else "-", marker=marker, color=color, linewidth=1.6, markersize=6)
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
    if ends:
        _room_for_names(ax, max(len(name) for *_, name, _ in ends), logx)
        name_ends(ax, ends)
    label(ax, xlabel, ylabel, title)
    return fig


def _mean_and_interval(runs_XxS: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of runs, their mean, and the half-width of its 95 % interval (NaN for a single run), each (X,)."""
    from scipy.special import stdtrit

    seeds = np.isfinite(runs_XxS).sum(1)
    total = np.nansum(runs_XxS, 1)
    mean = np.divide(total, seeds, out=np.full(len(seeds), np.nan), where=seeds > 0)
    squares = np.nansum((runs_XxS - mean[:, None]) ** 2, 1)
    half = np.full(len(seeds), np.nan)
    many = seeds > 1
    half[many] = stdtrit(seeds[many] - 1, 0.975) * np.sqrt(squares[many] / (seeds[many] - 1) / seeds[many])
    return seeds, mean, half


def _room_for_names(ax: Axes, letters: int, logx: bool = True) -> None:
    """Widen the x axis to the right, so that names at the ends of lines stay inside."""
    share = min(0.4, 0.02 + 0.0125 * letters)
    low, high = ax.get_xlim()
    if logx:
        ax.set_xlim(low, low * (high / low) ** (1 / (1 - share)))
    else:
        ax.set_xlim(low, low + (high - low) / (1 - share))


def plot_bars(
    labels: Sequence[str], values: Sequence[float], errors: Sequence[float] | None = None, *, xlabel: str,
    reference: tuple[str, float] | None = None, notes: Sequence[str] | None = None, form: str = "{:.3g}", title: str = "",
) -> Figure:  # fmt: skip
    """Horizontal bars, the first on top, each with its value written out (or with its entry of `notes`).

    errors: half-widths of intervals; reference: (name, value) of a vertical line. Raises: InputError if lengths differ.
    """
    if not len(labels) == len(values) or (errors is not None and len(errors) != len(values)):
        raise InputError(f"expected as many labels as values (and errors), got {len(labels)} and {len(values)}")
    if not len(values):
        raise InputError("values: expected at least one bar, got none")
    shown = np.nan_to_num(np.asarray(values, float))
    half = np.zeros(len(shown)) if errors is None else np.nan_to_num(np.asarray(errors, float))
    rows = np.arange(len(shown))
    fig, ax = canvas(size=(7.0, max(2.2, 1.3 + 0.36 * len(shown))))
    ax.barh(rows, shown, height=0.66, color=SKY, xerr=half if errors is not None else None, error_kw={"capsize": 3})
    ax.set_yticks(rows, [str(name) for name in labels], fontsize=10)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    texts = notes or [form.format(value) if np.isfinite(value) else "not measured" for value in values]
    for row, value, more, text in zip(rows, shown, half, texts, strict=True):
        ax.annotate(text, (max(0.0, value + more), row), (5, 0), textcoords="offset points", va="center", fontsize=9.5)
    longest = max(len(text) for text in texts)
    ax.margins(x=0.05 + 0.014 * longest)
    if shown.min() >= 0:
        ax.set_xlim(left=0)
    if reference:
        name, value = reference
        ax.axvline(value, color=VERMILLION, linewidth=1.4, linestyle="--")
        ax.annotate(name, (value, 1), (4, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
                    color=VERMILLION, fontsize=9.5)  # fmt: skip
    label(ax, xlabel, "", title)
    return fig


def plot_cleaning(report: Any) -> Figure:
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
    return plot_bars(names, values, notes=notes, xlabel="share of all bytes removed (%)" if with_share else "removed (MB)")


def plot_memory(params: float = 7.5e9, gpus: int = 64, zero: int = 0, precision: str = "mixed", limit_gb: float = 80.0) -> Figure:
    """Memory per GPU for parameters, gradients and optimizer at every ZeRO stage, against what a GPU holds.

    `zero` is the stage in full colour. Activations are not counted. Raises: InputError.
    """
    stages = [costs.memory(params, gpus, stage, precision) for stage in range(4)]
    chosen = costs.memory(params, gpus, zero, precision)["total"] / 1e9
    limit_gb = costs.positive("limit_gb", limit_gb)
    fig, ax = canvas()
    bottom = np.zeros(4)
    names = {"params": "parameters", "grads": "gradients", "optimizer": "optimizer"}
    for (key, name), color in zip(names.items(), (BLUE, ORANGE, GREEN)):
        height = np.array([stage[key] / 1e9 for stage in stages])
        bars = ax.bar(range(4), height, bottom=bottom, color=color, width=0.62, label=name)
        for stage, bar in enumerate(bars):
            bar.set_alpha(1.0 if stage == zero else 0.4)
        bottom += height
    for stage, total in enumerate(bottom):
        ax.annotate(f"{total:.3g} GB", (stage, total), (0, 4), textcoords="offset points", ha="center", fontsize=10,
                    fontweight="bold" if stage == zero else "normal")  # fmt: skip
    ax.axhline(limit_gb, color=VERMILLION, linewidth=1.4, linestyle="--")
    ax.annotate(f"a GPU with {limit_gb:g} GB", (3.45, limit_gb), (0, 4), textcoords="offset points", ha="right",
                color=VERMILLION, fontsize=9.5)  # fmt: skip
    ax.set_xticks(range(4), ["0: nothing\nsharded", "1: optimizer", "2: + gradients", "3: + parameters"], fontsize=10)
    ax.grid(visible=False, axis="x")
    ax.set_ylim(0, 1.15 * max(bottom.max(), limit_gb))
    ax.legend(frameon=False, fontsize=9.5, loc="upper right", ncols=3)
    verdict = "fits" if chosen < limit_gb else "does not fit"
    title = f"{short(params)} parameters on {gpus:,} GPUs, ZeRO stage {zero}: {chosen:.3g} GB each, {verdict}"
    label(ax, "ZeRO stage", "memory per GPU (GB)", title)
    return fig
