"""Figures of a study: records and laws in, a matplotlib `Figure` out. No function changes what it is given.

This is also the one place to import figures from: those of a law (`plots.laws`), of a prediction (`frontier`) and the
plain ones (`charts`) are here too. A diverged run is drawn as a cross at the top: it has a cost and no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalept_lab.errors import InputError
from scalept_lab.laws import formulas, isoflop
from scalept_lab.laws.search import DELTA
from scalept_lab.plots import style as look
from scalept_lab.plots.frontier import flops_per_token
from scalept_lab.plots.laws import (
    AnyLaw,
    named,
)
from scalept_lab.plots.style import (
    LOSS,
    PARAMETERS,
    TOKENS,
    VERMILLION,
    arrays,
    label,
    log_axis,
    short,
)
from scalept_lab.runs import RunRecord


def plot_sweep(records: Sequence[RunRecord], law: AnyLaw | None = None) -> Figure:
    """Held-out loss against tokens, a colour per model size: points measured, lines fitted (or, without a law, joined).

    Raises: InputError if no run has finished.
    """
    N, D, L = arrays(list(records))
    fig, ax = look.canvas()
    look.mark_lost(ax, records, "D")
    draw_sizes(ax, N, D, L, None if law is None else named(law))
    lines = "lines: means" if law is None else "lines: the fitted law"
    label(ax, TOKENS, LOSS, f"{len(L)} runs; a colour for each model size N; {lines}")
    return fig


def plot_isoflop(records: Sequence[RunRecord], law: AnyLaw | None = None, title: str = "") -> Figure:
    """Held-out loss against model size for each budget of compute: points, a parabola through them, and its minimum.

    A minimum at the edge of the sizes tried is drawn hollow: it says only on which side to look. With a law, its own
    curves are dashed. Budgets with fewer than three sizes get no parabola.
    """
    runs = [record for record in records if record.ok and record.N > 0 and record.D > 0 and record.C > 0]
    N, D, L = arrays(runs)
    C = np.array([record.C for record in runs])
    try:
        found = {frozenset(piece.index): piece for piece in isoflop.parabolas(N, D, L, C).slices}
    except InputError:  # too few sizes for any parabola: the points still say something
        found = {}
    groups = isoflop.group(C, N)
    per_token = flops_per_token(runs)
    fig, ax = look.canvas()
    ends, minima = [], []
    for index, color in zip(groups, look.size_colors(len(groups)), strict=True):
        index = index[np.argsort(N[index])]
        n, loss, budget = N[index], L[index], float(np.exp(np.log(C[index]).mean()))
        ax.plot(n, loss, "o", color=color, markersize=6, zorder=3)
        grid = np.geomspace(n[0] / 1.15, n[-1] * 1.15, 80)
        piece = found.get(frozenset(index))
        if piece is not None and piece.parabola is not None:
            ax.plot(grid, np.polyval(piece.parabola, np.log(grid)), color=color, linewidth=1.6)
            if np.isfinite(piece.N_opt) and grid[0] <= piece.N_opt <= grid[-1]:
                minima.append((piece.N_opt, piece.loss, piece.status == "ok"))
        elif n[0] < n[-1]:
            ax.plot(n, loss, color=color, linewidth=0.9)
        if law is not None:
            each = per_token(grid) if callable(per_token) else per_token * grid
            ax.plot(grid, named(law)(grid, budget / each), color=color, linewidth=1.2, linestyle="--")
        last = max(
            (line for line in ax.lines if line.get_color() is color), key=lambda line: line.get_xdata()[-1]
        )
        ends.append((*last.get_xydata()[-1], f"{look.power_of_ten(budget)} FLOPs", color))
    for x, y, inside in minima:
        ax.plot(x, y, "D", markersize=9, markeredgecolor=VERMILLION, markeredgewidth=1.8, zorder=4,
                markerfacecolor=VERMILLION if inside else "white")  # fmt: skip
    look.mark_lost(ax, records, "N")
    log_axis(ax.xaxis)
    log_axis(ax.yaxis, "{:.3g}".format)
    look.widen(ax, 0.2)
    look.name_ends(ax, ends)
    parts = ["solid: parabolas", "diamonds: their minima (hollow: at an edge)"] if minima else []
    parts += ["dashed: the law"] if law is not None else []
    label(ax, PARAMETERS, LOSS, look.headed(title, "; ".join(parts) or "Runs of equal compute"))
    return fig


def plot_curves(records: Sequence[RunRecord]) -> Figure:
    """Training loss along every run, a colour per model size; a dot where a run ends, at its held-out loss."""
    runs = [record for record in records if len(record.curve) > 1 and record.N > 0]
    if not runs:
        raise InputError("records: expected at least one run with a training curve, got none")
    sizes = sorted({record.N for record in runs})
    colors = dict(zip(sizes, look.size_colors(len(sizes)), strict=True))
    fig, ax = look.canvas()
    drawn = {}
    for record in sorted(runs, key=lambda record: -record.D):
        _, tokens, loss = np.array(record.curve).T
        (line,) = ax.plot(
            tokens, loss, color=colors[record.N], linewidth=1.1, alpha=0.85, label=short(record.N)
        )
        drawn[record.N] = line
        if record.L is not None:
            ax.plot(record.D, record.L, "o", color=colors[record.N], markersize=5, zorder=3)
        else:
            ax.plot(tokens[-1], loss[-1], "x", color=VERMILLION, markersize=9, markeredgewidth=2.2, zorder=4)
    log_axis(ax.xaxis)
    log_axis(ax.yaxis, "{:.3g}".format)
    look.key(ax, [drawn[size] for size in sizes], "parameters N")
    lost = sum(record.status == "diverged" for record in runs)
    title = f"{len(runs)} runs; dots: held-out loss at the end" + (f"; × {lost} diverged" if lost else "")
    label(ax, "tokens seen", "training loss (nats per token)", title)
    return fig


def plot_guess(
    points: Any, E: float = 1.0, A: float = 10.0, B: float = 100.0, alpha: float = 0.3, beta: float = 0.3
) -> Figure:
    """Five constants chosen by hand against measured points, with the objective that a fit would make small.

    `points`: anything with arrays N, D, L (`laws.points.Points`, or a `Law`'s `.points`), or a list of run records.
    The objective is the sum of Huber terms (delta 1e-3) on log loss.
    """
    N, D, L = arrays(points)
    params = {"E": E, "A": A, "B": B, "alpha": alpha, "beta": beta}
    with np.errstate(all="ignore"):
        r = np.abs(np.log(formulas.loss("chinchilla", params, N, D)) - np.log(L))
    r = np.where(np.isfinite(r), r, np.inf)
    total = np.where(r <= DELTA, r**2 / 2, DELTA * (r - DELTA / 2)).sum()
    fig, ax = look.canvas()
    low, high = L.min(), L.max()
    limits = low * (low / high) ** 0.35, high * (high / low) ** 0.35
    draw_sizes(ax, N, D, L, lambda n, d: formulas.loss("chinchilla", params, n, d), limits)
    label(
        ax,
        TOKENS,
        LOSS,
        f"Your lines: objective {total:.3g}, half of the runs within {100 * np.median(r):.2g} %",
    )
    return fig


MAX_LINES = 8  # with more model sizes, every one has its colour, and these many their line and name


def draw_sizes(
    ax: Axes,
    N: np.ndarray,
    D: np.ndarray,
    L: np.ndarray,
    law: Any = None,
    limits: tuple[float, float] | None = None,
) -> None:
    """Loss against tokens, a colour per model size: points measured; lines from `law`, or joining the means.

    `limits` of the loss axis: by default all that is drawn.
    """
    sizes = np.unique(N)
    named_sizes = set(sizes[np.unique(np.linspace(0, len(sizes) - 1, MAX_LINES).round().astype(int))])
    ends = []
    for size, color in zip(sizes, look.size_colors(len(sizes)), strict=True):
        d, loss = D[size == N], L[size == N]
        ax.plot(d, loss, "o", color=color, markersize=6, zorder=3)
        if size not in named_sizes:
            continue
        # whole steps make D differ a little
        _, same = np.unique(np.round(np.log(d) / 0.03), return_inverse=True)
        at, y = (np.bincount(same, values) / np.bincount(same) for values in (d, loss))
        if law is not None:
            at = np.geomspace(at[0] / 1.15, at[-1] * 1.15, 80)
            y = law(size, at)
        ax.plot(at, y, color=color, linewidth=1.5)
        ends.append((at[-1], float(y[-1]), short(size), color))
    if limits:
        ax.set_ylim(limits)
    log_axis(ax.xaxis)
    log_axis(ax.yaxis, "{:.3g}".format)
    look.widen(ax, 0.12)
    look.name_lines(ax, ends, "parameters N")
