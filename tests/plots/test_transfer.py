"""Figures of transfer: scores by four counts, attention as a framed square, bars and seeds for each share of replay."""

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


def test_attention_is_a_square_with_its_first_segment_framed():
    tokens = ["[CLS]", "a", "[SEP]", "b", "c", "[SEP]"]
    weights = np.arange(36.0).reshape(6, 6)
    fig = transfer.plot_attention(tokens, weights, "one head")
    ax = main_axes(fig)
    assert np.array_equal(ax.images[0].get_array(), weights) and ax.images[0].get_clim() == (0, 35)
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines] == [
        ([0, 1], [2.5, 2.5]),
        ([2.5, 2.5], [0, 1]),
    ]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == tokens and ax.get_title(
        loc="left"
    ) == "one head"
    one_line(lambda: transfer.plot_attention(tokens, weights[:5]), "weights: expected 6 × 6, got 5 × 6")


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
