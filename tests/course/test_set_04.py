"""The oracles of notebook 04: right answers in other words pass, and what a learner may hand in by mistake is told in a line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from scalept_lab.config import ModelConfig
from scalept_lab.costs.blocks import scaled
from scalept_lab.costs.numbers import FORMATS
from scalept_lab.course.exercises import grade
from scalept_lab.course.sets import nb04
from scalept_lab.model.activations import saving
from scalept_lab.model.precision import autocast
from scalept_lab.model.transformer import Transformer, cross_entropy


@pytest.mark.parametrize("answer", [
    {"up": 0.0156, "down": 0.0078}, {"up": "0.015625", "down": np.float32(0.0078125)}, (torch.tensor(2.0**-6), 2.0**-7),
])  # fmt: skip
def test_an_update_that_vanishes_is_right_as_it_is_printed(answer):
    assert grade("04.5", answer).ok


@pytest.mark.parametrize("price", ["forward pass", "a forward pass", "One forward pass", '"Forward pass" '])
def test_the_price_of_recomputation_in_other_words(price):
    for gigabytes in (1.6, "1.6", 1.645, np.float64(1.6447)):
        assert grade("04.10", {"gigabytes": gigabytes, "price": price}).ok
    assert "choose one of" in grade("04.10", {"gigabytes": 1.6, "price": "twice"}).message
    assert not grade("04.10", {"gigabytes": ..., "price": price}).answered


def test_the_rounding_that_serves_is_torchs_cast():
    for x, exponent, mantissa, top in nb04._rounding_cases():
        assert np.array_equal(nb04.nearest(x, exponent, mantissa, top), nb04.cast(x, exponent, mantissa, top))
        form = next(f for f in FORMATS.values() if (f.exponent, f.mantissa) == (exponent, mantissa))
        assert np.array_equal(nb04.nearest(x, exponent, mantissa, top), np.clip(form.round(x), -top, top))


def test_rounding_by_chance_may_be_written_otherwise():
    def added(x, exponent, mantissa, largest, rng):
        _, power = np.frexp(x)
        step = 2.0 ** (np.maximum(power - 1, 2 - 2 ** (exponent - 1)) - mantissa)
        return np.clip(np.floor(x / step + rng.random(x.shape)) * step, -largest, largest)

    assert grade("04.3", added).ok
    assert "shape" in grade("04.3", lambda x, *rest: 1.0).message
    assert not grade("04.3", lambda *given: None).answered
    assert (
        "one and the same chance, or by none"
        in grade("04.3", lambda x, e, m, top, rng: nb04.nearest(x, e, m, top)).message
    )


def test_a_scaler_may_multiply_by_the_inverse_and_returns_two_things():
    def inverse(optimizer, scale, good, interval):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.mul_(1 / scale)
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if any(not bool(torch.isfinite(g).all()) for g in grads):
            return [0.5 * scale, 0]
        optimizer.step()
        return [2 * scale, 0] if good + 1 == interval else [scale, good + 1]

    assert grade("04.4", inverse).ok
    assert "return two things" in grade("04.4", lambda *given: 1024.0).message


def test_block_scales_are_those_of_the_kit():
    x = np.random.default_rng(0).standard_normal((4, 96)) * np.array([[1e-3], [1], [50], [1e5]])
    for name, bits in (("mxfp4", (2, 1, 6.0)), ("mxfp8", (4, 3, 448.0))):
        assert np.array_equal(nb04.block_scaled(x, *bits), scaled(x, name))


def test_accumulation_may_weigh_means_by_their_share():
    def shares(model, x, y, kept, rows):
        total = float(kept.sum())
        said = 0.0
        for a, b, k in zip(x.split(rows), y.split(rows), kept.split(rows), strict=True):
            if k.any():
                loss = F.cross_entropy(model(a)[k], b[k]) * (float(k.sum()) / total)
                loss.backward()
                said += loss.item()
        return said

    assert grade("04.7", shares).ok
    silent = grade("04.7", lambda *given: shares(*given) and None)
    assert not silent.ok and "the mean loss does not" in silent.message
    assert not grade("04.7", lambda *given: None).answered


@pytest.mark.parametrize(("model", "dtype", "w"), [
    (ModelConfig(width=48, depth=3, heads=6, context=32), "float32", 4),
    (ModelConfig(width=32, depth=2, heads=2, context=40, vocab_size=300), "bfloat16", 2),
])  # fmt: skip
def test_the_memory_sum_is_what_torch_keeps(model, dtype, w):
    network = Transformer(model)
    x = torch.randint(model.vocab_size, (3, model.context))
    with saving(network) as saved, autocast(dtype, "cpu"):
        cross_entropy(network(x), x.clone())
    assert nb04.memory_sum(nb04.sizes(model), 3, w)["activations"] == saved.bytes


def test_recomputation_by_torchs_own_checkpoint_is_right():
    assert grade("04.9", lambda run, x: checkpoint(run, x, use_reentrant=True)).ok
    assert "a tensor that carries a gradient" in grade("04.9", lambda run, x: 3.0).message
    assert "a tensor without a gradient" in grade("04.9", lambda run, x: run(x).detach()).message


def test_the_fewest_tokens_by_brute_force():
    def seconds(tokens):
        moved = 2 * (tokens * 4096 + 4096 * 16384 + tokens * 16384)
        return 2 * tokens * 4096 * 16384 / 990e12, moved / 3.35e12

    fewest = next(t for t in range(1, 1000) if seconds(t)[0] >= seconds(t)[1])
    assert fewest == int(np.ceil(nb04._FEWEST)) and grade("04.11", fewest).ok
