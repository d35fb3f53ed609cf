"""Figures of notebook 11: grids of quantized numbers, what compression costs in loss, gaps by seed, a Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import stdtrit

from scalept_lab.costs import numbers
from scalept_lab.errors import InputError
from scalept_lab.plots import style as look
from scalept_lab.plots.style import COLORS, GREY, LOSS, MARKERS, VERMILLION, label, log_axis

Series = Sequence[tuple[float, Sequence[float]]]  # x, and y of each seed


def plot_quantization(
    bits: int = 4, granularity: str = "channel", outlier: float = 1.0, weights: np.ndarray | None = None, title: str = "",
) -> Figure:  # fmt: skip
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
    left.hist(matrix[row], bins=40, color=look.SKY, histtype="stepfilled")
    left.vlines(levels, 0, 1, VERMILLION, linewidth=0.9, alpha=0.8, transform=left.get_xaxis_transform())
    keys = [Line2D([], [], color=look.SKY, linewidth=7), Line2D([], [], color=VERMILLION)]
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=11)
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
    log_axis(right.yaxis, "{:.2g}".format)
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
    label(ax, x, "variant", title)
    return fig


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points no other beats: none is at most as large in both coordinates and smaller in one."""
    return [not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]


def plot_pareto(
    stored: Sequence[Mapping[str, Any]],
    title: str = "",
    times: Mapping[str, float] | None = None,
    front: Callable[[list], list] = pareto,
) -> Figure:
    """Loss against bytes, and with `times` against the time of a pass: filled what is on the front, hollow what is dominated.

    `stored`: rows with `model`, `form` (how weights are kept), `losses` (one for each seed) and `bytes`. `times`: model -> time
    over the full model's, for those in fp32. `front` says of points (cost, loss) which are on it.
    Raises: InputError without rows.
    """
    if not stored:
        raise InputError("stored: expected at least one model, got none")
    models = list(dict.fromkeys(row["model"] for row in stored))
    forms = list(dict.fromkeys(row["form"] for row in stored))
    colors = dict(zip(models, [*COLORS, GREY, "#8c564b"], strict=False))
    marks = dict(zip(forms, MARKERS, strict=False))
    panels: list[tuple[str, list]] = [("size (MB, log scale)", [(row["bytes"] / 1e6, row) for row in stored])]
    if times:
        timed = [
            (times[row["model"]], row) for row in stored if row["form"] == "fp32" and row["model"] in times
        ]
        panels.append(("time of a forward pass / the full model's (log scale)", timed))
    fig, axes = look.canvas(1, len(panels), size=(5.4 * len(panels), 5.2), sharey=True)
    for ax, (name, points) in zip(np.atleast_1d(axes), panels, strict=True):
        means = [(x, float(np.mean(row["losses"]))) for x, row in points]
        best = front(means)
        edge = sorted(point for point, on in zip(means, best, strict=True) if on)
        ax.plot(*zip(*edge, strict=True), color=GREY, linewidth=1.2, drawstyle="steps-post", zorder=1)
        for (x, y), (_, row), on in zip(means, points, best, strict=True):
            color = colors[row["model"]]
            half = _half(row["losses"])
            ax.errorbar(x, y, half, fmt=marks[row["form"]], color=color, markersize=8, markeredgewidth=1.6, elinewidth=1.1,
                        markerfacecolor=color if on else "white", zorder=3)  # fmt: skip
        log_axis(ax.xaxis, "{:.2g}".format)
        label(ax, name, LOSS if ax is np.atleast_1d(axes)[0] else "")
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=11)
        np.atleast_1d(axes)[0].set_title(
            "bars: 95 % interval of the mean over seeds", loc="left", fontsize=9.5
        )
    handles = [
        Line2D([], [], color=colors[name], marker="o", linestyle="", markersize=8, label=name)
        for name in models
    ]
    handles += [
        Line2D([], [], color="black", marker=marks[name], linestyle="", markersize=7, label=name)
        for name in forms
    ]
    handles += [
        Line2D(
            [],
            [],
            color="black",
            marker="o",
            markerfacecolor="white",
            linestyle="",
            markersize=7,
            label="dominated",
        )
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=4, **look.LEGEND)
    return fig


def _half(losses: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean over seeds; 0 for one seed."""
    n = len(losses)
    return float(stdtrit(n - 1, 0.975) * np.std(losses, ddof=1) / np.sqrt(n)) if n > 1 else 0.0
