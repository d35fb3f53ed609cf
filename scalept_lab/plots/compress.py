"""Figures of notebook 11: grids of quantized numbers, what compression costs in loss, gaps by seed, a Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scalept_lab.checks import one_of
from scalept_lab.costs import numbers
from scalept_lab.errors import InputError
from scalept_lab.plots import style as look
from scalept_lab.plots.style import COLORS, GREY, LOSS, MARKERS, VERMILLION, label, log_axis

Series = Sequence[tuple[float, Sequence[float]]]  # x, and y of each seed


def plot_quantization(
    bits: int = 4, granularity: str = "channel", outlier: float = 1.0, weights: np.ndarray | None = None
) -> Figure:
    """The levels that quantization leaves of a row of weights, and the error by bits for each granularity.

    `weights`: a matrix whose rows are channels; by default 64 rows of very different size. `outlier` multiplies the largest
    weight of the first row. Raises: InputError as `costs.numbers.quantize`.
    """
    numbers.check(bits, granularity)
    matrix = _example() if weights is None else np.array(weights, dtype=float)
    matrix[0, np.abs(matrix[0]).argmax()] *= outlier
    made = numbers.quantize(matrix, bits, granularity)
    row = min(1, len(matrix) - 1)  # a neighbour of the row with the outlier
    fig, (left, right) = look.canvas(1, 2, size=(9.6, 3.9))

    levels = np.unique(made.values()[row])
    left.hist(matrix[row], bins=40, color=look.SKY, edgecolor="white", linewidth=0.4)
    for level in levels:
        left.axvline(level, color=VERMILLION, linewidth=0.9, alpha=0.8)
    keys = [Line2D([], [], color=look.SKY, linewidth=7), Line2D([], [], color=VERMILLION)]
    left.legend(keys, ["weights", f"{len(levels)} level{'s' * (len(levels) > 1)} in use"], loc="lower center", ncols=2,
                bbox_to_anchor=(0.5, -0.36), **look.LEGEND)  # fmt: skip
    label(left, "weight", "how many weights", f"second row; {bits} bits, a scale per {granularity}")

    tried = range(numbers.LOW, numbers.HIGH + 1)
    ends = []
    for name, color, marker in zip(numbers.GRANULARITIES, COLORS, MARKERS, strict=False):
        if name == "group" and matrix.shape[1] % numbers.GROUP:
            continue
        found = np.sqrt([numbers.error(matrix, b, name) for b in tried])
        (line,) = right.plot(tried, found[:, 0], marker, color=color, markersize=6, label=f"per {name}")
        right.plot(tried, found[:, 1], color=color, linewidth=1.2)
        if name == granularity:
            at = list(tried).index(bits)
            right.plot(bits, found[at, 0], marker, color="none", markeredgecolor="black", markersize=12)
        ends.append(line)
    right.set_yscale("log")
    right.legend(handles=[*ends, Line2D([], [], color=GREY, label="theory: s/√12")], **look.LEGEND)
    label(right, "bits", "root mean square error of a weight", "error of the whole matrix")
    return fig


def _example() -> np.ndarray:
    rng = np.random.default_rng(11)
    return rng.standard_normal((64, 128)) * np.geomspace(0.02, 0.2, 64)[::-1, None]


def plot_cost(
    series: Mapping[str, Series], x: str, title: str = "", base: float = 0.0, log: bool = False, y: str = "",
    tolerance: float | None = None,
) -> Figure:  # fmt: skip
    """What is lost, against how much is saved: per series, points of each seed and a line through their means.

    `series`: name -> [(x, [y of each seed])]. `base` is drawn as a line of its own; with `log` it is left out, and what is
    not above zero is drawn at the lower edge. `tolerance` draws a dotted line.
    """
    fig, ax = look.canvas()
    ends = []
    means = [float(np.mean(ys)) for points in series.values() for _, ys in points]
    floor = 10 ** np.floor(np.log10(min([mean for mean in means if mean > 0], default=1.0)))
    for (name, points), color, marker in zip(series.items(), COLORS, MARKERS, strict=False):
        for at, ys in points:
            shown = np.maximum(ys, floor) if log else np.asarray(ys)
            ax.plot(
                [at] * len(shown), shown, marker, color=color, markersize=5, alpha=0.45, markeredgewidth=0
            )
        places = [at for at, _ in points]
        centres = [max(np.mean(ys), floor) if log else np.mean(ys) for _, ys in points]
        (line,) = ax.plot(
            places, centres, color=color, linewidth=1.6, marker=marker, markersize=3, label=name
        )
        ends.append(line)
    if log:
        ax.set_yscale("log")
    else:
        ax.axhline(base, color=GREY, linewidth=1, linestyle="--")
    if tolerance is not None:
        ax.axhline(tolerance, color=VERMILLION, linewidth=1, linestyle=":")
    ax.legend(handles=ends, loc="best", **look.LEGEND)
    label(ax, x, y or LOSS, title)
    return fig


def plot_gaps(gaps: Mapping[str, Sequence[float]], x: str, title: str = "") -> Figure:
    """A difference for each seed (dots) and its mean (bar), by arm; left of the dashed zero is better."""
    if not gaps or not all(len(values) for values in gaps.values()):
        raise InputError("gaps: expected at least one arm with a value for each seed, got none")
    fig, ax = look.canvas(size=(7.6, 1.3 + 0.48 * len(gaps)))
    for row, (values, color) in enumerate(zip(gaps.values(), COLORS * 3, strict=False)):
        ax.barh(row, np.mean(values), height=0.5, color=color, alpha=0.35)
        ax.plot(values, [row] * len(values), "o", color=color, markersize=6)
    ax.axvline(0, color=GREY, linewidth=1, linestyle="--")
    ax.set_yticks(range(len(gaps)), list(gaps), fontsize=10)
    ax.set_ylim(len(gaps) - 0.4, -0.6)
    ax.margins(x=0.08)
    label(ax, x, "", title)
    return fig


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points no other beats: none is at most as large in both coordinates and smaller in one."""
    return [not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]


