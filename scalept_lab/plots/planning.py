"""Figures of parallel training: what each layout costs in time and memory, and timelines of pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scalept_lab.checks import positive
from scalept_lab.costs import layouts, planner, traffic
from scalept_lab.errors import InputError
from scalept_lab.plots import style as look
from scalept_lab.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, label

TIMES = {"compute": ("computation", BLUE), "tensor": ("tensor traffic", ORANGE), "pipeline": ("pipeline traffic", PURPLE),
         "data": ("data traffic not hidden", VERMILLION), "bubble": ("bubble", GREY)}  # fmt: skip
MEMORY = {"states": ("parameters, gradients, optimizer", GREEN), "activations": ("activations", SKY)}


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
    fig, (left, right) = look.canvas(1, 2, size=(9.6, 4.6), sharey=True, width_ratios=(1.25, 1))
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
    left.set_yticks(range(len(names)), names, fontsize=9)
    left.set_ylim(len(names) - 0.4, -0.6)
    for ax, limit, parts in ((left, until, TIMES), (right, most, MEMORY)):
        ax.set_xlim(0, limit * 1.02)
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
    fig.supxlabel(
        "d·t·p: data · tensor · pipeline ranks;  b: sequences a micro-batch;  Z: ZeRO stage;  "
        "sel., full: recomputed;  → cut", fontsize=9, color=GREY,
    )  # fmt: skip
    fig.suptitle(run, fontsize=11, x=0.01, ha="left")
    label(left, "time of a step (s)", "", told)
    label(right, "memory per GPU (GB)", "", f"dashed: a GPU has {memory_gb:g} GB")
    return fig


def _short(layout: Any) -> str:
    """d64·t4·p4 b1 Z1 full"""
    parts = [f"d{layout.data}·t{layout.tensor}·p{layout.pipeline}", f"b{layout.micro_batch}"]
    parts += [f"Z{layout.zero}"] if layout.zero else []
    parts += {"selective": ["sel."], "full": ["full"]}.get(layout.recompute, [])
    return " ".join(parts)


def _stack(
    ax: Axes, row: int, values: dict[str, float], parts: dict[str, Any], until: float, fits: bool
) -> None:
    start = 0.0
    for key, value in values.items():
        width = min(value, 1.05 * until - start)
        if width > 0:
            ax.barh(row, width, left=start, height=0.6, color=parts[key][1], alpha=1.0 if fits else 0.3,
                    hatch=None if fits else "////", edgecolor="white" if fits else GREY, linewidth=0.6)  # fmt: skip
            start += width


def _value(ax: Axes, row: int, value: float, until: float, unit: str, fits: bool, line: float = 0.0) -> None:
    """The number beside its bar, or inside where there is no room or a line would cross it; an arrow if the bar is cut."""
    told = f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    inside = value > (0.8 if fits else 0.72) * until or 0.3 * until < value < line < value + 0.25 * until
    ax.annotate(told + (" →" if value > until else ""), (min(value, until), row), (-4 if inside else 4, 0),
                textcoords="offset points", va="center", ha="right" if inside else "left", fontsize=9.5,
                color="black" if fits else GREY, path_effects=look.HALO)  # fmt: skip


def plot_timeline(rows: Sequence[Any], unit: str = "time of one forward pass", title: str = "") -> Figure:
    """A pipeline's timeline, ideal or measured: stages down, time along, a box for each micro-batch's pass.

    rows: (stage, micro-batch, "F" or "B", start, end), or `costs.traffic.Slot`s, in any `unit`. Forward light, backward
    dark, its number inside, later chunks of an interleaved stage hatched; empty is idle. Raises: InputError.
    """
    idle = traffic.idle_share(rows)
    stages = sorted({row[0] for row in rows})
    begin, end = min(row[3] for row in rows), max(row[4] for row in rows)
    if bad := {row[2] for row in rows} - {"F", "B"}:
        raise InputError(f"rows: expected phases F and B, got {sorted(map(str, bad))}")
    fig, ax = look.canvas(size=(9.0, 1.7 + 0.42 * len(stages)))
    for row in rows:
        stage, micro, phase, start, stop = row[:5]
        chunk = row[5] if len(row) > 5 else 0
        color = SKY if phase == "F" else BLUE
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
    handles = [Patch(color=SKY, label="forward"), Patch(color=BLUE, label="backward")]
    if any(len(row) > 5 and row[5] for row in rows):
        handles.append(Patch(facecolor="white", edgecolor=GREY, hatch="....", label="a later chunk"))
    ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, **look.LEGEND)
    label(ax, f"time ({unit})", "stage", f"{title + ': ' if title else ''}{idle:.1%} of the time idle")
    return fig
