"""Runs taken step by step: those of the loop, branches of them, and the gradients that say how noisy they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.course.sets.nb03 import noise_scale
from scalept_lab.data import tokens
from scalept_lab.data.corpora import prepare
from scalept_lab.errors import InputError
from scalept_lab.laws import noise
from scalept_lab.model.transformer import cross_entropy
from scalept_lab.train import stepwise
from scalept_lab.train.loop import fit_model

TINY = ModelConfig(width=16, context=16, heads=2)
DECAY = [1 - step / 10 for step in range(10)]


@pytest.fixture
def begun(tiny_corpus) -> stepwise.Run:
    """A run that has learned a little: at the very start all gradients of the head alone differ from zero."""
    config = TrainConfig(model=TINY, corpus=tiny_corpus, tokens=16 * 4 * 40, eval_windows=50)
    run = stepwise.start(config)
    return stepwise.go_on(run, stepwise.schedule(config)[:20])


def test_pieces_are_the_gradients_of_batches_and_leave_the_weights_alone(begun):
    before = [p.clone() for p in begun.model.parameters()]
    found = stepwise.pieces(begun, size=4, count=3, seed=2)
    stream = tokens.batches(begun.corpus.train, batch=4, context=16, steps=3, seed=1_000_005)
    for row, (x, y) in zip(found, stream, strict=True):
        begun.model.zero_grad()
        cross_entropy(begun.model(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        own = np.concatenate([p.grad.numpy().ravel() for p in begun.model.parameters()])
        np.testing.assert_allclose(row, own, rtol=1e-4, atol=1e-7)
    assert found.dtype == np.float64
    assert all(torch.equal(a, b) for a, b in zip(before, begun.model.parameters(), strict=True))


def test_the_estimates_from_pieces_are_those_of_every_sequences_own_gradient(begun):
    """tr Σ and |G|² by their definitions: the variance over single sequences, and what it leaves of the mean's square."""
    groups = [stepwise.pieces(begun, size=1, count=16, seed=seed) for seed in range(6)]
    signal, trace, scale = noise_scale(groups, 1)
    own = np.mean([g.var(0, ddof=1).sum() for g in groups])
    assert trace == pytest.approx(own, rel=1e-9)
    assert signal == pytest.approx(np.mean([(g.mean(0) ** 2).sum() for g in groups]) - own / 16, rel=1e-9)
    squares = {1: [(g**2).sum(1).mean() for g in groups], 16: [(g.mean(0) ** 2).sum() for g in groups]}
    assert scale == pytest.approx(noise.noise_scale(squares).B_simple, rel=1e-9)


@pytest.mark.parametrize(("size", "count"), [(0, 2), (2, 0), (1.5, 2), ("four", 2)])
def test_pieces_that_are_none_are_refused(begun, size, count):
    with pytest.raises(InputError, match=r"(size|count): expected") as error:
        stepwise.pieces(begun, size, count)
    assert "\n" not in str(error.value)


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
    copied = stepwise.go_on(stepwise.branch(run), DECAY)
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))
    assert run.step == 10 and copied.step == 20 and len(copied.losses) == 20
    stepwise.go_on(run, DECAY)
    assert run.losses == copied.losses
    assert all(
        torch.equal(a, b) for a, b in zip(copied.model.parameters(), run.model.parameters(), strict=True)
    )


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
