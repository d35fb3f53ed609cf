"""Figures of policies that write chunks of numbers: journeys around a disc, and how many arrive by head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from scalept_lab.errors import InputError
from scalept_lab.plots import style as look
from scalept_lab.plots.style import BLACK, BLUE, COLORS, GREY, MARKERS, VERMILLION, label
from scalept_lab.vla import detour


def plot_journeys(scene: Sequence[float], chunks: Mapping[str, np.ndarray], title: str = "") -> Figure:
    """Journeys in one scene, a panel for each name: those that arrive as lines, those that fail dashed.

    scene   the heights of start, goal and disc
    chunks  name -> velocities (N, steps, 2), such as `vla.heads.Policy.act` gives
    Raises: InputError for no chunks, or ones of another shape.
    """
    shapes = {name: np.shape(chunk) for name, chunk in chunks.items()}
    if not shapes or any(len(shape) != 3 or shape[-1] != 2 for shape in shapes.values()):
        raise InputError(
            f"chunks: expected velocities (N, steps, 2) for each name, got {list(shapes.values())}"
        )
    columns = min(3, len(chunks))
    rows = -(-len(chunks) // columns)
    fig, axes = look.canvas(rows, columns, size=(2.75 * columns + 0.5, 1.95 * rows + 0.9), squeeze=False,
                            sharex=True, sharey=True)  # fmt: skip
    for ax in axes.ravel()[len(chunks) :]:
        ax.set_visible(False)
    for i, (ax, (name, chunk)) in enumerate(zip(axes.ravel(), chunks.items(), strict=False)):
        seen = np.tile(np.asarray(scene, float), (len(chunk), 1))
        arrived = detour.arrives(seen, chunk)
        ax.add_patch(Circle((0, scene[2]), detour.RADIUS, color="#d0d0d0", zorder=1))
        for way, well in zip(detour.path(seen, chunk), arrived, strict=True):
            ax.plot(*way.T, color=BLUE if well else VERMILLION, linestyle="-" if well else (0, (3, 2)), linewidth=0.9,
                    alpha=0.6, zorder=2)  # fmt: skip
        ax.plot(-1, scene[0], "o", color=BLACK, markersize=6, zorder=3)
        ax.plot(1, scene[1], "*", color=BLACK, markersize=11, zorder=3)
        ax.set_title(f"{name}: {arrived.sum()} of {len(chunk)} arrive", loc="left", fontsize=10)
        ax.set_aspect("equal")
        ax.set_xlim(-1.15, 1.15)
        ax.set_ylim(-0.85, 0.85)
        if i + columns >= len(chunks):
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("place along the way (half widths)", fontsize=9.5)
        if i % columns == 0:
            ax.set_ylabel("height", fontsize=9.5)
    _key(fig, title)
    return fig


def _key(fig: Figure, title: str) -> None:
    handles = [
        Line2D([], [], color=BLUE, linewidth=1.4, label="arrives"),
        Line2D([], [], color=VERMILLION, linewidth=1.4, linestyle=(0, (3, 2)), label="touches the disc, or misses the goal"),
        Line2D([], [], color=BLACK, marker="o", linestyle="", label="start"),
        Line2D([], [], color=BLACK, marker="*", markersize=10, linestyle="", label="goal"),
    ]  # fmt: skip
    fig.legend(handles=handles, loc="outside lower center", ncols=4, **look.LEGEND)
    if title:
        fig.suptitle(title, x=0.02, ha="left", fontsize=11)


def plot_heads(found: Mapping[str, Mapping[str, Sequence[float]]], title: str = "") -> Figure:
    """Which share of journeys arrives: a row for each head, a mark for each kind of demonstrations, small points for seeds.

    found   kind of demonstrations -> head -> a share for each seed
    Raises: InputError for nothing to draw.
    """
    heads = list(dict.fromkeys(head for arms in found.values() for head in arms))
    if not heads:
        raise InputError("found: expected shares for at least one head, got none")
    fig, ax = look.canvas(size=(7.0, 1.7 + 0.52 * len(heads)))
    for i, (kind, arms) in enumerate(found.items()):
        away = 0.2 * (i - (len(found) - 1) / 2)
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        for head, values in arms.items():
            row = heads.index(head) + away
            ax.plot(values, np.full(len(values), row), ".", color=color, markersize=5, alpha=0.55)
        rows = [heads.index(head) + away for head in arms]
        ax.plot([np.mean(values) for values in arms.values()], rows, marker, color=color, markersize=8, linestyle="",
                label=kind)  # fmt: skip
    for row in range(len(heads) - 1):
        ax.axhline(row + 0.5, color=GREY, linewidth=0.4)
    ax.set_yticks(range(len(heads)), heads, fontsize=10)
    ax.set_ylim(len(heads) - 0.5, -0.5)
    ax.set_xlim(-0.03, 1.03)
    ax.grid(visible=False, axis="y")
    handles, names = ax.get_legend_handles_labels()
    handles.append(Line2D([], [], color=GREY, marker=".", linestyle="", label="one seed; large marks: mean"))
    fig.legend(
        handles, [*names, "one seed; large marks: mean"], loc="outside lower center", ncols=2, **look.LEGEND
    )
    label(ax, "share of journeys that arrive", "head")
    if title:  # above the names of the heads, too: a long one would not fit above the axes
        fig.suptitle(title, x=0.02, ha="left", fontsize=11)
    return fig
