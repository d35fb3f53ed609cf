"""Intervals cover what they should, and refuse what has none."""

from __future__ import annotations

import numpy as np
import pytest

from scalept_lab.errors import InputError
from scalept_lab.laws.compare import paired, wilson


def test_wilson_by_its_formula():
    share, n, z = 0.9, 256, 1.959964
    found = wilson(round(share * n), n)
    p = round(share * n) / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert (found.mean, found.low, found.high) == pytest.approx((p, middle - half, middle + half), abs=1e-6)


def test_wilson_stays_inside_and_says_something_at_the_ends():
    none, all_ = wilson(0, 50), wilson(50, 50)
    assert none.low == pytest.approx(0, abs=1e-12) and 0.05 < none.high < 0.1
    assert all_.high == pytest.approx(1, abs=1e-12) and 0.9 < all_.low < 0.95


def test_wilson_covers_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    inside = [
        (found := wilson(int(k), 64)).low <= 0.9 <= found.high for k in rng.binomial(64, 0.9, size=2000)
    ]
    assert 0.92 < np.mean(inside) < 0.98


def test_pairing_removes_what_the_seeds_share():
    rng = np.random.default_rng(1)
    seed_effect = rng.normal(0, 1, 8)
    baseline, arm = seed_effect + rng.normal(0, 0.01, 8), seed_effect + 0.1 + rng.normal(0, 0.01, 8)
    found = paired(arm, baseline)
    assert found.excludes_zero and found.low < 0.1 < found.high
    assert not paired(arm, baseline[::-1]).excludes_zero


def test_paired_covers_nineteen_times_in_twenty():
    rng = np.random.default_rng(2)
    inside = [not paired(rng.normal(0, 1, 5), rng.normal(0, 1, 5)).excludes_zero for _ in range(2000)]
    assert 0.93 < np.mean(inside) < 0.97


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 4), (5, 4)])
def test_wilson_refuses(successes, trials):
    with pytest.raises(InputError, match=r"wilson: expected .* got"):
        wilson(successes, trials)


@pytest.mark.parametrize(
    ("arm", "baseline"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, float("nan")], [1.0, 2.0])]
)
def test_paired_refuses(arm, baseline):
    with pytest.raises(InputError, match="paired: expected"):
        paired(arm, baseline)
