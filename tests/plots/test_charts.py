"""`plot_repeats` draws Muennighoff et al.'s eq. 5: its numbers against the law's, and its refusals."""

from __future__ import annotations

import numpy as np
import pytest
from figures import main_axes, texts

from scalept_lab.errors import InputError
from scalept_lab.laws import formulas
from scalept_lab.plots import charts
from scalept_lab.plots.charts import plot_repeats


def test_title_tells_what_the_passes_are_worth():
    ax = plot_repeats(1e5, 4, 15.39).axes[0]
    assert ax.get_title(loc="left") == "4 passes over 100k tokens are worth 373k fresh ones: 93%"
    assert plot_repeats(1e5, 1, 15.39).axes[0].get_title(loc="left").endswith("100%")


def test_curve_stays_below_fresh_text_and_its_limit():
    fresh, repeated = plot_repeats(2e4, 8, 5.0).axes[0].lines[:2]
    x, y = repeated.get_data()
    np.testing.assert_allclose(y, formulas.effective(2e4 * x, 2e4, 5.0))
    assert np.all(y <= fresh.get_ydata() * (1 + 1e-12)) and y.max() < 2e4 * 6


def test_measured_points_are_drawn():
    points = [line for line in plot_repeats(1e5, 4, 10.0, measured=([2, 4], [1.9e5, 3.4e5])).axes[0].lines]
    assert any(list(line.get_ydata()) == [1.9e5, 3.4e5] for line in points)


@pytest.mark.parametrize("bad", [{"unique": 0}, {"R_D": -1}, {"epochs": 0.5}, {"epochs": float("nan")}])
def test_refusals(bad):
    with pytest.raises(InputError):
        plot_repeats(**bad)


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
    assert {"a", "b", "bars: 95 % interval of the mean"} <= set(texts(fig).split("\n"))
    with pytest.raises(InputError, match="expected 2 values"):
        charts.plot_loss_against([1, 2], [1.0], xlabel="x")
    with pytest.raises(InputError, match="missing"):
        charts.plot_loss_against([1, 2], [np.nan, np.nan], xlabel="x")


def test_bars_known_beforehand_say_what_they_are_and_figures_can_share_a_scale():
    fig = charts.plot_loss_against(
        [1, 2], [1.5, 1.4], xlabel="x", err=[0.1, 0.1], bars="half range", ylim=(1, 3)
    )
    assert "bars: half range" in texts(fig) and main_axes(fig).get_ylim() == (1, 3)
    assert "bars" not in texts(charts.plot_loss_against([1, 2], [1.5, 1.4], xlabel="x"))


def test_bars_and_cleaning():
    fig = charts.plot_bars(
        ["a", "b", "c"], [3, 1, float("nan")], xlabel="x (s)", ylabel="case", reference=("limit", 9.0)
    )
    ax = main_axes(fig)
    assert ax.get_ylabel() == "case"
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
