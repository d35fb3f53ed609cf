"""Figures of policies that see, read and act: an episode as a strip, where attention goes, success against its floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from scalept_lab.errors import InputError
from scalept_lab.laws.compare import Interval, paired
from scalept_lab.plots import style as look
from scalept_lab.plots.style import BLACK, COLORS, GREY, MARKERS, label, log_axis
from scalept_lab.vla.worlds import ACTIONS

MOST = 8  # pictures in a strip
ONE_HUE = LinearSegmentedColormap.from_list("one hue", ["#3a3a3a", look.ORANGE, "#fff3c4"])


def plot_episode(
    frames: Sequence[np.ndarray], actions: Sequence[int], mission: str = "", success: bool | None = None,
    title: str = "",
) -> Figure:  # fmt: skip
    """An episode as a strip of at most 8 pictures, the action that follows under each, its mission above.

    `frames`: of `vla.worlds.replay`, one before each action and one after the last. Raises: InputError if their numbers differ.
    """
    _fits(frames, actions)
    steps = len(actions)
    shown = np.unique(np.linspace(0, steps, min(MOST, steps + 1)).round().astype(int))
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    fig, axes = look.canvas(rows, columns, size=(1.65 * columns + 0.2, 1.85 * rows + 0.4), squeeze=False)
    for ax in axes.ravel():
        ax.axis("off")
    for ax, step in zip(axes.ravel(), shown, strict=False):
        _picture(ax, frames[step])
        ax.set_xlabel(f"{step}: {_next(actions, step, success)}", fontsize=9.5)
    axes[0, 0].set_ylabel("the room", fontsize=9.5)
    ends = {True: f", carried out in {steps} steps", False: f", not carried out in {steps} steps", None: ""}
    _above(fig, mission, ends[success], title)
    return fig


def plot_side_by_side(
    frames_a: Sequence[np.ndarray], frames_b: Sequence[np.ndarray], step: int = 0,
    titles: Sequence[str] = ("a small policy", "a large policy"), actions_a: Sequence[int] = (),
    actions_b: Sequence[int] = (), mission: str = "", title: str = "",
) -> Figure:  # fmt: skip
    """Two episodes of one world at the same step, side by side; one that is over stays at its last picture.

    `frames_a`, `frames_b`: of `vla.worlds.replay`. Raises: InputError for a negative step, or frames
    that do not fit their actions.
    """
    if step < 0:
        raise InputError(f"step: expected 0 or more, got {step}")
    fig, axes = look.canvas(1, 2, size=(7.0, 4.1))
    both = ((frames_a, actions_a, titles[0]), (frames_b, actions_b, titles[1]))
    for ax, (frames, actions, name) in zip(axes, both, strict=True):
        if len(actions):
            _fits(frames, actions)
        at = min(step, len(frames) - 1)
        _picture(ax, frames[at])
        ax.set_title(f"{name}: step {at} of {len(frames) - 1}", loc="left", fontsize=11)
        ax.set_xlabel(f"next: {_next(actions, at)}" if len(actions) else "", fontsize=10.5)
        ax.set_ylabel("the room", fontsize=10.5)
    _above(fig, mission, "", title)
    return fig


def plot_gaze(
    picture_HxWx3: np.ndarray,
    weights: Mapping[str, np.ndarray] | Sequence[tuple[str, np.ndarray]],
    mission: str = "",
    title: str = "",
) -> Figure:
    """A view, and over it the attention that each word of the mission, or the query, gives to each cell.

    `weights`: (name, rows × columns of shares) each, such as `vla.model.attention` gives. One scale for all: brighter is more.
    Raises: InputError for no weights, or some that are not a grid.
    """
    named = list(weights.items() if isinstance(weights, Mapping) else weights)
    grids = [np.asarray(grid, float) for _, grid in named]
    if not grids or any(grid.ndim != 2 for grid in grids):
        raise InputError(
            f"weights: expected a grid of rows × columns for each name, got {[grid.shape for grid in grids]}"
        )
    columns = min(4, len(grids) + 1)
    rows = -(-(len(grids) + 1) // columns)
    fig, axes = look.canvas(rows, columns, size=(1.85 * columns + 0.9, 2.15 * rows + 0.4), squeeze=False)
    for ax in axes.ravel():
        ax.axis("off")
    first, *rest = axes.ravel()
    _picture(first, picture_HxWx3)
    first.set_xlabel("what it sees", fontsize=9.5)
    grey = np.repeat(np.asarray(picture_HxWx3, float).mean(-1, keepdims=True), 3, axis=-1).astype(np.uint8)
    height, width = grey.shape[:2]
    highest = max(float(grid.max()) for grid in grids) or 1.0
    for ax, (name, _), grid in zip(rest, named, grids, strict=False):
        _picture(ax, grey)
        # clear where there is no attention; what a cell holds still shows through where there is most
        ax.imshow(
            grid, cmap=ONE_HUE, vmin=0, vmax=highest, alpha=0.85 * np.clip(grid / highest, 0, 1) ** 0.7,
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )  # fmt: skip
        ax.set_xlabel(name, fontsize=9.5)
    bar = fig.colorbar(ScalarMappable(Normalize(0, highest), ONE_HUE), ax=axes, shrink=0.8)
    bar.set_label("share of attention", fontsize=9.5)
    bar.ax.set_xlabel("mean of heads", fontsize=9.5)
    _above(fig, mission, "", title)
    return fig


def plot_success(
    x: Sequence[float], curves: Mapping[str, Sequence[Any]], floor: float | None = None, bot: float | None = None,
    xlabel: str = "demonstrations", logx: bool = True, title: str = "",
) -> Figure:  # fmt: skip
    """Success rates with their intervals against one variable, with the rate of acting blindly and the bot's as lines.

    `curves`: name -> for each x an `Interval` (such as `Rollouts.rate`), or one per seed: then the line joins their means.
    Raises: InputError if a curve has not one entry for each x.
    """
    fig, ax = look.canvas()
    at = np.asarray(x, float)
    ends: list[tuple[float, float, str, Any]] = []
    for i, (name, values) in enumerate(curves.items()):
        if len(values) != len(at) or not len(at):
            raise InputError(f"{name}: expected {len(at)} success rates, one for each x, got {len(values)}")
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        # curves stand beside each other, so that no bar hides another
        away = 0.03 * (i - (len(curves) - 1) / 2)
        places = at * (1 + away) if logx else at + away * np.ptp(at) / 4
        runs = [[entry] if isinstance(entry, Interval) else list(entry) for entry in values]
        means = [float(np.mean([run.mean for run in entry])) for entry in runs]
        ax.plot(places, means, color=color, linewidth=1.6, marker=marker, markersize=6)
        for place, entry in zip(places, runs, strict=True):
            for k, run in enumerate(entry):
                aside = place * (1 + 0.018 * (k - (len(entry) - 1) / 2)) if logx else place
                half = [[run.mean - run.low], [run.high - run.mean]]
                ax.errorbar(aside, run.mean, half, fmt="." if len(entry) > 1 else "none", color=color, markersize=5,
                            elinewidth=1.1, capsize=2.5, alpha=0.65 if len(entry) > 1 else 1)  # fmt: skip
        ends.append((places[-1], means[-1], name, color))
    for value, name, color in ((bot, "the bot", BLACK), (floor, "acting blindly", GREY)):
        if value is not None:
            ax.plot([at.min(), at.max()], [value, value], color=color, linestyle="--", linewidth=1.3)
            ends.append((at.max(), value, f"{name}: {value:.2f}", color))
    ax.set_ylim(0, 1.12)
    ax.set_yticks(np.linspace(0, 1, 6))
    if logx:
        log_axis(ax.xaxis)
        if len(at) <= 10:
            ax.set_xticks(at, [look.short(value) for value in at])
            ax.set_xticks([], minor=True)
    look.widen(ax, min(0.4, 0.04 + 0.0125 * max(len(name) for *_, name, _ in ends)), logx)
    look.name_ends(ax, ends, away=12)
    label(ax, xlabel, "success rate (share of missions)", title)
    return fig


def plot_runs(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]]], ylabel: str, title: str = "",
    lines: Mapping[str, float] | None = None, logx: bool = True, logy: bool = False,
) -> Figure:  # fmt: skip
    """What runs reached against what they had, one panel for each thing that they can have more of: a dot for each run, lines
    through the means.

    `panels`: what stands on the x axis -> name of a curve -> (x, the values of the runs at each x). `lines`: level ones, by name.
    Raises: InputError for no panel, or a curve that has not some runs at each x.
    """
    if not panels:
        raise InputError("panels: expected at least one, got none")
    fig, axes = look.canvas(
        1, len(panels), size=(max(7.0, 4.0 * len(panels)), 3.9), squeeze=False, sharey=True
    )
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    for ax, (xlabel, curves) in zip(axes[0], panels.items(), strict=True):
        for name, (x, values) in curves.items():
            if len(values) != len(x) or not all(map(len, values)):
                raise InputError(
                    f"{name}: expected some runs at each of {len(x)} places, got {list(map(len, values))}"
                )
            i = names.index(name)
            color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
            for place, found in zip(x, values, strict=True):
                ax.plot([place] * len(found), found, ".", color=color, markersize=4, alpha=0.6)
            ax.plot(x, [float(np.mean(found)) for found in values], color=color, linewidth=1.6, marker=marker,
                    markersize=5, label=name)  # fmt: skip
        for k, (name, value) in enumerate((lines or {}).items()):
            ax.axhline(value, color=(BLACK, GREY)[k % 2], linestyle="--", linewidth=1.2, label=name)
        if logx:
            ax.set_xscale("log")
            ticks = sorted({place for x, _ in curves.values() for place in x})
            shown = [
                place
                for k, place in enumerate(ticks)
                if not k or k == len(ticks) - 1 or k % -(-len(ticks) // 5) == 0
            ]
            ax.set_xticks(shown, [look.short(place) for place in shown])
            ax.set_xticks([], minor=True)
        if logy:
            ax.set_yscale("log")
        label(ax, xlabel, ylabel if ax is axes[0, 0] else "")
        ax.set_ylabel(ylabel if ax is axes[0, 0] else " ", fontsize=10.5)
    axes[0, -1].legend(
        fontsize=9, frameon=False, loc="best", title="dots: runs; lines: means", title_fontsize=8.5
    )
    fig.suptitle(title, x=0.02, ha="left", fontsize=11)
    return fig


def plot_seeds(
    arms: Mapping[str, Mapping[str, Sequence[float]]],
    title: str = "",
    bars: str = "95 % interval of the mean, cut at 0 and 1",
) -> Figure:
    """Arms below each other, with a dot for each seed and the mean with its interval: a panel for each share.

    `arms`: quantity -> arm -> a value for each seed, two or more. Raises: InputError for fewer values.
    """
    fig, axes = look.canvas(
        1, len(arms), size=(max(7.2, 2.4 + 3.1 * len(arms)), 2.9), squeeze=False, sharey=True
    )
    for ax, (quantity, found) in zip(axes[0], arms.items(), strict=True):
        for row, (name, values) in enumerate(reversed(list(found.items()))):
            if len(values) < 2:
                raise InputError(f"{name}: expected two or more seeds, got {len(values)}")
            around = paired(values, [0.0] * len(values))
            low, high = max(0.0, around.low), min(1.0, around.high)  # shares
            color = COLORS[row % len(COLORS)]
            ax.plot(values, np.full(len(values), row + 0.16), ".", color=color, markersize=6, alpha=0.7)
            ax.errorbar(around.mean, row - 0.1, xerr=[[around.mean - low], [high - around.mean]], fmt="o",
                        color=color, capsize=3)  # fmt: skip
        ax.set_yticks(range(len(found)), list(reversed(list(found))))
        ax.set_ylim(-0.6, len(found) - 0.4)
        label(ax, quantity, "arm" if ax is axes[0, 0] else "")
    axes[0, 0].set_xlabel(f"{next(iter(arms))}\n(dots: seeds; bars: {bars})", fontsize=10)
    fig.suptitle(title, x=0.02, ha="left", fontsize=11)
    return fig


def _fits(frames: Sequence[Any], actions: Sequence[int]) -> None:
    if len(frames) != len(actions) + 1:
        raise InputError(
            f"frames: expected {len(actions) + 1}, one before each action and one after the last, got {len(frames)}"
        )


def _next(actions: Sequence[int], step: int, success: bool | None = None) -> str:
    if step < len(actions):
        return ACTIONS[int(actions[step])]
    return {True: "done", False: "given up", None: "the end"}[success]


def _picture(ax: Axes, frame: np.ndarray) -> None:
    ax.axis("on")
    ax.imshow(frame, interpolation="nearest")
    ax.grid(False)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def _above(fig: Figure, mission: str, rest: str = "", title: str = "") -> None:
    said = f"“{mission}”{rest}" if mission else rest.lstrip(", ")
    if said or title:
        fig.get_layout_engine().set(h_pad=0.09)  # type: ignore[union-attr, call-arg]
        fig.suptitle("\n".join(filter(None, (title, said))), x=0.02, ha="left", fontsize=11)
