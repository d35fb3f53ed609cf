"""The figures of notebook 04."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.plots import explorers, numbers


def test_figures_are_drawn_and_their_titles_tell():
    def title(fig):
        return fig.axes[0].get_title(loc="left")

    assert title(numbers.plot_rounding(0.1)) == "What 0.1 becomes in each format"
    texts = {text.get_text() for text in numbers.plot_rounding(70000.0).axes[0].texts}
    assert {"infinity: overflow", "448, off by 99.4%", "70000, exactly"} <= texts
    assert numbers.plot_formats(mark=1e-8).axes
    values = np.array([1e-9, 1.0, 0.0, 1e-3, 2.0])
    assert "25.0% of them become 0 in fp16" in title(numbers.plot_gradients(values))
    two = numbers.plot_gradients(values, (1.0, 2.0**12), title="A scale saves them")
    assert "0.0% of them" in two.axes[1].get_title(loc="left") and two.get_suptitle() == "A scale saves them"
    assert (
        two.axes[0].get_xlim() == two.axes[1].get_xlim() and two.axes[0].get_ylim() == two.axes[1].get_ylim()
    )
    assert numbers.plot_speedup(
        {"bf16": [1, 2]}, {"bf16": [0.5, 2.0]}, {"bf16": [(0.4, 0.6), (1.9, 2.1)]}
    ).axes
    assert "Width 64" in title(numbers.plot_footprint(width=64))


def test_what_a_format_costs_has_its_interval():
    fig = numbers.plot_format_losses(
        {"mxfp4": [0.03, 0.05, 0.04], "fp8": [0.0, 0.002, 0.001]}, groups={"mxfp4": "4 bits"}
    )
    (bar,) = [c for c in fig.axes[0].containers if c.get_label() == "4 bits"]
    low, high = bar.lines[2][0].get_segments()[0][:, 0]
    # standard error 0.01 / √3, times 4.303 for two degrees of freedom
    assert (low, high) == pytest.approx((0.04 - 0.02484, 0.04 + 0.02484), abs=1e-4)
    one_line(lambda: numbers.plot_format_losses({}), "minus: expected at least one format")
    one_line(lambda: numbers.plot_format_losses({"a": [1.0]}), "a: expected at least two seeds, got 1")


def test_explorers_draw_with_their_twins():
    box = explorers.rounding_explorer()
    box.controls["value"].value = 3e-8
    assert "What 3e-08 becomes" in box.picture.value
    box = explorers.footprint_explorer()
    box.controls["accumulate"].value = 64  # more parts than the 16 sequences
    assert "cannot be cut into 64 parts" in box.message.value


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: numbers.plot_rounding("x"), "value: expected a number, got 'x'"),
        (lambda: numbers.plot_rounding(float("nan")), "value: expected a finite number, got nan"),
        (lambda: numbers.plot_gradients([0.0]), "values: expected gradients, got only zeros"),
        (lambda: numbers.plot_gradients([1.0], (0,)), "scale: expected a positive number, got 0"),
        (lambda: numbers.plot_gradients([1.0], format="fp9"), "format: expected one of fp32,"),
        (lambda: numbers.plot_memory_parts({}), "rows: expected at least one, got none"),
        (lambda: numbers.plot_speedup({"a": [1]}, {"a": []}), "a: expected a speed-up for each of 1 widths, got 0"),
        (lambda: numbers.plot_footprint(width=0), "width"),
    ],
)  # fmt: skip
def test_bad_input_says_so_in_one_line(call, says):
    one_line(call, says)
