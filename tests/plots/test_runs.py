"""Figures of runs: what they show of a planted law."""

from __future__ import annotations

import re

import numpy as np
import pytest
import synthetic
from figures import FAILED, GRID, ISO, LOST, dots, lines, main_axes, texts
from matplotlib.figure import Figure

from scalept_lab.errors import InputError
from scalept_lab.laws import formulas
from scalept_lab.plots import frontier, runs


def test_sweep_has_a_point_per_run_and_a_line_per_size(law):
    ax = main_axes(runs.plot_sweep(GRID, law))
    assert dots(ax) == 16 and len(lines(ax)) == 4
    for line in lines(ax):  # the law, not the points joined
        assert len(line.get_xdata()) > 16
    joined = main_axes(runs.plot_sweep(synthetic.grid_records(seeds=2)))
    assert dots(joined) == 32 and [len(line.get_xdata()) for line in lines(joined)] == [4] * 4
    assert "N = 6.1k" in texts(runs.plot_sweep(GRID))


def test_lost_runs_are_crosses_and_failed_ones_are_left_out(law):
    for plot in (runs.plot_sweep, runs.plot_isoflop, frontier.plot_frontier):
        fig = plot([*ISO, LOST, FAILED], law)
        ax = main_axes(fig)
        assert dots(ax, "x") == 1 and "diverged" in texts(fig), plot.__name__
        assert dots(ax) == len(ISO)
        (cross,) = [line for line in ax.lines if line.get_marker() == "x"]
        assert ax.get_xlim()[0] < cross.get_xdata()[0] < ax.get_xlim()[1]
    assert "1 diverged" in texts(runs.plot_curves([*ISO, LOST, FAILED]))


def test_isoflop_marks_the_minimum_and_says_where_it_is_an_edge():
    ax = main_axes(runs.plot_isoflop(ISO))
    minima = [line for line in ax.lines if line.get_marker() == "D"]
    assert len(minima) >= 3
    (at_1e11,) = [line for line in minima if 1.9 < line.get_ydata()[0] < 2.15]
    best = formulas.split("chinchilla", synthetic.PLANTED, 1e11, frontier.flops_per_token(ISO))[0]
    assert at_1e11.get_xdata()[0] == pytest.approx(best, rel=0.25)
    edge = [r for r in ISO if r.C < 5e11 or r.config["model"]["width"] != 64]
    hollow = [
        line
        for line in main_axes(runs.plot_isoflop(edge)).lines
        if line.get_marker() == "D" and line.get_markerfacecolor() == "white"
    ]
    assert all(line.get_ydata()[0] < 1.7 for line in hollow)


def test_isoflop_says_what_its_lines_are(law):
    without, beside = (
        main_axes(runs.plot_isoflop(ISO, given)).get_title(loc="left") for given in (None, law)
    )
    assert without == "solid: parabolas; diamonds: their minima (hollow: at an edge)"
    assert beside == without + "; dashed: the law"
    assert main_axes(runs.plot_isoflop(ISO[:2])).get_title(loc="left") == "Runs of equal compute"


def test_isoflop_without_three_sizes_has_points_only():
    ax = main_axes(runs.plot_isoflop(ISO[:2]))
    assert dots(ax) == 2 and dots(ax, "D") == 0


def test_guess_counts_the_objective_of_the_fit(law):
    title = main_axes(runs.plot_guess(law, **law.params)).get_title(loc="left")
    assert float(re.search(r"objective (\S+),", title)[1]) == pytest.approx(law.objective, rel=0.01)


@pytest.mark.parametrize(
    "plot", [runs.plot_sweep, runs.plot_isoflop, frontier.plot_frontier, runs.plot_guess]
)
def test_no_finished_run_is_one_clear_line(plot):
    for records in ([], [LOST, FAILED]):
        with pytest.raises(InputError, match="at least one finished run"):
            plot(records)


def test_runs_of_nearly_equal_tokens_are_joined_at_their_mean():
    ax = Figure().subplots()
    N, D, L = (np.array(values) for values in ([10, 10, 20, 10], [1000.0, 1005, 1000, 5000], [3.0, 4, 5, 2]))
    runs.draw_sizes(ax, N, D, L, limits=(1, 7))
    first, second = lines(ax), [line for line in ax.lines if line.get_marker() == "o"]
    assert first[0].get_xydata().tolist() == [[1002.5, 3.5], [5000, 2]] and dots(ax) == 4
    assert second[1].get_xydata().tolist() == [[1000, 5]] and ax.get_ylim() == (1, 7)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    ax = Figure().subplots()
    runs.draw_sizes(ax, N, D, L, law=lambda n, d: n + d)
    along = lines(ax)[0].get_xydata()
    assert along[0] == pytest.approx([1002.5 / 1.15, 10 + 1002.5 / 1.15]) and along[-1][0] == pytest.approx(
        5000 * 1.15
    )


def test_many_sizes_stay_legible():
    records = [
        ISO[0].model_copy(update={"N": 1000 * k, "D": 10_000 * d, "L": 1 + 50 / (k * d)})
        for k in range(1, 41)
        for d in (1, 2, 3)
    ]
    fig = runs.plot_sweep(records)
    assert len(lines(main_axes(fig))) == 8 and dots(main_axes(fig)) == 120
    assert len(main_axes(frontier.plot_frontier(records)).get_legend().get_texts()) == 8
