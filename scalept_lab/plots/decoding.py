"""Figures of decoding: what a token costs beside the reading of the weights, and what guessing ahead gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from scalept_lab.checks import positive
from scalept_lab.errors import InputError
from scalept_lab.plots import style as look
from scalept_lab.plots.style import COLORS, GREY, MARKERS, label, log_axis

Points = Sequence[tuple[float, float]]


def plot_token_time(series: Mapping[str, Points], bandwidth: float, title: str = "") -> Figure:
    """Time of a token against the bytes of the weights that it reads, and the line of reading alone (bandwidth: bytes a second).

    `series`: name -> (bytes, seconds) of each model. Raises: InputError without a point, or for what is not positive.
    """
    bandwidth = positive("bandwidth", bandwidth)
    points = [pair for pairs in series.values() for pair in pairs]
    if not points or min(min(pair) for pair in points) <= 0:
        raise InputError("series: expected (bytes, seconds) above zero, got none; measure a model first")
    fig, ax = look.canvas(size=(7.2, 4.3))
    for (name, pairs), color, marker in zip(series.items(), COLORS * 3, MARKERS * 3, strict=False):
        sizes, times = np.array(pairs).T
        ax.plot(sizes / 1e6, 1e6 * times, marker=marker, color=color, markersize=7, label=name)
    ends = np.array([min(size for size, _ in points), max(size for size, _ in points)])
    ax.plot(
        ends / 1e6,
        1e6 * ends / bandwidth,
        color=GREY,
        linestyle="--",
        label="reading the weights in fp32 alone",
    )
    log_axis(ax.xaxis, "{:g}".format)
    log_axis(ax.yaxis, "{:g}".format)
    ax.legend(loc="best", **look.LEGEND)
    label(ax, "bytes of the weights in fp32 (MB)", "time of a token (µs)", title)
    return fig


def plot_speedups(
    forecast: Mapping[str, Points], measured: Mapping[str, Sequence[tuple[float, Sequence[float]]]], title: str = ""
) -> Figure:  # fmt: skip
    """How many times faster decoding gets with a draft, against the guesses ahead: lines forecast, dots measured.

    `forecast`: name -> (guesses, speed-up); `measured`: name -> (guesses, speed-up of each round). The dashed line is decoding
    without a draft. Raises: InputError without a forecast.
    """
    if not forecast:
        raise InputError("forecast: expected a line for each draft, got none")
    fig, ax = look.canvas(size=(7.2, 4.3))
    for (name, pairs), color, marker in zip(forecast.items(), COLORS, MARKERS, strict=False):
        ax.plot(*np.array(pairs).T, color=color, linewidth=1.4, label=f"{name}: forecast")
        for place, (ahead, rounds) in enumerate(measured.get(name, ())):
            low, middle, high = np.quantile(rounds, [0.25, 0.5, 0.75])
            ax.errorbar(ahead, middle, [[middle - low], [high - middle]], color=color, marker=marker, markersize=7, capsize=3,
                        linestyle="", label=None if place else f"{name}: measured (bars: quartiles of rounds)")  # fmt: skip
    ax.axhline(1, color=GREY, linewidth=1, linestyle="--")
    fig.legend(loc="outside lower center", ncols=2, **look.LEGEND)
    label(ax, "guesses ahead γ", "speed-up (times)", title)
    return fig
