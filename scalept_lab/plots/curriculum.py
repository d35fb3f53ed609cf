"""Figures of curricula: any schedule over its steps, a run that one drives, arms against their baseline, spikes and hard text."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalept_lab.checks import whole
from scalept_lab.errors import InputError
from scalept_lab.laws.compare import Arm
from scalept_lab.laws.noise import beyond
from scalept_lab.plots import style as look
from scalept_lab.plots.style import BLUE, COLORS, GREY, ORANGE, VERMILLION, label
from scalept_lab.train.curriculum import Adaptive, Schedule, level_index
from scalept_lab.train.pupils import Course, Pupil

if TYPE_CHECKING:
    from scalept_lab.train.live import Trajectory

POINTS = 800  # a schedule is asked at most so often


def plot_schedule(
    schedule: Schedule,
    steps: int,
    performance: Sequence[float] | None = None,
    what: str = "choice",
    title: str = "",
) -> Figure:
    """What a schedule of `curriculum` chooses at each of `steps`: a line, stairs of named levels, or a stack of weights.

    performance: evaluations at even distances over the run. At each step the schedule sees those made before it; they are
    drawn above, with the thresholds of an adaptive schedule. what: the name of the choice, with its unit.
    Raises: InputError for no steps, or what the schedule itself refuses.
    """
    steps = whole("steps", steps)
    at = np.unique(np.linspace(0, steps, min(steps, POINTS) + 1).round().astype(int))
    seen = list(performance or ())
    choices = [schedule(int(step), seen[: int(len(seen) * step / steps)]) for step in at]
    if seen:
        fig, (above, ax) = look.canvas(2, 1, size=(7.0, 4.8), sharex=True)
        _performance(above, schedule, np.arange(1, len(seen) + 1) / len(seen) * steps, seen)
    else:
        fig, ax = look.canvas(size=(7.0, 3.4))
    levels = getattr(schedule, "levels", None)
    if levels:
        ax.step(
            at, [level_index(levels, choice) for choice in choices], where="post", color=BLUE, linewidth=2
        )
        ax.set_yticks(range(len(levels)), [str(level) for level in levels])
        ax.set_ylim(-0.3, len(levels) - 0.7)
    elif isinstance(choices[0], Mapping):
        parts = np.array([[choice[name] for choice in choices] for name in choices[0]])
        ax.stackplot(at, parts, colors=COLORS, alpha=0.75)
        below = np.cumsum(parts, 0) - parts / 2
        for row, name in enumerate(choices[0]):
            k = int(parts[row].argmax())
            k = min(max(k, len(at) // 8), 7 * len(at) // 8)
            ax.text(at[k], below[row, k], name, ha="center", va="center", fontsize=10, path_effects=look.HALO)
        ax.set_ylim(0, 1)
    else:
        values = np.array(choices, float)
        values[np.isinf(values)] = np.nan
        ax.step(at, values, where="post", color=BLUE, linewidth=2)
        if np.isnan(values).any():
            first = int(at[np.isnan(values)][0])
            ax.axvspan(first, steps, color=ORANGE, alpha=0.15)
            ax.text(
                (first + steps) / 2,
                0.1,
                "everything",
                ha="center",
                transform=ax.get_xaxis_transform(),
                fontsize=10,
            )
        ax.set_ylim(bottom=0)
    ax.set_xlim(0, steps)
    label(ax, "step", what, "" if seen else title)
    if seen:
        fig.suptitle(title, fontsize=11, x=0.02, ha="left")
    return fig


def _performance(ax: Axes, schedule: Schedule, at: np.ndarray, values: Sequence[float]) -> None:
    ax.plot(at, values, ".-", color=GREY, markersize=4, linewidth=1)
    for name, color, side in (
        ("promote", BLUE, 1),
        ("demote", VERMILLION, -1),
    ):  # above its line, below its line
        if (threshold := getattr(schedule, name, None)) is not None:
            ax.axhline(threshold, color=color, linestyle="--", linewidth=1.4)
            ax.annotate(name, (0.995, threshold), (0, 3 * side), xycoords=("axes fraction", "data"), ha="right", color=color,
                        va="bottom" if side > 0 else "top", textcoords="offset points", fontsize=9.5,
                        path_effects=look.HALO)  # fmt: skip
    ax.margins(y=0.15)
    label(ax, "", "performance")


def plot_adaptive(
    performance: Sequence[float], promote: float = 0.55, demote: float = 0.5, patience: int = 3, deadline: int = 800,
    steps: int = 1000, levels: Sequence[Any] = ("easy", "middle", "hard", "target"),
) -> Figure:  # fmt: skip
    """`plot_schedule` of an adaptive schedule, by its settings. A demote threshold at or above promote is lowered just below."""
    lower = min(demote, promote - 0.001)
    schedule = Adaptive(tuple(levels), promote, max(0.0, lower), patience, deadline)
    seen = list(performance)
    moves = [schedule(0, seen[:k]) for k in range(len(seen) + 1)]
    changes = sum(a != b for a, b in itertools.pairwise(moves))
    title = f"{changes} moves by performance alone; at the target by step {deadline:,} at the latest"
    return plot_schedule(schedule, steps, seen, "level", title)


def plot_arms(tables: Mapping[str, Sequence[Arm]], title: str = "") -> Figure:
    """Differences to the baseline with their 95 % intervals, a group for each table; left of zero is better.

    Filled where the interval excludes zero, hollow where it does not. Raises: InputError if there is no arm to draw.
    """
    rows = [(group, arm) for group, table in tables.items() for arm in table if arm.difference is not None]
    if not rows:
        raise InputError("tables: expected at least one arm beside the baseline, got none")
    heights = len(rows) + len(tables)
    fig, ax = look.canvas(size=(7.0, 0.9 + 0.27 * heights))
    ax.axvline(0, color="black", linewidth=1)
    y, ticks, names = 0.0, [], []
    last = ""
    for group, arm in rows:
        if group != last:
            ax.text(0.0, y, group, transform=ax.get_yaxis_transform(), fontsize=10, fontweight="bold", va="center",
                    path_effects=look.HALO)  # fmt: skip
            y, last = y + 1, group
        found = arm.difference
        assert found is not None
        color = GREY if not found.excludes_zero else BLUE if found.mean < 0 else VERMILLION
        ax.plot([found.low, found.high], [y, y], color=color, linewidth=1.8)
        ax.plot(
            found.mean,
            y,
            "o",
            color=color,
            markersize=7,
            markerfacecolor=color if found.excludes_zero else "white",
        )
        ticks.append(y)
        names.append(arm.name)
        y += 1
    ax.set_yticks(ticks, names)
    ax.set_ylim(y - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    label(ax, "loss minus the baseline's (nats per token, 95 % interval)", "arm")
    fig.suptitle(title, fontsize=11, x=0.02, ha="left")
    return fig


def plot_live(run: Trajectory, title: str = "", what: str = "choice", promote: float | None = None,
              demote: float | None = None) -> Figure:  # fmt: skip
    """A run that a schedule drives (`train.live.trajectory`), three panels over its steps: what was chosen, the performance that
    the schedule was shown, and the share of the drawn windows from each pool, over the steps between two evaluations.

    what: the name of the choice, with its unit. Raises: InputError for a run of no steps.
    """
    steps = np.arange(len(run.choices))
    if not len(steps):
        raise InputError("run: expected a trajectory of at least one step, got none")
    fig, (top, middle, bottom) = look.canvas(3, 1, size=(7.0, 6.4), sharex=True)
    names: dict[Any, int] = {}
    if isinstance(run.choices[0], Mapping):
        for name, color in zip(run.choices[0], COLORS, strict=False):
            top.step(steps, [choice[name] for choice in run.choices], where="post", color=color, label=name)
        top.legend(**look.LEGEND)
    elif isinstance(run.choices[0], str):
        names = {name: k for k, name in enumerate(run.names)}
        top.step(steps, [names[choice] for choice in run.choices], where="post", color=BLUE, linewidth=2)
        top.set_yticks(list(names.values()), list(names))
    else:
        top.step(steps, run.choices, where="post", color=BLUE, linewidth=2)
        top.set_ylim(bottom=0)
    at = run.every * np.arange(1, len(run.performance) + 1)
    middle.plot(at, run.performance, ".-", color=GREY, markersize=5, linewidth=1)
    for name, threshold, color in (("promote", promote, BLUE), ("demote", demote, VERMILLION)):
        if threshold is not None:
            middle.axhline(threshold, color=color, linestyle="--", linewidth=1.4)
            middle.annotate(name, (0.995, threshold), (0, 3), xycoords=("axes fraction", "data"), ha="right",
                            color=look.ink(color), textcoords="offset points", fontsize=9.5, path_effects=look.HALO)  # fmt: skip
    begins = np.arange(0, len(steps), run.every)
    parts = np.add.reduceat(run.drawn, begins)
    shares = parts / parts.sum(1, keepdims=True)
    bottom.stackplot(
        [*begins, len(steps)], np.vstack([shares, shares[-1]]).T, step="post", colors=COLORS, alpha=0.75
    )
    below = np.cumsum(shares[-1]) - shares[-1] / 2
    for name, height, share in zip(run.names, below, shares[-1], strict=True):
        if share > 0.05:
            bottom.text(
                0.99 * len(steps), height, name, ha="right", va="center", fontsize=9.5, path_effects=look.HALO
            )
    bottom.set_ylim(0, 1)
    bottom.set_xlim(0, len(steps))
    label(top, "", what)
    label(middle, "", "performance\n(1 − loss/ln V)")
    label(bottom, "step", "share of the\ndrawn windows")
    fig.suptitle(title, fontsize=11, x=0.02, ha="left")
    return fig


def plot_pupils(courses: Mapping[str, Course], title: str = "") -> Figure:
    """Planted learners. Left: what one learns in a round, and what an evaluation finds, by how far the level lies above the
    skill. Right: the skill over the rounds, for each course by name.

    Raises: InputError if there is none.
    """
    if not courses:
        raise InputError("courses: expected at least one, got none")
    fig, (left, ax) = look.canvas(1, 2, size=(8.6, 3.6))
    pupil, ahead = Pupil(speed=1.0), np.linspace(-2, 3, 201)
    for values, color, dash, name in (
        ([pupil.after(0, d, 0) for d in ahead], BLUE, "-", "learned in a round\n(share of the most)"),
        ([pupil.shows(0, d, 0) for d in ahead], VERMILLION, "--", "evaluation finds"),
    ):
        left.plot(ahead, values, dash, color=color, linewidth=2, label=name)
    left.legend(loc="upper right", **look.LEGEND)
    left.set_ylim(0, 1.5)
    left.set_yticks(np.arange(0, 1.01, 0.25))
    label(left, "level − skill (levels)", "share")
    rounds = 0
    for (name, course), color, dash in zip(
        courses.items(), COLORS, itertools.cycle(("-", "--", "-.", ":")), strict=False
    ):
        rounds = max(rounds, len(course.skill))
        ax.plot(
            np.arange(1, len(course.skill) + 1), course.skill, dash, color=color, linewidth=1.8, label=name
        )
    ax.legend(**look.LEGEND)
    ax.set_xlim(0, rounds)
    label(ax, "round", "skill (levels)")
    fig.suptitle(title, fontsize=11, x=0.02, ha="left")
    return fig


def plot_hard_text(losses: Mapping[str, Sequence[float]], hardness: Sequence[float], window: int, per_point: int = 1,
                   title: str = "") -> Figure:  # fmt: skip
    """Above: training losses by name, and the loss of a fixed model on the same batches. Below: the losses without what the text
    of the batch adds. All are means of `window` points of `per_point` steps.

    Raises: InputError for no run, or as `noise.beyond` does.
    """
    if not losses:
        raise InputError("losses: expected at least one run, got none")
    fig, (above, ax) = look.canvas(2, 1, size=(7.0, 5.4), sharex=True)
    kernel = np.ones(window) / window
    at = per_point * np.arange(window, len(hardness) + 1)
    above.plot(
        at,
        np.convolve(hardness, kernel, "valid"),
        color="black",
        linewidth=1,
        linestyle=":",
        label="a fixed model, same text",
    )
    for (name, values), color, dash in zip(
        losses.items(), COLORS, itertools.cycle(("-", "--")), strict=False
    ):
        for panel, shown in ((above, np.asarray(values)), (ax, beyond(values, hardness))):
            panel.plot(at, np.convolve(shown, kernel, "valid"), dash, color=color, linewidth=1.3, label=name)
    above.legend(loc="upper right", **look.LEGEND)
    label(above, "", "training loss\n(nats per token)")
    label(ax, "step", "without the hardness\nof the batch")
    fig.suptitle(title, fontsize=11, x=0.02, ha="left")
    return fig
