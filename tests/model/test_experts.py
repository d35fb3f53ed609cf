"""Routers and experts against themselves written out slowly, and training with each balance."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from scalept_lab.compress import prune
from scalept_lab.config import Experts, ModelConfig, TrainConfig, parse
from scalept_lab.errors import InputError
from scalept_lab.model import experts
from scalept_lab.model.transformer import Transformer
from scalept_lab.train import growth
from scalept_lab.train.step import balanced, next_token, set_up

SMALL = ModelConfig(
    vocab_size=20, context=12, width=16, depth=2, heads=2, mlp_ratio=2, experts=Experts(number=4, active=2)
)


def some_logits(T: int, E: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(T, E, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_route(logits, k, factor, renormalise, bias):
    """One token after the other, one choice after the other."""
    T, E = logits.shape
    chosen, weights = np.zeros((T, k), int), np.zeros((T, k))
    for t in range(T):
        p = np.exp(logits[t]) / np.exp(logits[t]).sum()
        order = sorted(range(E), key=lambda e, p=p: -(p[e] + (0 if bias is None else bias[e])))
        chosen[t], weights[t] = order[:k], p[order[:k]]
        if renormalise:
            weights[t] /= weights[t].sum()
    queue, place = [0] * E, np.zeros((T, k), int)
    for choice in range(k):
        for t in range(T):
            e = chosen[t, choice]
            full = factor is not None and queue[e] >= math.ceil(factor * k * T / E)
            place[t, choice] = -1 if full else queue[e]
            queue[e] += 1
    return chosen, weights, place


@pytest.mark.parametrize("factor", [None, 0.3, 1.0, 1.25])
@pytest.mark.parametrize(("T", "E", "k"), [(17, 4, 2), (9, 5, 1), (3, 8, 2), (6, 3, 3)])
@pytest.mark.parametrize("renormalise", [True, False])
def test_a_route_is_the_slow_one(factor, T, E, k, renormalise):
    logits = some_logits(T, E) + torch.linspace(1, 0, E)
    for bias in (None, torch.linspace(-0.5, 0.5, E, dtype=torch.float64)):
        found = experts.route(logits, k, factor, renormalise, bias)
        wanted = slow_route(logits.numpy(), k, factor, renormalise, None if bias is None else bias.numpy())
        assert np.array_equal(found[0], wanted[0]) and np.array_equal(found[2], wanted[2])
        assert np.allclose(found[1], wanted[1])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: experts.route(some_logits(4, 3), 4), "k: expected a whole number from 1 to 3, got 4"),
        (lambda: experts.route(some_logits(4, 3), 1, factor=0.0), "factor: expected a positive number"),
        (
            lambda: experts.loads(Transformer(SMALL.replace(experts=None)), torch.zeros(1, 12).long()),
            "experts",
        ),
        (
            lambda: growth.deepen(Transformer(SMALL), 3),
            "deepen expects a dense model, got one with 4 experts",
        ),
        (lambda: growth.widen(Transformer(SMALL), 32), "widen expects a dense model"),
        (lambda: prune.unstructured(Transformer(SMALL), 0.5), "pruning expects a dense model"),
        (lambda: prune.fewer_units(Transformer(SMALL), 0.5), "pruning expects a dense model"),
        (lambda: parse(Experts, {"number": 4, "active": 5}), "cannot pass 5 of 4 experts"),
        (lambda: parse(Experts, {"capacity": 0}), "capacity"),
        (lambda: TrainConfig(model=SMALL).replace(optimizer="muon"), "muon steps matrices"),
        (lambda: TrainConfig(model=SMALL).replace(accumulate=2), "leave accumulate out"),
        (lambda: TrainConfig(model=SMALL).replace(recompute=True), "leave recompute out"),
        (
            lambda: TrainConfig(model=SMALL).replace(batch=1, model=SMALL.replace(experts={"number": 13})),
            "13 experts share the 12 tokens of a step",
        ),
    ],
)
def test_bad_input_is_one_clear_line(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_layer_is_the_sum_over_its_experts_one_token_at_a_time():
    torch.manual_seed(0)
    layer = experts.MoE(SMALL.replace(experts=Experts(number=4, active=2, capacity=0.75))).double()
    x = torch.randn(2, 12, 16, dtype=torch.float64)
    expert, weight, place = layer.routed(layer.router(x.flatten(0, 1)))
    assert (place < 0).any(), "nothing is dropped"
    wanted = torch.zeros(24, 16, dtype=torch.float64)
    for t, row in enumerate(x.flatten(0, 1)):
        for e, g, at in zip(expert[t], weight[t], place[t], strict=True):
            if at >= 0:
                hidden = nn.functional.gelu(row @ layer.up[e], approximate="tanh")
                wanted[t] += g * (hidden @ layer.down[e])
    assert torch.allclose(layer(x).flatten(0, 1), wanted)


def test_one_expert_is_a_dense_layer():
    """All experts alike, weights that add up to 1: the same as one MLP."""
    torch.manual_seed(0)
    layer, x = experts.MoE(SMALL).double(), torch.randn(1, 12, 16, dtype=torch.float64)
    with torch.no_grad():
        layer.up[:], layer.down[:] = layer.up[0].clone(), layer.down[0].clone()
    dense = nn.functional.gelu(x @ layer.up[0], approximate="tanh") @ layer.down[0]
    assert torch.allclose(layer(x), dense)


def test_the_balance_loss_by_hand():
    """f = P = (0.7, 0.1, 0.1, 0.1) is 4 · (0.49 + 0.03) = 2.08; all on one of four is 4, an even load 1."""
    one = torch.tensor([[0]] * 7 + [[1], [2], [3]])
    logits = torch.tensor([0.7, 0.1, 0.1, 0.1]).log().expand(10, 4)
    assert experts.balance_loss(logits, one).item() == pytest.approx(2.08)
    assert experts.balance_loss(torch.tensor([[50.0, 0, 0, 0]]), torch.tensor([[0]])).item() == pytest.approx(
        4
    )
    assert experts.balance_loss(torch.zeros(4, 4), torch.arange(4)[:, None]).item() == pytest.approx(1)


def test_the_auxiliary_loss_is_taken_once_and_left_behind_by_no_one():
    torch.manual_seed(0)
    model, tokens = Transformer(SMALL), torch.randint(20, (2, 12))
    assert experts.auxiliary_loss(model) == 0
    plain, watched = next_token(model, tokens, tokens)
    total = sum(block.mlp.auxiliary for block in model.blocks)
    assert (
        experts.auxiliary_loss(model) == total and total > 0.01
    )  # two layers, each at least about 1, at 0.01
    assert experts.auxiliary_loss(model) == 0
    both, same = balanced(next_token)(model, tokens, tokens)
    assert both.item() == pytest.approx(plain.item() + total.item()) and same == watched
    with torch.no_grad():
        model(tokens)
    assert experts.auxiliary_loss(model) == 0
    copy.deepcopy(model)  # nothing with a graph is left in it


def test_the_bias_moves_against_the_load_in_training_and_in_the_choice_alone():
    config = Experts(number=4, active=1, balance="bias", strength=0.25)
    torch.manual_seed(0)
    layer, x = experts.MoE(SMALL.replace(experts=config)), torch.randn(1, 12, 16)
    with torch.no_grad():
        layer.router.weight.zero_()
        layer.router.weight[2, 0] = 100.0  # the third expert wins where x₀ > 0, the first elsewhere
        x[..., 0] = x[..., 0].abs() + 0.1
        layer(x)
    assert layer.bias.tolist() == [0, 0, 0, 0]
    layer(x)
    assert layer.bias.tolist() == [0.25, 0.25, -0.25, 0.25]
    expert, weight, _ = layer.routed(layer.router(x.flatten(0, 1)))
    assert torch.equal(weight, layer.router(x.flatten(0, 1)).softmax(-1).gather(-1, expert))


def test_loads_by_hand():
    assert experts.relative_load(torch.tensor([[0, 1], [0, 2], [0, 1]]), 4).tolist() == pytest.approx(
        [2, 4 / 3, 2 / 3, 0]
    )
    load = experts.loads(Transformer(SMALL), torch.randint(20, (3, 12)))
    assert load.shape == (2, 4) and torch.allclose(load.mean(1), torch.ones(2))
    assert experts.router_logits(Transformer(SMALL), torch.randint(20, (3, 12))).shape == (2, 36, 4)


@pytest.mark.parametrize("balance", ["none", "auxiliary", "bias"])
def test_a_step_trains_every_part(balance):
    model = SMALL.replace(experts={"number": 4, "active": 2, "balance": balance})
    run = set_up(TrainConfig(model=model, batch=4), "cpu")
    before = {name: weight.clone() for name, weight in run.model.named_parameters()}
    bias = run.model.blocks[0].mlp.bias.clone()
    torch.manual_seed(0)
    for _ in range(2):  # the output layer starts at zero and hides the rest in the first step
        tokens = torch.randint(20, (4, 12))
        run.step(tokens, tokens)
    assert all((weight != before[name]).any() for name, weight in run.model.named_parameters())
    assert (balance == "bias") == bool((run.model.blocks[0].mlp.bias != bias).any())


def test_a_dense_model_is_written_and_named_as_before_there_were_experts():
    assert (
        "experts" not in ModelConfig().model_dump() and "experts" not in TrainConfig().model_dump()["model"]
    )
    assert TrainConfig(model=SMALL).id() != TrainConfig(model=SMALL.replace(experts=None)).id()
    assert parse(ModelConfig, SMALL.model_dump()) == SMALL
