"""The figure of a study: loss against compute, the fitted frontier, and a sealed prediction with its outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scalept_lab.laws import formulas
from scalept_lab.laws.fit import error_percent
from scalept_lab.plots import style as look
from scalept_lab.plots.laws import AnyLaw, named
from scalept_lab.plots.style import BLACK, BLUE, SKY, VERMILLION, arrays, log_axis
from scalept_lab.runs import RunRecord

# A prediction with its interval, and what came.
BAR: dict[str, Any] = dict(
    color=BLACK, markerfacecolor="white", markersize=7, capsize=5, elinewidth=1.6, zorder=4
)
STAR: dict[str, Any] = dict(marker="*", color=VERMILLION, markersize=15, markeredgecolor="white", zorder=5)


def flops_per_token(records: Sequence[RunRecord]) -> formulas.FlopsPerToken:
    """N -> training FLOPs per token, read off the records: 6·N, and attention and the output layer as a power of N.

    At the sizes of this course the second part is as large as the first, so 6·N alone would put the compute-optimal
    model elsewhere. For records with C = 6·N·D it is the number 6.
    """
    counted = {
        record.N: record.C / record.D for record in records if record.N > 0 and record.D > 0 and record.C > 0
    }
    N, extra = np.array([*counted], float), np.array([each - 6 * n for n, each in counted.items()])
    if not len(N) or np.all(np.abs(extra) < 1e-3 * N):
        return 6.0
    if len(N) < 2 or np.any(extra <= 0):
        return float(np.mean([each / n for n, each in counted.items()]))
    power, log_scale = np.polyfit(np.log(N), np.log(extra), 1)
    return lambda n: 6 * n + np.exp(log_scale) * n**power


def plot_frontier(
    records: Sequence[RunRecord], law: AnyLaw | None = None, shot: Any = None, measured: float | None = None,
    title: str = "",
) -> Figure:  # fmt: skip
    """Held-out loss against compute: all runs, the fitted compute-optimal frontier, and a prediction with its outcome.

    The band holds 95 % of new runs on the frontier (for a law with bootstrap samples). `study.study`: a sealed prediction
    (`flops`, `predicted`, `low`, `high`); `measured`: the loss that came. An inset shows these two enlarged.
    """
    runs = [record for record in records if record.ok and record.C > 0]
    N, _, L = arrays(runs)
    C = np.array([record.C for record in runs])
    fig, ax = look.canvas()
    sizes, sized = np.unique(N), []
    for size, color in zip(sizes, look.size_colors(len(sizes)), strict=True):
        mine = size == N
        sized += ax.plot(C[mine], L[mine], "o", color=color, markersize=6.5, zorder=3, label=look.short(size))
    end = max(C.max(), shot.flops if shot is not None else 0.0)
    if law is not None:
        law = named(law)
        grid = np.geomspace(C.min() / 1.3, end * 1.6, 80)
        n, d = formulas.split(law.form, law.params, grid, flops_per_token(records))  # type: ignore[arg-type]
        if getattr(law, "samples", None):
            band = law.predict(n, d)  # type: ignore[union-attr]
            ax.fill_between(grid, band.low, band.high, color=SKY, alpha=0.35, linewidth=0)
        fitted = grid <= C.max()
        ax.plot(grid[fitted], law(n, d)[fitted], color=BLUE, linewidth=2)
        ax.plot(grid[~fitted], law(n, d)[~fitted], color=BLUE, linewidth=2, linestyle="--")
    look.mark_lost(ax, records, "C")
    if shot is not None:
        _draw_interval(ax, shot.flops, shot, "D" if measured is None else "none")
        if measured is not None:
            ax.plot(shot.flops, measured, **{**STAR, "markersize": 12})
    log_axis(ax.xaxis, look.power_of_ten)
    log_axis(ax.yaxis, "{:.3g}".format)
    if shot is not None:
        _make_room(ax, 0.52, 0.56, C, L)
        _draw_inset(ax, shot, measured)
    look.key(ax, sized, "parameters N")
    parts = [f"{len(L)} runs"] + (["line: compute-optimal under the fitted law"] if law is not None else [])
    parts += ["band: 95 % of new runs"] if law is not None and getattr(law, "samples", None) else []
    look.label(ax, look.FLOPS, look.LOSS, look.headed(title, "; ".join(parts)))
    return fig


def _draw_interval(ax: Axes, x: float, shot: Any, marker: str) -> None:
    ends = np.maximum(0, [[shot.predicted - shot.low], [shot.high - shot.predicted]])
    ax.errorbar(x, shot.predicted, ends, fmt=marker, ecolor=BLACK, **BAR)


def _make_room(ax: Axes, x: float, y: float, C: np.ndarray, L: np.ndarray) -> None:
    """Lower the loss axis until everything drawn left of `x` lies above `y` (both as shares of the axes)."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    edge = left * (right / left) ** x
    lines = [line.get_xydata() for line in ax.lines if line.get_transform() == ax.transData]
    drawn = np.concatenate([np.column_stack([C, L]), *lines])
    lowest = drawn[drawn[:, 0] <= edge, 1].min(initial=high)
    ax.set_ylim(min(low, lowest * (lowest / high) ** (y / (1 - y))), high)


def _draw_inset(ax: Axes, shot: Any, measured: float | None) -> None:
    """The prediction and its outcome enlarged, in the corner under the frontier, where no run can be."""
    inset = ax.inset_axes((0.14, 0.13, 0.36, 0.3))  # clear of the loss axis in a narrow figure, too
    inset.spines[["top", "right"]].set_visible(False)
    inset.grid(color="#e3e3e3", linewidth=0.6, axis="y")
    inset.axhspan(shot.low, shot.high, color=SKY, alpha=0.25, linewidth=0)
    names, values = [f"predicted\n{shot.predicted:.3f}"], [shot.low, shot.high]
    _draw_interval(inset, 0, shot, "D")
    title = "sealed prediction, 95 %"
    if measured is not None:
        inset.plot(1, measured, **STAR)
        names.append(f"measured\n{measured:.3f}")
        values.append(measured)
        title = f"error {look.percent(error_percent(measured, shot.predicted))}"
    pad = 0.2 * max(max(values) - min(values), 1e-3 * shot.predicted)
    inset.set_ylim(min(values) - pad, max(values) + pad)
    inset.set_xlim(-0.6, len(names) - 0.4)
    inset.set_xticks(range(len(names)), names)
    inset.tick_params(labelsize=8.5)
    inset.tick_params(axis="x", length=0)
    inset.yaxis.set_major_locator(MaxNLocator(4))
    inset.set_title(title, loc="left", fontsize=9.5)
