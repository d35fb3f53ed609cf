"""Pruning: what is cut out is as if it were zero, and zeros stay zeros."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import untrained
from torch import nn

from scalept_lab.compress import distill, prune, quantize
from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.data.corpora import prepare
from scalept_lab.data.tokens import batches
from scalept_lab.errors import InputError
from scalept_lab.model.transformer import cross_entropy
from scalept_lab.train import timing
from scalept_lab.train.loop import evaluate, fit_model


def block_weights(model: nn.Module) -> torch.Tensor:
    layers = [module for module in model.blocks.modules() if isinstance(module, nn.Linear)]
    return torch.cat([layer.weight.detach().flatten() for layer in layers])


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_unstructured_removes_the_smallest_of_all(share):
    model = untrained.model()
    made = prune.made_permanent(prune.unstructured(model, share))
    weights = block_weights(model)
    cut = round(share * len(weights))
    by_hand = weights.clone()
    by_hand[weights.abs().argsort()[:cut]] = 0
    assert torch.equal(block_weights(made), by_hand)
    assert prune.sparsity(made) == pytest.approx(share, abs=1e-3)
    # zeros cost as much
    assert quantize.saved_bytes(made) == pytest.approx(quantize.saved_bytes(model), rel=0.01)
    assert torch.equal(block_weights(model), weights)  # the model given is left alone


def test_units_cut_out_are_those_that_the_library_zeroes():
    """Cutting a unit out is the same as zeroing its incoming weights, since GELU of 0 is 0."""
    model, x = untrained.model(), untrained.tokens()
    zeroed = copy.deepcopy(model)
    for block in zeroed.blocks:
        torch.nn.utils.prune.ln_structured(block.mlp.up, "weight", amount=0.5, n=2, dim=0)
    made = prune.fewer_units(model, 0.5)
    assert made.blocks[0].mlp.up.weight.shape == (64, 32) and made.blocks[0].mlp.down.weight.shape == (32, 64)
    with torch.no_grad():
        assert torch.allclose(made(x), zeroed(x), atol=1e-5)
    assert sum(p.numel() for p in made.parameters()) < sum(p.numel() for p in model.parameters())


def test_heads_cut_out_are_as_if_their_output_were_zero():
    model, x = untrained.model(), untrained.tokens()
    zeroed = copy.deepcopy(model)
    for block in zeroed.blocks:
        heads = block.attention.out.weight.data.unflatten(1, (-1, block.attention.head_dim))
        heads[:, heads.norm(dim=(0, 2)).argsort()[:2]] = 0
    made = prune.fewer_heads(model, 0.5)
    assert made.blocks[0].attention.qkv.weight.shape == (3 * 2 * 8, 32)
    with torch.no_grad():
        assert torch.allclose(made(x), zeroed(x), atol=1e-5)
        assert torch.equal(prune.fewer_heads(model, 0.0)(x), model(x))


def test_fine_tuning_keeps_the_zeros_and_lowers_the_loss(tiny_corpus):
    corpus = prepare(tiny_corpus)
    model, _ = fit_model(
        TrainConfig(model=untrained.SMALL, corpus=tiny_corpus, tokens=20_000, eval_windows=32), corpus=corpus
    )
    made = prune.unstructured(model, 0.8)
    before = evaluate(made, corpus, 32)
    prune.fine_tune(made, corpus, 10_000)
    prune.made_permanent(made)
    assert evaluate(made, corpus, 32) < before
    assert prune.sparsity(made) == pytest.approx(0.8, abs=1e-3)


def test_the_smallest_heads_and_units_go_and_one_may_be_left():
    """A quarter of four heads is one, seven eighths of 128 units are 112: those of the smallest norm, the others in order."""
    model = untrained.model()
    fewer, thinner = prune.fewer_heads(model, 0.25), prune.fewer_units(model, 0.875)
    for old, new, thin in zip(model.blocks, fewer.blocks, thinner.blocks, strict=True):
        heads = old.attention.out.weight.detach().split(8, dim=1)
        norms = [head.norm().item() for head in heads]
        kept = [i for i in range(4) if i != norms.index(min(norms))]
        assert torch.equal(new.attention.out.weight, torch.cat([heads[i] for i in kept], 1))
        qkv = old.attention.qkv.weight.detach().view(3, 4, 8, 32)
        assert torch.equal(new.attention.qkv.weight, qkv[:, kept].reshape(3 * 3 * 8, 32))
        sizes = old.mlp.up.weight.detach().norm(dim=1)
        largest = [i for i in range(128) if (sizes > sizes[i]).sum() < 16]
        assert torch.equal(thin.mlp.up.weight, old.mlp.up.weight[largest])
        assert torch.equal(thin.mlp.down.weight, old.mlp.down.weight[:, largest])
    assert prune.fewer_heads(model, 0.75).blocks[0].attention.out.weight.shape == (32, 8)
    assert prune.fewer_units(model, 0.99).blocks[0].mlp.up.out_features == 1


def test_fine_tuning_is_adamw_at_a_rate_that_falls_to_zero(word_corpus):
    """Three steps and a part of a fourth, which is not taken, against the same by hand."""
    ours, twin = untrained.model(), untrained.model()
    prune.fine_tune(ours, word_corpus, 3.9 * 2 * 48, lr=0.02, batch=2, seed=5)
    optimizer = torch.optim.AdamW(twin.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    stream = batches(word_corpus.train, batch=2, context=48, steps=3, seed=5)
    for (x, y), rate in zip(stream, (0.02, 0.02 * 2 / 3, 0.02 / 3), strict=True):
        optimizer.param_groups[0]["lr"] = rate
        cross_entropy(twin(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        assert nn.utils.clip_grad_norm_(twin.parameters(), 1.0) > 1, "clipping counts"
        optimizer.step()
        optimizer.zero_grad()
    for own, other in zip(ours.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share", [-0.1, 1, 1.0, 1.5, math.nan, "half", None, True])
def test_sparsity_outside_zero_to_one(share):
    for cut in (prune.unstructured, prune.fewer_units, prune.fewer_heads):
        with pytest.raises(InputError, match="expected a share from 0 up to, not including, 1, got") as found:
            cut(untrained.model(), share)
        assert "\n" not in str(found.value)


def test_heads_that_share_keys_and_values_are_not_pruned_one_by_one():
    shared = untrained.model(untrained.SMALL.replace(kv_heads=2))
    with pytest.raises(InputError, match="heads: expected keys and values of their own") as found:
        prune.fewer_heads(shared, 0.5)
    assert "\n" not in str(found.value)
    assert prune.fewer_units(shared, 0.5)(untrained.tokens()).shape == (2, 16, 256)


@pytest.mark.parametrize("method", quantize.METHODS)
def test_a_model_in_a_librarys_8_bits_has_no_zeros_to_count(method):
    model = quantize.int8(untrained.model(), method)
    for question in (prune.sparsity, prune.sparse_bytes, distill.fingerprint):
        with pytest.raises(InputError, match="do it before int8"):
            question(model)


def test_nothing_left_is_bad_input(tiny_corpus):
    with pytest.raises(InputError, match="leave a head of 4"):
        prune.fewer_heads(untrained.model(), 0.9)
    with pytest.raises(InputError, match="leave a hidden unit of 128"):
        prune.fewer_units(untrained.model(), 0.999)
    corpus = prepare(tiny_corpus)
    with pytest.raises(InputError, match="at least one step"):
        prune.fine_tune(untrained.model(), corpus, 100)
    with pytest.raises(InputError, match="lr: expected a positive number"):
        prune.fine_tune(untrained.model(), corpus, 1e4, lr=0)


@pytest.mark.timing
def test_a_model_of_half_the_units_is_faster_and_a_sparse_one_is_not():
    model, x = untrained.model(ModelConfig.family(256)), untrained.tokens(8, 64)
    models = {
        "fp32": model,
        "sparse": prune.made_permanent(prune.unstructured(model, 0.9)),
        "small": prune.fewer_units(model, 0.75),
    }
    found = timing.against({name: timing.forward_pass(m, x) for name, m in models.items()}, "fp32", 7)
    assert found["small"].median < 0.8 < found["sparse"].median
