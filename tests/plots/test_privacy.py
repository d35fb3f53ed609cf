"""Figures of privacy: what is drawn, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.plots import privacy


def test_curves_are_drawn_in_both_panels():
    curve = [0, 0, 0.5, 1], [0, 0.5, 1, 1]
    fig = privacy.plot_roc({"by loss": curve, "with a reference": curve}, title="The loss gives members away")
    for ax in fig.axes:
        lines = {line.get_label(): line.get_xydata() for line in ax.get_lines()}
        assert list(lines) == ["a coin", "by loss", "with a reference"]
        assert np.array_equal(lines["by loss"], np.transpose(curve))
    assert fig.axes[1].get_xscale() == fig.axes[1].get_yscale() == "log"
    assert fig.get_suptitle() == "The loss gives members away"
    one_line(lambda: privacy.plot_roc({}), "at least one")


def test_the_bars_are_the_interval_of_the_mean():
    """Seeds .6, .7, .8: mean .7, standard error .1/√3, and t = 4.303 for two degrees of freedom."""
    values = [[0.5, 0.5, 0.5], [0.6, 0.7, 0.8]]
    fig = privacy.plot_leak([1, 10], {"area": {"by loss": values}, "accuracy": {"null": values}})
    ((line, _, (bars,)),) = fig.axes[0].containers
    assert line.get_ydata().tolist() == pytest.approx([0.5, 0.7])
    low, high = bars.get_segments()[1][:, 1]
    assert (high - low) / 2 == pytest.approx(4.303 * 0.1 / np.sqrt(3), rel=1e-3)
    assert fig.axes[1].get_ylabel() == "accuracy" and "95 %" in fig.get_supxlabel()
    one_line(lambda: privacy.plot_leak([1, 3, 10], {"area": {"by loss": values}}), "expected 3 rows")
