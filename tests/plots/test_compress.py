"""The figures of notebook 11."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from scalept_lab.errors import InputError
from scalept_lab.plots import compress, explorers, style


def test_pareto_front_by_hand():
    assert compress.pareto([(1, 3), (2, 2), (3, 1), (2, 3), (2, 2)]) == [True, True, True, False, True]


STORED = [
    {"model": "full", "form": "fp32", "losses": [1.8, 1.82, 1.81], "bytes": 2e6},
    {"model": "full", "form": "4 bits", "losses": [1.83, 1.84, 1.85], "bytes": 3e5},
    {"model": "small", "form": "fp32", "losses": [1.7], "bytes": 5e5},
]


def test_what_is_dominated_is_hollow_and_bars_are_intervals():
    fig = compress.plot_pareto(STORED, "a small model wins", {"full": 1.0, "small": 0.3})
    sizes, times = fig.axes
    points = [line for line in sizes.lines if line.get_marker() in ("o", "s") and len(line.get_xdata()) == 1]
    hollow = {line.get_xdata()[0]: line.get_markerfacecolor() == "white" for line in points}
    assert hollow == {2.0: True, 0.3: False, 0.5: False}
    assert len([line for line in times.lines if len(line.get_xdata()) == 1 and line.get_marker() == "o"]) == 2
    half = compress._half([1.8, 1.82, 1.81])  # t of 2 degrees of freedom is 4.303
    assert half == pytest.approx(4.303 * 0.01 / 3**0.5, rel=1e-3) and compress._half([1.7]) == 0
    seen = compress.plot_pareto(STORED, front=lambda points: [True] * len(points))
    assert all(line.get_markerfacecolor() != "white" for line in seen.axes[0].lines)


def test_figures_draw():
    figures = [
        compress.plot_pareto(STORED),
        compress.plot_gaps({"T = 1": [-0.1, -0.2]}, "difference"),
        compress.plot_cost({"a": [(2, [0.3, 0.4]), (4, [0.0, -0.1])]}, "bits", log=True, tolerance=0.02),
        compress.plot_cost({"a": [(0.1, [2.0]), (0.5, [2.5])]}, "share", base=1.9),
        compress.plot_quantization(3, "group", 20.0),
        compress.plot_quantization(weights=np.random.default_rng(0).standard_normal((4, 40))),
    ]
    assert all(style.png(fig).startswith(b"\x89PNG") for fig in figures)
    with pytest.raises(InputError, match="stored"):
        compress.plot_pareto([])
    with pytest.raises(InputError, match="gaps"):
        compress.plot_gaps({"T = 1": []}, "difference")


def test_explorer_of_quantization_has_a_static_twin():
    box = explorers.quantization_explorer()
    before = box.picture.value
    box.controls["bits"].value = 2
    box.controls["granularity"].value = "tensor"
    assert box.picture.value != before and not box.message.value
    twin = style.png(compress.plot_quantization(2, "tensor", 1.0), dpi=120)
    assert base64.b64encode(twin).decode() in box.picture.value
