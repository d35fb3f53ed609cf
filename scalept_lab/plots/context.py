"""Figures of a sequence that many ranks share: who works in which step of the ring, and when messages hide behind the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from scalept_lab.checks import positive
from scalept_lab.costs import traffic
from scalept_lab.errors import InputError
from scalept_lab.plots import style as look
from scalept_lab.plots.style import BLUE, GREY, ORANGE, VERMILLION, label, log_axis


def plot_ring_work(work: Mapping[str, Sequence[Sequence[float]]], title: str = "") -> Figure:
    """What each rank computes in each step of the ring, and how long the step takes: as long as its busiest rank.

    work: name -> pairs of query and key that are not masked, a row for each step, a column for each rank. One panel each, on one
    scale: the share of a full block. Raises: InputError if nothing is given, or a table has no rows.
    """
    tables = {name: np.asarray(rows, float) for name, rows in work.items()}
    if not tables or any(table.ndim != 2 or not table.size for table in tables.values()):
        raise InputError(
            "work: expected a table of steps × ranks for each name, got an empty one; count the pairs first"
        )
    most = max(table.max() for table in tables.values())
    fig, axes = look.canvas(1, len(tables), size=(3.5 * len(tables), 3.6), sharey=True, squeeze=False)
    for ax, (name, table) in zip(axes[0], tables.items(), strict=True):
        steps, ranks = table.shape
        wide = 0.8 / ranks
        for r in range(ranks):
            at = np.arange(steps) + (r - (ranks - 1) / 2) * wide
            ax.bar(at, table[:, r] / most, 0.9 * wide, color=look.size_colors(ranks)[r], label=f"rank {r}")
        for step, busiest in enumerate(table.max(axis=1) / most):
            ax.plot([step - 0.45, step + 0.45], [busiest, busiest], color=VERMILLION, linewidth=1.6,
                    label="the step takes" if not step else None)  # fmt: skip
        ax.set_xticks(range(steps), [str(step) for step in range(steps)])
        ax.grid(visible=False, axis="x")
        used = table.sum() / (ranks * table.max(axis=1).sum())
        first = ax is axes[0][0]
        label(
            ax,
            "step of the ring",
            "work (share of a full block)" * first,
            f"{name}: {used:.0%} of the time used",
        )
    axes[0][0].set_ylim(0, 1.42)
    axes[0][0].set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    axes[0][0].legend(loc="upper left", ncols=2, **look.LEGEND)
    if title:
        fig.suptitle(title, fontsize=11, x=0.01, ha="left")
    return fig


def plot_ring_hidden(
    tflops: float = 400.0, bandwidth_gb: float = 50.0, key_share: float = 0.125, causal: bool = True, title: str = "",
) -> Figure:  # fmt: skip
    """Time of a hop against time of the work that it can hide behind, by the positions that a rank holds.

    tflops: 10¹² FLOPs a second that a rank reaches; bandwidth_gb: GB/s to the next rank; key_share: heads of keys and values as a
    share of all; 16 bits; the width is 8,192, on which the crossing does not depend. Raises: InputError.
    """
    flops, bandwidth = 1e12 * positive("tflops", tflops), 1e9 * positive("bandwidth_gb", bandwidth_gb)
    share, width = positive("key_share", key_share), 8192
    from_here = traffic.hidden_from(flops, bandwidth, key_share=share, causal=causal)
    c = np.geomspace(64, 262_144, 200)
    work = 1e3 * 4 * c**2 * width / flops / (2 if causal else 1)
    hop = 1e3 * 2 * c * width * share * 2 / bandwidth
    fig, ax = look.canvas()
    ax.plot(c, work, color=BLUE, linewidth=1.8)
    ax.plot(c, hop, color=ORANGE, linewidth=1.8)
    ax.set_xlim(c[0], c[-1])
    log_axis(ax.xaxis)
    log_axis(ax.yaxis, "{:,.4g}".format)
    if c[0] < from_here < c[-1]:
        ax.axvline(from_here, color=GREY, linestyle="--", linewidth=1.2)
        late = from_here > 10_000  # the names of the lines stand at the right
        ax.annotate(f"hidden from {from_here:,.0f}\npositions a rank", (from_here, 0.97), (-6 if late else 6, 0), va="top",
                    ha="right" if late else "left",
                    xycoords=("data", "axes fraction"), textcoords="offset points", color=GREY, fontsize=9.5,
                    path_effects=look.HALO)  # fmt: skip
    look.widen(ax, 0.22)
    look.name_ends(
        ax, [(c[-1], work[-1], "work on a block", BLUE), (c[-1], hop[-1], "hop to the next", ORANGE)]
    )
    label(
        ax,
        "positions that a rank holds",
        "time (ms, in one layer)",
        title or f"From {look.short(from_here)} positions a rank on, messages hide behind the work",
    )
    return fig
