"""The figures of notebook 04."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.plots import explorers, numbers


def test_figures_are_drawn_and_their_titles_tell():
    def title(fig):
        return fig.axes[0].get_title(loc="left")

    assert title(numbers.plot_rounding(0.1)) == "0.1 in six formats"
    texts = {text.get_text() for text in numbers.plot_rounding(70000.0).axes[0].texts}
    assert {"infinity: overflow", "448, off by 99.4%", "70000, exactly"} <= texts
    assert numbers.plot_formats(mark=1e-8).axes
    values = np.array([1e-9, 1.0, 0.0, 1e-3, 2.0])
    assert "25.0% of them become 0 in fp16" in title(numbers.plot_gradients(values))
    assert "0.0% of them" in title(numbers.plot_gradients(values, scale=2.0**12))
    assert numbers.plot_speedup(
        {"bf16": [1, 2]}, {"bf16": [0.5, 2.0]}, {"bf16": [(0.4, 0.6), (1.9, 2.1)]}
    ).axes
    assert "Width 64" in title(numbers.plot_footprint(width=64))


def test_explorers_draw_with_their_twins():
    box = explorers.rounding_explorer()
    box.controls["value"].value = 3e-8
    assert "3e-08 in six formats" in box.picture.value
    box = explorers.footprint_explorer()
    box.controls["accumulate"].value = 64  # more parts than the 16 sequences
    assert "cannot be cut into 64 parts" in box.message.value


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: numbers.plot_rounding("x"), "value: expected a number, got 'x'"),
        (lambda: numbers.plot_rounding(float("nan")), "value: expected a finite number, got nan"),
        (lambda: numbers.plot_gradients([0.0]), "values: expected gradients, got only zeros"),
        (lambda: numbers.plot_gradients([1.0], scale=0), "scale: expected a positive number, got 0"),
        (lambda: numbers.plot_gradients([1.0], format="fp9"), "format: expected one of fp32,"),
        (lambda: numbers.plot_memory_parts({}), "rows: expected at least one, got none"),
        (lambda: numbers.plot_speedup({"a": [1]}, {"a": []}), "a: expected a speed-up for each of 1 widths, got 0"),
        (lambda: numbers.plot_footprint(width=0), "width"),
    ],
)  # fmt: skip
def test_bad_input_says_so_in_one_line(call, says):
    one_line(call, says)
