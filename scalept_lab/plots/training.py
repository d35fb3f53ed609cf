"""Figures of optimization, delayed synchronisation and faults: schedules, a ravine, noise scale, interrupted curves, goodput."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scalept_lab.checks import positive, whole
from scalept_lab.costs import failures
from scalept_lab.errors import InputError
from scalept_lab.laws.noise import NoiseScale, Tradeoff
from scalept_lab.model import ravine
from scalept_lab.plots import style as look
from scalept_lab.plots.style import BLUE, COLORS, GREY, MARKERS, ORANGE, VERMILLION, label, log_axis

Line = tuple[Sequence[float], Sequence[float]]


def plot_schedules(
    rates: Mapping[str, Line],
    losses: Mapping[str, Line] | None = None,
    limits: tuple[float, float] | None = None,
    title: str = "",
) -> Figure:
    """Learning rates (as shares of the peak) over steps; below them, on the same axis, the training losses of those names.

    Each line is (steps, values), so that a branch begins where it leaves. `limits` of the loss axis.
    Raises: InputError if there is no schedule, or a loss has no schedule of its name.
    """
    if not rates:
        raise InputError("rates: expected at least one schedule, got none")
    if unknown := set(losses or {}) - set(rates):
        raise InputError(f"losses: expected names among the schedules, got {sorted(unknown)[0]!r}")
    size = (9.0, 3.4) if losses is None else (9.0, 5.4)
    fig, axes = look.canvas(rows=1 if losses is None else 2, size=size, sharex=True)
    axes = np.atleast_1d(axes)
    styles = ("-", "--", "-.", ":")
    for i, (name, (steps, values)) in enumerate(rates.items()):
        drawn: dict[str, Any] = {"color": COLORS[i % len(COLORS)], "linestyle": styles[i % len(styles)]}
        axes[0].plot(steps, values, label=name, linewidth=1.8, **drawn)
        if losses and name in losses:
            axes[1].plot(*losses[name], linewidth=1.5, **drawn)
    axes[0].set_ylim(0, 1.08)
    axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), **look.LEGEND)
    label(axes[0], "" if losses else "step", "rate / peak rate", title)
    if losses:
        log_axis(axes[1].yaxis, "{:.3g}".format)
        if limits:
            axes[1].set_ylim(limits)
        label(axes[1], "step", "training loss\n(nats per token)")
    return fig


def plot_descent(
    optimizer: str = "SGD",
    rate: float = 0.05,
    momentum: float = 0.9,
    curvature: float = 25.0,
    steps: int = 60,
    beside: Mapping[str, Mapping[str, Any]] | None = None,
    title: str = "",
) -> Figure:
    """The path of an optimizer down a ravine, and the loss along it. Momentum is that of momentum, Nesterov and Adam (β₁).

    The surface is ½(θ₁² + κθ₂²), of curvature κ across and 1 along.
    beside  further walks down the same ravine, on the same axes: name -> what `ravine.descend` is told otherwise
    Raises: InputError, as `ravine.descend` does.
    """
    told: dict[str, Any] = {
        "optimizer": optimizer, "rate": rate, "momentum": momentum, "curvature": curvature, "steps": steps,
    }  # fmt: skip
    paths = {optimizer: ravine.descend(**told)}
    paths |= {name: ravine.descend(**{**told, **other}) for name, other in (beside or {}).items()}
    fig, (left, right) = look.canvas(columns=2, size=(9.0, 3.9), width_ratios=[1.35, 1])
    across = 1.9 * abs(ravine.START[1])
    x, y = np.meshgrid(np.linspace(-5, 5, 161), np.linspace(-across, across, 121))
    first = next(iter(paths.values())).loss[0]
    levels = np.geomspace(0.05, 2.5 * first, 9)
    heights = ravine.surface(np.stack([x, y], -1), curvature)
    left.contourf(x, y, heights, levels=[0, *levels], cmap="Greys", alpha=0.30, extend="max")
    left.contour(x, y, heights, levels=levels, colors=GREY, linewidths=0.5)
    floor = 1e-5 if beside is None else 1e-12
    for (name, path), color, marker in zip(paths.items(), COLORS, MARKERS, strict=False):
        left.plot(*path.points.T, marker=marker, color=color, markersize=3.2, linewidth=1.1, label=name)
        right.plot(np.maximum(path.loss, floor / 10), color=color, linewidth=1.6)
        every = range(0, len(path.loss), max(1, len(path.loss) // 10))
        right.plot(every, np.maximum(path.loss[every], floor / 10), marker, color=color, markersize=4.5)
    left.plot(*ravine.START, "o", color=VERMILLION, markersize=8)
    left.plot(0, 0, "*", color=VERMILLION, markersize=14)
    left.set_xlim(-5, 5)
    left.set_ylim(-across, across)
    left.grid(visible=False)
    path = paths[optimizer]
    ends = "lost" if path.diverged else f"loss {path.loss[-1]:.2g} after {len(path.loss) - 1} steps"
    with_momentum = "" if optimizer == "SGD" else f", momentum {momentum:g}"
    said = title or f"{optimizer}, rate {rate:.3g}{with_momentum}: {ends}"
    label(left, "θ₁, along the ravine", f"θ₂, across (curvature {curvature:g})", said)
    right.set_ylim(floor, max(1e2, 5 * first))
    log_axis(right.yaxis, look.power_of_ten)
    if beside:
        left.legend(loc="lower right", **look.LEGEND)
    label(right, "step", "loss J")
    return fig


def plot_noise_scale(
    losses: Mapping[str, Sequence[float]],
    scales: Mapping[str, Sequence[NoiseScale | float]],
    critical: tuple[Sequence[float], Sequence[float]] | None = None,
    unit: str = "sequences",
    title: str = "",
) -> Figure:
    """The noise scale against the loss at which it was measured, falling to the right as in training, a line per name.

    Bars are the 90 % intervals (a plain number has none); where the signal was lost in the noise, the interval is open and an
    arrow points up.
    `critical`: (losses, critical batch sizes) measured another way, drawn as diamonds.
    Raises: InputError if names or lengths differ, or nothing is left to draw.
    """
    if set(losses) != set(scales) or any(len(losses[name]) != len(scales[name]) for name in losses):
        raise InputError("scales: expected one noise scale for each loss, under the same names")
    fig, ax = look.canvas()
    every = [s.B_simple if isinstance(s, NoiseScale) else s for each in scales.values() for s in each]
    finite = [value for value in every if np.isfinite(value) and value > 0]
    if not finite:
        raise InputError("scales: expected at least one finite noise scale, got none")
    top, barred = 4 * max(finite), False
    for i, name in enumerate(losses):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        L = np.asarray(losses[name], float)
        B, low, high = (
            np.array([getattr(s, f, s) for s in scales[name]], float) for f in ("B_simple", "low", "high")
        )
        there = np.isfinite(B) & (B > 0)
        L, B, low, high = L[there], B[there], low[there], high[there]
        ends = np.minimum(high, top)
        ax.plot(L, B, color=color, marker=marker, linewidth=1.4, label=name)
        if (high > low).any():
            bars = "" if barred else "bars: 90 % interval"
            ax.errorbar(L, B, [B - low, ends - B], fmt="none", ecolor=color, capsize=3, label=bars or None)
            barred = True
        if (open_ended := high > top).any():
            ax.plot(L[open_ended], ends[open_ended], "^", color=color, markersize=7)
    if critical is not None:
        ax.plot(*critical, "D", color="black", markersize=9, label="critical batch, from the sweep", zorder=4)
    ax.invert_xaxis()
    log_axis(ax.yaxis, "{:g}".format)
    ax.legend(loc="upper left", **look.LEGEND)
    label(ax, "loss (nats per token), falling as training goes on", f"batch size ({unit})", title)
    return fig


def plot_tradeoff(
    batches: Sequence[float], steps_BxS: Any, fits: Tradeoff | Mapping[str, Tradeoff], title: str = ""
) -> Figure:
    """Steps against examples to reach a loss, one point per batch size and seed, with the fitted hyperbolas.

    steps_BxS  steps for each batch size and seed (NaN where the loss was not reached), or a mapping name -> such a table
    fits       the trade-off fitted, or a mapping with the same names
    The legend says what points, lines and squares are. Raises: InputError.
    """
    tables = steps_BxS if isinstance(steps_BxS, Mapping) else {"": steps_BxS}
    curves = fits if isinstance(fits, Mapping) else {"": fits}
    if set(tables) != set(curves):
        raise InputError("fits: expected one for each table of steps, under the same names")
    B = np.asarray(batches, float)
    fig, ax = look.canvas()
    for i, (name, table) in enumerate(tables.items()):
        color, fit = COLORS[i % len(COLORS)], curves[name]
        steps = np.asarray(table, float)
        steps = steps[:, None] if steps.ndim == 1 else steps
        if len(steps) != len(B):
            raise InputError(f"steps: expected a row for each of {len(B)} batch sizes, got {len(steps)}")
        ax.plot((B[:, None] * steps).ravel(), steps.ravel(), MARKERS[i % len(MARKERS)], color=color, markersize=5,
                alpha=0.75)  # fmt: skip
        grid = np.geomspace(B.min() / 2, 2 * B.max(), 100)
        ax.plot(fit.examples(grid), fit.steps(grid), color=color, linewidth=1.6)
        ax.plot(2 * fit.E_min, 2 * fit.S_min, "s", color=color, markersize=10, markerfacecolor="none",
                markeredgewidth=1.8)  # fmt: skip
        ax.axvline(fit.E_min, color=color, linestyle=":", linewidth=1.2)
        ax.axhline(fit.S_min, color=color, linestyle=":", linewidth=1.2)
        for size, row in zip(B, steps, strict=True):
            if i == 0 and np.isfinite(row).any():
                s = float(np.nanmax(row))
                ax.annotate(
                    f"B = {size:g}", (size * s, s), (7, 5), textcoords="offset points", fontsize=9, color=GREY
                )
    log_axis(ax.xaxis)
    log_axis(ax.yaxis)
    kinds: list[tuple[dict[str, Any], str]] = [
        ({"marker": MARKERS[0], "linestyle": "", "markersize": 5, "alpha": 0.75}, "measured, one seed"),
        ({"marker": "s", "linestyle": "", "markersize": 10, "markerfacecolor": "none"}, "critical batch: twice both minima"),
        ({"linestyle": ":", "linewidth": 1.2}, "fewest steps, fewest examples"),
    ]  # fmt: skip
    keys = [Line2D([], [], color=GREY, label=said, **drawn) for drawn, said in kinds]
    lines = [Line2D([], [], color=COLORS[i % len(COLORS)], label=f"law fitted: {name}" if name else "law fitted")
             for i, name in enumerate(tables)]  # fmt: skip
    ax.legend(handles=[*lines, *keys], loc="upper right", **look.LEGEND)
    label(ax, "examples E (sequences)", "optimizer steps S", title)
    return fig


Curve = Sequence[Sequence[float]]  # (step, …, loss)
YEAR = 365.25 * 24 * 3600


def plot_interrupted(
    undisturbed: Curve,
    lives: Sequence[Curve],
    kills: Sequence[float],
    saved: Sequence[float],
    title: str = "",
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
    label(ax, "step", "training loss (nats per token)", title)
    return fig


def plot_left_out(
    undisturbed: Curve, others: Mapping[str, Curve], resumed: float, smooth: int = 10, title: str = ""
) -> Figure:
    """How far each curve lies above the undisturbed one (below: negative), by step, on one scale; `resumed` is where they part.

    Each point is the mean of the last `smooth` steps: single batches differ more than what is left out changes.
    """
    if not others:
        raise InputError("others: expected at least one curve, got none")
    base = dict(zip(*map(list, _points(undisturbed)), strict=True))
    fig, axes = look.canvas(len(others), 1, size=(7.0, 1.2 + 1.1 * len(others)), sharex=True, sharey=True)
    highest = 0.02
    for ax, (name, curve), color in zip(np.atleast_1d(axes), others.items(), COLORS, strict=False):
        step, loss = _points(curve)
        kept = [(s, value - base[s]) for s, value in zip(step, loss, strict=True) if s in base]
        ax.axhline(0, color=GREY, linewidth=1)
        means = [
            np.mean([value for _, value in kept[max(0, i - smooth + 1) : i + 1]]) for i in range(len(kept))
        ]
        ax.plot([s for s, _ in kept], means, color=color, linewidth=1.6)
        ax.axvline(resumed, color=VERMILLION, linewidth=1.2, linestyle="--")
        highest = max(highest, *np.abs(means))
        ax.set_title(name, loc="left", fontsize=10.5, color=look.ink(color))
    np.atleast_1d(axes)[0].set_ylim(-1.1 * highest, 1.1 * highest)
    if title:
        fig.suptitle(title, x=0.02, ha="left", fontsize=11)
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
    ax.plot(
        grid[best],
        100 * share[best],
        "D",
        color=VERMILLION,
        markersize=9,
        zorder=4,
        label="best of the exact curve",
    )
    ax.plot(centre, 100 * failures.goodput(centre, checkpoint_seconds, mtbf, restart), "o", markersize=14, zorder=5,
            markerfacecolor="none", markeredgecolor="black", label="Young's √(2δM)")  # fmt: skip
    ax.set_ylim(0, 126)
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
