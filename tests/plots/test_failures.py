"""Figures of the failure lab: a panel for each piece, the healthy run always the same, and two ends of fp16."""

from __future__ import annotations

import numpy as np
import pytest
from figures import texts
from refusals import one_line

from scalept_lab.laws.evidence import Evidence, Piece
from scalept_lab.plots import explorers, failures, style


def evidence() -> Evidence:
    steps = [1, 2, 3]
    return Evidence({
        "A": Piece("a loss", "step", "nats", {"healthy": (steps, [3, 2, 1]), "broken": (steps, [3, 3, 3])}),
        "B": Piece("calls", "call", "rank", {"all_reduce": ([1, 1, 2], ["a", "b", "a"]), "barrier": ([2], ["b"])}, look="rows"),
        "C": Piece("nothing at all", "run", "share", {"both": (["healthy", "broken"], [0.0, 0.0])}, look="bars"),
        "D": Piece("hardly any change", "N", "ratio", {"X": ([10, 1000], [1.0, 0.99])}, look="dots", log="x"),
    }, {})  # fmt: skip


def test_each_piece_is_a_panel_with_its_letter():
    fig = failures.plot_evidence(evidence(), "What is seen first")
    panels = [ax for ax in fig.axes if ax.axison]
    assert [ax.get_title(loc="left")[:2] for ax in panels] == ["A.", "B.", "C.", "D."]
    assert fig.get_suptitle() == "What is seen first"
    healthy, broken = panels[0].lines
    assert healthy.get_color() == style.GREEN and broken.get_color() == style.VERMILLION
    assert [text.get_text() for text in panels[1].get_yticklabels()] == ["b", "a"]
    assert panels[2].get_ylim() == (0, 1)
    assert panels[3].get_ylim()[0] == 0 and panels[3].get_xscale() == "log"
    assert {"all_reduce", "barrier", "healthy", "broken"} <= set(texts(fig).split("\n"))
    assert style.png(fig, 60).startswith(b"\x89PNG")
    one_line(lambda: failures.plot_evidence(Evidence({}, {}), ""), "evidence: expected")


def test_what_fp16_loses_is_counted():
    sizes = [2.0**-26, -(2.0**-25), 2.0**-24, 1.0, 0.0]  # the first two become zero; a zero is left out
    assert np.float16(sizes[1]) == 0 and np.float16(sizes[2]) > 0
    assert "50 % of the gradients become 0 and 0 % infinite" in texts(failures.plot_lost(sizes))
    assert "0 % of the gradients become 0 and 25 % infinite" in texts(failures.plot_lost(sizes, 2.0**16))
    with np.errstate(over="ignore"):
        assert np.isinf(np.float16(65_520.0)) and not np.isinf(np.float16(65_519.0))
    one_line(lambda: failures.plot_lost([0.0]), "gradients: expected")
    one_line(lambda: failures.plot_lost([1.0], 0.0), "gradients: expected")


def test_the_explorer_draws_as_its_twin():
    sizes = 10.0 ** np.linspace(-12, -3, 50)
    box = explorers.lost_explorer(sizes)
    before = box.picture.value
    box.controls["scale"].value = 2.0**20
    assert box.picture.value != before and not box.message.value
    told = "Times 1.04858e+06"
    assert failures.plot_lost(sizes, 2.0**20).axes[0].get_title(loc="left").startswith(told)


@pytest.mark.parametrize("name", ["healthy: training", "healthy: held out"])
def test_parts_of_a_run_keep_its_colour(name):
    assert failures._looks(name, 3)[0] == style.GREEN
