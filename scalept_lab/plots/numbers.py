"""Figures of notebook 04: numbers in their bits, ranges of formats, sizes of gradients, speed by width, memory of a step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from scalept_lab.config import ModelConfig, TrainConfig, parse
from scalept_lab.costs import footprint
from scalept_lab.costs.numbers import FORMATS, get, lost_to_zero
from scalept_lab.errors import InputError
from scalept_lab.laws.compare import paired
from scalept_lab.plots import style as look
from scalept_lab.plots.style import (
    BLUE,
    COLORS,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    SKY,
    VERMILLION,
    label,
    log_axis,
)

PARTS = {"parameters": BLUE, "gradients": ORANGE, "optimizer": GREEN, "activations": SKY}


def plot_rounding(value: float = 0.1, scale: float = 1.0, title: str = "") -> Figure:
    """A number in the bits of each format: sign, exponent, mantissa, what it has become, and by how much it is off.

    `scale` multiplies the number before it is rounded, as loss scaling does. Raises: InputError.
    """
    try:
        wanted = float(value) * float(scale)
    except (TypeError, ValueError):
        raise InputError(f"value: expected a number, got {value!r}") from None
    if not math.isfinite(wanted):
        raise InputError(f"value: expected a finite number, got {wanted}")
    fig, ax = look.canvas(size=(9.2, 4.0))
    shades = (VERMILLION, SKY, ORANGE)
    digits: dict[str, list[tuple[float, int]]] = {"0": [], "1": []}
    cells, colors = [], []
    for row, form in enumerate(FORMATS.values()):
        at = 0.0
        for field, color in zip(form.pattern(wanted).split(), shades, strict=True):
            for bit in field:
                cells.append(Rectangle((at, row - 0.36), 0.92, 0.72))
                colors.append(to_rgba(color, 0.95 if bit == "1" else 0.22))
                digits[bit].append((at + 0.46, row))
                at += 1
            at += 0.35
        got = float(form.round(wanted))
        ax.text(at + 0.5, row, _told(got, wanted), va="center", fontsize=9.5)
    # a marker for every digit, one collection for every cell: two hundred texts would take a fifth of a second
    ax.add_collection(PatchCollection(cells, facecolors=colors, edgecolors="none"))
    for bit, places in digits.items():
        ax.plot(*np.reshape(places, (-1, 2)).T, linestyle="", marker=f"${bit}$", markersize=6, color="black",
                markeredgewidth=0)  # fmt: skip
    ax.set_yticks(range(len(FORMATS)), list(FORMATS), fontsize=10)
    ax.set_xlim(-0.4, 58)
    ax.set_ylim(len(FORMATS) - 0.4, -0.6)
    ax.set_xticks([])
    ax.grid(visible=False)
    ax.tick_params(axis="y", length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    names = ("sign", "exponent (range)", "mantissa (precision)")
    keys = [Patch(color=color, label=name) for color, name in zip(shades, names, strict=True)]
    ax.legend(handles=keys, loc="upper left", bbox_to_anchor=(0, -0.09), ncols=3, **look.LEGEND)
    label(ax, "bits", "format", title or f"What {wanted:.6g} becomes in each format")
    return fig


def _told(got: float, wanted: float) -> str:
    if math.isinf(got):
        return "infinity: overflow"
    if got == wanted:
        return f"{got:.9g}, exactly"
    if got == 0:
        return "0: underflow"
    return f"{got:.9g}, off by {abs(got / wanted - 1):.1%}" if abs(got / wanted - 1) > 5e-4 else (
        f"{got:.9g}, off by {abs(got / wanted - 1):.0e}"
    )  # fmt: skip


def plot_formats(mark: float | None = None) -> Figure:
    """What each format can hold: from its smallest to its largest number, the subnormal part paler; precision written.

    `mark` draws a line at one number.
    """
    fig, ax = look.canvas(size=(8.4, 3.8))
    for row, form in enumerate(FORMATS.values()):
        low, normal, high = (
            math.log10(x) for x in (form.smallest_subnormal, form.smallest_normal, form.largest)
        )
        ax.barh(row, high - normal, left=normal, height=0.56, color=BLUE)
        ax.barh(row, normal - low, left=low, height=0.56, color=SKY)
        text = f"1 + {form.epsilon:.3g} comes after 1"
        ax.text(41, row, text, va="center", fontsize=9.5)
    ax.set_yticks(range(len(FORMATS)), list(FORMATS), fontsize=10)
    ax.set_ylim(len(FORMATS) - 0.4, -0.6)
    ax.set_xlim(-47, 66)
    ticks = range(-40, 41, 10)
    ax.set_xticks(list(ticks), [look.power_of_ten(10.0**t) for t in ticks])
    if mark is not None:
        ax.axvline(math.log10(mark), color=VERMILLION, linewidth=1.4, linestyle="--")
    ax.grid(visible=False, axis="y")
    keys = [Patch(color=BLUE, label="normal"), Patch(color=SKY, label="subnormal: fewer and fewer digits")]
    ax.legend(handles=keys, loc="upper left", bbox_to_anchor=(0, -0.17), ncols=2, **look.LEGEND)
    label(
        ax,
        "size of a number",
        "format",
        "Range comes from the exponent bits, precision from the mantissa bits",
    )
    return fig


def plot_gradients(
    values: Any, scales: Sequence[float] = (1.0,), format: str = "fp16", title: str = ""
) -> Figure:
    """Sizes of gradients against what a format can hold, a panel for each scale that multiplies them: what is lost to zero.

    `values`: gradients of any shape. All panels have one scale on both axes; each says the share lost, of those that are not
    zero to begin with. Raises: InputError for an unknown format, a scale that is not positive, or gradients that are all zero.
    """
    form, lost = get(format), [lost_to_zero(values, format, scale) for scale in scales]
    sizes = np.abs(np.asarray(values, np.float64).ravel())
    sizes = np.log2(sizes[sizes > 0])
    if not sizes.size:
        raise InputError("values: expected gradients, got only zeros")
    powers = np.log2(np.asarray(scales, float))
    low, normal = math.log2(form.smallest_subnormal) - 1, math.log2(form.smallest_normal)
    high = math.log2(form.largest)
    edges = np.arange(math.floor(sizes.min() + powers.min()), math.ceil(sizes.max() + powers.max()) + 1)
    left, right = min(edges[0], low - 4), max(edges[-1], high + 2)
    fig, axes = look.canvas(rows=len(scales), size=(7.6, 1.2 + 2.2 * len(scales)), sharex=True, sharey=True)
    axes = np.atleast_1d(axes)
    for ax, scale, power, share in zip(axes, scales, powers, lost, strict=True):
        for a, b, color in ((left, low, VERMILLION), (low, normal, SKY), (high, right, VERMILLION)):
            ax.axvspan(a, b, color=color, alpha=0.16, linewidth=0)
        ax.hist(sizes + power, bins=list(edges), weights=np.full(len(sizes), 100 / len(sizes)), color=BLUE)
        shown = f"$2^{{{power:.0f}}}$" if power == round(power) and power else f"{scale:g}"
        label(ax, "", "share of gradients (%)", f"times {shown}: {share:.1%} of them become 0 in {form.name}")
        ax.set_xlim(left, right)
    top = axes[0].get_ylim()[1] * 1.25
    for ax in axes:
        ax.set_ylim(0, top)
        for x, name in (
            (low - 0.4, "to zero"),
            (normal - 0.4, "subnormal"),
            (high - 0.4, f"normal numbers of {form.name}"),
        ):
            ax.text(x, top * 0.97, name, ha="right", va="top", fontsize=9.5)
    axes[-1].set_xlabel("size of the gradient, log₂", fontsize=10.5)
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontsize=11.5)
    return fig


def plot_format_losses(
    minus: Mapping[str, Sequence[float]], title: str = "", groups: Mapping[str, str] | None = None
) -> Figure:
    """What each format costs against fp32: a dot for each seed (the same seed in fp32 taken off), the mean, its 95 % interval.

    minus   name -> loss minus fp32's, nats per token, one for each seed;  groups  name -> what kind of arm it is, for the colour
    Raises: InputError without arms, or for one with fewer than two seeds.
    """
    if not minus:
        raise InputError("minus: expected at least one format, got none")
    kinds = list(dict.fromkeys((groups or {}).get(name, "") for name in minus))
    fig, ax = look.canvas(size=(8.4, 1.5 + 0.36 * len(minus)))
    for row, (name, values) in enumerate(minus.items()):
        if len(values) < 2:
            raise InputError(f"{name}: expected at least two seeds, got {len(values)}")
        found = paired(list(values), [0.0] * len(values))
        kind = (groups or {}).get(name, "")
        color, marker = COLORS[kinds.index(kind) % len(COLORS)], MARKERS[kinds.index(kind) % len(MARKERS)]
        ax.plot(values, np.full(len(values), row + 0.22), ".", color=color, alpha=0.6, markersize=5)
        ax.errorbar(
            found.mean, row, xerr=[[found.mean - found.low], [found.high - found.mean]], fmt=marker, color=color,
            capsize=3, label=kind if kind and kind not in ax.get_legend_handles_labels()[1] else None,
        )  # fmt: skip
    ax.axvline(0, color=GREY, linewidth=1.2, linestyle="--")
    ax.set_yticks(range(len(minus)), list(minus), fontsize=10)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    if any(kinds):
        ax.legend(
            loc="center right",
            bbox_to_anchor=(1.0, 0.6),
            title="dots: seeds; bars: 95 % interval of the mean",
            **look.LEGEND,
        )
    label(ax, "loss minus that of fp32, same seed (nats per token)", "what products read", title)
    return fig


def plot_speedup(
    widths: Mapping[str, Sequence[float]],
    speedup: Mapping[str, Sequence[float]],
    quartiles: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    title: str = "",
) -> Figure:
    """How many times as fast as fp32 a training step is, by width, a line for each dtype; bars from quartile to quartile.

    Raises: InputError if a dtype has not as many speed-ups as widths.
    """
    fig, ax = look.canvas()
    ends = []
    for i, (name, values) in enumerate(speedup.items()):
        x, y = np.asarray(widths[name], float), np.asarray(values, float)
        if x.shape != y.shape or not len(x):
            raise InputError(f"{name}: expected a speed-up for each of {len(x)} widths, got {len(y)}")
        color = COLORS[i % len(COLORS)]
        if quartiles:
            bounds = np.asarray(quartiles[name], float)
            ax.errorbar(x, y, np.abs(bounds.T - y), fmt="none", ecolor=color, capsize=3)
        ax.plot(x, y, marker=MARKERS[i % len(MARKERS)], color=color)
        ends.append((x[-1], y[-1], name, color))
    ax.axhline(1, color=GREY, linestyle="--", linewidth=1.2)
    log_axis(ax.xaxis, "{:g}".format)
    log_axis(ax.yaxis, "{:g}".format)
    low, high = ax.get_ylim()
    ax.set_ylim(low, max(high, 1.35))
    ax.annotate(
        "as fast as fp32", (ax.get_xlim()[0], 1), (4, 4), textcoords="offset points", color=GREY, fontsize=9.5
    )
    look.widen(ax, 0.14)
    look.name_ends(ax, ends, away=10)
    label(ax, "width d", "speed against fp32 (times)", title)
    return fig


def plot_footprint(
    width: int = 256, depth: int = 4, context: int = 128, batch: int = 16, dtype: str = "float32", accumulate: int = 1,
    recompute: bool = False, optimizer: str = "adamw",
) -> Figure:  # fmt: skip
    """Memory of a training step of our model: parameters, gradients, optimizer and activations, by formula.

    The first bar is the same step without accumulation and recomputation, in 32 bits. Raises: InputError.
    """
    heads = max(1, width // 8)
    model = parse(ModelConfig, {"width": width, "depth": depth, "context": context, "heads": heads})
    plain = {"model": model, "batch": batch, "optimizer": optimizer}
    chosen = {**plain, "dtype": dtype, "accumulate": accumulate, "recompute": recompute}
    rows = {
        "plain fp32": footprint.footprint(parse(TrainConfig, plain)),
        "as chosen": footprint.footprint(parse(TrainConfig, chosen)),
    }
    less = rows["as chosen"]["total"] / rows["plain fp32"]["total"]
    said = f"Width {width}, depth {depth}, {batch} × {context} tokens: "
    return plot_memory_parts(
        rows,
        said + (f"as chosen, {less:.0%} of the memory" if less < 1 else "the same memory"),
    )


def plot_memory_parts(rows: Mapping[str, Mapping[str, float]], title: str = "") -> Figure:
    """Bytes of parameters, gradients, optimizer and activations as stacked bars, one for each row, with their sum."""
    if not rows:
        raise InputError("rows: expected at least one, got none")
    fig, ax = look.canvas(size=(8.0, 1.5 + 0.5 * len(rows)))
    left = np.zeros(len(rows))
    most = max(sum(row.get(part, 0) for part in PARTS) for row in rows.values())
    unit, name = (1e9, "GB") if most >= 2e9 else (1e6, "MB")
    for part, color in PARTS.items():
        size = np.array([row.get(part, 0) / unit for row in rows.values()])
        ax.barh(range(len(rows)), size, left=left, height=0.62, color=color, label=part)
        left += size
    for row, total in enumerate(left):
        ax.annotate(
            f"{total:.4g} {name}", (total, row), (5, 0), textcoords="offset points", va="center", fontsize=9.5
        )
    ax.set_yticks(range(len(rows)), list(rows), fontsize=10)
    ax.set_xlim(0, 1.16 * left.max())
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    label(ax, f"memory ({name})", "step", title)
    fig.legend(loc="outside lower center", ncols=4, **look.LEGEND)
    return fig
