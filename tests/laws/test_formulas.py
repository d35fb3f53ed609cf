"""Published laws: their own numbers back, closed forms against a search, bad input."""

import json

import numpy as np
import pytest

from scalept_lab.errors import InputError
from scalept_lab.laws import formulas

GOPHER = 5.76e23  # FLOPs, the budget that Chinchilla was trained with


def test_plans_are_those_of_the_papers():
    # Hoffmann et al. 2022, figure 4: 40B parameters for Gopher's compute. The printed, rounded exponents give
    # 32B: one of the two faults that Besiroglu et al. 2024 point out
    assert formulas.plan(GOPHER, "hoffmann-unrounded")["N"] == pytest.approx(40e9, rel=0.02)
    assert formulas.plan(GOPHER, "hoffmann")["N"] == pytest.approx(32.2e9, rel=0.01)
    besiroglu = formulas.plan(GOPHER, "besiroglu")
    assert 15 < besiroglu["tokens_per_param"] < 25
    assert list(besiroglu) == ["N", "D", "tokens_per_param", "loss", "status"]
    assert formulas.LAWS["besiroglu"].a == pytest.approx(0.5126, abs=1e-4)
    assert formulas.LAWS["kaplan"].a == pytest.approx(0.103 / 0.179)
    # overfitting bound of Kaplan et al. 2020, eq. 4.4: D of about 5e3 N^0.74 keeps the loss within 2 %
    kaplan, N = formulas.LAWS["kaplan"], 1e9
    assert kaplan(N, 5e3 * N**0.74) / kaplan(N, 1e30) == pytest.approx(1.02, abs=0.005)
    # a hundred PF-days: 100^0.73 = 10^1.46 = 28.84 times the size, and C/6N tokens
    assert formulas.kaplan_frontier(8.64e21) == pytest.approx((3.7492e10, 3.8408e10), rel=1e-4)


@pytest.mark.parametrize("name", formulas.LAWS)
def test_closed_form_is_the_minimum(name):
    law = formulas.LAWS[name]
    best = law.optimal(1e22)
    assert pytest.approx(1e22) == 6 * best.N * best.D
    for factor in (0.9, 1.1):
        assert law(best.N * factor, best.D / factor) > best.loss
    searched = law.optimal(1e22, flops_per_token=lambda n: 6 * n)
    assert pytest.approx(best.N, rel=1e-3) == searched.N
    grown = law.optimal(1e23)
    assert np.log10(grown.N / best.N) == pytest.approx(law.a, abs=1e-9)


def test_repeated_tokens_lose_value():
    """Muennighoff et al. 2023: up to four epochs nearly as good as new, then diminishing returns (eq. 5)."""
    U = 1e9
    worth = formulas.effective(U * np.array([0.5, 1, 4, 16, 1000]), U, 15.387756) / U
    assert worth[0] == 0.5 and worth[1] == 1
    assert worth[2] == pytest.approx(3.73, abs=0.01)
    assert worth[3] == pytest.approx(10.58, abs=0.01)
    assert worth[4] == pytest.approx(1 + 15.387756)
    law = formulas.LAWS["muennighoff"]
    free, short = law.optimal(1e21), law.optimal(1e21, unique=1e9)
    assert short.N < free.N  # with little data, compute goes to epochs before parameters
    assert short.loss > free.loss
    for factor in (0.9, 1.1):
        assert law(short.N * factor, short.D / factor, 1e9) > short.loss


def test_a_fitted_law_can_be_read_back(tmp_path):
    path = tmp_path / "law.json"
    params = formulas.LAWS["besiroglu"].params
    for content in (params, {"params": params, "status": "converged"}, {"law": params}):
        path.write_text(json.dumps(content))
        status = {"status": content.get("status", "")}
        assert formulas.plan(GOPHER, str(path)) == formulas.plan(GOPHER, "besiroglu") | status
    path.write_text(json.dumps({"params": {**params, "R_D": 15.0}}))
    assert formulas.plan(1e21, path, unique=1e9)["loss"] > formulas.plan(1e21, path)["loss"]


