"""Journeys around a disc, and shares by head."""

from __future__ import annotations

import numpy as np
from refusals import one_line

from scalept_lab import plots
from scalept_lab.plots import heads
from scalept_lab.vla import detour

SCENE = (0.1, -0.1, 0.0)


def journeys(count: int = 6) -> np.ndarray:
    return detour.demonstrate(count, 0, seen_Nx3=np.tile(SCENE, (count, 1))).chunk_NxSx2


def test_each_name_has_a_panel_that_counts_arrivals():
    straight = np.tile([2.0, -0.2], (6, 16, 1))
    fig = plots.plot_journeys(SCENE, {"people": journeys(), "straight on": straight}, title="Two ways")
    first, second = fig.axes
    assert first.get_title(loc="left") == "people: 6 of 6 arrive"
    assert second.get_title(loc="left") == "straight on: 0 of 6 arrive"
    assert {line.get_color() for line in first.lines[:6]} == {heads.BLUE}
    assert {line.get_linestyle() for line in second.lines[:6]} == {"--"}
    assert np.allclose(first.lines[0].get_xydata()[0], (-1, 0.1))
    assert fig.get_suptitle() == "Two ways" and first.get_ylabel() and second.get_xlabel()


def test_panels_beyond_the_names_are_hidden():
    fig = plots.plot_journeys(SCENE, {str(i): journeys(1) for i in range(4)})
    assert [ax.get_visible() for ax in fig.axes] == [True] * 4 + [False] * 2


def test_shares_have_a_row_for_each_head_and_a_mark_for_each_kind():
    found = {"two modes": {"mean": [0.0, 0.02], "flow": [0.9, 1.0]}, "one mode": {"flow": [1.0, 1.0]}}
    fig = plots.plot_heads(found, title="Means fail")
    (ax,) = fig.axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["mean", "flow"]
    marks = {line.get_label(): line for line in ax.lines if line.get_label() in found}
    assert np.allclose(marks["two modes"].get_xdata(), [0.01, 0.95]) and np.allclose(
        marks["one mode"].get_xdata(), [1]
    )
    assert ax.get_xlabel() and ax.get_ylabel() and fig.get_suptitle() == "Means fail"


def test_what_cannot_be_drawn():
    one_line(lambda: plots.plot_journeys(SCENE, {}), "chunks: expected velocities")
    one_line(lambda: plots.plot_journeys(SCENE, {"a": np.zeros((3, 2))}), "got [(3, 2)]")
    one_line(lambda: plots.plot_heads({"a": {}}), "at least one head")
