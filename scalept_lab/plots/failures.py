"""Figures of the failure lab: the pieces of evidence of a case side by side, and what is shared by two texts or lost to zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalept_lab.errors import InputError
from scalept_lab.laws.evidence import Evidence, Piece
from scalept_lab.plots import style as look
from scalept_lab.plots.style import BLUE, GREEN, GREY, LEGEND, ORANGE, PURPLE, VERMILLION, label, log_axis

# One colour and one mark for a run in all figures: the healthy one is always the green one.
LOOKS: dict[str, tuple[str, str, str]] = {
    "healthy": (GREEN, "s", "-"), "broken": (VERMILLION, "o", "--"), "X": (VERMILLION, "o", "--"), "Y": (BLUE, "^", "-."),
}  # fmt: skip
OTHERS = ((GREY, "D", ":"), (BLUE, "^", "--"), (PURPLE, "v", "-."), (ORANGE, "P", ":"))


def plot_evidence(evidence: Evidence, title: str) -> Figure:
    """The pieces of a case, each a panel with its letter. The title says what is seen first, not why.

    Raises: InputError for evidence without a piece.
    """
    pieces = evidence.pieces
    if not pieces:
        raise InputError("evidence: expected one piece or more, got none")
    columns = 2 if len(pieces) == 4 else min(3, len(pieces))
    deep = -(-len(pieces) // columns)
    fig, axes = look.canvas(deep, columns, size=(3.9 * columns + 0.6 * (columns == 2) * 2, 3.0 * deep + 0.4))
    panels = np.atleast_1d(axes).ravel()
    for ax, (letter, piece) in zip(panels, pieces.items(), strict=False):
        _panel(ax, piece)
        label(ax, piece.xlabel, piece.ylabel, f"{letter}. {piece.about}")
    for ax in panels[len(pieces) :]:
        ax.set_axis_off()
    fig.suptitle(title, fontsize=12, x=0.01, ha="left")
    return fig


def _looks(name: str, taken: int) -> tuple[str, str, str]:
    """Colour, mark and line of a series: "healthy" alone, or what comes after it paler in its line."""
    run, *more = name.split(":")
    if run not in LOOKS:
        return OTHERS[taken % len(OTHERS)]
    color, mark, line = LOOKS[run]
    return color, mark, ":" if more and "training" in more[0] else line


def _panel(ax: Axes, piece: Piece) -> None:
    if piece.look == "bars":
        _bars(ax, piece.series)
    elif piece.look == "rows":
        _rows(ax, piece.series)
    else:
        for i, (name, (x, y)) in enumerate(piece.series.items()):
            color, mark, line = _looks(name, i)
            many = len(x) > 24
            ax.plot(x, y, color=color, label=name, linestyle=line if piece.look == "line" else "", linewidth=1.6,
                    marker="" if many and piece.look == "line" else mark, markersize=3 if many else 5, alpha=0.85)  # fmt: skip
        if "x" in piece.log:
            log_axis(ax.xaxis)
        if "y" in piece.log:
            log_axis(ax.yaxis, "{:g}".format)
    if piece.look != "rows":
        _from_zero(ax, [value for _, y in piece.series.values() for value in y])
    if len(piece.series) > 1 or piece.look == "line":
        ax.legend(loc="best", **LEGEND)


def _from_zero(ax: Axes, values: Sequence[float]) -> None:
    """Values that hardly differ are drawn from zero: a matter of a thousandth shall not look like a mountain."""
    if max(values) == 0:
        ax.set_ylim(0, 1)
    elif min(values) > 0.85 * max(values) > 0:
        ax.set_ylim(0, 1.35 * max(values))


def _bars(ax: Axes, series: Mapping[str, tuple[Sequence[Any], Sequence[Any]]]) -> None:
    wide = 0.7 / len(series)
    for i, (name, (x, y)) in enumerate(series.items()):
        color = _looks(name, i)[0] if len(series) > 1 else BLUE
        at = np.arange(len(x)) + wide * (i - (len(series) - 1) / 2)
        drawn = ax.bar(at, y, wide, color=color, label=name)
        ax.bar_label(drawn, fmt="{:.3g}", fontsize=9)
    ax.set_xticks(np.arange(len(x)), [str(name) for name in x])
    ax.margins(y=0.18 if len(series) == 1 else 0.45)
    ax.grid(visible=False, axis="x")


def _rows(ax: Axes, series: Mapping[str, tuple[Sequence[Any], Sequence[Any]]]) -> None:
    names = sorted({name for _, y in series.values() for name in y}, reverse=True)
    for (name, (x, y)), (mark, color) in zip(
        series.items(), (("o", BLUE), ("s", ORANGE), ("|", GREY)), strict=False
    ):
        ax.plot(
            x, [names.index(row) for row in y], mark, color=color, markersize=7, markeredgewidth=2, label=name
        )
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(-0.6, len(names) + 1.0)
    ax.set_xticks(range(1, max(max(x) for x, _ in series.values()) + 1))
    ax.grid(visible=False, axis="x")


def plot_lost(gradients: Any, scale: float = 1.0, title: str = "") -> Figure:
    """Gradients of a step by their size, times `scale`, and the two ends of fp16: what lies left of it becomes 0, right infinity.

    gradients: any number of values; zeros are left out. Raises: InputError if nothing else is there, or for a scale that is not
    positive.
    """
    size = np.abs(np.asarray(gradients, np.float64)).ravel()
    size = size[size > 0]
    if not len(size) or not scale > 0:
        raise InputError(
            f"gradients: expected values other than 0 and a scale above 0, got {len(size)} and {scale!r}"
        )
    zero = 2.0**-25  # half the smallest number: it rounds to 0
    infinite = 65_520.0  # halfway between the largest number and the one that would come after it
    lost, over = float((size * scale <= zero).mean()), float((size * scale >= infinite).mean())
    fig, ax = look.canvas(size=(7.4, 3.7))
    edges = np.arange(-14, 7.01, 0.25)
    powers = np.clip(np.log10(size * scale), edges[0], edges[-1])
    counts, _ = np.histogram(powers, edges)
    ax.stairs(100 * counts / len(size), edges, fill=True, color=BLUE, alpha=0.75)
    for at, name, side in (
        (np.log10(zero), "becomes 0", "right"),
        (np.log10(infinite), "becomes infinite", "left"),
    ):
        ax.axvline(at, color=VERMILLION, linestyle="--", linewidth=1.4)
        ax.annotate(f"← {name}" if side == "right" else f"{name} →", (at, 0.94), (-5 if side == "right" else 5, 0),
                    xycoords=("data", "axes fraction"), textcoords="offset points", ha=side, color=look.ink(VERMILLION),
                    fontsize=9.5, path_effects=look.HALO)  # fmt: skip
    ax.set_ylim(0, 118 * counts.max() / len(size))  # room for the two names
    ax.set_xlim(edges[0], 11)
    ax.set_xticks(range(-14, 9, 4), [f"$10^{{{power}}}$" for power in range(-14, 9, 4)])
    said = f"Times {scale:g}, {100 * lost:.0f} % of the gradients become 0 and {100 * over:.0f} % infinite"
    label(ax, "size of a gradient × scale", "share of the gradients (%)", title or said)
    return fig
