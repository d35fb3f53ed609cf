"""The card says in plain sentences what the runs can tell; each warning stands only where it should."""

import json

import numpy as np
import pytest
from synthetic import as_csv, published, small

from scalept_lab.errors import InputError
from scalept_lab.laws import formulas
from scalept_lab.laws.card import card, distinct, fit_file
from scalept_lab.laws.fit import fit_law, fit_points
from scalept_lab.laws.formulas import NO_SPLIT
from scalept_lab.laws.points import Points

FOLLOWING = """params,tokens,loss
2e7,4e8,4.40
4e7,8e8,3.85
8e7,1.6e9,3.42
1.6e8,3.2e9,3.08
3.2e8,6.4e9,2.81
6.4e8,1.28e10,2.60
1.28e9,2.56e10,2.43
"""


def warned(points, form="chinchilla", **options):
    return " | ".join(card(fit_points(points, form, **options))["warnings"])


def test_a_good_design_has_no_warnings_and_its_figures_are_right():
    N, D, L = published()
    found = card(fit_law(N, D, L, bootstrap=200))
    assert found["warnings"] == [] and found["points"] == 240
    assert found["ranges"]["N"] == [N.min(), N.max()] and found["ranges"]["C"][1] == pytest.approx(
        max(6 * N * D)
    )
    assert found["known"]["E"] < 0.1 < found["known"]["A"]
    assert "A, alpha" in found["trade_offs"] and abs(found["trade_offs"]["A, alpha"]) <= 1
    assert all(abs(t) < 3.5 for t in found["trends"].values()) and found["influence"] == {}
    assert any("E is known to ±" in text for text in found["sentences"])
    json.dumps(found)


def test_runs_along_one_line_tell_no_split(tmp_path):
    path = tmp_path / "line.csv"
    path.write_text(FOLLOWING)
    found = fit_file(path, "chinchilla", 100)
    assert found["status"] == NO_SPLIT and "D goes as N^1.00" in found["card"]["warnings"][0]
    N, D, L = np.loadtxt(FOLLOWING.splitlines()[1:], delimiter=",").T
    with pytest.raises(InputError, match="no split can be told"):
        fit_law(N, D, L).optimal(1e20)
    along = fit_file(path, bootstrap=100)
    assert (along["form"], along["variable"], along["optimal"]) == ("power", "flops", {"a": None, "b": None})


def test_units_that_look_like_millions_and_billions():
    N, D, L = published()
    assert "millions or billions" in warned(Points(N / 1e6, D / 1e9, L))
    assert "millions or billions" in warned(Points(N, D / 1e9, L))
    assert "millions" not in warned(Points(N, D, L)) and "millions" not in warned(Points(*small()))


def test_given_compute_that_is_not_6nd_and_swapped_tokens():
    N, D, L = published()
    assert "times 6·N·D" in warned(Points(N, D, L, C=20 * N * D)) and "3.33 times" in warned(
        Points(N, D, L, C=20 * N * D)
    )
    assert "6·N·D" not in warned(Points(N, D, L, C=5.5 * N * D))
    assert "swapped" in warned(Points(N, D, L, unique=3 * D)) and "swapped" not in warned(
        Points(N, D, L, unique=D)
    )


def test_two_corpora_in_one_file():
    """Half of the losses times .8: an exponent comes out, and it belongs to neither."""
    N, D, L = published()
    which = tuple("ab"[i % 2] for i in range(240))
    mixed = Points(N, D, L * np.where(np.array(which) == "b", 0.8, 1.0), labels={"dataset": which})
    assert "column dataset has 2 values" in warned(mixed)
    seeds = Points(N, D, L, labels={"seed": which, "lr": which})
    assert warned(seeds) == ""
    rates = Points(N, D, mixed.L, labels={"lr": which})
    assert "column lr" in warned(rates)


def test_copies_count_once():
    N, D, L = small()
    once, thrice = (distinct(Points(*(np.tile(v, times) for v in (N, D, L)))) for times in (1, 3))
    assert len(thrice) == len(once) == 15 and "30 of 45 rows" in thrice.notes[0] and once.notes == ()
    labelled = distinct(
        Points(*(np.tile(v, 2) for v in (N, D, L)), labels={"seed": tuple("x" * 15 + "y" * 15)})
    )
    assert labelled.labels["seed"] == tuple("x" * 15)


def test_copies_do_not_narrow_an_interval(tmp_path):
    text = as_csv(*published(P=60))
    head, *lines = text.split()
    intervals = []
    for times in (1, 3):
        path = tmp_path / f"{times}.csv"
        path.write_text("\n".join([head, *lines * times]))
        intervals.append(fit_file(path, "chinchilla", 200)["interval95"]["a"])
    assert intervals[0] == pytest.approx(intervals[1])


