"""The oracles of notebook 08: each agrees with the kit, and each tells right from nearly right."""

from __future__ import annotations

import numpy as np
import pytest

from scalept_lab.course.exercises import grade
from scalept_lab.course.sets import nb08
from scalept_lab.laws.fit import fit_law


def test_the_objective_that_serves_is_the_kits_and_its_gradient_that_of_its_value():
    runs = [nb08._study(0)[key] for key in "NDL"]
    for _, theta in nb08._THETAS:
        value, gradient = nb08.objective(theta, *runs)
        assert value == pytest.approx(nb08._kits(theta, *runs), rel=1e-9)
        assert gradient == pytest.approx(nb08._differences(theta, runs), rel=1e-4, abs=1e-6)
    law = fit_law(*runs)
    at = [*np.log([law.params[name] for name in "EAB"]), law.params["alpha"], law.params["beta"]]
    assert nb08.objective(at, *runs)[0] == pytest.approx(law.objective, rel=1e-6)
    assert np.isfinite(nb08.objective(nb08._WILD, *runs)[1]).all()


def test_a_sweep_is_graded_by_its_forecast():
    """The naive one misses by more than 3 %, the kit's by less than 2.5 %; a shuffled one of the kit's runs is the same."""
    runs = nb08.candidates()
    naive, own = (rule(runs, nb08.SWEEP_BUDGET) for rule in (nb08.cheapest_first, nb08.far_and_wide))
    assert runs["C"][naive].sum() <= nb08.SWEEP_BUDGET and runs["C"][own].sum() <= nb08.SWEEP_BUDGET
    assert (
        nb08.forecasts(tuple(sorted(naive))).mean() > 0.03
        and nb08.forecasts(tuple(sorted(own))).mean() < 0.025
    )
    for answer in (own[::-1], np.array(own), tuple(float(i) for i in own)):
        assert grade("08.7", lambda runs, budget, answer=answer: answer).ok
    for answer, said in (
        ([own[0]] * 7, "at most once"),
        ([0.5, "x"], "row numbers"),
        ([99, *range(6)], "from 0 to 15"),
    ):
        verdict = grade("08.7", lambda runs, budget, answer=answer: answer)
        assert not verdict.ok and said in verdict.message


def test_the_planted_bug_is_wrong_by_far_and_the_mended_study_right():
    for seed, decades in ((0, 0.5), (1, 0.5), (2, 1.0), (3, 0.5)):
        study, truth = nb08.planted_study(seed, decades)
        assert abs(nb08.buggy(*study) / truth - 1) > 0.1
        assert nb08.mended(*study) == pytest.approx(truth, rel=0.005)
    assert not grade("08.8", nb08.buggy).answered  # as it stands in the notebook


def test_another_way_to_mend_it_is_right_too():
    def nearest(N, D, L, C, budgets):
        own = np.abs(np.log(C[:, None] / budgets)).argmin(1)
        best = [nb08._vertex(np.log(N[own == i]), L[own == i]) for i in range(len(budgets))]
        return np.float32(np.polyfit(np.log(budgets), best, 1)[0])

    assert grade("08.8", nearest).ok


def test_the_model_that_is_cheapest_to_serve_reproduces_the_published_example():
    """Sardana et al. 2024, figure 1: 7 instead of 13 billion parameters for 2e12 tokens, 17 % less in all."""
    p = dict(E=1.69, A=406.4, B=410.7, alpha=0.336, beta=0.283)
    G = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / (p["alpha"] + p["beta"]))
    D = (13e9 / G) ** ((p["alpha"] + p["beta"]) / p["beta"]) / 13e9
    loss = p["E"] + p["A"] / 13e9 ** p["alpha"] + p["B"] / D ** p["beta"]
    n, d = nb08.cheapest(p, loss, 2e12)
    before, after = (6 * a * b + 2 * a * 2e12 for a, b in ((13e9, D), (n, d)))
    assert n == pytest.approx(7e9, rel=0.01) and before - after == pytest.approx(1.7e22, rel=0.01)
    assert 1 - after / before == pytest.approx(0.17, abs=0.005)


@pytest.mark.parametrize(
    ("id", "answers"),
    [
        ("08.1", (lambda x, y: np.roots(np.polyder(np.polyfit(x, y, 2))), lambda x, y: [np.float32(nb08._vertex(x, y))])),
        ("08.4", (round(nb08._slope(), 2), str(round(nb08._slope(), 3)), np.float32(nb08._slope()), [nb08._slope()])),
        ("08.5", ({"D": "1.67e12", "share": round(nb08._share(), 2)}, (np.float32(1e13 / 6), [nb08._share()]))),
        ("08.6", (lambda p, loss, s: np.array(nb08.cheapest(p, loss, s)), lambda p, loss, s: list(nb08.cheapest(p, loss, s)))),
        ("08.9", ("c", ["C"])),
    ],
)  # fmt: skip
def test_right_answers_of_odd_types_are_right(id, answers):
    for answer in answers:
        verdict = grade(id, answer)
        assert verdict.ok, verdict.message


def test_a_coarse_grid_measures_the_exponent_well_enough():
    N = np.geomspace(1e3, 1e12, 500)
    best = [
        N[np.argmin(nb08._hoffmann(N + nb08.OMEGA * np.cbrt(N), C / (6 * N)))] for C in (nb08.LOW, nb08.HIGH)
    ]
    assert grade("08.4", np.log(best[1] / best[0]) / np.log(nb08.HIGH / nb08.LOW)).ok
