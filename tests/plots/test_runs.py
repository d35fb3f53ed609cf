"""Figures: what they show of a planted law, their labels and units, and that they change nothing."""

from __future__ import annotations

import copy
import io
import re
from pathlib import Path

import numpy as np
import pytest
import synthetic
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from scalept_lab.errors import InputError
from scalept_lab.laws import formulas
from scalept_lab.laws.fit import fit_law
from scalept_lab.plots import charts, frontier, laws, runs, style

ISO = synthetic.isoflop_records()
GRID = synthetic.grid_records()
LOST = synthetic.record(synthetic.config(64, 1e6, lr=0.5), status="diverged")
FAILED = synthetic.record(synthetic.config(64, 2e6, lr=0.4), status="failed", D=0, C=0.0, curve=[])


@pytest.fixture(scope="module")
def law():
    return fit_law(**synthetic.points(ISO), bootstrap=200)


@pytest.fixture(scope="module")
def power_law():
    D = np.geomspace(1e5, 1e7, 8)
    return fit_law(None, D, 1.1 + 190 * D**-0.41, form="power", bootstrap=100)


class Shot:
    flops, predicted, low, high = 5e12, 1.46, 1.44, 1.48


def main_axes(fig: Figure) -> Axes:
    return fig.axes[0]


def dots(ax: Axes, marker: str = "o") -> int:
    return sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == marker)


def lines(ax: Axes) -> list:
    return [line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]


def texts(fig: Figure) -> str:
    found = [text.get_text() for text in fig.findobj(lambda artist: hasattr(artist, "get_text"))]
    return "\n".join(found)


def every_figure(law, power_law) -> dict[str, Figure]:
    seeds = np.array([[2.0, 2.1], [1.8, 1.9], [1.7, np.nan]])
    cleaning = {"too_short": {"documents": 12, "bytes": 5e5, "share": 0.1}}
    return {
        "sweep": runs.plot_sweep([*ISO, LOST], law),
        "isoflop": runs.plot_isoflop([*ISO, LOST], law),
        "frontier": frontier.plot_frontier([*ISO, LOST], law, Shot, 1.457),
        "curves": runs.plot_curves([*ISO, LOST]),
        "guess": runs.plot_guess(ISO),
        "against": charts.plot_loss_against([1e5, 2e5, 4e5], seeds, xlabel="training tokens D"),
        "bars": charts.plot_bars(["a", "b"], [1.0, 2.0], [0.1, 0.2], xlabel="loss (nats per token)"),
        "cleaning": charts.plot_cleaning(cleaning),
        "memory": charts.plot_memory(),
        "optimal": laws.plot_optimal(5.76e23),
        "surface": laws.plot_law_surface("hoffmann"),
        "power": laws.plot_power_fit(power_law, until=1e8, measured=(5e7, 1.25)),
        "residuals": laws.plot_residuals(law),
        "parameters": laws.plot_parameters(law, synthetic.PLANTED),
        "bootstrap": laws.plot_bootstrap(law),
    }


def test_every_figure_is_labelled_drawn_and_readable(law, power_law):
    for name, fig in every_figure(law, power_law).items():
        ax = main_axes(fig)
        assert ax.get_xlabel(), name
        assert ax.get_ylabel() or len(ax.get_yticklabels()) > 0, name
        sizes = [text.get_fontsize() for text in fig.findobj(lambda artist: hasattr(artist, "get_fontsize"))]
        assert min(sizes) >= 8.3, name
        image = Image.open(io.BytesIO(style.png(fig, dpi=70)))
        assert image.format == "PNG" and image.width == 490
        margin = np.asarray(image.convert("L"))[:, [0, -1]]
        assert margin.min() > 200, f"{name}: something is cut at the side"