def test_the_two_bent_forms_by_hand():
    """√(9 + 16) = 5 at N = D = 1, and √(9/4 + 16/9) = 2.007 at 4 and 9; past X_0 = 2 by 2√2 the break is worth 1/9^(1/4)."""
    law = {"E": 1, "A": 9, "B": 16, "alpha": 1, "beta": 1, "kappa": 0.5}
    assert formulas.loss("power_of_sum", law, 1, 1) == pytest.approx(6)
    assert formulas.loss("power_of_sum", law, 4, 9) == pytest.approx(1 + (9 / 4 + 16 / 9) ** 0.5)
    broken = {"E": 1, "A": 8, "alpha": 0.5, "alpha_2": 1.0, "X_0": 2}
    X = 2 * 8**0.5
    assert formulas.loss("broken_power", broken, X) == pytest.approx(1 + 8 / X**0.5 / 9**0.25)
    # the best split does not know kappa: N = √(A C/(6 B)) with equal exponents
    assert formulas.split("power_of_sum", law, 96)[0] == pytest.approx(3)
    with pytest.raises(InputError, match="one variable"):
        formulas.split("broken_power", broken, 96)
    with pytest.raises(InputError, match="D: form power_of_sum needs tokens"):
        formulas.loss("power_of_sum", law, 4)


def test_each_form_by_hand():
    assert formulas.loss("power", {"E": 1, "A": 8, "alpha": 0.5}, 16) == 1 + 8 / 4
    law = {"E": 1, "A": 6, "alpha": 0.5, "B": 12, "beta": 1 / 3}
    assert formulas.loss("chinchilla", law, 9, 64) == pytest.approx(1 + 6 / 3 + 12 / 4)
    # (16^(1/2) + 5)^(1/2)
    kaplan = {"N_c": 160, "alpha_N": 0.25, "alpha_D": 0.5, "D_c": 100}
    assert formulas.loss("kaplan", kaplan, 10, 20) == pytest.approx(3)
    # 1 + 2 ln 2 passes at R_D = 2 are worth two: 1 + 2 (1 - 1/2)
    passes = 1 + 2 * np.log(2)
    assert formulas.effective(32 * passes, 32, 2) == pytest.approx(64)
    assert formulas.loss("data_constrained", law | {"R_D": 2}, 9, 32 * passes, 32) == pytest.approx(
        1 + 6 / 3 + 12 / 4
    )
    assert formulas.loss("data_constrained", law | {"R_D": 2}, 9, 64) == pytest.approx(6)  # all of it is new


def test_too_many_parameters_for_the_unique_tokens_lose_value_as_well():
    """D = U: the N for it is (0.5·2 / (0.25·8))² · U^½ = 0.25 · 400 = 100, and 1 + 3 ln 2 times that is worth 2.5 times."""
    law = {"E": 1, "A": 2, "alpha": 0.5, "B": 8, "beta": 0.25, "R_D": 5, "R_N": 3}
    assert formulas.split_for_data(law, 160_000) == pytest.approx(100)
    worth = formulas.loss("data_constrained", law, 100 * (1 + 3 * np.log(2)), 160_000, 1e9)
    assert worth == pytest.approx(1 + 2 / 250**0.5 + 8 / 20)


def test_exponents_and_the_split_by_hand():
    law = {"E": 1, "A": 2, "alpha": 0.5, "B": 8, "beta": 0.25}
    assert formulas.exponent("chinchilla", law) == pytest.approx(1 / 3)
    assert formulas.exponent("kaplan", {"alpha_N": 0.1, "alpha_D": 0.3}) == pytest.approx(0.75)
    # with 8 FLOPs for a parameter and a token, N = (0.5·2 / (0.25·8))^(4/3) · (C/8)^(1/3)
    N, D = formulas.split("chinchilla", law, 8e9, flops_per_token=8.0)
    assert (N, D) == (pytest.approx(396.85, rel=1e-4), pytest.approx(1e9 / 396.85, rel=1e-4))
    best = formulas.NamedLaw("", "chinchilla", law, "").optimal(8e9, flops_per_token=8.0)
    assert best.loss == pytest.approx(1 + 2 / N**0.5 + 8 / D**0.25) and best.C == 8e9
    assert best.tokens_per_param == pytest.approx(D / N)
    # Kaplan's own optimum with r = 1/2: N^(3/2) = r · C/(k·D_c) · N_c^r = 1e6 · 10
    kaplan = {"N_c": 100, "alpha_N": 0.25, "alpha_D": 0.5, "D_c": 1000}
    N, D = formulas.split("kaplan", kaplan, 8e9, flops_per_token=4.0)
    assert (N, D) == (pytest.approx(1e7 ** (2 / 3)), pytest.approx(2e9 / 1e7 ** (2 / 3)))


