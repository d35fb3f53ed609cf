"""Figures of a class: how far each learner's losses lie from the law of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib import font_manager
from matplotlib.figure import Figure

from scalept_lab.errors import InputError
from scalept_lab.plots import style as look

NAMED = 20  # learners whose names have room beside their intervals
WIDE = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "WenQuanYi Zen Hei",
)


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
        names = [_drawn(each.learner, y + 1) for y, each in enumerate(rows)]
        ax.set_yticks(range(len(rows)), [name for name, _ in names], fontsize=9, fontfamily=names[0][1])
    else:
        ax.set_yticks([])
        right = max(abs(each.percent) for each in rows)
        for y, each in enumerate(rows):
            if each.stands_out:
                left = each.percent > 0.4 * right
                name, fonts = _drawn(each.learner, y + 1)
                ax.annotate(
                    name, (each.low if left else each.high, y), (-8 if left else 8, 0), fontsize=9.5, fontfamily=fonts,
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
        "learner" if few else f"{len(rows)} learners",
        title or usual,
    )
    ax.legend(loc="lower right", **look.LEGEND)  # free, as learners are sorted
    return fig


def _drawn(name: str, place: int) -> tuple[str, list[str]]:
    """A name as it may stand in a figure, and the fonts to draw it with: not too long, no `$`, which matplotlib would read as
    mathematics, and where no font of this machine has its letters its place in the table of the pool."""
    known = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    fonts = ["DejaVu Sans", *(font for font in WIDE if font in known)]
    faces = [font_manager.get_font(known[font]) for font in fonts]
    if not all(any(face.get_char_index(ord(letter)) for face in faces) for letter in name):
        return f"no. {place} of the table", fonts
    return (name if len(name) <= 24 else name[:23] + "…").replace("$", r"\$"), fonts
