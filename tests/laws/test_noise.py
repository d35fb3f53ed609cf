"""The noise scale of problems where it is known exactly, the trade-off of planted constants, and spikes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scalept_lab.errors import InputError
from scalept_lab.laws import noise
from scalept_lab.laws.noise import Tradeoff

# --- the noise scale


def gaussian(
    G: float, variance: float, sizes: list[int], repeats: int, dims: int = 50
) -> dict[int, list[float]]:
    """Squared lengths of mean gradients whose examples are normal around a mean of length G, tr Σ = `variance`."""
    rng = np.random.default_rng(3)
    mean = np.full(dims, G / math.sqrt(dims))
    return {
        B: [
            float(((mean + rng.normal(0, math.sqrt(variance / dims / B), dims)) ** 2).sum())
            for _ in range(repeats)
        ]
        for B in sizes
    }


@pytest.mark.parametrize("sizes", [[1, 64], [4, 256], [1, 8, 64]])
@pytest.mark.parametrize(("G", "variance"), [(1.0, 20.0), (0.3, 5.0)])
def test_a_known_covariance_gives_its_noise_scale(sizes, G, variance):
    found = noise.noise_scale(gaussian(G, variance, sizes, repeats=4000))
    assert found.signal == pytest.approx(G**2, rel=0.1)
    assert found.noise == pytest.approx(variance, rel=0.1)
    assert found.B_simple == pytest.approx(variance / G**2, rel=0.15)
    assert found.low < variance / G**2 < found.high


def test_two_sizes_are_the_two_estimates_of_the_paper():
    """McCandlish et al. 2018, appendix A.1, written out."""
    big, small, g_big, g_small = 64, 8, 2.0, 5.0
    signal = (big * g_big - small * g_small) / (big - small)
    trace = (g_small - g_big) / (1 / small - 1 / big)
    found = noise.noise_scale({small: [g_small], big: [g_big]})
    assert (found.signal, found.noise) == (pytest.approx(signal), pytest.approx(trace))
    assert found.B_simple == pytest.approx(trace / signal)


def test_three_sizes_by_hand_each_weighted_by_how_often_it_was_measured():
    """Means 4, 2, 2 at 1/B = 1, ½, ¼ with weights 1, 1, 2: slope (4·6 − 2·10)/(4·1.375 − 2²), height (10 − 2·slope)/4."""
    found = noise.noise_scale({1: [4.0], 4: [1.0, 3.0], 2: [2.0]})
    assert (found.noise, found.signal) == (pytest.approx(8 / 3), pytest.approx(7 / 6))
    assert found.B_simple == pytest.approx(16 / 7)


def test_sizes_measured_together_are_drawn_together():
    """Where the small batch is always three times the large one, no draw of batches changes the ratio of the two."""
    large = np.random.default_rng(0).uniform(0.5, 2, 30)
    together = noise.noise_scale({1: 3 * large, 64: large})
    assert (together.low, together.high) == pytest.approx((together.B_simple,) * 2)
    apart = noise.noise_scale({1: 3 * large, 64: large[:29]})
    assert apart.high > 1.1 * apart.low


def test_the_interval_covers_the_truth_about_as_often_as_it_says(monkeypatch):
    """The 90 % interval, in 150 experiments."""
    monkeypatch.setattr(noise, "RESAMPLES", 80)
    truth, inside = 20.0, 0
    rng = np.random.default_rng(0)
    for _ in range(150):
        squares = {B: (1 + truth / B * (1 + 0.5 * rng.standard_normal(40))).clip(0) for B in (1, 64)}
        found = noise.noise_scale(squares)
        inside += found.low < truth < found.high
    assert 0.8 < inside / 150 < 0.97


def test_without_a_signal_the_scale_is_infinite_and_without_noise_zero():
    assert noise.noise_scale({1: [64.0], 64: [1.0]}).B_simple == math.inf
    assert noise.noise_scale({1: [1.0], 64: [1.0]}).B_simple == pytest.approx(0)


@pytest.mark.parametrize(
    ("squares", "said"),
    [
        ({}, "two batch sizes or more"),
        ({8: [1.0]}, "two batch sizes or more, got 1"),
        ({0: [1.0], 8: [1.0]}, "at least 1"),
        ({1: [], 8: [1.0]}, "squared lengths"),
        ({1: [math.nan], 8: [1.0]}, "squared lengths"),
        ({1: [-1.0], 8: [1.0]}, "squared lengths"),
    ],
)
def test_bad_squares_are_refused_in_one_line(squares, said):
    with pytest.raises(InputError, match=said) as error:
        noise.noise_scale(squares)
    assert "\n" not in str(error.value)


# --- steps against examples


@pytest.mark.parametrize(("S_min", "E_min"), [(100.0, 3000.0), (1e4, 5e6)])
def test_the_fit_finds_planted_constants(S_min, E_min):
    planted = Tradeoff(S_min, E_min, 0.0)
    batches = planted.B_crit * np.array([0.03, 0.1, 0.3, 1, 3, 10])
    exact = noise.fit_tradeoff(batches, planted.steps(batches))
    assert (exact.S_min, exact.E_min) == (pytest.approx(S_min), pytest.approx(E_min))
    assert exact.error < 1e-6
    rng = np.random.default_rng(0)
    rough = noise.fit_tradeoff(batches, planted.steps(batches) * np.exp(0.05 * rng.standard_normal(6)))
    assert rough.B_crit == pytest.approx(planted.B_crit, rel=0.2) and 0.01 < rough.error < 0.1


def test_the_trade_off_is_the_papers_hyperbola():
    fit = Tradeoff(100.0, 3000.0, 0.0)
    for batch in (1, 30, 1000):
        steps, examples = fit.steps(batch), fit.examples(batch)
        assert examples == pytest.approx(batch * steps)
        assert (steps / fit.S_min - 1) * (examples / fit.E_min - 1) == pytest.approx(1)
    assert (fit.steps(fit.B_crit), fit.examples(fit.B_crit)) == (200, 6000)


def test_runs_that_did_not_arrive_are_left_out():
    planted = Tradeoff(100.0, 3000.0, 0.0)
    steps = [float(planted.steps(batch)) for batch in (1, 10, 100, 1000)]
    assert noise.fit_tradeoff([1, 10, 100, 1000, 5], [*steps, math.nan]).S_min == pytest.approx(100)


@pytest.mark.parametrize(
    ("batches", "steps"),
    [
        ([1, 2], [10, 5]),
        ([1, 2, 4], [10, math.nan, 5]),
        ([1, 2, 4], [10, 5]),
        ([0, 2, 4], [10, 5, 4]),
        ([1, 2, 4], [10, 0, 4]),
        ([1, 2, 4], [10, 10, 10]),
        ([1, 2, 4, 8], [64, 32, 16, 8]),
    ],
)
def test_steps_that_say_nothing_of_a_trade_off_are_refused(batches, steps):
    with pytest.raises(InputError) as error:
        noise.fit_tradeoff(batches, steps)
    assert "expected" in str(error.value) and "\n" not in str(error.value)


def test_the_step_at_which_a_curve_passes_a_loss():
    falling = [(10 * i, 640 * i, 5 - 0.1 * i) for i in range(1, 31)]
    assert noise.steps_to(falling, 3.55) == pytest.approx(145)
    assert math.isnan(noise.steps_to(falling, 1.0))
    rng = np.random.default_rng(0)
    rough = [(s, t, loss + 0.05 * rng.standard_normal()) for s, t, loss in falling]
    assert noise.steps_to(rough, 3.55) == pytest.approx(145, abs=12)
    with pytest.raises(InputError, match="at least 5 points"):
        noise.steps_to(falling[:4], 3.0)


# --- spikes


def test_spikes_are_counted_once_each():
    losses = np.concatenate([np.linspace(5, 2, 100), [4] * 15, np.linspace(2, 1.9, 50), [4] * 30, [1.8] * 50])
    assert noise.spikes(losses) == 2
    assert noise.spikes(np.linspace(5, 2, 100)) == 0
    assert noise.loss_ratio(losses).max() == pytest.approx(4 / losses[155:165].mean(), rel=0.02)


@pytest.mark.parametrize("losses", [[2.0] * 5, [2.0] * 20 + [float("nan")], [0.0] * 20])
def test_losses_that_are_none_are_refused(losses):
    with pytest.raises(InputError, match="did the run diverge"):
        noise.spikes(losses)


def test_the_misfit_is_the_root_mean_square_of_the_logarithm():
    batches = np.array([1.0, 10, 100, 1000])
    steps = Tradeoff(100.0, 3000.0, 0.0).steps(batches) * np.array([1.1, 0.9, 1.2, 0.95])
    fit = noise.fit_tradeoff(batches, steps)
    off = np.log(fit.steps(batches) / steps)
    assert fit.error == pytest.approx(np.sqrt((off**2).mean())) and off.mean() == pytest.approx(0, abs=0.02)


def test_where_a_curve_passes_by_hand():
    """Means of two points: 4.5 at step 15 and 3 at step 25."""
    curve = [(10, 1, 5.0), (20, 2, 4.0), (30, 3, 2.0)]
    assert noise.steps_to(curve, 3.0, average=1) == 25
    assert noise.steps_to(curve, 3.5, average=2) == pytest.approx(15 + 10 / 1.5)
    assert noise.steps_to(curve, 4.6, average=2) == 15
    assert math.isnan(noise.steps_to(curve, 3.0, average=2))  # it reaches 3 and does not pass it
    assert noise.steps_to(curve, 3.7, average=3) == 20


def test_loss_ratio_and_spikes_by_hand():
    assert noise.loss_ratio([4, 2, 2, 6], window=2).tolist() == [1, 1, 2]
    assert noise.spikes([1, 1, 2, 2, 1, 2], window=1, ratio=1.5) == 2
    assert noise.spikes([1, 1, 2, 2, 1, 2], window=1, ratio=2.0) == 0
    losses = [1.0] * 20 + [3.0] * 5 + [1.0] * 20
    found = noise.summary(losses, np.arange(1, 101))
    assert found == pytest.approx({"spikes": 1, "largest_ratio": 2, "norm_median": 50.5, "norm_p99": 99.01})
    assert noise.spikes([1.0] * 10) == 0


def test_what_is_left_without_the_hardness_of_the_text():
    rng = np.random.default_rng(0)
    hard = 2 + np.convolve(rng.standard_normal(200), np.ones(10) / 10, "same")
    own = 2 + 2 * np.exp(-np.arange(200) / 30)
    losses = own + hard - hard.mean()
    assert noise.beyond(losses, hard) == pytest.approx(own)
    assert noise.spikes(losses) > 0 == noise.spikes(noise.beyond(losses, hard))
    losses[120:135] *= 1.5
    assert noise.spikes(noise.beyond(losses, hard)) == 1
    for bad in (hard[1:], hard * np.nan):
        with pytest.raises(InputError, match="hardness: expected 200 numbers, one for each loss, got"):
            noise.beyond(losses, bad)
