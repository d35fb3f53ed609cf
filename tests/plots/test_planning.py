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
    told = [t.get_text() for t in left.get_yticklabels()]
    assert "64 data × 4 tensor × 4 stages, ZeRO-1" in told[-1] and "attention recomputed" in told[-1]
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


def test_a_split_backward_pass_has_a_colour_of_its_own():
    split = [(0, 0, "F", 0, 1), (0, 0, "B", 1, 2), (0, 0, "W", 2, 3)]
    (ax,) = planning.plot_timeline(split, title="Split").axes
    assert len({bar.get_facecolor() for bar in ax.patches}) == 3
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["forward", "gradient of the input", "gradient of the weights"]
    (plain,) = planning.plot_timeline(TIMELINE).axes
    assert [text.get_text() for text in plain.get_legend().get_texts()] == ["forward", "backward"]


def test_what_is_sent_after_computing_is_told_in_milliseconds():
    late = [("layer", 0, 0.0, 0.01), ("layer", 1, 0.01, 0.02), ("bucket", 0, 0.02, 0.05)]
    early = [("layer", 0, 0.0, 0.01), ("bucket", 0, 0.01, 0.018), ("layer", 1, 0.01, 0.02)]
    fig = planning.plot_overlap({"late": late, "early": early}, title="Early buckets hide")
    assert [ax.get_title(loc="left") for ax in fig.axes] == [
        "late: 30 ms of sending are not hidden",
        "early: 0 ms of sending are not hidden",
    ]
    assert fig.axes[0].get_xlim() == fig.axes[1].get_xlim() and "(ms)" in fig.axes[1].get_xlabel()


def test_formula_and_measurement_stand_side_by_side_on_one_scale():
    (ax,) = planning.plot_sent(["ddp", "fsdp"], [1e6, 2e6], [1.1e6, 3e6], "gloo sends more").axes
    assert sorted(round(bar.get_width(), 2) for bar in ax.patches) == [1.0, 1.1, 2.0, 3.0]
    assert len(ax.get_legend().get_texts()) == 2 and "MB" in ax.get_xlabel()


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
        (lambda: planning.plot_overlap({}), "traces: expected a name"),
        (lambda: planning.plot_overlap({"a": []}), "traces: expected a name"),
        (lambda: planning.plot_sent(["a"], [1.0], []), "got 1, 1, 0"),
        (lambda: planning.plot_timeline([(0, 0, "X", 0.0, 1.0)]), "phases F, B and W"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line(call, says):
    one_line(call, says)
