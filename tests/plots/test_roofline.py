"""The roof is drawn where the two ceilings are, and every operation under it at its place."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.plots.roofline import plot_roofline


def test_roof_and_points():
    fig = plot_roofline(
        {"product": (100.0, 8e10), "sum": (0.1, 9e8)}, peak=1e11, bandwidth=1e10, title="Sums wait"
    )
    roof, _, product, _ = fig.axes[0].lines
    x, y = roof.get_data()
    assert np.allclose(y, np.minimum(100, 10 * x)) and (product.get_xdata()[0], product.get_ydata()[0]) == (
        100,
        80,
    )
    assert x.min() < 0.1 and x.max() > 100
    words = [text.get_text() for text in fig.axes[0].get_legend().get_texts()]
    assert words == ["roof: 100 GFLOP/s, 10 GB/s", "ridge: 10 FLOPs a byte", "product", "sum"]


@pytest.mark.parametrize(
    ("points", "peak", "says"),
    [
        ({}, 1.0, "points: expected at least one"),
        ({"a": (0, 1)}, 1.0, "intensity of a: expected a positive number"),
        ({"a": (1, 0)}, 1.0, "speed of a: expected a positive number"),
        ({"a": (1, 1)}, 0, "peak: expected a positive number"),
    ],
)
def test_bad_input_says_so_in_one_line(points, peak, says):
    one_line(lambda: plot_roofline(points, peak, 1.0), says)
