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
        training.plot_noise_scale({"a": [3.0, 2.5]}, {"a": [scale, scale]}, critical=([2.5], [9.0])),
        training.plot_tradeoff([1, 10, 100], steps, fit),
        training.plot_tradeoff([1, 10, 100], {"2.3": steps, "2.6": steps}, {"2.3": fit, "2.6": fit}),
    ]


def test_figures_are_drawn_with_named_axes():
    for fig in figures():
        assert isinstance(fig, Figure)
        assert fig.axes[-1].get_xlabel() and all(ax.get_ylabel() for ax in fig.axes)


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