def test_units_on_the_axes(law, power_law):
    made = every_figure(law, power_law)
    units = {
        "sweep": ("tokens", "nats per token"), "isoflop": ("parameters", "nats per token"),
        "frontier": ("FLOPs", "nats per token"), "curves": ("tokens", "nats per token"),
        "memory": ("stage", "GB"), "optimal": ("parameters", "nats per token"), "surface": ("parameters", "tokens"),
        "power": ("tokens", "nats per token"), "residuals": ("parameters", "%"), "cleaning": ("%", ""),
        "bootstrap": ("nats per token", "α"),
    }  # fmt: skip
    for name, (x, y) in units.items():
        ax = main_axes(made[name])
        assert x in ax.get_xlabel() and y in ax.get_ylabel(), name
    for name in ("sweep", "isoflop", "frontier", "curves", "optimal", "surface", "power"):
        assert main_axes(made[name]).get_xscale() == "log", name


def test_nothing_is_changed_and_pyplot_stays_out(law, power_law):
    records, before = [*ISO, LOST], copy.deepcopy([*ISO, LOST])
    samples = {name: values.copy() for name, values in law.samples.items()}
    first, second = (every_figure(law, power_law) for _ in range(2))
    assert records == before
    assert all(np.array_equal(samples[name], law.samples[name]) for name in samples)
    assert style.png(first["frontier"], 60) == style.png(second["frontier"], 60)
    sources = Path(style.__file__).parent.glob("*.py")
    assert not any("import matplotlib.pyplot" in source.read_text(encoding="utf-8") for source in sources)


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


def test_isoflop_without_three_sizes_has_points_only():
    ax = main_axes(runs.plot_isoflop(ISO[:2]))
    assert dots(ax) == 2 and dots(ax, "D") == 0


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


def test_seeds_mean_and_interval():
    runs = np.array([[2.0, 2.2, 2.1], [1.8, 1.9, np.nan]])
    fig = charts.plot_loss_against([1e5, 1e6], {"a": runs, "b": [1.5, 1.4]}, xlabel="tokens", lowest=True)
    ax = main_axes(fig)
    means = [line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2]
    assert means[0].get_ydata() == pytest.approx([2.1, 1.85])
    assert means[1].get_ydata() == pytest.approx([1.5, 1.4])
    bar = ax.containers[0][2][0].get_segments()[0]
    # t(2 df) = 4.3027
    assert (bar[1, 1] - bar[0, 1]) / 2 == pytest.approx(4.3027 * 0.1 / np.sqrt(3), rel=1e-4)
    assert {"a", "b"} <= set(texts(fig).split("\n"))
    with pytest.raises(InputError, match="expected 2 values"):
        charts.plot_loss_against([1, 2], [1.0], xlabel="x")
    with pytest.raises(InputError, match="missing"):
        charts.plot_loss_against([1, 2], [np.nan, np.nan], xlabel="x")


def test_bars_and_cleaning():
    fig = charts.plot_bars(["a", "b", "c"], [3, 1, float("nan")], xlabel="x (s)", reference=("limit", 9.0))
    ax = main_axes(fig)
    assert len(ax.patches) == 3 and "not measured" in texts(fig) and "limit" in texts(fig)
    assert ax.get_xlim()[0] == 0 and ax.get_xlim()[1] > 9
    with pytest.raises(InputError):
        charts.plot_bars(["a"], [1, 2], xlabel="x")
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(
        {"documents": [3, 40], "bytes": [1e5, 2e6], "share": [0.01, 0.2]}, index=["too_short", "copy"]
    )
    shown = texts(charts.plot_cleaning(table))
    assert "too short" in shown and "40 documents, 2 MB" in shown


def test_memory_is_that_of_the_paper():
    shown = texts(charts.plot_memory(7.5e9, 64, 1))
    assert all(f"{number} GB" in shown for number in ("120", "31.4", "16.6", "1.88"))
    assert "31.4 GB each, fits" in shown
    with pytest.raises(InputError):
        charts.plot_memory(zero=4)


