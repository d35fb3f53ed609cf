"""Figures of transfer: what stands in them, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from figures import main_axes
from refusals import one_line

from scalept_lab.errors import InputError
from scalept_lab.plots import transfer


def test_scores_by_hand():
    """200 pairs, 60 of them positives: 45 found and 15 missed, 14 false alarms among 140."""
    ax = main_axes(transfer.plot_scores(positives=0.3, recall=0.75, false_alarms=0.1, pairs=200))
    mine, always = ([bar.get_height() for bar in bars] for bars in ax.containers)
    assert mine == pytest.approx([(45 + 126) / 200, 45 / 59, 0.75, 90 / (90 + 14 + 15)])
    assert always == pytest.approx([0.3, 0.3, 1, 120 / (120 + 140)])
    assert ax.get_title(loc="left") == "200 pairs: TP 45, FP 14, FN 15, TN 126"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["accuracy", "precision", "recall", "F1"]


def test_scores_without_positives_are_zero_and_no_error():
    mine, _ = main_axes(transfer.plot_scores(positives=0, recall=0.5, false_alarms=0)).containers
    assert [bar.get_height() for bar in mine] == [1, 0, 0, 0]


def test_shares_outside_zero_to_one_are_refused():
    assert transfer.plot_scores(1, 1, 1)
    one_line(lambda: transfer.plot_scores(positives=1.1), "positives: expected a share from 0 to 1, got 1.1")
    one_line(lambda: transfer.plot_scores(recall=-0.1), "recall: expected")
    one_line(lambda: transfer.plot_scores(false_alarms=2), "false_alarms: expected")


TOKENS = ["[CLS]", "a", "b", "[SEP]", "b", "c", "d", "[SEP]"]


def test_attention_shows_the_second_segment_in_units_of_even_attention():
    """Rows 1 and 2, columns 4 to 6 of eight tokens, times eight; the one shared word is framed."""
    weights = np.arange(64.0).reshape(8, 8)
    ax = main_axes(transfer.plot_attention(TOKENS, weights, "one head"))
    assert np.array_equal(ax.images[0].get_array(), 8 * np.array([[12.0, 13, 14], [20, 21, 22]]))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["b", "c", "d"]
    (frame,) = ax.patches
    assert frame.get_xy() == (-0.5, 0.5) and ax.get_title(loc="left") == "one head"
    one_line(lambda: transfer.plot_attention(TOKENS, weights[:5]), "weights: expected 8 × 8, got 5 × 8")
    one_line(
        lambda: transfer.plot_attention(["[CLS]", "[SEP]"], np.ones((2, 2))), "tokens: expected two segments"
    )


def test_heads_beside_chance():
    ratio, chance = np.array([[[1.0, 4.0]], [[3.0, 6.0]]]), np.array([[[0.5, 1.0]], [[1.5, 1.0]]])
    ax = main_axes(transfer.plot_attention_heads(ratio, chance))
    heights = [
        [bar.get_height() for bar in bars.patches] for bars in ax.containers if hasattr(bars, "patches")
    ]
    assert heights == [[2, 5], [1, 1]]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["block 1\nhead 1", "block 1\nhead 2"]
    one_line(lambda: transfer.plot_attention_heads(ratio, chance[:1]), "ratio, chance: expected")
    one_line(lambda: transfer.plot_attention_heads(ratio[:1], chance[:1]), "ratio, chance: expected")


def test_reliability_by_hand():
    """100 predictions of confidence 0.8, 70 right: a calibrated one would have 0.8 ± 1.96 · 0.04."""
    ax = main_axes(transfer.plot_reliability({"as it is": ([0.6, 0.8], [0.5, 0.7], [25, 100])}))
    (bars,) = ax.containers
    (segments,) = [part for part in bars.lines[2]]
    low, high = segments.get_segments()[1][:, 1]
    assert (low, high) == pytest.approx((0.8 - 1.96 * 0.04, 0.8 + 1.96 * 0.04))
    line = next(line for line in ax.lines if line.get_label() == "as it is")
    assert list(line.get_xdata()) == [0.6, 0.8] and list(line.get_ydata()) == [0.5, 0.7]
    one_line(lambda: transfer.plot_reliability({}), "series: expected")


def test_disturbed_model_beside_rule():
    drops, rule = {"typos": [0.1, 0.2, 0.3], "prefix": [0.0, 0.0, 0.03]}, {"typos": 0.25, "prefix": 0.0}
    ax = main_axes(transfer.plot_disturbed(drops, rule))
    means = ax.containers[0].lines[0].get_xdata()
    assert means == pytest.approx([0.2, 0.01])
    marks = next(line for line in ax.lines if line.get_label().startswith("rule"))
    assert list(marks.get_xdata()) == [0.25, 0.0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["typos", "prefix"]
    one_line(lambda: transfer.plot_disturbed(drops, {"typos": 1.0}), "rule: expected typos, prefix")
    one_line(lambda: transfer.plot_disturbed({}, {}), "rule: expected names")


def test_what_is_gained_and_what_is_forgotten():
    """Bars are the means over seeds, gained left and forgotten right of each share; every seed is a dot over its bar."""
    gain, lost = np.array([[0.5, 0.7, 0.9], [0.2, 0.3, 0.4]]), np.array([[0.1, 0.2, 0.6], [0.0, -0.1, 0.1]])
    ax = main_axes(transfer.plot_forgetting([0, 0.25], gain, lost))
    heights = [[bar.get_height() for bar in bars] for bars in ax.containers]
    assert heights[0] == pytest.approx([0.7, 0.3]) and heights[1] == pytest.approx([0.3, 0.0])
    for bars, line, values in zip(ax.containers, ax.lines, (gain, lost), strict=False):
        middles = [bar.get_x() + bar.get_width() / 2 for bar in bars]
        assert line.get_xdata() == pytest.approx(np.repeat(middles, 3)) and np.array_equal(
            line.get_ydata(), values.ravel()
        )
    assert ax.containers[0][0].get_x() < ax.containers[1][0].get_x()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0%", "25%"]


def test_events_have_a_panel_for_each_tag():
    curves = {"train/loss": ([1, 2], [0.7, 0.6]), "train/learning_rate": ([1, 2], [1e-4, 0.0])}
    fig = transfer.plot_events({"pre-trained": curves, "from scratch": curves}, title="Both fall")
    assert [ax.get_ylabel() for ax in fig.axes] == list(curves) and fig.get_suptitle() == "Both fall"
    assert [line.get_label() for line in fig.axes[1].get_lines()] == ["pre-trained", "from scratch"]
    assert fig.axes[0].get_lines()[1].get_ydata().tolist() == [0.7, 0.6]
    with pytest.raises(InputError, match="at least one"):
        transfer.plot_events({})
    with pytest.raises(InputError, match="b: expected the tag train/learning_rate, got train/loss"):
        transfer.plot_events({"a": curves, "b": {"train/loss": curves["train/loss"]}})
