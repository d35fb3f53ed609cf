"""What all figures have in common: labels, units, sizes that can be read, nothing changed; and the numbers on their axes."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import numpy as np
import pytest
import synthetic
from figures import GRID, ISO, LOST, Shot, crowded, main_axes
from matplotlib.figure import Figure
from PIL import Image

from scalept_lab.errors import InputError
from scalept_lab.plots import charts, frontier, laws, runs, style

NAMES = [
    "sweep", "isoflop", "frontier", "curves", "guess", "against", "bars", "cleaning", "memory", "optimal", "surface",
    "power", "residuals", "parameters", "bootstrap",
]  # fmt: skip


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


@pytest.fixture(scope="module")
def made(law, power_law):
    return every_figure(law, power_law)


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_labelled_drawn_and_readable(made, name):
    fig = made[name]
    ax = main_axes(fig)
    assert ax.get_xlabel() and (ax.get_ylabel() or len(ax.get_yticklabels()) > 0)
    sizes = [text.get_fontsize() for text in fig.findobj(lambda artist: hasattr(artist, "get_fontsize"))]
    assert min(sizes) >= 8.3
    image = Image.open(io.BytesIO(style.png(fig, dpi=70)))
    assert image.format == "PNG" and image.width == 490
    margin = np.asarray(image.convert("L"))[:, [0, -1]]
    assert margin.min() > 200, "something is cut at the side"


def test_units_on_the_axes(made):
    assert list(made) == NAMES
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
    first = every_figure(law, power_law)
    second = frontier.plot_frontier([*ISO, LOST], law, Shot, 1.457)
    assert records == before
    assert all(np.array_equal(samples[name], law.samples[name]) for name in samples)
    assert style.png(first["frontier"], 60) == style.png(second, 60)
    sources = Path(style.__file__).parent.glob("*.py")
    assert not any("import matplotlib.pyplot" in source.read_text(encoding="utf-8") for source in sources)


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


def test_numbers_as_they_are_spoken_and_written():
    assert (style.percent(-0.214), style.percent(3)) == ("−0.21\xa0%", "+3.00\xa0%")
    assert (style.power_of_ten(3e11), style.power_of_ten(1e-5), style.power_of_ten(0)) == (
        "3×10¹¹", "10⁻⁵", "0",
    )  # fmt: skip
    assert style.power_of_ten(2.54e3) == "2.5×10³"


def test_room_at_the_end_of_an_axis_by_hand():
    """A fifth of the axis: 1 to 1e4 on a log scale becomes 1 to 1e5, 0 to 8 becomes 0 to 10."""
    fig = Figure()
    ax = fig.subplots()
    ax.set_xscale("log")
    ax.set_xlim(1, 1e4)
    style.widen(ax, 0.2)
    assert ax.get_xlim() == pytest.approx((1, 1e5))
    assert ax.get_xticks().max() <= 1e4 and ax.spines["bottom"].get_bounds() == (1, 1e4), (
        "the free part has no ticks"
    )
    ax.set_xscale("linear")
    ax.set_xlim(0, 8)
    style.widen(ax, 0.2, log=False)
    assert ax.get_xlim() == pytest.approx((0, 10))


def test_points_of_runs_that_finished_of_a_law_and_of_points(law):
    N, D, L = style.arrays([*ISO, LOST])
    assert (len(N), N[3], D[3], L[3]) == (len(ISO), ISO[3].N, ISO[3].D, ISO[3].L)
    assert [values.tolist() for values in style.arrays(law)] == [values.tolist() for values in (N, D, L)]
    with pytest.raises(InputError, match="at least one finished run"):
        style.arrays([LOST])


def test_show_publishes_the_picture_with_its_alternative_text(monkeypatch):
    import IPython.display

    sent = {}
    monkeypatch.setattr(IPython.display, "display", lambda data, **more: sent.update(data=data, **more))
    alt = "Loss against tokens falls along a straight line."
    style.show(runs.plot_sweep(GRID), alt)
    assert set(sent["data"]) == {"image/png", "text/html", "text/plain"} and sent["raw"]
    assert f'alt="{alt}"' in sent["data"]["text/html"] and "<img " in sent["data"]["text/html"]
    assert sent["data"]["text/plain"] == "<Picture size 700x420 with 1 Axes>"
    told = sent["metadata"]["image/png"]
    assert (told["alt"], told["width"], told["height"]) == (alt, 700, 420)
    assert told["axes"] == [["training tokens D", "held-out loss (nats per token)"]]
    with pytest.raises(InputError, match="alt"):
        style.show(runs.plot_sweep(GRID), "a plot")


@pytest.mark.parametrize("color", [*style.COLORS, *map(tuple, style.size_colors(6))])
def test_ink_has_the_contrast_that_text_needs(color):
    light = style._luminance(np.array(style.to_rgb(style.ink(color))))
    assert 1.05 / (light + 0.05) >= 4.5


def test_luminance_by_hand():
    """sRGB (0.5, 0, 1): ((0.5 + 0.055)/1.055)^2.4 = 0.21404; 0.2126 x 0.21404 + 0.0722 = 0.11770."""
    assert style._luminance(np.array([0.5, 0.0, 1.0])) == pytest.approx(0.11770, abs=1e-5)


def test_a_narrow_figure_stacks_its_panels_and_keeps_every_text_inside():
    fig, (left, right) = style.canvas(1, 2, size=(9.0, 4.0))
    for i in range(5):
        left.plot([1, 2], [i, i], label=f"curve {i}")
    left.legend(loc="upper right", ncols=5)
    style.label(
        left,
        "a long name of what stands on the axis (in units)",
        "loss",
        "A title of more than one line on a phone",
    )
    style.label(right, "x", "")
    assert style.narrow(fig) is fig
    assert tuple(fig.get_size_inches()) == (4.2, pytest.approx(6.4))  # 0.8 × 4 inches for each of two panels
    assert crowded(fig) == []
    above, below = left.get_position(), right.get_position()
    assert above.y0 > below.y1 and above.x0 == pytest.approx(below.x0)
    assert left.get_title(loc="left") == "A title of more than one line on a\nphone"  # 9 letters an inch
    assert left.get_legend()._ncols == 2 and right.get_ylabel() == "loss"


def test_panels_stay_where_those_of_another_figure_are():
    first, second, other = style.canvas()[0], style.canvas()[0], style.canvas(1, 2)[0]
    style.png(first, 50)
    like = style.places(first)
    second.axes[0].set_ylabel("a label that a layout would make room for", fontsize=30)
    assert style.arrange(second, like)
    style.png(second, 50)
    assert second.axes[0].get_position().x0 == first.axes[0].get_position().x0
    assert not style.arrange(other, like) and not style.arrange(second, None)
    assert not style.arrange(style.canvas(size=(3, 3))[0], like)


@pytest.mark.parametrize(("top", "small"), [(50, []), (300, [2, 5, 20, 50, 200]), (1e5, [])])
def test_a_log_axis_has_few_small_marks(top, small):
    _, ax = style.canvas()
    ax.plot([1, 2], [1, top])
    ax.set_ylim(1, top)
    style.log_axis(ax.yaxis)
    assert [mark for mark in ax.yaxis.get_minorticklocs() if 1 <= mark <= top] == small
