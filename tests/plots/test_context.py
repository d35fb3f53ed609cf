"""Figures of a shared sequence: the bars are the counts, and the lines cross where the formula says."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.costs.traffic import hidden_from
from scalept_lab.plots import context, explorers, style


def test_bars_are_the_work_and_the_title_says_what_share_of_the_time_is_used():
    fig = context.plot_ring_work({"one": [[3, 3], [0, 4]], "two": [[4, 2], [2, 2]]}, title="who waits")
    left, right = fig.axes
    heights = {round(bar.get_height(), 3) for bar in left.patches}
    assert heights == {0.75, 0.0, 1.0} and len(right.patches) == 4
    assert left.get_title(loc="left") == "one: 71% of the time used"  # 10 of 2 · (3 + 4)
    assert right.get_title(loc="left") == "two: 83% of the time used"
    assert left.get_xlabel() and left.get_ylabel() and style.png(fig, 60).startswith(b"\x89PNG")
    tall = [line.get_ydata()[0] for line in left.lines]
    assert tall == [0.75, 1.0]


def test_no_work_is_refused():
    one_line(lambda: context.plot_ring_work({}), "steps × ranks")
    one_line(lambda: context.plot_ring_work({"one": []}), "steps × ranks")


@pytest.mark.parametrize("causal", [True, False])
def test_the_lines_cross_where_the_formula_says(causal):
    (ax,) = context.plot_ring_hidden(100, 25, 0.25, causal).axes
    work, hop, mark = ax.lines
    c = work.get_xdata()
    ratio = np.log(work.get_ydata() / hop.get_ydata())
    assert np.exp(np.interp(0, ratio, np.log(c))) == pytest.approx(
        hidden_from(1e14, 2.5e10, key_share=0.25, causal=causal)
    )
    assert mark.get_xdata()[0] == hidden_from(1e14, 2.5e10, key_share=0.25, causal=causal)
    one_line(lambda: context.plot_ring_hidden(100, 0), "bandwidth_gb")


def test_the_explorer_redraws():
    box = explorers.ring_explorer()
    before = box.picture.value
    box.controls["causal"].value = False
    assert box.picture.value != before and box.message.value == ""
