"""Explorers without a browser: they build, redraw when a control changes, and survive what a figure raises."""

from __future__ import annotations

import asyncio
import base64
import re

import ipywidgets as ipw
import numpy as np
import pytest
import synthetic
from figures import crowded

from scalept_lab.errors import InputError
from scalept_lab.laws.fit import fit_law
from scalept_lab.plots import charts, explorers, frontier, runs, style

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


def ends(control):
    """The two ends of a control."""
    if isinstance(control, ipw.Checkbox):
        return False, True
    if hasattr(control, "_options_values"):
        return control._options_values[0], control._options_values[-1]
    if hasattr(control, "base"):
        return control.base**control.min, control.base**control.max
    if hasattr(control, "min"):
        return control.min, control.max
    return (
        (control.value, -123456.789) if isinstance(control, ipw.FloatText) else (control.value, control.value)
    )


ROOMS = [np.full((64, 64, 3), 90, np.uint8)] * 4
EVERY = {
    "law": lambda: explorers.law_explorer(ISO),
    "optimal": explorers.compute_optimal_explorer,
    "memory": explorers.memory_explorer,
    "planner": explorers.planner_explorer,
    "ring": explorers.ring_explorer,
    "rounding": explorers.rounding_explorer,
    "footprint": explorers.footprint_explorer,
    "goodput": explorers.goodput_explorer,
    "schedule": lambda: explorers.schedule_explorer(list(np.linspace(0.1, 0.7, 40))),
    "descent": explorers.descent_explorer,
    "quantization": explorers.quantization_explorer,
    "scores": explorers.scores_explorer,
    "life": explorers.life_explorer,
    "lost": lambda: explorers.lost_explorer(np.geomspace(1e-12, 1e-3, 3000)),
    "episode": lambda: explorers.episode_explorer(
        ROOMS, ROOMS, actions_a=[2] * 3, actions_b=[1] * 3, mission="go"
    ),
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", EVERY)
def test_no_label_is_cut_or_overlaps_at_the_corners_of_the_controls(name, monkeypatch):
    monkeypatch.setattr(
        explorers.Explorer, "redraw", lambda box, hasty=False: None
    )  # the figures are drawn below
    controls = EVERY[name]().controls
    plot = EVERY[name]().plot
    low, high = ({key: ends(control)[side] for key, control in controls.items()} for side in (0, 1))
    odd = {key: (low, high)[i % 2][key] for i, key in enumerate(controls)}
    even = {key: (high, low)[i % 2][key] for i, key in enumerate(controls)}
    drawn = 0
    for values in (low, high, odd, even):
        try:
            fig = plot(**values)
        except InputError:  # a corner that the figure refuses, with one line
            continue
        assert crowded(fig) == [], values
        drawn += 1
    assert drawn >= 2


@pytest.mark.parametrize("x", [0.0, 0.55])
def test_a_crowded_figure_is_noticed(x):
    fig, ax = style.canvas()
    ax.text(x, 0.5, "one long text here")
    ax.text(x + 0.1, 0.5, "another")
    fig.text(0.9, 0.2, "goes on beyond the edge" * (x > 0))
    said = crowded(fig)
    assert any("overlap: 'one long text here' and 'another'" in line for line in said)
    assert any(line.startswith("cut") for line in said) == (x > 0)


def test_explorers_of_notebooks_are_all_walked():
    made = {name for name in vars(explorers) if name.endswith("_explorer")}
    assert {name.removesuffix("_explorer").replace("compute_", "") for name in made} == set(EVERY)


def test_the_first_lines_of_the_law_lie_inside_the_axes():
    box = explorers.law_explorer(ISO)
    fig = runs.plot_guess(**{name: control.value for name, control in box.controls.items()})
    low, high = fig.axes[0].get_ylim()
    for line in fig.axes[0].lines:
        assert low < min(line.get_ydata()) and max(line.get_ydata()) < high


def test_while_a_slider_moves_the_layout_stays_and_at_rest_it_is_the_static_twin(monkeypatch):
    monkeypatch.setattr(explorers, "REST", 0.05)
    box, sizes, laid_out = explorers.memory_explorer(), [], []
    paint = box._paint
    monkeypatch.setattr(box, "_paint", lambda fig: (laid_out.append(box._rough is None), paint(fig)))

    async def drag():
        for stage in (1, 2, 3):
            box.controls["zero"].value = stage
            sizes.append(len(picture(box)))
        await asyncio.sleep(0.2)

    asyncio.run(drag())
    assert laid_out == [False, False, False, True]  # in haste, and once with care
    assert picture(box) == style.png(charts.plot_memory(7.5e9, 64, 3), dpi=120)
    assert max(sizes) < len(picture(box))


@pytest.mark.parametrize("name", EVERY)
def test_the_name_of_a_control_fits_its_place(name, monkeypatch):
    monkeypatch.setattr(explorers.Explorer, "redraw", lambda box, hasty=False: None)
    shown = [control for control in EVERY[name]().controls.values() if isinstance(control, ipw.DOMWidget)]
    assert all(0 < len(control.description) <= 28 for control in shown)
    assert {control.style.description_width for control in shown} == {"min(15em, 45%)"}


def test_several_controls_are_set_with_one_drawing(monkeypatch):
    box, drawn = explorers.memory_explorer(), []
    monkeypatch.setattr(box, "_paint", lambda fig: drawn.append(fig))
    box.choose({"zero": 2, "precision": "bf16"})
    assert len(drawn) == 1 and box.controls["precision"].value == "bf16"


def test_the_page_is_told_the_name_and_the_value_of_each_slider():
    names = explorers.memory_explorer().children[-1].value
    assert "aria-label" in names and "aria-valuetext" in names and "http" not in names
    box = explorers.memory_explorer()
    assert all(control.description for control in box.controls.values())
