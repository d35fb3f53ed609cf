"""The figures of notebook 11."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from scalept_lab.compress.variants import Variant
from scalept_lab.errors import InputError
from scalept_lab.plots import compress, explorers, style
from scalept_lab.train.timing import Ratio


def test_pareto_front_by_hand():
    assert compress.pareto([(1, 3), (2, 2), (3, 1), (2, 3), (2, 2)]) == [True, True, True, False, True]


def test_figures_draw():
    variants = [
        Variant("fp32", 1.8, 2_000_000, Ratio(1, 1, 1, 0.1)),
        Variant("int8", 1.81, 500_000, Ratio(0.9, 0.8, 1.0, 0.1)),
        Variant("4 bits", 1.82, 250_000),
    ]
    figures = [
        compress.plot_pareto(variants, "fp32"),
        compress.plot_gaps({"T = 1": [-0.1, -0.2]}, "difference"),
        compress.plot_cost({"a": [(2, [0.3, 0.4]), (4, [0.0, -0.1])]}, "bits", log=True, tolerance=0.02),
        compress.plot_cost({"a": [(0.1, [2.0]), (0.5, [2.5])]}, "share", base=1.9),
        compress.plot_quantization(3, "group", 20.0),
        compress.plot_quantization(weights=np.random.default_rng(0).standard_normal((4, 40))),
    ]
    assert all(style.png(fig).startswith(b"\x89PNG") for fig in figures)
    with pytest.raises(InputError, match="baseline"):
        compress.plot_pareto(variants, "fp64")
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
