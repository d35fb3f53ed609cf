"""Figures of transfer: what a classifier's four counts make of its scores, and where its attention goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scalept_lab.errors import InputError
from scalept_lab.plots import style as look
from scalept_lab.plots.style import BLUE, COLORS, GREEN, ORANGE, VERMILLION, label


def plot_scores(
    positives: float = 0.5, recall: float = 0.8, false_alarms: float = 0.2, pairs: int = 1000
) -> Figure:
    """Accuracy, precision, recall and F1 of a classifier, and of one that always says yes, by its four counts.

    positives     share of the pairs whose label is 1
    recall        share of these that it finds
    false_alarms  share of the others that it takes for positives
    Raises: InputError for a share outside [0, 1].
    """
    for name, share in (("positives", positives), ("recall", recall), ("false_alarms", false_alarms)):
        if not 0 <= share <= 1:
            raise InputError(f"{name}: expected a share from 0 to 1, got {share}")
    yes, no = positives * pairs, (1 - positives) * pairs
    series = {
        "this classifier": _from_counts(
            yes * recall, no * false_alarms, yes * (1 - recall), no * (1 - false_alarms)
        ),
        "always says yes": _from_counts(yes, no, 0.0, 0.0),
    }
    fig, ax = look.canvas(size=(7.0, 3.6))
    names, at = ("accuracy", "precision", "recall", "F1"), np.arange(4)
    for i, (name, values) in enumerate(series.items()):
        bars = ax.bar(at + 0.38 * (i - 0.5), values, 0.36, color=(BLUE, ORANGE)[i], label=name)
        ax.bar_label(bars, fmt="%.2f", fontsize=9.5, padding=2)
    ax.set_xticks(at, names)
    ax.set_ylim(0, 1.3)
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.legend(loc="upper right", ncols=2, **look.LEGEND)
    counts = (yes * recall, no * false_alarms, yes * (1 - recall), no * (1 - false_alarms))
    told = ", ".join(
        f"{name} {count:.0f}" for name, count in zip(("TP", "FP", "FN", "TN"), counts, strict=True)
    )
    label(ax, "", "score", f"{pairs} pairs: {told}")
    return fig


def _from_counts(tp: float, fp: float, fn: float, tn: float) -> list[float]:
    """Accuracy, precision, recall, F1; what divides by zero counts as zero, as in scikit-learn."""

    def ratio(part: float, whole: float) -> float:
        return part / whole if whole else 0.0

    return [
        ratio(tp + tn, tp + fp + fn + tn),
        ratio(tp, tp + fp),
        ratio(tp, tp + fn),
        ratio(2 * tp, 2 * tp + fp + fn),
    ]


def plot_attention(tokens: Sequence[str], weights_LxL: np.ndarray, title: str = "") -> Figure:
    """What each token (row) looks at (column): a square of weights, with the two segments framed.

    Raises: InputError if the weights are not a square of as many rows as tokens.
    """
    weights = np.asarray(weights_LxL, float)
    if weights.shape != (len(tokens), len(tokens)):
        raise InputError(
            f"weights: expected {len(tokens)} × {len(tokens)}, got {' × '.join(map(str, weights.shape))}"
        )
    fig, ax = look.canvas(size=(7.2, 6.4))
    ax.grid(False)
    picture = ax.imshow(weights, cmap="viridis", vmin=0, aspect="equal")
    at = np.arange(len(tokens))
    ax.set_xticks(at, tokens, rotation=90, fontsize=8)
    ax.set_yticks(at, tokens, fontsize=8)
    ends = [i for i, token in enumerate(tokens) if token == "[SEP]"]
    for end in ends[:-1]:
        ax.axhline(end + 0.5, color="white", linewidth=1.2)
        ax.axvline(end + 0.5, color="white", linewidth=1.2)
    bar = fig.colorbar(picture, ax=ax, shrink=0.8)
    bar.set_label("attention weight", fontsize=10)
    label(ax, "looked at", "token", title)
    return fig


def plot_forgetting(replay: Sequence[float], gain_XxS: np.ndarray, lost_XxS: np.ndarray) -> Figure:
    """By the share of old text: what is gained on the new text and lost on the old (nats), a dot per seed, bars the means."""
    fig, ax = look.canvas(size=(7.0, 3.8))
    at = np.arange(len(replay))
    for i, (name, values, color) in enumerate(
        (("gained on the new package", gain_XxS, GREEN), ("forgotten of the old ones", lost_XxS, VERMILLION))
    ):
        values = np.asarray(values, float)
        place = at + 0.38 * (i - 0.5)
        ax.bar(place, values.mean(1), 0.34, color=color, alpha=0.75, label=name)
        ax.plot(np.repeat(place, values.shape[1]), values.ravel(), ".", color="black", markersize=5)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(at, [f"{share:.0%}" for share in replay])
    ax.margins(y=0.2)
    ax.legend(loc="upper right", ncols=2, **look.LEGEND)
    label(ax, "share of old text in what is learned (replay)", "change of the masked loss (nats)")
    return fig


def plot_events(runs: Mapping[str, Mapping[str, tuple[Any, Any]]], title: str = "") -> Figure:
    """What TensorBoard shows of its event files, a panel for each tag: run -> tag -> (steps, values).

    Raises: InputError without runs, or where a run lacks a tag of the first.
    """
    if not runs:
        raise InputError("runs: expected at least one, got none")
    tags = list(next(iter(runs.values())))
    fig, axes = look.canvas(1, len(tags), size=(4.4 * len(tags), 3.6), squeeze=False)
    for ax, tag in zip(axes[0], tags, strict=True):
        for i, (run, curves) in enumerate(runs.items()):
            if tag not in curves:
                raise InputError(f"{run}: expected the tag {tag}, got {', '.join(curves)}")
            ax.plot(
                *curves[tag],
                color=COLORS[i],
                linestyle=("-", "--", "-.", ":")[i % 4],
                linewidth=1.7,
                label=run,
            )
        ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 4))  # rates are small
        label(ax, "step", tag)
    axes[0, 0].legend(loc="best", **look.LEGEND)
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    return fig
