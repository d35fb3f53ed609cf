"""Figures of laws say what the laws say."""

from __future__ import annotations

import pytest
import synthetic
from figures import ISO, dots, main_axes, texts

from scalept_lab.errors import InputError
from scalept_lab.laws import formulas
from scalept_lab.laws.fit import fit_law
from scalept_lab.plots import frontier, laws, runs, style


def test_optimal_says_what_the_law_says():
    for name in formulas.LAWS:
        best = formulas.LAWS[name].optimal(1e21)
        title = main_axes(laws.plot_optimal(1e21, name)).get_title(loc="left")
        assert style.short(best.N) in title and f"{best.loss:.3f}" in title
    with pytest.raises(InputError, match="hoffmann"):
        laws.plot_optimal(1e21, "nobody")
    with pytest.raises(InputError, match="positive number"):
        laws.plot_optimal(-1.0)


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


def test_a_forecast_stands_beside_its_rivals(power_law):
    fig = laws.plot_power_fit(
        power_law, measured=(1e6, 2.0), rivals={"no change": 2.2}, title="The law is closer"
    )
    ax = main_axes(fig)
    assert ax.get_title(loc="left") == "The law is closer" and "no change" in texts(fig)
    assert [line.get_ydata()[0] for line in ax.lines if line.get_marker() == "D"] == [2.2]
    assert ("band: 95 % interval of one new run" in texts(fig)) == bool(power_law.samples)


def test_laws_without_bootstrap_have_no_band(power_law):
    bare = fit_law(**synthetic.points(ISO))
    style.png(laws.plot_parameters(bare), 50)
    assert "band" not in texts(frontier.plot_frontier(ISO, bare))
    with pytest.raises(InputError, match="plot_power_fit"):
        runs.plot_sweep(ISO, power_law)
    with pytest.raises(InputError, match="power form"):
        laws.plot_power_fit(bare)
