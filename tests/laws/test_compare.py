"""Intervals cover what they should, arms are compared seed by seed, and what cannot be compared is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from scalept_lab.config import TrainConfig
from scalept_lab.errors import InputError
from scalept_lab.laws import compare
from scalept_lab.laws.compare import Interval, paired, wilson
from scalept_lab.runs import RunRecord

# --- intervals


def test_wilson_by_its_formula():
    share, n, z = 0.9, 256, 1.959964
    found = wilson(round(share * n), n)
    p = round(share * n) / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert (found.mean, found.low, found.high) == pytest.approx((p, middle - half, middle + half), abs=1e-6)


@pytest.mark.parametrize(
    ("k", "n", "level"), [(0, 1, 0.95), (1, 1, 0.95), (3, 7, 0.5), (255, 256, 0.99), (10, 20, 0.9)]
)
def test_intervals_are_those_of_scipy(k, n, level):
    found, twin = wilson(k, n, level), stats.binomtest(k, n).proportion_ci(level, method="wilson")
    assert (found.low, found.high) == pytest.approx((twin.low, twin.high), abs=1e-12)
    values = np.arange(n + 2.0) ** 2
    twin = stats.ttest_1samp(values, 0).confidence_interval(level)
    found = paired(values, np.zeros(n + 2), level)
    assert (found.low, found.high) == pytest.approx((twin.low, twin.high), rel=1e-9)


def test_wilson_stays_inside_and_says_something_at_the_ends():
    none, all_ = wilson(0, 50), wilson(50, 50)
    assert none.low == pytest.approx(0, abs=1e-12) and 0.05 < none.high < 0.1
    assert all_.high == pytest.approx(1, abs=1e-12) and 0.9 < all_.low < 0.95


def test_wilson_covers_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    inside = [(found := wilson(int(k), 64)).low <= 0.9 <= found.high for k in rng.binomial(64, 0.9, size=500)]
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


def test_a_paired_interval_by_hand():
    """Differences 1, 2 and 6: mean 3, standard deviation √7; Student's t with 2 degrees of freedom is 4.303 (90 %: 2.920)."""
    found = paired([2, 4, 9], [1, 2, 3])
    half = 4.3027 * math.sqrt(7 / 3)
    assert (found.mean, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half), rel=1e-4)
    assert paired([2, 4, 9], [1, 2, 3], level=0.9).high == pytest.approx(
        3 + 2.9200 * math.sqrt(7 / 3), rel=1e-4
    )
    assert paired([2, 4], [1, 2]).mean == 1.5


def test_an_interval_that_touches_zero_holds_it():
    assert not Interval(1, 0, 2).excludes_zero and not Interval(-1, -2, 0).excludes_zero
    assert Interval(1, 0.1, 2).excludes_zero and Interval(-1, -2, -0.1).excludes_zero
    assert str(Interval(0.0213, -0.004, 0.0461)) == "+0.021 (-0.004 to +0.046)"


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 4), (5, 4)])
def test_wilson_refuses(successes, trials):
    with pytest.raises(InputError, match=r"wilson: expected .* got"):
        wilson(successes, trials)


@pytest.mark.parametrize(
    ("arm", "baseline"),
    [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, float("nan")], [1.0, 2.0]), ([1.0, 2.0], [1.0, math.inf])],
)
def test_paired_refuses(arm, baseline):
    with pytest.raises(InputError, match="paired: expected"):
        paired(arm, baseline)


# --- arms


def record(seed, loss, D=1000, C=1e9, sha="a", experiment="order", arm="plain", **fields):
    config = TrainConfig(seed=seed, **fields)
    return RunRecord(id=config.id(), config=config.model_dump(), N=1, N_total=1, D=D, C=C, L=loss, seconds=1,
                     peak_rss_bytes=1, status="ok" if loss else "diverged",
                     provenance={"corpus_sha256": sha, "experiment": experiment, "arm": arm})  # fmt: skip


def runs(shift=0.0, seeds=range(5), **changes):
    luck = np.random.default_rng(0).normal(0, 0.1, 200)
    return [record(seed, 2 + luck[seed] + shift + 0.001 * seed, **changes) for seed in seeds]


def test_pairs_cancel_the_luck_of_the_seeds():
    base, better = compare.compare({"plain": runs(), "better": runs(-0.05)}, "plain", "tokens")
    assert base.difference is None and base.tokens == base.flops == 1
    assert better.difference.mean == pytest.approx(-0.05) and better.difference.excludes_zero
    assert "better" in compare.as_text([base, better]) and "-0.050" in compare.as_text([base, better])


