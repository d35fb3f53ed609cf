"""Figures of plans and timelines: every kind is there, what does not fit is hatched, and time starts at zero."""

from __future__ import annotations

import pytest
from refusals import one_line

from scalept_lab.costs import planner
from scalept_lab.costs.layouts import Cluster
from scalept_lab.plots import explorers, planning, style


def test_the_figure_shows_each_kind_and_what_does_not_fit():
    fig = planning.plot_plan("gpt3-175b", 1024, 25.0, 80.0, 1024)
    left, right = fig.axes
    assert "(s)" in left.get_xlabel() and "GB" in right.get_xlabel()
    assert [t.get_text().split("\n")[0] for t in left.get_yticklabels()] == list(planner.KINDS)
    best = planner.best_of_each("gpt3-175b", Cluster(1024), 1024)
    hatched = {round(bar.get_y() + 0.3) for bar in left.patches if bar.get_hatch()}
    assert hatched == {row for row, kind in enumerate(planner.KINDS) if not best[kind].fits} == {0, 1}
    told = left.get_title(loc="left")
    won = min((e for e in best.values() if e.fits), key=lambda e: e.seconds)
    assert won.layout.kind in told and f"{won.seconds:.3g} s" in told
    sizes = [text.get_fontsize() for text in fig.findobj(lambda artist: hasattr(artist, "get_fontsize"))]
    assert min(sizes) >= 8.3
    nothing = planning.plot_plan("gpt2-xl", 8, 25.0, 2.0, 8)
    assert "nothing fits" in nothing.axes[0].get_title(loc="left")
    assert any("25 heads" in text.get_text() for text in nothing.axes[0].texts)


# A pipeline of two stages and three micro-batches: a forward pass takes 1, a backward pass 2.
TIMELINE = [
    *[(0, m, "F", m, m + 1) for m in range(3)],
    *[(1, m, "F", m + 1, m + 2) for m in range(3)],
    *[(1, m, "B", 4 + 2 * m, 6 + 2 * m) for m in range(3)],
    *[(0, m, "B", 6 + 2 * m, 8 + 2 * m) for m in range(3)],
]


def test_a_timeline_is_drawn_from_its_first_box_on():
    later = [
        (stage, micro, phase, start + 100.0, end + 100.0) for stage, micro, phase, start, end in TIMELINE
    ]
    for rows in (TIMELINE, later):
        fig = planning.plot_timeline(rows, unit="s")
        (ax,) = fig.axes
        assert len(ax.patches) == 12 and len(ax.get_yticks()) == 2
        assert "s" in ax.get_xlabel() and "idle" in ax.get_title(loc="left")
        assert ax.get_xlim()[0] == 0
        assert style.png(fig, 60).startswith(b"\x89PNG")


def test_the_explorer_redraws_and_survives_bad_choices():
    box = explorers.planner_explorer("llama-7b", 64)
    before = box.picture.value
    assert "fastest that fits" in before and box.message.value == ""
    box.controls["bandwidth_gb"].value = 1.0
    assert box.picture.value != before and box.message.value == ""
    shown = box.picture.value
    # on 64 GPUs: fewer sequences than data ranks, so only model parallelism is left
    box.controls["batch"].value = 8
    assert box.picture.value != shown or box.message.value


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: planning.plot_plan("gpt3-175b", 64, -5.0), "bandwidth_gb: expected a positive number"),
        (lambda: planning.plot_plan("gpt-9"), "model: expected one of"),
        (lambda: planning.plot_timeline([(0, 0, "X", 0.0, 1.0)]), "phases F and B"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line(call, says):
    one_line(call, says)
