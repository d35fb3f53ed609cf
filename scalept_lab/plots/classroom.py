"""Figures of a class: how far each learner's losses lie from the law of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from scalept_lab.errors import InputError
from scalept_lab.plots import style as look

NAMED = 20  # learners whose names have room beside their intervals


def plot_offsets(offsets: Sequence[Any], title: str = "") -> Figure:
    """The learners of a pooled class from the lowest losses to the highest: the median distance from the law and its 95 %
    interval, both in % of the loss (`Pool.offsets`). Those who stand out have another mark and their name.

    Raises: InputError for no learner.
    """
    if not offsets:
        raise InputError("offsets: expected at least one learner, got none; a pool without a law has none")
    rows = sorted(offsets, key=lambda each: each.percent)
    fig, ax = look.canvas(size=(7.0, max(2.6, min(4.6, 0.6 + 0.22 * len(rows)))))
    ax.axvline(0, color=look.GREY, linewidth=1, linestyle="--")
    few = len(rows) <= NAMED
    for out, color, mark, what in (
        (False, look.BLUE, "o", "learner"),
        (True, look.VERMILLION, "D", "stands out"),
    ):
        kept = [(y, each) for y, each in enumerate(rows) if each.stands_out == out]
        if kept:
            places = [y for y, _ in kept]
            ax.hlines(
                places,
                [e.low for _, e in kept],
                [e.high for _, e in kept],
                color=color,
                linewidth=1.2 if few else 0.5,
            )
            ax.plot([e.percent for _, e in kept], places, mark, color=color, markersize=5 if few else 2 + 3 * out,
                    label=f"{what}: median and 95 % interval")  # fmt: skip
    if few:
        ax.set_yticks(range(len(rows)), [_short(each.learner) for each in rows], fontsize=9)
    else:
        ax.set_yticks([])
        right = max(abs(each.percent) for each in rows)
        for y, each in enumerate(rows):
            if each.stands_out:
                left = each.percent > 0.4 * right
                ax.annotate(
                    _short(each.learner), (each.low if left else each.high, y), (-8 if left else 8, 0), fontsize=9.5,
                    textcoords="offset points", va="center", ha="right" if left else "left",
                    color=look.ink(look.VERMILLION), path_effects=look.HALO,
                )  # fmt: skip
    out_names = sum(each.stands_out for each in rows)
    usual = (
        f"{out_names} of {len(rows)} learners stand out"
        if out_names
        else f"None of {len(rows)} learners stands out"
    )
    look.label(
        ax,
        "loss above (+) or below (−) the law of the class (%)",
        "" if few else f"{len(rows)} learners",
        title or usual,
    )
    ax.legend(loc="upper left" if not few else "best", **look.LEGEND)
    return fig


def _short(name: str) -> str:
    """A name as it may stand in a figure: not too long, and no `$`, which matplotlib would read as mathematics."""
    name = name.replace("$", r"\$")
    return name if len(name) <= 24 else name[:23] + "…"
