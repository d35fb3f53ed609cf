"""`plot_repeats` draws Muennighoff et al.'s eq. 5: its numbers against the law's, and its refusals."""

from __future__ import annotations

import numpy as np
import pytest

from scalept_lab.errors import InputError
from scalept_lab.laws import formulas
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
