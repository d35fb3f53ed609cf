"""Figures of plans: the best size moves with what is served, draws are counted on their side of zero, seeds are joined."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.plots import explorers, plans, style


def best_at(fig) -> float:
    return float(next(line for line in fig.axes[0].lines if line.get_marker() == "o").get_xdata()[0])


def test_serving_and_scarce_text_move_the_best_size_down():
    free = best_at(plans.plot_life(1.6e23, 0.0, 1e15, 4.5))
    assert best_at(plans.plot_life(1.6e23, 1e12, 1e15, 4.5)) < free / 2
    assert best_at(plans.plot_life(1.6e23, 0.0, 5e10, 4.5)) < free
    assert free == pytest.approx(
        np.sqrt(1.6e23 / 6 / 19.7), rel=0.06
    )  # the law's own 19.7 tokens per parameter


def test_twenty_tokens_per_parameter_cost_the_whole_budget():
    """6·N·20·N + 2·dear·N·served = flops, at the cross."""
    fig = plans.plot_life(1e23, 5e11, 2e12, 4.0, title="A takeaway of four words")
    N = float(next(line for line in fig.axes[0].lines if line.get_marker() == "X").get_xdata()[0])
    assert 120 * N**2 + 8 * N * 5e11 == pytest.approx(1e23)
    assert fig.axes[0].get_title(loc="left").startswith("A takeaway")
    assert style.png(fig, 60).startswith(b"\x89PNG")


def test_too_much_to_serve_is_told():
    one_line(lambda: plans.plot_life(1e20, 1e18, 1e12, 4.5), "served", "lower it")


def test_draws_lie_on_their_side_of_zero():
    gains = np.r_[np.full(30, -0.5), np.linspace(0.1, 1, 70)]
    fig = plans.plot_draws(gains, title="Three quarters of the draws agree")
    names = [text.get_text() for text in fig.axes[0].get_legend().get_texts()]
    assert names[:2] == ["the plan is better: 70%", "the naive plan is better: 30%"]
    one_line(lambda: plans.plot_draws([0.1] * 5), "20 draws")
    assert plans.plot_draws(np.zeros(30)).axes


def test_a_line_for_each_seed_and_the_mean():
    (ax,) = plans.plot_miniature((2.0, 2.1), (2.2, 2.4)).axes
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[2.2, 2.0], [2.4, 2.1]]
    assert list(ax.lines[2].get_ydata()) == pytest.approx([2.3, 2.05])
    one_line(lambda: plans.plot_miniature((1,), (1, 2)), "as many losses")


def test_the_explorer_draws_it():
    box = explorers.life_explorer()
    before = box.picture.value
    box.controls["served"].value = 1e11
    assert box.picture.value != before and not box.message.value