def test_runs_far_from_the_best_and_a_run_that_decides_alone():
    N, D, L = published()
    assert "25 %" not in warned(Points(N, D, L))
    assert "25 %" in warned(Points(np.append(N, 5e7), np.append(D, 1e14), np.append(L, 9.0)))
    n, d = np.repeat([1e8, 1.1e8, 1.2e8], 4), np.tile([1e9, 2e9, 4e9, 8e9], 3)
    n[-1] = 1e11
    loss = 1.7 + 400 / n**0.34 + 400 / d**0.28 + 0.001 * np.tile([1, -1, 1], 4)
    influence = card(fit_law(n, d, loss))["influence"]
    assert "N = 1e+11" in next(iter(influence)) and max(influence.values()) > 0.9


def test_a_pinned_constant_is_held_and_said(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(as_csv(*small()))
    found = fit_file(path, "chinchilla", 50, pinned={"E": 0.95})
    assert found["params"]["E"] == pytest.approx(0.95) and found["interval95"]["E"] == pytest.approx(
        [0.95, 0.95]
    )
    with pytest.raises(InputError, match="E at 9 or above leaves nothing"):
        fit_file(path, "chinchilla", 0, pinned={"E": 9.0})
    with pytest.raises(InputError, match="form power can bound alpha, E, got beta"):
        fit_file(path, "power", 0, pinned={"beta": 0.3})


def test_a_misfit_stands_in_the_status_with_its_variable():
    N, D, L = published(noise=0.003)
    ratio = np.log(D / N)
    bent = fit_law(N, D, L * np.exp(0.004 * (ratio - ratio.mean()) ** 2))
    assert bent.status == "misfit: residuals follow log D/N" and "form auto" in bent.detail
    assert fit_law(N, D, L).status == "converged"


def test_a_hundred_null_fits_are_seldom_called_a_misfit():
    false = 0
    for seed in range(60):
        N, D, L = published(P=80, seed=seed)
        false += "misfit" in fit_law(N, D, L).status
    assert false <= 2


def test_the_variable_of_a_power_law_is_taken_as_asked(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(as_csv(*small()))
    for name in ("params", "tokens", "flops"):
        assert fit_file(path, "power", 0, variable=name)["variable"] == name
    with pytest.raises(InputError, match="variable: expected one of params, tokens, flops"):
        fit_file(path, "power", 0, variable="size")


@pytest.mark.parametrize("place", [(-1e9, 1e9), (1e9, 0), (float("nan"), 1e9), (1e9, None), ("big", 1e9)])
def test_a_law_refuses_sizes_that_are_none(place):
    law = fit_law(*small(), bootstrap=10)
    with pytest.raises(InputError, match=r"expected positive numbers|got no D"):
        law.predict(*place)
    with pytest.raises(InputError, match=r"expected positive numbers|got no D"):
        law(*place)


def test_many_runs_get_the_limit_of_refits():
    """6,000 runs: draws from the limit are as wide as refits of resamples, to a sixth."""
    data = published(P=6000)
    limit, refits = (fit_law(*data, bootstrap=300, method=method).interval95 for method in ("auto", "pairs"))
    for name in ("alpha", "beta", "E"):
        wide, narrow = (float(np.ptp(found[name])) for found in (limit, refits))
        assert wide == pytest.approx(narrow, rel=0.35)


def test_a_row_of_another_law_is_named_stays_in_the_fit_and_the_fit_without_it_is_said(tmp_path):
    N, D, L = published()
    L = L.copy()
    L[17] = 1e-4
    rows = "".join(f"{n:.6g},{d:.6g},{loss:.6g}\n" for n, d, loss in zip(N, D, L, strict=True))
    (tmp_path / "runs.csv").write_text("params,tokens,loss\n" + rows)
    found = fit_file(tmp_path / "runs.csv", "chinchilla", bootstrap=0)
    told = found["card"]
    assert found["params"]["E"] < 1e-3 and told["points"] == 240
    assert told["without_odd"]["E"] == pytest.approx(formulas.LAWS["besiroglu"].params["E"], abs=0.1)
    (odd,) = told["odd"]
    assert odd.startswith(
        f"the run with N = {N[17]:.3g}, D = {D[17]:.3g}: L 0.0001 where the law of the others gives"
    )
    assert any("all rows are in the fit; without these: E 1." in each for each in told["sentences"])
    L[17] = published()[2][17]
    rows = "".join(f"{n:.6g},{d:.6g},{loss:.6g}\n" for n, d, loss in zip(N, D, L, strict=True))
    (tmp_path / "runs.csv").write_text("params,tokens,loss\n" + rows)
    told = fit_file(tmp_path / "runs.csv", "chinchilla", bootstrap=0)["card"]
    assert (told["odd"], told["without_odd"]) == ([], None)
