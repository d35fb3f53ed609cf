"""Points are checked before any fit sees them: every fault in one line that names its place."""

import numpy as np
import pytest
from synthetic import as_csv, small

from scalept_lab.errors import InputError
from scalept_lab.laws.fit import fit_cli, fit_law
from scalept_lab.laws.points import read_points

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
    with pytest.raises(InputError, match="chinchilla, power, data_constrained"):
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
