"""Figures of plans: what serving and scarce text do to the best size, and how sure it is that one plan beats another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from scalept_lab.checks import positive
from scalept_lab.errors import InputError
from scalept_lab.plots import style as look
from scalept_lab.plots.laws import AnyLaw, named
from scalept_lab.plots.style import (
    BLACK,
    BLUE,
    GREY,
    LOSS,
    ORANGE,
    PARAMETERS,
    VERMILLION,
    label,
    log_axis,
    short,
)

RULE = 20.0  # tokens per parameter


def plot_life(
    flops: float = 1.6e23, served: float = 1e12, unique: float = 2e12, dear: float = 4.5, law: AnyLaw = "muennighoff",
    title: str = "",
) -> Figure:  # fmt: skip
    """Loss against model size when training and serving come out of one budget, beside training alone on endless text.

    flops: the whole budget at the speed of training. served: tokens to be generated over the model's life; dear: how many times
    as much a FLOP costs there, since decoding reaches a smaller share of the peak. unique: different tokens at hand. The cross is
    20 tokens per parameter at the same total cost. Raises: InputError.
    """
    flops, dear, unique = positive("flops", flops), positive("dear", dear), positive("unique", unique)
    served, law = positive("served", served, zero=True), named(law)
    N = np.geomspace(np.sqrt(flops / 6 / 3000), np.sqrt(flops / 6 / 1.5), 160)
    D = (flops - 2 * dear * N * served) / (6 * N)
    if not (D > N).any():
        raise InputError(
            "served: expected fewer tokens, got so many that serving alone costs more than the budget; lower it"
        )
    fig, ax = look.canvas(size=(7.6, 4.4))
    free = law(N, flops / (6 * N))
    ax.plot(N, free, color=GREY, linestyle="--", label="training alone, endless text")
    kept = D > N
    whole = np.full(N.shape, np.nan)
    whole[kept] = law(N[kept], D[kept], unique)
    ax.plot(N, whole, color=BLUE, linewidth=2, label="this text, serving paid")
    at = int(np.nanargmin(whole))
    ax.plot(N[at], whole[at], "o", color=BLUE, markersize=9, label=f"best: {short(N[at])} parameters")
    rule = (-2 * dear * served + np.sqrt((2 * dear * served) ** 2 + 24 * RULE * flops)) / (12 * RULE)
    paid = float(law(rule, RULE * rule, min(unique, RULE * rule)))
    ax.plot(rule, paid, "X", color=VERMILLION, markersize=9, label="20 tokens per parameter")
    floor = float(free.min())
    ax.set_ylim(floor - 0.02, max(floor + 0.35, paid + 0.05))
    ax.set_xlim(N[0], N[-1])
    log_axis(ax.xaxis)
    ax.legend(**look.LEGEND)
    passes = D[at] / unique
    often = f"{passes:.2g} times" if passes > 1 else "once"
    note = f"best at {D[at] / N[at]:.0f} tokens per parameter, each token read {often}"
    label(ax, PARAMETERS, LOSS.replace("held-out ", "predicted "), look.headed(title, note))
    return fig


def plot_draws(
    gains: Sequence[float], names: tuple[str, str] = ("the naive plan", "the plan"), title: str = ""
) -> Figure:
    """Loss of the first minus loss of the second under each draw of the law's constants: right of zero the second is better.

    Raises: InputError for fewer than 20 draws or values that are no numbers.
    """
    values = np.asarray(gains, float)
    if values.ndim != 1 or len(values) < 20 or not np.isfinite(values).all():
        raise InputError(
            f"gains: expected 20 draws or more, all of them numbers, got {values.size}; take them from draws()"
        )
    fig, ax = look.canvas(size=(7.6, 3.8))
    width = np.ptp(values) / 30 or 1e-6
    edges = width * np.arange(
        np.floor(values.min() / width), np.ceil(values.max() / width) + 1
    )  # one of them at zero
    for keep, color, name in ((values > 0, BLUE, names[1]), (values <= 0, ORANGE, names[0])):
        ax.hist(
            values[keep], edges, color=color, edgecolor="white", label=f"{name} is better: {keep.mean():.0%}"
        )
    ax.axvline(0, color=BLACK, linewidth=1.2)
    low, high = np.quantile(values, (0.025, 0.975))
    ax.axvspan(low, high, color=GREY, alpha=0.13, label="95 % of the draws")
    ax.margins(x=0.02)
    ax.legend(**look.LEGEND)
    label(
        ax,
        f"loss of {names[0]} minus loss of {names[1]} (nats per token)",
        "draws of the law's constants",
        title,
    )
    return fig


def plot_miniature(
    plan: Sequence[float], naive: Sequence[float], title: str = "", names: tuple[str, str] = ("the plan", "the naive plan")
) -> Figure:  # fmt: skip
    """Two arms with one loss for each seed, joined seed by seed; squares are means. Raises: InputError for unequal lengths."""
    if len(plan) != len(naive) or not len(plan):
        raise InputError(
            f"miniature: expected as many losses of both plans, got {len(plan)} and {len(naive)}"
        )
    fig, ax = look.canvas(size=(6.4, 3.6))
    for mine, theirs in zip(plan, naive, strict=True):
        ax.plot(
            [0, 1],
            [theirs, mine],
            "o-",
            color=GREY,
            linewidth=1,
            label="one seed" if mine == plan[0] else None,
        )
    ax.plot([0, 1], [np.mean(naive), np.mean(plan)], "s", color=BLUE, markersize=9, label="mean of the seeds")
    ax.set_xticks([0, 1], [names[1], names[0]])
    ax.set_xlim(-0.4, 1.4)
    ax.grid(visible=False, axis="x")
    ax.legend(**look.LEGEND)
    label(ax, "plan in small, at equal FLOPs", LOSS, title)
    return fig
