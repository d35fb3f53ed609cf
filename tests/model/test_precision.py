"""Loss scaling against torch.amp.GradScaler, master weights, parts of a batch, and what autocast does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from refusals import one_line
from torch import nn

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.errors import InputError
from scalept_lab.model import precision
from scalept_lab.model.optim import make_optimizer
from scalept_lab.model.precision import (
    LossScaler,
    MasterWeights,
    autocast,
    gradients,
    micro_batches,
    observed,
)
from scalept_lab.model.transformer import Transformer, cross_entropy
from scalept_lab.train.loop import train
from scalept_lab.train.step import train_step

SMALL = ModelConfig(width=16, depth=2, heads=2, context=16)


def batch(sequences: int = 6, model: ModelConfig = SMALL, seed: int = 0):
    drawn = torch.Generator().manual_seed(seed)
    shape = (sequences, model.context)
    return (torch.randint(model.vocab_size, shape, generator=drawn) for _ in range(2))


# --- loss scaling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    lambda p: torch.optim.SGD(p, lr=0.1), lambda p: torch.optim.AdamW(p, lr=0.01),
    lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
], ids=["sgd", "adamw", "adamw-fused"])  # fmt: skip
@pytest.mark.parametrize("settings", [(2.0**16, 2.0, 0.5, 3), (1024.0, 3.0, 0.25, 1), (1.0, 2.0, 0.5, 2)])
def test_scaler_is_torchs_step_for_step(make, settings):
    """Loss factors that overflow now and then: the same scale, the same skipped steps, the same weights throughout."""
    factors = [1, 1, 1, np.inf, 1, 1, np.nan, np.inf, 1, 1, 1, 1, 1, 1, np.inf, 1, 1, 1]
    weights, scales = [], []
    for scaler in (LossScaler(*settings), torch.amp.GradScaler("cpu", *settings)):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = make(model.parameters())
        seen, kept = [], []
        for i, factor in enumerate(factors):
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(i))
            scaler.scale(model(x).square().mean() * factor).backward()
            if i % 2:
                scaler.unscale_(optimizer)  # else `step` does it
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            seen.append(scaler.get_scale())
            kept.append(torch.cat([p.detach().flatten().clone() for p in model.parameters()]))
        weights.append(torch.stack(kept))
        scales.append(seen)
        if isinstance(scaler, LossScaler):
            assert scaler.skipped == sum(not np.isfinite(factor) for factor in factors)
    assert scales[0] == scales[1] and len(set(scales[0])) > 2
    if settings[1] == 2:
        assert torch.equal(*weights)
    else:  # a scale that is no power of two rounds, and fused AdamW divides where we multiply
        torch.testing.assert_close(*weights)
    assert torch.isfinite(weights[0]).all()


def test_scaler_stands_in_for_torchs_in_the_training_step():
    x, y = batch()
    ends = []
    for scaler in (LossScaler(2.0**30), torch.amp.GradScaler("cpu", 2.0**30)):
        torch.manual_seed(0)
        model = Transformer(SMALL)
        optimizer = make_optimizer(model, TrainConfig(model=SMALL))
        for _ in range(12):
            train_step(model, optimizer, x, y, 1.0, cast=autocast("float16", "cpu"), scaler=scaler)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        assert scaler.get_scale() < 2.0**30, "the first steps overflow"
    assert torch.equal(*ends)


def test_scaler_saves_gradients_from_underflow():
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)

    def gradient(scaler):
        optimizer.zero_grad()
        with autocast("float16", "cpu"):
            out = (torch.ones(1, 1) @ weight[:, None]).sum()  # its gradient passes through fp16
        scaler.scale(out.float() * 1e-9).backward()
        scaler.unscale_(optimizer)
        return weight.grad.item()

    assert gradient(LossScaler(1.0)) == 0
    assert gradient(LossScaler()) == pytest.approx(1e-9, rel=1e-3)


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


# --- accumulation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 5, 6])
def test_parts_give_the_gradient_of_the_batch_also_when_unequal(parts):
    torch.manual_seed(0)
    model, (x, y) = Transformer(SMALL), batch()
    # zero at the start, and then nothing inside has a gradient
    torch.nn.init.normal_(model.head.weight, std=0.3)
    cross_entropy(model(x), y).backward()
    whole = gradients(model)
    model.zero_grad()
    for x_part, y_part, share in micro_batches(x, y, parts):
        (cross_entropy(model(x_part), y_part) * share).backward()
    assert (gradients(model) - whole).norm() < 1e-6 * whole.norm()


def test_mean_of_means_is_another_gradient():
    x, y = batch()
    shares = [share for *_, share in micro_batches(x, y, 4)]
    assert shares == [2 / 6, 2 / 6, 1 / 6, 1 / 6] and sum(shares) == pytest.approx(1)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: autocast("fp8"), "dtype: expected one of float32, bfloat16, float16, got 'fp8'"),
        (lambda: MasterWeights(nn.Linear(1, 1), "int4"), "dtype: expected one of float32, .*, got 'int4'"),
        (lambda: LossScaler(-1.0), "init_scale: expected a positive number, got -1.0"),
        (lambda: LossScaler(float("inf")), "init_scale: expected a positive number, got inf"),
        (lambda: LossScaler(growth_factor=1.0), "growth_factor, backoff_factor: expected above 1, .* got 1.0 and 0.5"),
        (lambda: LossScaler(backoff_factor=2.0), "growth_factor, backoff_factor: .* got 2.0 and 2.0"),
        (lambda: LossScaler(growth_interval=0), "growth_interval: expected a whole number of at least 1, got 0"),
        (lambda: micro_batches(*batch(), parts=7), "parts: expected a whole number from 1 to 6, got 7"),
        (lambda: micro_batches(*batch(), parts=0), "parts: expected a whole number from 1 to 6, got 0"),
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