def test_exponents_near_zero_stay_inside_the_range_of_a_float():
    N, D = formulas.split("chinchilla", {"E": 1, "A": 9, "alpha": 1e-4, "B": 1, "beta": 1e-4}, 1e20)
    assert np.isfinite([N, D]).all() and N == pytest.approx(np.exp(300))


@pytest.mark.parametrize(("low", "high"), [(-5.0, 9.0), (1.0, 40.0), (-60.0, 1.4)])
def test_the_search_closes_in_from_either_side(low, high):
    found = formulas._golden(lambda t: (t - 1.3) ** 2, np.array([low]), np.array([high]))
    assert found == pytest.approx([1.3], abs=1e-6)


def test_the_printed_constants():
    """At N = 1e9 and D = 1e10: 1e9^0.34 = 1148.2, 1e10^0.28 = 630.96, and so on; Kaplan's (3518.1 + 1800)^0.103."""
    losses = {name: float(law(1e9, 1e10)) for name, law in formulas.LAWS.items()}
    by_hand = {
        "hoffmann": 1.69 + 406.4 / 1148.2 + 410.7 / 630.96,
        "hoffmann-unrounded": 1.6934 + 406.4 / 1129.3 + 410.7 / 706.3,
        "besiroglu": 1.8172 + 482.01 / 1349.6 + 2085.43 / 4549.9,
        "kaplan": 2.4197,
        "muennighoff": 1.8691 + 520.82 / 1492.6 + 1487.7 / 3362.0,
    }
    assert losses == pytest.approx(by_hand, abs=1e-4)
    assert formulas.LAWS["hoffmann"].b == pytest.approx(0.34 / 0.62)


def test_a_law_of_ones_own_is_planned_with_and_its_unique_tokens_count():
    law = formulas.LAWS["muennighoff"]
    best = law.optimal(1e21, unique=1e9)
    assert formulas.plan(1e21, law, unique=1e9) == {
        "N": best.N, "D": best.D, "tokens_per_param": best.tokens_per_param, "loss": best.loss, "status": "",
    }  # fmt: skip
    with pytest.raises(InputError, match="unique: expected a positive number"):
        formulas.plan(1e21, law, unique=0)


def test_a_law_file_may_say_that_nothing_is_irreducible(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"E": 0, "A": 6, "B": 12, "alpha": 0.5, "beta": 0.25}))
    law = formulas.read_law(path)
    assert (law.name, law.form, law.params["E"]) == ("mine", "chinchilla", 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not JSON"), ("[]", "constants of a law"), ('{"E": 1}', "missing A, B"),
     ('{"E": 1, "A": 1, "B": 1, "alpha": -1, "beta": 1}', "alpha")],
)  # fmt: skip
def test_bad_law_files(tmp_path, text, words):
    path = tmp_path / "law.json"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        formulas.plan(1e20, path)


@pytest.mark.parametrize("flops", [0, -1, float("nan"), float("inf"), "many", None, True])
def test_bad_flops(flops):
    with pytest.raises(InputError, match="flops"):
        formulas.plan(flops)


def test_unknown_law_names_the_known():
    with pytest.raises(InputError, match=r"hoffmann.*besiroglu.*kaplan"):
        formulas.plan(1e20, "newton")


@pytest.mark.parametrize(
    "ranges", [{"N": [10**400, 1]}, {"N": [1, "x"], "D": [-1, float("nan")]}, {"N": 3}, [], None]
)
def test_ranges_that_are_none_are_left_out_and_a_status_is_one_line(tmp_path, ranges):
    law = {**formulas.LAWS["hoffmann"].params, "status": "a\n\x1b[2J"}
    (tmp_path / "law.json").write_text(json.dumps({**law, "card": {"ranges": ranges}}))
    assert formulas.plan(1e20, law=tmp_path / "law.json")["status"] == "a \\x1b[2J"
