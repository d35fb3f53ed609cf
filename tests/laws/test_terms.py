"""A law with a term for each axis: planted constants come back, a limit is forecast, and what cannot be fitted is refused."""

from __future__ import annotations

import numpy as np
import pytest

from scalept_lab.errors import InputError
from scalept_lab.laws.terms import fit_terms, straight_line


def planted(noise: float = 0.0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    grid = np.meshgrid([1e3, 4e3, 1.6e4], [100, 400, 1600], [250, 500, 1000], indexing="ij")
    N, n, s = (axis.ravel() for axis in grid)
    L = 0.05 + 30 / N**0.6 + 40 / n + 5 / s**0.5
    return {"N": N, "n": n, "s": s}, L * np.exp(noise * np.random.default_rng(0).standard_normal(len(L)))


def test_planted_constants_come_back():
    law = fit_terms(*planted())
    assert law.E == pytest.approx(0.05, abs=0.01)
    assert law.alpha == pytest.approx({"N": 0.6, "n": 1.0, "s": 0.5}, rel=0.05)
    assert law.misfit < 1e-3


def test_it_forecasts_a_limit_that_a_straight_line_misses():
    x, L = planted(0.03)
    at = {"N": 64e3, "n": 100.0, "s": 8000.0}
    true = 0.05 + 30 / 64e3**0.6 + 0.4 + 5 / 8000**0.5
    law = float(fit_terms(x, L)(**at))
    line = float(straight_line(x, L, {name: [value] for name, value in at.items()})[0])
    assert abs(np.log(law / true)) < 0.1 < abs(np.log(line / true))


def test_the_parts_add_up_and_name_the_bottleneck():
    law = fit_terms(*planted())
    parts = law.parts(N=16e3, n=100.0, s=1000.0)
    assert float(law(N=16e3, n=100.0, s=1000.0)) == pytest.approx(float(sum(parts.values())))
    assert max(parts, key=lambda name: float(parts[name])) == "n"


def test_the_straight_line_is_a_plane_in_logarithms():
    x, _ = planted()
    L = 7 * x["N"] ** -0.3 * x["n"] ** -0.2 * x["s"] ** 0.1
    found = straight_line(x, L, {"N": [1e6], "n": [1e4], "s": [1e4]})
    assert found == pytest.approx(7 * 1e6**-0.3 * 1e4**-0.2 * 1e4**0.1)


@pytest.mark.parametrize(
    ("x", "L", "said"),
    [
        ({"n": [1.0, 2, 3]}, [1.0, 2, 3], "more than 3 runs"),
        ({"n": [1.0, 2, 3, 4]}, [1.0, 2, 3], "more than 3 runs"),
        ({"n": [1.0, 2, 0, 4]}, [1.0, 2, 3, 4], "n: expected positive numbers"),
        ({"n": [1.0, 2, 3, 4]}, [1.0, np.nan, 3, 4], "L: expected positive numbers"),
        ({}, [1.0, 2], "more than 1 runs"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(x, L, said):
    with pytest.raises(InputError, match=said) as error:
        fit_terms(x, L)
    assert "\n" not in str(error.value)


def test_another_axis_is_refused():
    with pytest.raises(InputError, match="a value for each of N, n, s, got N"):
        fit_terms(*planted())(N=1.0)
