"""Points are checked before any fit sees them: every fault in one line that names its place."""

import numpy as np
import pandas as pd
import pytest
from refusals import one_line
from synthetic import as_csv, small

from scalept_lab.errors import InputError
from scalept_lab.laws.card import fit_file as fit_cli
from scalept_lab.laws.fit import fit_law
from scalept_lab.laws.points import check_points, variable
from scalept_lab.laws.tables import read_points

GOOD = as_csv(*small())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace("loss", "score", 1), "missing column loss"),
        (lambda t: "", "empty"),
        (lambda t: t.replace("tokens", "loss", 1), "missing column tokens"),
        (lambda t: t.replace("params", "loss,params", 1), "twice"),
        (lambda t: "\n".join(t.split("\n")[:6]), "at least 6 points, got 5"),
        (lambda t: t.split("\n")[0], "at least 6 points, got 0"),
        (lambda t: t.replace("10000,", "ten thousand,", 1), "line 2, column params.*'ten thousand'"),
        (lambda t: t.replace("10000,", "0,", 1), "line 2, column params.*'0'"),
        (lambda t: t.replace("10000,", "-4,", 1), "line 2, column params.*'-4'"),
        (lambda t: t.replace("10000,", "nan,", 1), "line 2, column params.*'nan'"),
        (lambda t: t.replace("10000,", "inf,", 1), "line 2, column params.*'inf'"),
        (lambda t: t.replace("10000,", ",", 1), "line 2, column params.*''"),
        (lambda t: t.replace("10000,", "10000,7,", 1), "line 2: expected 3 values"),
    ],
)
def test_bad_csv_is_one_line_that_names_the_place(tmp_path, change, words):
    path = tmp_path / "points.csv"
    path.write_text(change(GOOD))
    with pytest.raises(InputError, match=words) as caught:
        read_points(path)
    assert "\n" not in str(caught.value) and "points.csv" in str(caught.value)


def test_unreadable_csv(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_points(tmp_path / "none.csv")
    with pytest.raises(InputError, match="not a readable"):
        read_points(tmp_path)
    path = tmp_path / "points.csv"
    path.write_bytes(b"\xff\xfe\x00params")
    with pytest.raises(InputError, match="not a readable"):
        read_points(path)
    path.write_text(GOOD)
    with pytest.raises(InputError, match="unique_tokens"):
        read_points(path, "data_constrained")
    with pytest.raises(InputError, match=r"auto, chinchilla, tied, .* got .cubic."):
        fit_cli(path, form="cubic")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda N, D, L: (N[:5], D[:5], L[:5]), "at least 6"),
        (lambda N, D, L: (N[:9], D, L), "params has 9, tokens has 15"),
        (lambda N, D, L: (N, D, np.where(np.arange(15) == 3, np.nan, L)), "row 4, column loss"),
        (lambda N, D, L: (N, [*D[:14], "many"], L), "row 15, column tokens.*'many'"),
        (lambda N, D, L: (N, D, -L), "row 1, column loss"),
        (lambda N, D, L: (np.full(15, 1e4), D, L), "three different values, got 1"),
        (lambda N, D, L: (N, None, L), "tokens: form chinchilla needs"),
        (lambda N, D, L: (N, D, 3.0), "loss: expected a list"),
    ],
)
def test_bad_arrays(change, words):
    with pytest.raises(InputError, match=words):
        fit_law(*change(*small()))


def test_data_without_repetition_has_no_decay():
    N, D, L = small()
    with pytest.raises(InputError, match="no row repeats"):
        fit_law(N, D, L, "data_constrained", D)


def test_the_one_variable_of_a_power_law():
    six, L = np.arange(1.0, 7.0), np.linspace(3, 2, 6)
    name, X = variable(check_points(six, 7 * six, L, form="power"))
    assert name == "flops" and X == pytest.approx(42 * six**2)
    assert variable(check_points(six, np.full(6, 5.0), L, form="power"))[0] == "params"
    assert variable(check_points(None, six, L, form="power"))[0] == "tokens"
    assert len(variable(check_points([1, 2, 3, 1, 2, 3], None, L, form="power"))[1]) == 6
    with pytest.raises(InputError, match="neither params nor tokens varies"):
        variable(check_points(np.full(6, 5.0), None, L, form="power"))
    with pytest.raises(InputError, match="params: expected at least three different values, got 2"):
        variable(check_points([1, 1, 1, 2, 2, 2], None, L, form="power"))


def test_the_variable_that_is_asked_for():
    six, L = np.arange(1.0, 7.0), np.linspace(3, 2, 6)
    both, given = (check_points(six, 7 * six, L, form="power", C=C) for C in (None, 50 * six**2))
    for points, flops in ((both, 42 * six**2), (given, 50 * six**2)):
        for name, X in (("params", six), ("tokens", 7 * six), ("flops", flops), ("", flops)):
            found, values = variable(points, name)
            assert found == (name or "flops") and values == pytest.approx(X)
    alone = check_points(None, None, L, form="power", C=3 * six)
    assert variable(alone)[0] == "flops" and variable(alone)[1] == pytest.approx(3 * six)
    assert variable(check_points(six, None, L, form="power", C=9 * six))[0] == "params"
    assert variable(check_points(np.full(6, 5.0), None, L, form="power", C=9 * six))[0] == "flops"
    one_line(lambda: variable(alone, "tokens"), "tokens: the points have no such column")
    one_line(lambda: variable(both, "steps"), "variable: expected one of params, tokens, flops, got 'steps'")
    one_line(lambda: variable(given, "Params"), "did you mean params")
    same = check_points(six, 1 / six, L, form="power")
    one_line(lambda: variable(same), "flops: expected at least three different values, got 1")


