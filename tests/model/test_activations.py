"""Memory of a training step: what the formulas predict, what autograd keeps, and recomputation that changes nothing."""

from __future__ import annotations

import pytest
import torch

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.costs import counts, footprint
from scalept_lab.errors import InputError
from scalept_lab.model.activations import peak_bytes, recomputing, saving, states_bytes
from scalept_lab.model.optim import make_optimizer
from scalept_lab.model.precision import autocast
from scalept_lab.model.transformer import Transformer, cross_entropy

SHAPES = [
    (ModelConfig.family(32), 4),
    (
        ModelConfig(width=48, depth=3, heads=4, positions="learned", vocab_size=300, context=50, mlp_ratio=2),
        5,
    ),
    (ModelConfig(width=40, depth=1, heads=1, causal=False, context=33), 3),
    (ModelConfig(width=64, depth=5, heads=16, context=128), 2),
    (ModelConfig(width=56, depth=2, heads=4, kv_heads=2, context=20), 3),
    (ModelConfig(width=72, depth=2, heads=6, kv_heads=1, context=20, positions="learned"), 3),
]
shapes = pytest.mark.parametrize(("model", "batch"), SHAPES, ids=[f"{m.width}x{m.depth}" for m, _ in SHAPES])
dtypes = pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])


def made(model: ModelConfig, batch: int):
    torch.manual_seed(0)
    x_BxL, y_BxL = torch.randint(model.vocab_size, (2, batch, model.context)).clone().unbind(0)
    return Transformer(model), x_BxL.clone(), y_BxL.clone()


@shapes
@dtypes
@pytest.mark.parametrize("recompute", [False, True])
def test_activations_are_predicted_to_the_byte(model, batch, dtype, recompute):
    network, x, y = made(model, batch)
    with recomputing(network, recompute), saving(network) as saved, autocast(dtype, "cpu"):
        cross_entropy(network(x), y)
    assert saved.bytes == sum(footprint.activations(model, batch, dtype, recompute).values())


def test_saved_bytes_of_a_product_are_its_inputs_and_count_once():
    a, b = torch.randn(10, 20, requires_grad=True), torch.randn(20, 30, requires_grad=True)
    with saving(torch.nn.Linear(1, 1)) as saved:
        (a @ b) * 2
        a[:5] @ b  # a view keeps the storage that is kept already
    assert saved.by_dtype == {"float32": 4 * (200 + 600)}
    with saving(torch.nn.Linear(1, 1)) as saved:
        a[:1] @ b
    assert saved.bytes == 4 * (200 + 600), "a view keeps all of its storage"


def test_the_models_own_tensors_are_no_activations():
    linear = torch.nn.Linear(5, 7, bias=False)
    with saving(linear) as saved:
        linear(torch.randn(3, 5, requires_grad=True))
    assert saved.bytes == 4 * 15


@shapes
@pytest.mark.parametrize("optimizer", ["adamw", "momentum", "sgd"])
def test_states_are_predicted(model, batch, optimizer):
    network, x, y = made(model, batch)
    steps = make_optimizer(network, TrainConfig(model=model, optimizer=optimizer))
    cross_entropy(network(x), y).backward()
    steps.step()
    measured, expected = states_bytes(network, steps), footprint.states(model, optimizer)
    counters = measured["optimizer"] - expected["optimizer"]  # AdamW counts steps, 4 bytes for each tensor
    assert 0 <= counters <= 4 * len(list(network.parameters()))
    assert {**measured, "optimizer": expected["optimizer"]} == expected


def test_states_are_those_of_the_cost_table():
    model = ModelConfig.family(64)
    total = counts.count_params(model)["total"]
    assert sum(footprint.states(model).values()) == counts.memory(total, precision="fp32")["total"]
    assert counts.memory(total, precision="mixed")["total"] == counts.memory(total, precision="fp32")["total"]


def test_footprint_holds_one_part_of_the_batch():
    model = ModelConfig.family(32)
    whole = footprint.footprint(TrainConfig(model=model, batch=16))
    parts = footprint.footprint(TrainConfig(model=model, batch=16, accumulate=5))
    assert parts["activations"] == sum(footprint.activations(model, 4).values()) < whole["activations"]
    assert whole["total"] == sum(value for key, value in whole.items() if key != "total")


def test_block_is_near_the_published_count():
    """Korthikanti et al. 2022 count 34·s·b·h bytes (dropout in, rotation out); our block keeps 40 under autocast."""
    model, batch = ModelConfig(width=512, depth=1, heads=8, context=64), 2
    found = footprint.activations(model, batch, "bfloat16")
    block = sum(found[key] for key in ("inputs of blocks", "norms", "attention", "MLP"))
    published = counts.activation_bytes(64, batch, 512, 8, flash=True)
    assert block / published == pytest.approx(40 / 34, rel=0.01)


@dtypes
def test_recomputing_gives_the_same_gradients_to_the_last_bit_and_lets_go(dtype):
    network, x, y = made(*SHAPES[0])

    def gradients():
        network.zero_grad()
        with autocast(dtype, "cpu"):
            loss = cross_entropy(network(x), y)
        loss.backward()
        return [p.grad.clone() for p in network.parameters()]

    plain = gradients()
    assert any(g.abs().max() > 0 for g in plain)
    with recomputing(network):
        again = gradients()
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    assert not any("forward" in vars(block) for block in network.blocks)


def test_peak_is_above_what_is_saved_and_lower_with_recomputation():
    model, batch = ModelConfig(width=64, depth=6, heads=8, context=64), 8
    network, x, y = made(model, batch)

    def step():
        cross_entropy(network(x), y).backward()
        network.zero_grad()

    saved = sum(footprint.activations(model, batch).values())
    plain = peak_bytes(step)
    assert saved < plain < 1.5 * saved
    with recomputing(network):
        assert peak_bytes(step) < 0.6 * plain


def test_peak_of_a_known_allocation():
    assert peak_bytes(lambda: [torch.empty(1000), torch.empty(500)].clear()) == 6000


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: footprint.activations(ModelConfig(), 0), "batch: expected a whole number of at least 1, got 0"),
        (lambda: footprint.activations(ModelConfig(), 4, "int8"), "dtype: expected one of float32, .*, got 'int8'"),
        (lambda: footprint.states(ModelConfig(), "adam9"), "optimizer: expected one of adamw, .*, got 'adam9'"),
        (lambda: recomputing(torch.nn.Linear(2, 2)).__enter__(), "model: expected one with a list of blocks"),
    ],
)  # fmt: skip
def test_bad_input_says_so_in_one_line(call, line):
    with pytest.raises(InputError, match=line) as caught:
        call()
    assert "\n" not in str(caught.value)
