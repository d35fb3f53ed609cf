"""The noise scale of problems where it is known exactly, the trade-off of planted constants, and runs taken step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.data import tokens
from scalept_lab.data.corpora import prepare
from scalept_lab.errors import InputError
from scalept_lab.laws import noise
from scalept_lab.laws.noise import NoiseScale, Tradeoff
from scalept_lab.model import ravine
from scalept_lab.model.transformer import cross_entropy
from scalept_lab.plots import training
from scalept_lab.train import stepwise
from scalept_lab.train.loop import fit_model

TINY = ModelConfig(width=16, context=16, heads=2)


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


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    truth, inside = 20.0, 0
    rng = np.random.default_rng(0)
    for _ in range(200):
        squares = {B: list(1 + truth / B * (1 + 0.5 * rng.standard_normal(40))) for B in (1, 64)}
        squares = {B: [max(0.0, value) for value in values] for B, values in squares.items()}
        found = noise.noise_scale(squares)
        inside += found.low < truth < found.high
    assert 0.75 < inside / 200 < 0.99


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


@pytest.fixture
def begun(tiny_corpus) -> stepwise.Run:
    """A run that has learned a little: at the very start all gradients of the head alone differ from zero."""
    config = TrainConfig(model=TINY, corpus=tiny_corpus, tokens=16 * 4 * 40, eval_windows=50)
    run = stepwise.start(config)
    return stepwise.go_on(run, stepwise.schedule(config)[:20])


def test_the_estimate_from_a_model_is_that_of_its_own_gradients_one_by_one(begun):
    """The slow twin: tr Σ and |G|² from every sequence's own gradient, by their definitions without bias."""
    groups, large = 6, 16
    squares = stepwise.squared_gradients(begun, sizes=(1, 4, large), batches=groups)
    stream = tokens.batches(begun.corpus.train, batch=1, context=16, steps=groups * large, seed=1_000_003)
    own = []
    for x, y in stream:
        begun.model.zero_grad()
        cross_entropy(begun.model(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        own.append(np.concatenate([p.grad.numpy().ravel() for p in begun.model.parameters()]))
    own_GxBxP = np.array(own, float).reshape(groups, large, -1)
    assert squares[1] == pytest.approx(list((own_GxBxP**2).sum(2).mean(1)), rel=1e-4)
    assert squares[large] == pytest.approx(list((own_GxBxP.mean(1) ** 2).sum(1)), rel=1e-4)
    four_GxQxP = own_GxBxP.reshape(groups, 4, 4, -1).mean(2)
    assert squares[4] == pytest.approx(list((four_GxQxP**2).sum(2).mean(1)), rel=1e-4)
    trace = own_GxBxP.var(1, ddof=1).sum(1).mean()
    signal = (own_GxBxP.mean(1) ** 2).sum(1).mean() - trace / large
    found = noise.noise_scale({size: squares[size] for size in (1, large)})
    assert (found.noise, found.signal) == (pytest.approx(trace, rel=1e-3), pytest.approx(signal, rel=1e-3))


@pytest.mark.parametrize("sizes", [(4,), (4, 4), (3, 8), (0, 8), ()])
def test_sizes_that_do_not_divide_are_refused(begun, sizes):
    with pytest.raises(InputError, match="sizes: expected"):
        stepwise.squared_gradients(begun, sizes=sizes, batches=1)


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


# --- step by step


def test_the_run_by_hand_is_the_run_of_the_loop(begun):
    model, record = fit_model(begun.config)
    whole = stepwise.go_on(begun, stepwise.schedule(begun.config)[20:])
    assert whole.step == begun.config.steps
    for ours, theirs in zip(whole.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert stepwise.score(whole) == record.L


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "momentum"])
def test_a_branch_goes_on_as_the_original_and_leaves_it_alone(tiny_corpus, optimizer):
    config = TrainConfig(
        model=TINY, corpus=tiny_corpus, tokens=16 * 4 * 30, eval_windows=50, optimizer=optimizer
    )
    run = stepwise.go_on(stepwise.start(config), [1.0] * 10)
    before = [p.clone() for p in run.model.parameters()]
    copied = stepwise.go_on(stepwise.branch(run), stepwise.decay(10))
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))
    assert run.step == 10 and copied.step == 20 and len(copied.losses) == 20
    stepwise.go_on(run, stepwise.decay(10))
    assert run.losses == copied.losses
    assert all(
        torch.equal(a, b) for a, b in zip(copied.model.parameters(), run.model.parameters(), strict=True)
    )


def test_decay_falls_in_a_line_to_one_step_before_zero():
    assert stepwise.decay(4) == [1.0, 0.75, 0.5, 0.25]


def test_smoothing_keeps_the_length_and_the_level():
    assert stepwise.smooth([3.0] * 40, 7) == pytest.approx([3.0] * 40)
    assert stepwise.smooth(range(40), 7)[20] == pytest.approx(20)


@pytest.mark.parametrize("rate", [-0.1, math.nan])
def test_a_rate_that_is_none_is_refused(begun, rate):
    with pytest.raises(InputError, match="rates: expected fractions"):
        stepwise.go_on(begun, [rate])


def test_the_corpus_may_be_passed(tiny_corpus):
    config = TrainConfig(model=TINY, corpus="nowhere", tokens=1000)
    assert stepwise.go_on(stepwise.start(config, prepare(tiny_corpus)), [1.0]).step == 1


# --- figures


def figures():
    lines = {"cosine": (range(5), [1, 0.8, 0.5, 0.2, 0.1]), "wsd": (range(2, 5), [1, 1, 0.5])}
    scale = NoiseScale(1.0, 8.0, 8.0, 5.0, math.inf)
    fit = Tradeoff(100.0, 3000.0, 0.0)
    steps = [[float(fit.steps(b))] * 2 for b in (1, 10, 100)]
    return [
        training.plot_schedules(lines),
        training.plot_schedules(lines, {"wsd": (range(2, 5), [3.0, 2.5, 2.0])}, limits=(1.9, 3.2)),
        *(training.plot_descent(name) for name in ravine.OPTIMIZERS),
        training.plot_descent("SGD", rate=0.2),
        training.plot_noise_scale({"a": [3.0, 2.5]}, {"a": [scale, scale]}, critical=([2.5], [9.0])),
        training.plot_tradeoff([1, 10, 100], steps, fit),
        training.plot_tradeoff([1, 10, 100], {"2.3": steps, "2.6": steps}, {"2.3": fit, "2.6": fit}),
    ]


def test_figures_are_drawn_with_named_axes():
    for fig in figures():
        assert isinstance(fig, Figure)
        assert fig.axes[-1].get_xlabel() and all(ax.get_ylabel() for ax in fig.axes)


def test_figures_refuse_what_they_cannot_draw():
    scale = NoiseScale(0.0, 8.0, math.inf, 5.0, math.inf)
    for draw in (
        lambda: training.plot_schedules({}),
        lambda: training.plot_schedules({"a": ([0], [1])}, {"b": ([0], [1])}),
        lambda: training.plot_descent("Adagrad"),
        lambda: training.plot_noise_scale({"a": [1.0]}, {"a": [scale]}),
        lambda: training.plot_noise_scale({"a": [1.0]}, {"b": [scale]}),
        lambda: training.plot_tradeoff([1, 2], [[1], [2], [3]], Tradeoff(1.0, 2.0, 0.0)),
        lambda: training.plot_tradeoff([1, 2], {"a": [[1], [2]]}, {"b": Tradeoff(1.0, 2.0, 0.0)}),
    ):
        with pytest.raises(InputError, match="expected"):
            draw()