@pytest.mark.parametrize(
    ("form", "missing"),
    [("chinchilla", "N"), ("tied", "D"), ("power_of_sum", "L"), ("data_constrained", "unique"), ("power", "L"),
     ("broken_power", "L"), ("auto", "L")],
)  # fmt: skip
def test_what_a_form_needs(form, missing):
    six, names = np.arange(1.0, 7.0), {"N": "params", "D": "tokens", "L": "loss", "unique": "unique_tokens"}
    given = {"N": six, "D": 2 * six, "L": 3 * six, "unique": six, "C": 5 * six}
    found = check_points(form=form, **given)
    assert [getattr(found, key)[1] for key in given] == [2, 4, 6, 2, 10]
    one_line(
        lambda: check_points(form=form, **{**given, missing: None}), f"{names[missing]}: form {form} needs"
    )
    two = {**given, "D": [1, 2, 1, 2, 1, 2], "unique": np.full(6, 0.5)}
    if form in ("auto", "power", "broken_power"):
        assert len(check_points(form=form, **two)) == 6
        one_line(lambda: check_points(None, None, six, form=form), "expected a column params or tokens")
        assert check_points(None, None, six, form=form, C=six).C[5] == 6
    else:
        one_line(
            lambda: check_points(form=form, **two), "tokens: expected at least three different values, got 2"
        )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1, 2, True, 4, 5, 6], "row 3, column flops: expected a positive number, got True"),
        (np.array([True] * 6), "row 1, column flops"),
        ([1, 2, 3, 10**400, 5, 6], "row 4, column flops"),
        ([1, 2, 3, 4, None, 6], "row 5, column flops: expected a positive number, got None"),
        (np.array([[1.0]] * 6), "row 1, column flops"),
        (np.array([1, 2, 3, 4, 5, 0], np.int8), "row 6, column flops: expected a positive number, got 0"),
        ([1 + 0j] * 6, "row 1, column flops"),
        ([1, 2, 3], "columns differ in length: params has 6, loss has 6, flops has 3"),
    ],
    ids=str,
)  # fmt: skip
def test_compute_is_checked_as_the_others_are(values, words):
    six = np.arange(1.0, 7.0)
    one_line(lambda: check_points(six, None, six, form="power", C=values), words)


def test_a_column_of_any_kind_of_numbers():
    six = [1, 2.5, "3", np.float32(4), np.int64(5), "20_000"]
    found = check_points(six, None, np.arange(1, 7, dtype=np.uint8), form="power", C=pd.Series(six))
    assert found.N.tolist() == found.C.tolist() == [1, 2.5, 3, 4, 5, 20_000]
    assert found.L.dtype == float and found.L.tolist() == [1, 2, 3, 4, 5, 6]


def test_columns_by_name_in_any_order_and_numpys_numbers(tmp_path):
    path = tmp_path / "points.csv"
    lines = [f"a,{2 + i},{10 * i},{i}" for i in range(1, 7)]
    path.write_text("\n".join(["note, LOSS ,tokens,Params", "", *lines[:3], "  ,,,", *lines[3:]]))
    found = read_points(path)
    assert len(found) == 6 and found.unique is None and found.runs == ()
    assert (found.N.tolist(), found.D[1], found.L[5]) == ([1, 2, 3, 4, 5, 6], 20, 8)
    path.write_text(path.read_text().replace("tokens", "words"))
    assert read_points(path, "power").D is None
    path.write_text(path.read_text().replace("Params", "size"))
    with pytest.raises(InputError, match=f"^{path}: expected a column params or tokens besides loss"):
        read_points(path, "power")


def test_a_column_of_unique_tokens_is_read_where_the_form_needs_it(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(
        "params,tokens,loss,unique_tokens\n" + "".join(f"{i},{10 * i},2,{4 * i}\n" for i in range(1, 7))
    )
    assert read_points(path).unique is None
    assert read_points(path, "data_constrained").unique.tolist() == [4, 8, 12, 16, 20, 24]


def test_six_points_and_three_values_are_enough():
    N, D, L = [1, 1, 2, 2, 3, 3], [5, 6, 7, 5, 6, 7], [3.0] * 6
    assert len(check_points(N, D, L)) == 6
    with pytest.raises(InputError, match="tokens: expected at least three different values, got 2"):
        check_points(N, [5, 6, 6, 5, 6, 5], L)
    with pytest.raises(InputError, match="row 2, column unique_tokens"):
        check_points(N, D, L, [5, -6, 7, 5, 6, 7])


@pytest.mark.parametrize("value", [1e-320, 1e-101, 1e101, 1e308])
def test_a_number_whose_square_is_none_is_named(value):
    six = np.arange(1.0, 7.0)
    assert (
        len(check_points(six, six, np.r_[six[:5], 1e100]).L)
        == len(check_points(six, six, np.r_[six[:5], 1e-100]).L)
        == 6
    )
    words = "row 6, column loss: expected a positive number from 1e-100 to 1e+100, got "
    one_line(lambda: check_points(six, six, np.r_[six[:5], value]), words)
