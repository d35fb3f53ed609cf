"""Figures of parallel training: what each layout costs in time and memory, and timelines of pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from scalept_lab.checks import positive
from scalept_lab.costs import layouts, planner, traffic
from scalept_lab.errors import InputError
from scalept_lab.plots import style as look
from scalept_lab.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, label

TIMES = {"compute": ("computation", BLUE), "tensor": ("tensor traffic", ORANGE), "pipeline": ("pipeline traffic", PURPLE),
         "data": ("data traffic not hidden", VERMILLION), "bubble": ("bubble", GREY)}  # fmt: skip
MEMORY = {"states": ("parameters, gradients, optimizer", GREEN), "activations": ("activations", SKY)}


PHASES = {"F": ("forward", SKY), "B": ("backward", BLUE), "W": ("gradient of the weights", GREEN)}


def plot_plan(
    model: Any = "gpt3-175b",
    gpus: int = 1024,
    bandwidth_gb: float = 25.0,
    memory_gb: float = 80.0,
    batch: int = 1024,
) -> Figure:
    """Time of a step and memory per GPU for the best layout of each kind. What does not fit is hatched.

    model: a name of `costs.layouts.MODELS`, or what `costs.layouts.model` takes; bandwidth_gb: GB/s that each GPU can send to
    other servers; batch: sequences a step. A100s in servers of 8. See `planner.ASSUMPTIONS`. Raises: InputError.
    """
    m = layouts.model(model)
    between = 1e9 * positive("bandwidth_gb", bandwidth_gb)
    cluster = layouts.Cluster(gpus, memory=1e9 * positive("memory_gb", memory_gb), between=between)
    best = planner.best_of_each(m, cluster, batch)
    there = {kind: found for kind, found in best.items() if found is not None}
    fitting = [found for found in there.values() if found.fits]
    fig, (left, right) = look.canvas(1, 2, size=(10.4, 5.6), sharey=True, width_ratios=(1.25, 1))
    until = 2.6 * min(found.seconds for found in (fitting or there.values()))
    until = min(until, 1.12 * max(found.seconds for found in there.values()))
    most = min(2.2 * memory_gb, 1.12 * max(found.memory / 1e9 for found in there.values()))
    most = max(most, 1.25 * memory_gb)
    for row, kind in enumerate(planner.KINDS):
        found = best[kind]
        if found is None:
            left.annotate(planner.why_none(kind, m, gpus, batch), (0, row), (4, 0), textcoords="offset points", va="center",
                          color=GREY, fontsize=9)  # fmt: skip
            continue
        _stack(left, row, {key: getattr(found, key) for key in TIMES}, TIMES, until, found.fits)
        _stack(right, row, {key: getattr(found, key) / 1e9 for key in MEMORY}, MEMORY, most, found.fits)
        _value(left, row, found.seconds, until, "s" if found.fits else "s, does not fit", found.fits)
        _value(right, row, found.memory / 1e9, most, "GB", found.fits, memory_gb)
    right.axvline(memory_gb, color=VERMILLION, linewidth=1.4, linestyle="--")
    names = [kind + (f"\n{_short(there[kind].layout)}" if kind in there else "") for kind in planner.KINDS]
    left.set_yticks(range(len(names)), names, fontsize=8.5)
    left.set_ylim(len(names) - 0.4, -0.6)
    for ax, limit, parts in ((left, until, TIMES), (right, most, MEMORY)):
        ax.set_xlim(0, limit * 1.02)
        ax.xaxis.set_major_locator(look.ticker.MaxNLocator(5))
        ax.xaxis.set_major_formatter(
            lambda value, _: look.short(value)
        )  # a model of 10¹² on one GPU: 700k seconds
        ax.grid(visible=False, axis="y")
        handles = [Patch(color=color, label=name) for name, color in parts.values()]
        if ax is right:
            handles.append(Patch(fill=False, edgecolor=GREY, hatch="////", label="does not fit"))
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, **look.LEGEND)
    if fitting:
        won = min(fitting, key=lambda found: found.seconds)
        told = f"fastest that fits: {won.layout.kind},\n{won.seconds:.3g} s a step, {won.mfu:.0%} of peak"
    else:
        told = "nothing fits"
    run = f"{m.name} on {gpus:,} GPU{'s' * (gpus > 1)}, {batch:,} sequences of {m.context:,} tokens a step"
    fig.supxlabel("→: the bar goes on beyond the figure", fontsize=9, color=GREY)
    fig.suptitle(run, fontsize=11, x=0.01, ha="left")
    label(left, "time of a step (s)", "best layout of each kind", told)
    label(right, "memory per GPU (GB)", "", f"dashed: a GPU has {memory_gb:g} GB")
    return fig


def _short(layout: Any) -> str:
    """64 data × 4 tensor × 4 stages, ZeRO-1, then: micro-batches of 1, all recomputed"""
    ranks = {"data": layout.data, "tensor": layout.tensor, "stages": layout.pipeline}
    used = " × ".join(f"{count:,} {name}" for name, count in ranks.items() if count > 1) or "one GPU"
    zero = f", ZeRO-{layout.zero}" if layout.zero else ""
    again = {"selective": ", attention recomputed", "full": ", all recomputed"}.get(layout.recompute, "")
    return f"{used}{zero}\nmicro-batches of {layout.micro_batch}{again}"


def _stack(
    ax: Axes, row: int, values: dict[str, float], parts: dict[str, Any], until: float, fits: bool
) -> None:
    start = 0.0
    for key, value in values.items():
        width = min(value, 1.05 * until - start)
        if width > 0:
            edge: dict[str, Any] = (
                {"edgecolor": "white"} if fits else {"edgecolor": GREY, "alpha": 0.3, "hatch": "////"}
            )
            at = (start, row - 0.3)
            ax.add_patch(Rectangle(at, width, 0.6, facecolor=parts[key][1], linewidth=0.6, **edge))
            start += width


def _value(ax: Axes, row: int, value: float, until: float, unit: str, fits: bool, line: float = 0.0) -> None:
    """The number beside its bar, or inside where there is no room or a line would cross it; an arrow if the bar is cut."""
    told = f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    inside = value > (0.8 if fits else 0.72) * until or 0.3 * until < value < line < value + 0.25 * until
    ax.annotate(told + (" →" if value > until else ""), (min(value, until), row), (-4 if inside else 4, 0),
                textcoords="offset points", va="center", ha="right" if inside else "left", fontsize=9.5,
                color="black" if fits else GREY, path_effects=look.HALO if inside else None)  # fmt: skip


def plot_timeline(rows: Sequence[Any], unit: str = "time of one forward pass", title: str = "") -> Figure:
    """A pipeline's timeline, ideal or measured: stages down, time along, a box for each micro-batch's pass.

    rows: (stage, micro-batch, "F", "B" or "W", start, end), or `costs.traffic.Slot`s, in any `unit`. Forward light, backward
    dark, gradients of weights on their own green, the number inside, later chunks of an interleaved stage hatched; empty is
    idle. Raises: InputError.
    """
    idle = traffic.idle_share(rows)
    stages = sorted({row[0] for row in rows})
    begin, end = min(row[3] for row in rows), max(row[4] for row in rows)
    if bad := {row[2] for row in rows} - set(PHASES):
        raise InputError(f"rows: expected phases F, B and W, got {sorted(map(str, bad))}")
    fig, ax = look.canvas(size=(9.0, 1.7 + 0.42 * len(stages)))
    for row in rows:
        stage, micro, phase, start, stop = row[:5]
        chunk = row[5] if len(row) > 5 else 0
        color = PHASES[phase][1]
        ax.barh(stages.index(stage), stop - start, left=start - begin, height=0.82, color=color, edgecolor="white",
                linewidth=0.8, hatch="...." if chunk else None)  # fmt: skip
        if (stop - start) / (end - begin) > 0.011 * len(str(micro)):
            ax.text((start + stop) / 2 - begin, stages.index(stage), str(micro + 1), ha="center", va="center", fontsize=8.5,
                    color="black" if phase == "F" else "white", path_effects=None if not chunk else [],
                    bbox=dict(boxstyle="square,pad=0.05", color=color, linewidth=0) if chunk else None)  # fmt: skip
    ax.set_yticks(range(len(stages)), [str(stage + 1) for stage in stages])
    ax.set_ylim(len(stages) - 0.4, -0.6)
    ax.set_xlim(0, end - begin)
    ax.grid(visible=False, axis="y")
    split = any(row[2] == "W" for row in rows)
    names = {**PHASES, "B": ("gradient of the input", BLUE)} if split else PHASES
    handles = [Patch(color=color, label=name) for key, (name, color) in names.items() if key != "W" or split]
    if any(len(row) > 5 and row[5] for row in rows):
        handles.append(Patch(facecolor="white", edgecolor=GREY, hatch="....", label="a later chunk"))
    ax.legend(handles=handles, loc="upper right", bbox_to_anchor=(1, -0.2), ncols=4, **look.LEGEND)
    label(ax, f"time ({unit})", "stage", f"{title + ': ' if title else ''}{idle:.1%} of the time idle")
    return fig


def plot_overlap(traces: Mapping[str, Sequence[Any]], title: str = "") -> Figure:
    """What one rank computes and sends in a backward pass, for each of some ways: two lanes each, on one scale.

    traces: name -> `parallel.overlap.Span`s or tuples ("layer" or "bucket", number, start, end) in seconds. The end of computing
    is dashed: what is sent after it, nothing hides. Raises: InputError.
    """
    if not traces or not all(len(spans) for spans in traces.values()):
        raise InputError("traces: expected a name and at least one span for each way, got an empty one")
    last = 1e3 * max(span[3] for spans in traces.values() for span in spans)
    fig, axes = look.canvas(len(traces), 1, size=(9.0, 0.9 + 1.35 * len(traces)), sharex=True)
    for ax, (name, spans) in zip(np.atleast_1d(axes), traces.items(), strict=True):
        for kind, index, start, end in spans:
            row, color = (0, BLUE) if kind == "layer" else (1, ORANGE)
            ax.barh(row, 1e3 * (end - start), left=1e3 * start, height=0.76, color=color, edgecolor="white")
            ax.text(500 * (start + end), row, str(index + 1), ha="center", va="center", fontsize=8.5,
                    color="white" if kind == "layer" else "black")  # fmt: skip
        computed = 1e3 * max((span[3] for span in spans if span[0] == "layer"), default=0.0)
        over = max(0.0, 1e3 * max(span[3] for span in spans) - computed)
        ax.axvline(computed, color=VERMILLION, linewidth=1.4, linestyle="--")
        ax.set_yticks([0, 1], ["layers computed", "buckets sent"], fontsize=9.5)
        ax.set_ylim(1.6, -0.6)
        ax.set_xlim(0, 1.02 * last)
        ax.grid(visible=False, axis="y")
        label(ax, "", "the first rank", f"{name}: {over:.0f} ms of sending are not hidden")
    np.atleast_1d(axes)[-1].set_xlabel("time since the backward pass began (ms)")
    if title:
        fig.suptitle(title, fontsize=11, x=0.01, ha="left")
    return fig


def plot_sent(
    names: Sequence[str], formula: Sequence[float], sent: Sequence[float], title: str = ""
) -> Figure:
    """Bytes that a rank sends in a step, by formula and as measured, side by side for each way of spreading a run.

    formula, sent: bytes. Raises: InputError if lengths differ.
    """
    if not len(names) == len(formula) == len(sent) or not len(names):
        raise InputError(
            f"expected as many formulas and measurements as names, got {len(names)}, {len(formula)}, {len(sent)}"
        )
    fig, ax = look.canvas(size=(8.4, 1.3 + 0.5 * len(names)))
    rows = np.arange(len(names))
    for values, off, color, name in (
        (formula, -0.2, SKY, "by formula"),
        (sent, 0.2, ORANGE, "measured at the sockets"),
    ):
        megabytes = np.asarray(values, float) / 1e6
        ax.barh(rows + off, megabytes, height=0.38, color=color, label=name)
        for row, value in zip(rows + off, megabytes, strict=True):
            ax.annotate(
                f"{value:.2f}", (value, row), (4, 0), textcoords="offset points", va="center", fontsize=8.5
            )
    ax.set_yticks(rows, list(names), fontsize=10)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.margins(x=0.1)
    ax.set_xlim(left=0)
    ax.legend(loc="upper right", bbox_to_anchor=(1, -0.1), ncols=2, **look.LEGEND)
    label(ax, "sent by the busiest rank in a step (MB)", "strategy", title)
    return fig
