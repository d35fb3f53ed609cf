"""Figures of schedules, descents, the noise scale and the trade-off: named axes, and one line where they cannot be drawn."""

from __future__ import annotations

import math

import pytest
from matplotlib.figure import Figure

from scalept_lab.errors import InputError
from scalept_lab.laws.noise import NoiseScale, Tradeoff
from scalept_lab.model import ravine
from scalept_lab.plots import training


def figures():
    lines = {"cosine": (range(5), [1, 0.8, 0.5, 0.2, 0.1]), "wsd": (range(2, 5), [1, 1, 0.5])}
    scale = NoiseScale(1.0, 8.0, 8.0, 5.0, math.inf)
    fit = Tradeoff(100.0, 3000.0, 0.0)
    steps = [[float(fit.steps(b))] * 2 for b in (1, 10, 100)]
    return [
        training.plot_schedules(lines),
        training.plot_schedules(lines, {"wsd": (range(2, 5), [3.0, 2.5, 2.0])}, limits=(1.9, 3.2)),
        *(training.plot_descent(name) for name in ravine.OPTIMIZERS),
        training.plot_descent("SGD", rate=0.2),
        training.plot_descent(
            "SGD", beside={"tuned": {"optimizer": "momentum", "momentum": 0.4}}, title="A sentence"
        ),
        training.plot_noise_scale({"a": [3.0, 2.5]}, {"a": [2.0, 9.0]}),
        training.plot_noise_scale({"a": [3.0, 2.5]}, {"a": [scale, scale]}, critical=([2.5], [9.0])),
        training.plot_tradeoff([1, 10, 100], steps, fit),
        training.plot_tradeoff([1, 10, 100], {"2.3": steps, "2.6": steps}, {"2.3": fit, "2.6": fit}),
    ]


def test_figures_are_drawn_with_named_axes():
    for fig in figures():
        assert isinstance(fig, Figure)
        assert fig.axes[-1].get_xlabel() and all(ax.get_ylabel() for ax in fig.axes)


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_walks_down_one_ravine_are_compared_on_one_axis():
    fig = training.plot_descent(
        "SGD", beside={"tuned": {"optimizer": "momentum", "momentum": 0.4}}, title="Tuned wins"
    )
    left, right = fig.axes
    assert left.get_title(loc="left") == "Tuned wins" and legend(left) == ["SGD", "tuned"]
    ends = [ravine.descend("SGD").loss[-1], ravine.descend("momentum", momentum=0.4).loss[-1]]
    drawn = [line.get_ydata()[-1] for line in right.lines if len(line.get_ydata()) == 61]
    assert drawn == pytest.approx(ends)


def test_points_lines_and_squares_of_a_tradeoff_are_explained():
    fit = Tradeoff(100.0, 3000.0, 0.0)
    (ax,) = training.plot_tradeoff([1, 10, 100], [[3100.0], [400.0], [130.0]], fit).axes
    assert legend(ax) == [
        "law fitted",
        "measured, one seed",
        "critical batch: twice both minima",
        "fewest steps, fewest examples",
    ]


def test_bars_of_a_noise_scale_are_named_once_where_there_are_any():
    scale = NoiseScale(1.0, 8.0, 8.0, 5.0, 12.0)
    two = {"a": [3.0, 2.5], "b": [3.0, 2.5]}
    (ax,) = training.plot_noise_scale(two, {"a": [scale, scale], "b": [scale, scale]}).axes
    assert legend(ax) == ["a", "b", "bars: 90 % interval"]
    (ax,) = training.plot_noise_scale({"a": [3.0, 2.5]}, {"a": [8.0, 9.0]}, title="It rises").axes
    assert legend(ax) == ["a"] and ax.get_title(loc="left") == "It rises"


def test_figures_refuse_what_they_cannot_draw():
    scale = NoiseScale(0.0, 8.0, math.inf, 5.0, math.inf)
    for draw in (
        lambda: training.plot_schedules({}),
        lambda: training.plot_schedules({"a": ([0], [1])}, {"b": ([0], [1])}),
        lambda: training.plot_descent("Adagrad"),
        lambda: training.plot_noise_scale({"a": [1.0]}, {"a": [scale]}),
        lambda: training.plot_noise_scale({"a": [1.0]}, {"b": [scale]}),
        lambda: training.plot_tradeoff([1, 2], [[1], [2], [3]], Tradeoff(1.0, 2.0, 0.0)),
        lambda: training.plot_tradeoff([1, 2], {"a": [[1], [2]]}, {"b": Tradeoff(1.0, 2.0, 0.0)}),
    ):
        with pytest.raises(InputError, match="expected"):
            draw()
