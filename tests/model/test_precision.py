"""Master weights, and what autocast does."""

from __future__ import annotations

import pytest
import torch
from refusals import one_line
from torch import nn

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.errors import InputError
from scalept_lab.model import precision
from scalept_lab.model.precision import (
    MasterWeights,
    autocast,
    observed,
)
from scalept_lab.model.transformer import Transformer, cross_entropy
from scalept_lab.train.loop import train

SMALL = ModelConfig(width=16, depth=2, heads=2, context=16)


def batch(sequences: int = 6, model: ModelConfig = SMALL, seed: int = 0):
    drawn = torch.Generator().manual_seed(seed)
    shape = (sequences, model.context)
    return (torch.randint(model.vocab_size, shape, generator=drawn) for _ in range(2))


# --- autocast ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_autocast_casts_products_and_nothing_else(dtype):
    model, (x, y) = Transformer(SMALL), batch()

    def forward():
        with autocast(dtype, "cpu"):
            assert cross_entropy(model(x), y).dtype is torch.float32

    seen = observed(forward)
    assert seen["mm"] == {dtype: 4 * SMALL.depth + 1}
    assert seen["native_layer_norm"] == {"float32": 2 * SMALL.depth + 1}
    assert set(seen["_log_softmax"]) == {"float32"}
    assert {str(p.dtype) for p in model.parameters()} == {"torch.float32"}


def test_autocast_to_float32_changes_nothing():
    model, (x, y) = Transformer(SMALL), batch()
    with autocast("float32", "cpu"):
        inside = cross_entropy(model(x), y)
    assert torch.equal(inside, cross_entropy(model(x), y))


# --- master weights ---------------------------------------------------------------------------------------------------


def test_master_weights_keep_what_bf16_loses():
    both = MasterWeights(nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        both.master.weight.fill_(1.0)
    both.push()
    optimizer = torch.optim.SGD(both.master.parameters(), lr=2.0**-10)
    for _ in range(8):  # eight updates of 2^-10, each a quarter of what bf16 can still add to 1
        both.low(torch.full((1, 1), -1.0, dtype=torch.bfloat16)).sum().backward()
        both.pull()
        optimizer.step()
        optimizer.zero_grad()
        both.push()
    assert both.master.weight.item() == 1 + 2**-7
    assert both.low.weight.item() == 1 + 2**-7
    alone = torch.ones(1, dtype=torch.bfloat16)
    for _ in range(8):
        alone += 2.0**-10
    assert alone.item() == 1


def test_master_and_low_are_two_models():
    both = MasterWeights(Transformer(SMALL))
    assert {p.dtype for p in both.low.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in both.master.parameters()} == {torch.float32}
    x, y = batch()
    cross_entropy(both.low(x).float(), y).backward()
    both.pull()
    assert all(p.grad.dtype is torch.float32 for p in both.master.parameters())
    assert all(p.grad is None for p in both.low.parameters())


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: autocast("fp8"), "dtype: expected one of float32, bfloat16, float16, got 'fp8'"),
        (lambda: MasterWeights(nn.Linear(1, 1), "int4"), "dtype: expected one of float32, .*, got 'int4'"),
    ],
)  # fmt: skip
def test_bad_input_says_so_in_one_line(call, line):
    with pytest.raises(InputError, match=line) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_compiling_needs_a_compiler_and_says_so(monkeypatch):
    monkeypatch.setenv("CXX", "")
    monkeypatch.setattr(precision.shutil, "which", lambda name: None)
    one_line(
        lambda: precision.compiled(nn.Linear(1, 1), "cpu"),
        "compile: expected a C++ compiler",
        "leave compile out",
    )
    monkeypatch.setattr(precision.shutil, "which", lambda name: "/usr/bin/g++" if name == "g++" else None)
    monkeypatch.setattr(precision.importlib.util, "find_spec", lambda name: None)
    one_line(lambda: precision.compiled(nn.Linear(1, 1), "cuda"), "compile: expected the package triton")


@pytest.mark.slow
def test_a_compiled_run_is_the_same_to_rounding(tiny_corpus):
    config = TrainConfig(corpus=tiny_corpus, tokens=20 * 256, eval_windows=8)
    plain, compiled = train(config), train(config.replace(compile=True))
    assert compiled.id == plain.id and compiled.L == pytest.approx(plain.L, abs=1e-4)
