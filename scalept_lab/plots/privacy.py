"""Figures of privacy: the ROC curves of attacks on a fine-tuned model, and what training longer gives away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scalept_lab.errors import InputError
from scalept_lab.laws.compare import paired
from scalept_lab.plots import style as look
from scalept_lab.plots.style import COLORS, GREY, MARKERS, label

STYLES = ("-", "--", "-.", ":")


def plot_roc(curves: Mapping[str, tuple[Any, Any]], title: str = "") -> Figure:
    """Share of members caught against share of others accused, a line for each attack: name -> (accused, caught).

    Two panels of the same curves: all of it, and log scales for the corner where few are accused, in which a curve of a coin
    bends no less than any other. Raises: InputError without curves.
    """
    if not curves:
        raise InputError("curves: expected at least one, got none")
    fig, axes = look.canvas(1, 2, size=(9.2, 4.3))
    coin = np.geomspace(1e-3, 1, 50)
    for ax in axes:
        ax.plot(coin, coin, color=GREY, linewidth=1.2, linestyle=(0, (1, 2)), label="a coin")
        for i, (name, (accused, caught)) in enumerate(curves.items()):
            ax.plot(accused, caught, color=COLORS[i], linestyle=STYLES[i % 4], linewidth=1.8, label=name)
        label(ax, "share of others accused", "share of members caught")
    axes[1].set(xscale="log", yscale="log", xlim=(2e-3, 1), ylim=(2e-3, 1.1))
    axes[1].legend(loc="lower right", **look.LEGEND)
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    return fig


def plot_leak(epochs: Sequence[float], shown: Mapping[str, Mapping[str, Any]], title: str = "") -> Figure:
    """Against epochs of training (log), a panel for each entry of `shown`: axis label -> name -> values (epochs, seeds).

    Means, and bars for the 95 % interval of the mean; a name that starts with "null" is drawn grey.
    Raises: InputError if values are not one row for each number of epochs.
    """
    fig, axes = look.canvas(1, len(shown), size=(4.6 * len(shown), 4.0), squeeze=False)
    for ax, (what, lines) in zip(axes[0], shown.items(), strict=True):
        for i, (name, values) in enumerate(lines.items()):
            values = np.asarray(values, float)
            if values.shape[:1] != (len(epochs),):
                raise InputError(f"{name}: expected {len(epochs)} rows of values, got {values.shape[0]}")
            found = [paired(row, np.zeros_like(row)) for row in values]
            null = name.startswith("null")
            ax.errorbar(
                epochs, values.mean(1), yerr=[(f.high - f.low) / 2 for f in found], capsize=3, linewidth=1.6, markersize=6,
                color=GREY if null else COLORS[i], marker="x" if null else MARKERS[i], linestyle=":" if null else "-", label=name,
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_xticks(epochs, [f"{n:g}" for n in epochs])
        ax.minorticks_off()
        ax.legend(loc="best", **look.LEGEND)
        label(ax, "epochs on the same pairs", what)
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    fig.supxlabel("bars: 95 % interval of the mean over seeds", fontsize=9, x=0.99, ha="right")
    return fig
