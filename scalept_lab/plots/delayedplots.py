"""Figures of delayed synchronisation and of faults: curves that were interrupted, what a checkpoint lacked, goodput."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from scalept_lab.checks import positive, whole
from scalept_lab.costs import failures
from scalept_lab.errors import InputError
from scalept_lab.plots import style as look
from scalept_lab.plots.style import BLUE, COLORS, GREY, ORANGE, VERMILLION, label

Curve = Sequence[Sequence[float]]  # (step, …, loss)
YEAR = 365.25 * 24 * 3600


def plot_interrupted(
    undisturbed: Curve, lives: Sequence[Curve], kills: Sequence[float], saved: Sequence[float]
) -> Figure:
    """The training loss of a run that was killed, life by life, over that of the same run left alone.

    kills: the checkpoints from which it went on; saved: steps of checkpoints, as ticks at the foot. Raises: InputError if empty.
    """
    if not len(undisturbed) or not any(len(life) for life in lives):
        raise InputError("expected two curves with at least one point, got none")
    fig, ax = look.canvas()
    step, loss = _points(undisturbed)
    ax.plot(step, loss, color="#c9c9c9", linewidth=7, solid_capstyle="round", label="left alone")
    for number, (life, color) in enumerate(zip(lives, (BLUE, ORANGE, *COLORS[2:]), strict=False), 1):
        if len(life):
            ax.plot(*_points(life), color=color, linewidth=1.8, label=f"killed run, life {number}")
    for kill in kills:
        ax.axvline(kill, color=VERMILLION, linewidth=1.4, linestyle="--")
        ax.annotate("killed; goes on from here", (kill, 0.5), (5, 0), xycoords=("data", "axes fraction"),
                    textcoords="offset points", color=VERMILLION, fontsize=9.5)  # fmt: skip
    ax.plot(saved, [0.02] * len(saved), "^", color="black", markersize=7, transform=ax.get_xaxis_transform(),
            label="checkpoint")  # fmt: skip
    ax.legend(loc="upper right", **look.LEGEND)
    label(ax, "step", "training loss (nats per token)")
    return fig


def plot_left_out(
    undisturbed: Curve, others: Mapping[str, Curve], resumed: float, smooth: int = 10
) -> Figure:
    """How far each curve lies above the undisturbed one (below: negative), by step; `resumed` is where they part.

    Each point is the mean of the last `smooth` steps: single batches differ more than what is left out changes.
    """
    if not others:
        raise InputError("others: expected at least one curve, got none")
    base = dict(zip(*map(list, _points(undisturbed)), strict=True))
    fig, axes = look.canvas(len(others), 1, size=(7.0, 1.2 + 1.1 * len(others)), sharex=True)
    for ax, (name, curve), color in zip(np.atleast_1d(axes), others.items(), COLORS, strict=False):
        step, loss = _points(curve)
        kept = [(s, value - base[s]) for s, value in zip(step, loss, strict=True) if s in base]
        ax.axhline(0, color=GREY, linewidth=1)
        means = [
            np.mean([value for _, value in kept[max(0, i - smooth + 1) : i + 1]]) for i in range(len(kept))
        ]
        ax.plot([s for s, _ in kept], means, color=color, linewidth=1.6)
        ax.axvline(resumed, color=VERMILLION, linewidth=1.2, linestyle="--")
        low, high = ax.get_ylim()
        half = max(abs(low), abs(high), 0.02)
        ax.set_ylim(-1.1 * half, 1.1 * half)
        ax.set_title(name, loc="left", fontsize=10.5, color=color)
    label(np.atleast_1d(axes)[-1], "step", "")
    fig.supylabel(f"loss above the undisturbed run (nats, mean of {smooth} steps)", fontsize=10.5)
    return fig


def plot_goodput(
    checkpoint_seconds: float = 60.0,
    gpu_mtbf_years: float = 5.8,
    gpus: int = 16384,
    restart_minutes: float = 10.0,
) -> Figure:
    """The share of time that is training which is kept, against the time between checkpoints.

    For the number of GPUs chosen, and for a quarter and four times as many; the circle is Young's √(2δM), the diamond the
    best of the exact curve (Daly 2006). Raises: InputError for numbers that are not above zero.
    """
    gpu_mtbf, restart = (
        positive("gpu_mtbf_years", gpu_mtbf_years) * YEAR,
        60 * positive("restart_minutes", restart_minutes),
    )
    gpus = whole("gpus", gpus)
    fig, ax = look.canvas()
    mtbf = failures.machine_mtbf(gpu_mtbf, gpus)
    centre = failures.best_interval(checkpoint_seconds, mtbf)
    grid = np.geomspace(min(centre / 30, 30.0), max(centre * 30, 4 * 3600.0), 300)
    for count, style, width in ((max(1, gpus // 4), "--", 1.6), (gpus, "-", 2.4), (4 * gpus, ":", 1.6)):
        share = failures.goodput(grid, checkpoint_seconds, failures.machine_mtbf(gpu_mtbf, count), restart)
        color = BLUE if count == gpus else GREY
        ax.plot(grid, 100 * share, style, color=color, linewidth=width, label=f"{count:,} GPUs")
    share = failures.goodput(grid, checkpoint_seconds, mtbf, restart)
    best = int(np.argmax(share))
    ax.plot(grid[best], 100 * share[best], "D", color=VERMILLION, markersize=9, zorder=4)
    ax.plot(centre, 100 * failures.goodput(centre, checkpoint_seconds, mtbf, restart), "o", markersize=14, zorder=5,
            markerfacecolor="none", markeredgecolor="black")  # fmt: skip
    ax.set_ylim(0, 116)
    ax.set_yticks(range(0, 101, 20))
    look.log_axis(ax.xaxis, duration)
    ax.xaxis.set_major_locator(look.ticker.FixedLocator([t for t in TICKS if grid[0] <= t <= grid[-1]]))
    ax.xaxis.set_minor_locator(look.ticker.NullLocator())
    ax.legend(loc="upper center", ncols=3, **look.LEGEND)
    title = f"{gpus:,} GPUs: a failure every {duration(mtbf)}; saving every {duration(grid[best])} keeps {share[best]:.0%}"
    label(ax, "training between two checkpoints", "time spent on training that is kept (%)", title)
    return fig


TICKS = (1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600, 30 * 24 * 3600, YEAR)


def duration(seconds: float) -> str:
    """11135 -> "3.1 h": as one would say it."""
    for unit, name in ((YEAR, "years"), (24 * 3600, "days"), (3600, "h"), (60, "min")):
        if seconds >= 0.995 * unit:
            return f"{seconds / unit:.2g} {name}" if seconds < 99.5 * unit else f"{seconds / unit:.0f} {name}"
    return f"{seconds:.2g} s"


def _points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses of a run record's curve, or of pairs."""
    array = np.array([(point[0], point[-1]) for point in curve], float)
    return array[:, 0], array[:, 1]
