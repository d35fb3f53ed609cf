"""Runs taken step by step: those of the loop, branches of them, and the gradients that say how noisy they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.data import tokens
from scalept_lab.data.corpora import prepare
from scalept_lab.errors import InputError
from scalept_lab.laws import noise
from scalept_lab.model.transformer import cross_entropy
from scalept_lab.train import stepwise
from scalept_lab.train.loop import fit_model

TINY = ModelConfig(width=16, context=16, heads=2)


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
