"""Figures of decoding: the points are the measurements, and the line is reading alone."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.plots import decoding, style


def test_times_and_the_line_of_reading():
    fig = decoding.plot_token_time(
        {"fp32": [(1e6, 5e-4), (1e8, 1e-2)], "int8": [(1e6, 6e-4)]}, 1e10, "who waits"
    )
    (ax,) = fig.axes
    points, _, reading = ax.lines
    assert points.get_xdata().tolist() == [1, 100] and points.get_ydata() == pytest.approx([500, 10_000])
    assert reading.get_xdata().tolist() == [1, 100] and reading.get_ydata() == pytest.approx([100, 10_000])
    assert ax.get_title(loc="left") == "who waits" and ax.get_xlabel() and ax.get_ylabel()
    assert style.png(fig, 60).startswith(b"\x89PNG")


def test_forecasts_are_lines_and_measurements_have_quartiles():
    rounds = [1.0, 1.2, 1.4, 1.6, 1.8]
    fig = decoding.plot_speedups({"a": [(1, 1.1), (4, 1.5)]}, {"a": [(4, rounds)]}, "what pays")
    (ax,) = fig.axes
    assert ax.lines[0].get_ydata().tolist() == [1.1, 1.5]
    (bar,) = ax.containers
    assert bar.lines[0].get_ydata() == pytest.approx(np.array([1.4]))
    (ends,) = bar.lines[2][0].get_segments()
    assert ends[:, 1] == pytest.approx(np.array([1.2, 1.6]))
    labels = [text.get_text() for text in fig.legends[0].get_texts()]
    assert labels == ["a: forecast", "a: measured (bars: quartiles of rounds)"]


def test_nothing_to_draw_is_said_in_one_line():
    one_line(lambda: decoding.plot_token_time({}, 1e9), "series: expected")
    one_line(lambda: decoding.plot_token_time({"a": [(0, 1)]}, 1e9), "series: expected")
    one_line(lambda: decoding.plot_token_time({"a": [(1, 1)]}, 0), "bandwidth")
    one_line(lambda: decoding.plot_speedups({}, {}), "forecast: expected")
