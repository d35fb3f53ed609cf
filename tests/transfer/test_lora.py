"""Low-rank factors beside frozen matrices: the formula, what learns, merging, and what is refused."""

from __future__ import annotations

import pytest
import torch
from refusals import one_line

from scalept_lab.transfer import checkpoints, finetuning, lora
from scalept_lab.transfer.finetuning import FineTuning


def linear(bias: bool = True) -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(6, 4, bias)


@pytest.mark.parametrize("bias", [True, False])
def test_the_formula_and_what_is_merged(bias):
    layer, x = lora.LowRank(linear(bias), rank=2, alpha=6.0), torch.randn(3, 6)
    assert torch.equal(layer(x), layer.linear(x)) and layer.down.abs().sum() > 0
    with torch.no_grad():
        layer.up += torch.randn(4, 2)
    by_hand = linear(bias)(x) + 3.0 * (layer.up @ (layer.down @ x.T)).T
    assert torch.allclose(layer(x), by_hand, atol=1e-5)
    merged = layer.merged()
    assert type(merged) is torch.nn.Linear and torch.allclose(merged(x), by_hand, atol=1e-5)
    assert torch.equal(layer.linear.weight, linear(bias).weight)
    assert lora.trainable(layer) == 2 * (6 + 4)


@pytest.mark.parametrize("rank", [0, 5, 1.5])
def test_a_rank_beyond_the_smaller_side_is_refused(rank):
    one_line(
        lambda: lora.LowRank(linear(), rank, 1.0), f"rank: expected a whole number from 1 to 4, got {rank}"
    )


def test_alpha_is_a_positive_number():
    one_line(lambda: lora.LowRank(linear(), 2, 0), "alpha: expected a positive number, got 0")


def test_only_factors_and_head_learn_and_merging_keeps_the_function(small, checkpoint):
    torch.manual_seed(0)
    model, tokenizer = checkpoints.load_checkpoint(checkpoint)
    all_weights, head = lora.trainable(model), sum(p.numel() for p in model.classifier.parameters())
    width, blocks = model.config.hidden_size, model.config.num_hidden_layers
    before = {name: value.clone() for name, value in model.state_dict().items()}
    lora.adapt(model, rank=3)
    assert lora.trainable(model) == head + blocks * 2 * 3 * 2 * width < all_weights
    finetuning.finetune(
        model, tokenizer, small.train, small.test, FineTuning(lr=1e-2, least_steps=5, epochs=1)
    )
    adapted = finetuning.evaluate(model, tokenizer, small.test).logits
    frozen = {
        name: value
        for name, value in model.state_dict().items()
        if name in before and "classifier" not in name
    }
    assert frozen and all(torch.equal(value, before[name]) for name, value in frozen.items())
    moved = [p for name, p in model.named_parameters() if name.endswith(".up")]
    assert len(moved) == 2 * blocks and all(p.abs().max() > 0 for p in moved)
    assert lora.merge(model) is model and set(model.state_dict()) == set(before)
    merged = finetuning.evaluate(model, tokenizer, small.test).logits
    assert merged == pytest.approx(adapted, abs=1e-5)
    plain = checkpoints.load_checkpoint(checkpoint)[0]
    assert abs(finetuning.evaluate(plain, tokenizer, small.test).logits - merged).max() > 1e-3


def test_a_layer_of_ones_own_is_put_in(checkpoint):
    class Doubled(lora.LowRank):
        pass

    model, _ = checkpoints.load_checkpoint(checkpoint)
    lora.adapt(model, 2, alpha=8.0, targets=["key"], layer=Doubled)
    (found,) = [module for module in model.modules() if isinstance(module, Doubled)]
    assert found is model.bert.encoder.layer[0].attention.self.key and found.scale == 4.0


def test_what_cannot_be_adapted_is_refused(checkpoint):
    model, _ = checkpoints.load_checkpoint(checkpoint)
    one_line(
        lambda: lora.adapt(model, 2, targets=["q_proj"]), "targets: expected names among classifier, dense"
    )
    one_line(
        lambda: lora.adapt(model, model.config.hidden_size + 1),
        "rank: expected a whole number from 1 to 16, got 17",
    )
    assert all(p.requires_grad for p in model.parameters())  # nothing half done
    lora.adapt(model, 2)
    one_line(lambda: lora.adapt(model, 2), "model: expected one without low-rank factors")
    one_line(
        lambda: lora.probe(torch.nn.Linear(2, 2)),
        "model: expected a classifier with a layer 'classifier', got Linear",
    )


def test_a_probe_learns_with_its_own_layer_alone(checkpoint):
    model, _ = checkpoints.load_checkpoint(checkpoint)
    assert lora.trainable(lora.probe(model)) == 2 * (model.config.hidden_size + 1)