def plot_pareto(variants: Sequence[Any], baseline: str, title: str = "", within: float = 0.005) -> Figure:
    """Loss against time and against bytes; what nothing else beats is filled and joined by a line, the rest hollow.

    Losses count in steps of `within` nats: a difference below the noise puts nothing on the front.
    `variants` have the attributes name, loss, bytes and ratio (with a `median`, or None where only the bytes count).
    """
    one_of("baseline", baseline, [variant.name for variant in variants])
    fig, axes = look.canvas(1, 2, size=(10.4, 5.0), sharey=True)
    colors = dict(zip((v.name for v in variants), COLORS * 3, strict=False))
    marks = dict(zip((v.name for v in variants), [*MARKERS, "<", ">", "h", "*", "p", "d", "8"], strict=False))
    panels = (
        (
            axes[0],
            lambda v: None if v.ratio is None else v.ratio.median,
            "time of a forward pass / that of fp32",
        ),
        (axes[1], lambda v: v.bytes / 1e6, "size (MB)"),
    )
    for ax, size_of, name in panels:
        points = [(x, v.loss, v) for v in variants if (x := size_of(v)) is not None]
        best = pareto([(x, round(y / within)) for x, y, _ in points])
        front = sorted((x, y) for (x, y, _), on in zip(points, best, strict=True) if on)
        ax.plot(*zip(*front, strict=True), color=GREY, linewidth=1.2, drawstyle="steps-post", zorder=1)
        for x, y, v in points:
            ax.plot(x, y, marks[v.name], markersize=9, markeredgewidth=1.6, markeredgecolor=colors[v.name],
                    markerfacecolor=colors[v.name] if (x, y) in front else "white", zorder=3)  # fmt: skip
        log_axis(ax.xaxis, "{:.2g}".format)
        label(ax, name, LOSS if ax is axes[0] else "", title if ax is axes[0] else "")
    handles = [Line2D([], [], color=colors[v.name], marker=marks[v.name], linestyle="", markersize=8, label=v.name)
               for v in variants]  # fmt: skip
    fig.legend(handles=handles, loc="outside lower center", ncols=4, **look.LEGEND)
    return fig
