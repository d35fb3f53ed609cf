"""Points are checked before any fit sees them: every fault in one line that names its place."""

import numpy as np
import pytest
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
    with pytest.raises(InputError, match="auto, chinchilla, tied, .* got .cubic."):
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
