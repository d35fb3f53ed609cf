"""Explorers without a browser: they build, redraw when a control changes, and survive what a figure raises."""

from __future__ import annotations

import base64
import re

import ipywidgets as ipw
import pytest
import synthetic

from scalept_lab.errors import InputError
from scalept_lab.laws.fit import fit_law
from scalept_lab.plots import charts, explorers, frontier, style

ISO = synthetic.isoflop_records()


def picture(box) -> bytes:
    return base64.b64decode(re.search(r"base64,([^\"]+)\"", box.picture.value)[1])


def alt(box) -> str:
    return re.search(r'alt="([^"]*)"', box.picture.value)[1]


@pytest.mark.parametrize(
    ("make", "control", "value"),
    [
        (explorers.compute_optimal_explorer, "C", 1e21),
        (lambda: explorers.law_explorer(ISO), "alpha", 0.4),
        (explorers.memory_explorer, "zero", 3),
    ],
)
def test_explorers_build_and_redraw(make, control, value):
    box = make()
    before, told = picture(box), alt(box)
    assert before.startswith(b"\x89PNG") and len(told) > 40 and "$" not in told
    box.controls[control].value = value
    assert picture(box) != before and alt(box) != told
    assert box.message.value == ""


def test_the_static_twin_draws_the_same():
    box = explorers.memory_explorer()
    box.controls["zero"].value = 2
    assert picture(box) == style.png(charts.plot_memory(7.5e9, 64, 2), dpi=120)


def test_own_law_stands_beside_the_published():
    law = fit_law(**synthetic.points(ISO), bootstrap=50)
    box = explorers.compute_optimal_explorer(law, flops_per_token=frontier.flops_per_token(ISO))
    assert next(iter(box.controls["law"].options)) == "your fit"
    before = picture(box)
    box.controls["law"].label = "kaplan"
    assert picture(box) != before and box.message.value == "" and "law = kaplan" in alt(box)
    with pytest.raises(InputError, match="hoffmann"):
        explorers.compute_optimal_explorer("nobody")


def test_an_error_is_one_escaped_line_and_the_picture_stays():
    def plot_fussy(x=1.0):
        """A figure that breaks."""
        if x > 2:
            raise ValueError("<b>too large</b>\nsecond line")
        return charts.plot_bars(["x"], [x], xlabel="x (s)")

    box = explorers.explorer(plot_fussy, x=(0.0, 5.0))
    before = box.picture.value
    box.controls["x"].value = 4.5
    assert box.picture.value == before or "4.5" not in alt(box)
    assert "&lt;b&gt;too large" in box.message.value and "second" not in box.message.value
    assert 'role="alert"' in box.message.value
    box.controls["x"].value = 1.5
    assert box.message.value == "" and "x = 1.5" in alt(box)


def test_controls_from_shorthand_and_fixed_values():
    def plot_any(kind="a", flag=True, size=2, hidden=()):
        """Bars."""
        return charts.plot_bars([kind] * size, [1.0] * size, xlabel="count", title=f"{flag} {len(hidden)}")

    box = explorers.explorer(plot_any, kind=["a", "b"], flag=True, size=(1, 4), hidden=ipw.fixed((1, 2, 3)))
    assert isinstance(box.controls["kind"], ipw.Dropdown) and isinstance(box.controls["flag"], ipw.Checkbox)
    assert box.controls["size"].continuous_update is True
    assert len(box.children[0].children) == 3
    assert "True 3" in alt(box)
    with pytest.raises(InputError, match="kind"):
        explorers.explorer(plot_any, kind=object())


def test_no_output_widget_that_would_print():
    box = explorers.memory_explorer()
    assert not any(isinstance(child, ipw.Output) for child in box.children)