def test_spending_is_shown_relative_to_the_baseline():
    table = compare.compare({"plain": runs(), "short": runs(C=0.8e9)}, "plain", "tokens")
    assert table[1].flops == pytest.approx(0.8)


def test_labelled_sorts_by_arm_and_leaves_the_search_out():
    mixed = runs() + runs(seeds=range(100, 103), arm="other") + runs(arm="late")
    assert {name: len(found) for name, found in compare.labelled(mixed, "order").items()} == {
        "plain": 5,
        "late": 5,
    }
    assert set(compare.labelled(mixed, "order", range(100, 200))) == {"other"}
    with pytest.raises(InputError, match="experiment: expected one of order"):
        compare.labelled(mixed, "orders")


@pytest.mark.parametrize(
    "other, equal, words",
    [
        (runs(C=2e9), "flops", "expected the baseline's flops within 1 %, got 2.000 times"),
        (runs(D=1100), "tokens", "tokens within 1 %"),
        (runs(D=1015), "tokens", "tokens within 1 %, got 1.015 times"),
        (runs(C=0.985e9), "flops", "flops within 1 %, got 0.985 times"),
        (runs(seeds=range(1, 6)), "tokens", "expected the baseline's seeds"),
        (runs(sha="b"), "tokens", "another fingerprint"),
        (runs(eval_windows=64), "tokens", "eval_windows"),
        (runs(model={"context": 32}), "tokens", "expected windows of 64 tokens"),
        ([*runs()[:4], record(4, None)], "tokens", "got one that diverged"),
        (runs() + runs(), "tokens", "one run for each seed"),
        (runs(), "seconds", "equal: expected one of tokens, flops"),
    ],
)
def test_unfair_comparisons_are_refused(other, equal, words):
    with pytest.raises(InputError, match=words):
        compare.compare({"plain": runs(), "other": other}, "plain", equal)


def test_spending_that_differs_by_less_than_the_tolerance_is_alike():
    assert compare.compare({"plain": runs(), "other": runs(D=1009)}, "plain", "tokens")[1].tokens == 1.009


def test_few_seeds_and_unknown_baselines_are_refused():
    with pytest.raises(InputError, match="expected 5 seeds or more, got 3"):
        compare.compare({"plain": runs(seeds=range(3))}, "plain", "tokens")
    with pytest.raises(InputError, match="baseline: expected one of plain"):
        compare.compare({"plain": runs()}, "uniform", "tokens")


def test_one_row_by_hand():
    """Losses 2, 3 against 2.5, 3.1: −0.3 on average; tokens 1.005 and 1.0 times, FLOPs 2 and 4 times the baseline's."""
    base = [record(3, 2.5), record(8, 3.1)]
    arm = [record(8, 3.0, C=4e9), record(3, 2.0, D=1005, C=2e9)]
    table = compare.compare({"plain": base, "arm": arm}, "plain", "tokens", fewest=2)
    assert (table[0].loss, table[1].loss, table[1].seeds) == (2.8, 2.5, 2)
    assert table[1].difference.mean == pytest.approx(-0.3)
    assert (table[1].tokens, table[1].flops) == (pytest.approx(1.0025), pytest.approx(3))
    assert compare.as_text(table).split("\n") == [
        "arm    loss   tokens  FLOPs  difference to the baseline (95 %)",
        "plain  2.800   1.00   1.00  baseline",
        "arm    2.500   1.00   3.00  -0.300 (-2.841 to +2.241)",
    ]


def test_a_metric_takes_the_place_of_the_loss_whatever_the_windows():
    def read(seed, loss, metric, **fields):
        return record(seed, loss, **fields).model_copy(update={"metrics": {"read_64": metric + seed / 10}})

    plain = [read(seed, 2.0, 1.0) for seed in range(5)]
    short = [read(seed, 9.0, 0.9, arm="short", model={"context": 32}) for seed in range(5)]
    found = compare.compare({"plain": plain, "short": short}, "plain", "tokens", metric="read_64")[1]
    assert found.loss == pytest.approx(1.1) and found.difference.mean == pytest.approx(-0.1)
    with pytest.raises(InputError, match="windows of"):
        compare.compare({"plain": plain, "short": short}, "plain", "tokens")
    with pytest.raises(InputError, match="metric: expected"):
        compare.compare({"plain": plain, "short": short}, "plain", "tokens", metric="read_8")
