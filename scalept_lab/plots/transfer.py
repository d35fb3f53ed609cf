"""Figures of transfer: a classifier's scores, what its heads read, whether it knows how sure it is, and what throws it off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from scalept_lab.errors import InputError
from scalept_lab.plots import style as look
from scalept_lab.plots.charts import mean_and_interval
from scalept_lab.plots.style import BLUE, COLORS, GREEN, ORANGE, VERMILLION, label


def plot_scores(
    positives: float = 0.5, recall: float = 0.8, false_alarms: float = 0.2, pairs: int = 1000, title: str = ""
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
    told = f"{pairs} pairs: {told}"
    label(ax, told if title else "", "score", title or told)
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
    """Where each token of the first segment (row) looks in the second (column), by how many times as much as even attention.

    The second segment is what stands between the first [SEP] and the last token.
    Raises: InputError if the weights are not a square of as many rows as tokens, or there are not two segments.
    """
    weights = np.asarray(weights_LxL, float)
    if weights.shape != (len(tokens), len(tokens)):
        raise InputError(
            f"weights: expected {len(tokens)} × {len(tokens)}, got {' × '.join(map(str, weights.shape))}"
        )
    if list(tokens).count("[SEP]") < 2:
        raise InputError("tokens: expected two segments that end with [SEP]")
    border = list(tokens).index("[SEP]")
    rows, columns = list(tokens[1:border]), list(tokens[border + 1 : -1])
    across = weights[1:border, border + 1 : -1] * len(tokens)
    fig, ax = look.canvas(size=(1.6 + 0.36 * len(columns), 1.9 + 0.36 * len(rows)))
    ax.grid(False)
    picture = ax.imshow(across, cmap="viridis", vmin=0, aspect="equal")
    ax.set_xticks(np.arange(len(columns)), columns, rotation=60, ha="right", fontsize=10)
    ax.set_yticks(np.arange(len(rows)), rows, fontsize=10)
    for i, one in enumerate(rows):
        for j, other in enumerate(columns):
            if one == other:
                ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="white", linewidth=2))
    bar = fig.colorbar(picture, ax=ax, shrink=0.9)
    bar.set_label("weight / even attention", fontsize=10)
    label(ax, "token of the function (white frames: the same word)", "token of the sentence", title)
    return fig


def plot_attention_heads(
    ratio_PxBxH: np.ndarray, chance_PxBxH: np.ndarray, title: str = "", ylabel: str = "weight on the same word / even attention"
) -> Figure:  # fmt: skip
    """By head, the mean weight on the same word over even attention, beside that on words drawn at random, with 95 % intervals.

    Raises: InputError if the two have other shapes, or hold fewer than two pairs.
    """
    parts = [np.asarray(part, float) for part in (ratio_PxBxH, chance_PxBxH)]
    if parts[0].shape != parts[1].shape or parts[0].ndim != 3 or len(parts[0]) < 2:
        raise InputError(
            f"ratio, chance: expected (pairs, blocks, heads) twice, got {parts[0].shape} and {parts[1].shape}"
        )
    _, blocks, heads = parts[0].shape
    names = [f"block {i + 1}\nhead {j + 1}" for i in range(blocks) for j in range(heads)]
    fig, ax = look.canvas(size=(7.4, 3.9))
    at = np.arange(len(names))
    for i, (name, values) in enumerate(zip(("the same word", "a word drawn at random"), parts, strict=True)):
        flat = values.reshape(len(values), -1)
        half = 1.96 * flat.std(0, ddof=1) / np.sqrt(len(flat))
        ax.bar(
            at + 0.38 * (i - 0.5),
            flat.mean(0),
            0.34,
            yerr=half,
            color=(BLUE, ORANGE)[i],
            label=name,
            capsize=2,
        )
    ax.axhline(1, color="black", linewidth=1, linestyle="--", label="even attention")
    ax.set_xticks(at, names, fontsize=9)
    ax.margins(y=0.25)
    ax.legend(loc="upper left", ncols=3, title="bars: 95 % interval over pairs", **look.LEGEND)
    label(ax, "block and head", ylabel, title)
    return fig


def plot_reliability(series: Mapping[str, Any], title: str = "") -> Figure:
    """Accuracy against confidence by bin, for each of a few ways to get probabilities; on the diagonal they are true.

    series: name -> (confidence, accuracy, count), arrays over bins, as `transfer.calibration.binned` gives them. A bar is the
    95 % range in which a perfectly calibrated classifier's accuracy would lie in that bin. Raises: InputError if there is none.
    """
    if not series:
        raise InputError("series: expected at least one name with its bins, got none")
    fig, ax = look.canvas(size=(6.6, 4.6))
    ax.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--", label="calibrated")
    lowest = 1.0
    for i, (name, (confidence, accuracy, count)) in enumerate(series.items()):
        c, a, n = (np.asarray(part, float) for part in (confidence, accuracy, count))
        half = 1.96 * np.sqrt(np.maximum(c * (1 - c), 1e-9) / n)
        color = (VERMILLION, BLUE, GREEN)[i % 3]
        ax.errorbar(c, c, half, fmt="none", ecolor=color, alpha=0.35, elinewidth=6)
        ax.plot(c, a, marker="osD"[i % 3], color=color, linewidth=1.6, markersize=6, label=name)
        lowest = min(lowest, c.min(), a.min())
    ax.set_xlim(max(0, lowest - 0.05), 1.02)
    ax.set_ylim(max(0, lowest - 0.1), 1.05)
    ax.legend(loc="upper left", title="bars: where a calibrated one lies, 95 %", **look.LEGEND)
    label(ax, "confidence: probability of the predicted label", "share that is right", title)
    return fig


def plot_disturbed(
    drops: Mapping[str, Sequence[float]], rule: Mapping[str, float], title: str = ""
) -> Figure:
    """What each disturbance takes from the accuracy of a model, and from that of a rule that judges the evidence itself.

    drops: name -> accuracy lost, one for each seed; rule: name -> the rule's. Raises: InputError if the names differ.
    """
    if list(drops) != list(rule) or not drops:
        raise InputError(f"rule: expected {', '.join(drops) or 'names'}, got {', '.join(rule) or 'none'}")
    fig, ax = look.canvas(size=(7.2, 1.6 + 0.5 * len(drops)))
    rows = np.arange(len(drops))
    values = np.array([list(found) for found in drops.values()], float)
    mean, half = mean_and_interval(values)
    ax.errorbar(
        mean,
        rows - 0.12,
        xerr=half,
        fmt="o",
        color=BLUE,
        capsize=3,
        label="model (bars: 95 % interval of the mean)",
    )
    ax.plot(values.ravel(), np.repeat(rows - 0.12, values.shape[1]), ".", color=BLUE, alpha=0.5)
    ax.plot(list(rule.values()), rows + 0.16, "D", color=VERMILLION, label="rule that counts common words")
    ax.axvline(0, color="black", linewidth=1)
    ax.set_yticks(rows, list(drops))
    ax.invert_yaxis()
    ax.set_ylim(len(drops) - 0.4, -1.3)
    ax.legend(loc="upper right", **look.LEGEND)
    label(ax, "accuracy lost by the disturbance", "disturbance", title)
    return fig


def plot_forgetting(
    replay: Sequence[float], gain_XxS: np.ndarray, lost_XxS: np.ndarray, title: str = ""
) -> Figure:
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
    label(ax, "share of old text in what is learned (replay)", "change of the masked loss (nats)", title)
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