def test_optimal_says_what_the_law_says():
    for name in formulas.LAWS:
        best = formulas.LAWS[name].optimal(1e21)
        title = main_axes(laws.plot_optimal(1e21, name)).get_title(loc="left")
        assert style.short(best.N) in title and f"{best.loss:.3f}" in title
    with pytest.raises(InputError, match="hoffmann"):
        laws.plot_optimal(1e21, "nobody")
    with pytest.raises(InputError, match="positive number"):
        laws.plot_optimal(-1.0)


def test_guess_counts_the_objective_of_the_fit(law):
    title = main_axes(runs.plot_guess(law, **law.params)).get_title(loc="left")
    assert float(re.search(r"objective (\S+),", title)[1]) == pytest.approx(law.objective, rel=0.01)


def test_parameters_bootstrap_and_residuals(law, power_law):
    fig = laws.plot_parameters(law, synthetic.PLANTED)
    ax = main_axes(fig)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["E", "A", "B", "α", "β"]
    assert dots(ax) == 5 and dots(ax, "D") == 5 and law.status in texts(fig)
    assert dots(main_axes(laws.plot_bootstrap(law, "A", "alpha")), ".") == 200
    with pytest.raises(InputError, match="alpha"):
        laws.plot_bootstrap(law, "E", "nothing")
    with pytest.raises(InputError, match="bootstrap=1000"):
        laws.plot_bootstrap(fit_law(**synthetic.points(ISO)), "E", "alpha")
    residuals = laws.plot_residuals(law)
    assert [dots(ax) for ax in residuals.axes] == [15, 15]
    assert len(laws.plot_residuals(power_law).axes) == 1


def test_laws_without_bootstrap_have_no_band(power_law):
    bare = fit_law(**synthetic.points(ISO))
    style.png(laws.plot_parameters(bare), 50)
    assert "band" not in texts(frontier.plot_frontier(ISO, bare))
    with pytest.raises(InputError, match="plot_power_fit"):
        runs.plot_sweep(ISO, power_law)
    with pytest.raises(InputError, match="power form"):
        laws.plot_power_fit(bare)


@pytest.mark.parametrize(
    "plot", [runs.plot_sweep, runs.plot_isoflop, frontier.plot_frontier, runs.plot_guess]
)
def test_no_finished_run_is_one_clear_line(plot):
    for records in ([], [LOST, FAILED]):
        with pytest.raises(InputError, match="at least one finished run"):
            plot(records)


def test_many_sizes_stay_legible():
    records = [
        ISO[0].model_copy(update={"N": 1000 * k, "D": 10_000 * d, "L": 1 + 50 / (k * d)})
        for k in range(1, 41)
        for d in (1, 2, 3)
    ]
    fig = runs.plot_sweep(records)
    assert len(lines(main_axes(fig))) == 8 and dots(main_axes(fig)) == 120
    assert len(main_axes(frontier.plot_frontier(records)).get_legend().get_texts()) == 8


def test_short_sizes():
    known = {
        6144: "6.1k",
        999: "999",
        999_999: "1M",
        124.4e6: "124M",
        4.04e10: "40B",
        1.5e12: "1.5T",
        12.3: "12.3",
    }
    assert {value: style.short(value) for value in known} == known


def test_show_publishes_png_with_alternative_text_only(monkeypatch):
    import IPython.display

    sent = {}
    monkeypatch.setattr(IPython.display, "display", lambda data, **more: sent.update(data=data, **more))
    alt = "Loss against tokens falls along a straight line."
    style.show(runs.plot_sweep(GRID), alt)
    assert set(sent["data"]) == {"image/png", "text/plain"} and sent["raw"]
    assert sent["data"]["text/plain"] == "<Picture size 700x420 with 1 Axes>"
    assert sent["metadata"] == {"image/png": {"alt": alt, "width": 700, "height": 420}}
    with pytest.raises(InputError, match="alt"):
        style.show(runs.plot_sweep(GRID), "a plot")
