"""The frontier: below all runs, its inset where no run is, the prediction beside the measurement."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
from figures import ISO, Shot, lines, main_axes, texts

from scalept_lab.plots import frontier


def test_flops_per_token_of_records():
    per_token = frontier.flops_per_token(ISO)
    for record in ISO:
        assert per_token(record.N) == pytest.approx(record.C / record.D, rel=0.02)
    hero = synthetic.record(synthetic.config_at(96, 1e13))  # twice the width and another depth
    assert per_token(hero.N) == pytest.approx(hero.C / hero.D, rel=0.1)
    simple = [record.model_copy(update={"C": 6.0 * record.N * record.D}) for record in ISO]
    assert frontier.flops_per_token(simple) == 6.0


def test_frontier_lies_under_the_runs_and_shows_prediction_and_outcome(law):
    fig = frontier.plot_frontier(ISO, law, Shot, 1.457)
    ax = main_axes(fig)
    (solid,) = lines(ax)
    for record in ISO:
        lowest = np.interp(np.log(record.C), np.log(solid.get_xdata()), solid.get_ydata())
        assert lowest < record.L * 1.02
    shown = texts(fig)
    assert "predicted\n1.460" in shown and "measured\n1.457" in shown and "error −0.21\xa0%" in shown
    star = [line for line in ax.lines if line.get_marker() == "*"]
    assert [line.get_xdata()[0] for line in star] == [5e12]
    assert "measured" not in texts(frontier.plot_frontier(ISO, law, Shot))
    assert (
        len(
            fig.findobj(
                lambda artist: type(artist).__name__ in ("PolyCollection", "FillBetweenPolyCollection")
            )
        )
        == 1
    )


def test_the_inset_never_covers_the_frontier(law):
    ax = main_axes(frontier.plot_frontier(ISO, law, Shot, 1.457))
    to_axes = ax.transData + ax.transAxes.inverted()
    for line in lines(ax):
        for u, v in to_axes.transform(line.get_xydata()):
            assert u > 0.41 or v > 0.5
    for record in ISO:
        u, v = to_axes.transform((record.C, record.L))
        assert u > 0.41 or v > 0.5
