"""The roofline: operations under the two ceilings of a machine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scalept_lab.checks import positive
from scalept_lab.errors import InputError
from scalept_lab.plots import style as look
from scalept_lab.plots.style import BLUE, GREEN, GREY, MARKERS, ORANGE, SKY, VERMILLION, label, log_axis

COLORS = (BLUE, ORANGE, GREEN, VERMILLION, SKY)


def plot_roofline(
    points: Mapping[str, tuple[float, float]], peak: float, bandwidth: float, title: str = ""
) -> Figure:
    """Speed of each operation against its arithmetic intensity, under the roof min(peak, intensity · bandwidth).

    points     name -> (FLOPs a byte, FLOPs a second)
    peak       FLOPs a second;  bandwidth  bytes a second
    Raises: InputError without points, or for numbers that are not positive.
    """
    if not points:
        raise InputError("points: expected at least one operation, got none")
    peak, bandwidth = positive("peak", peak), positive("bandwidth", bandwidth)
    fig, ax = look.canvas(size=(8.6, 4.4))
    x = np.array([positive(f"intensity of {name}", place[0]) for name, place in points.items()])
    ridge = peak / bandwidth
    at = np.geomspace(min(x.min(), ridge) / 2, max(x.max(), ridge) * 3, 200)
    ax.plot(at, np.minimum(peak, at * bandwidth) / 1e9, color=GREY, linewidth=2)
    ax.axvline(ridge, color=GREY, linewidth=1, linestyle=":")
    keys = [Line2D([], [], color=GREY, linewidth=2, label=f"roof: {peak / 1e9:,.3g} GFLOP/s, {bandwidth / 1e9:,.3g} GB/s"),
            Line2D([], [], color=GREY, linewidth=1, linestyle=":", label=f"ridge: {ridge:.3g} FLOPs a byte")]  # fmt: skip
    for i, (name, (intensity, speed)) in enumerate(points.items()):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i // len(COLORS) % len(MARKERS)]
        (dot,) = ax.plot(
            intensity, positive(f"speed of {name}", speed) / 1e9, marker, color=color, markersize=8, label=name,
            linestyle="none",
        )  # fmt: skip
        keys.append(dot)
    log_axis(ax.xaxis, "{:g}".format)
    log_axis(ax.yaxis, "{:g}".format)
    ax.legend(handles=keys, loc="center left", bbox_to_anchor=(1.01, 0.5), **look.LEGEND)
    label(ax, "arithmetic intensity (FLOPs for each byte moved)", "speed (GFLOP/s)", title)
    return fig
