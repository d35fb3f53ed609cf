"""Schedules as functions of the step, rates as functions of the shape, and the step itself against a bare loop."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from scalept_lab import optim
from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.models import Transformer, cross_entropy

SMALL = ModelConfig(vocab_size=20, context=8, width=16, heads=2)


def run(**fields) -> TrainConfig:
    return TrainConfig(**{"model": SMALL, "batch": 2, "tokens": 1600, **fields})  # 100 steps


def rates(config: TrainConfig) -> list[float]:
    return [optim.learning_rate(step, config) for step in range(config.steps)]


# --- schedules


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("tokens", [16, 160, 1600, 16_000])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_rates_rise_then_fall_and_never_reach_zero_while_training(schedule, tokens, warmup):
    config = run(schedule=schedule, tokens=tokens, warmup=warmup)
    found = rates(config)
    assert len(found) == config.steps and all(0 < rate <= 1 for rate in found)
    top = found.index(max(found))
    assert all(a < b for a, b in itertools.pairwise(found[: top + 1]))
    assert all(a >= b for a, b in itertools.pairwise(found[top:]))
    assert top <= max(1, math.ceil(warmup * config.steps))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("tokens", [160, 1600, 1700, 16_000])
def test_the_decay_ends_one_step_after_the_last(schedule, tokens):
    config = run(schedule=schedule, tokens=tokens)
    assert optim.learning_rate(config.steps, config) == pytest.approx(0, abs=1e-12)
    last = optim.learning_rate(config.steps - 1, config)
    assert 0 < last < 2 / config.steps


def test_linear_decay_is_a_line():
    found = rates(run(schedule="linear", warmup=0.1))[10:]
    falls = [a - b for a, b in itertools.pairwise(found)]
    assert found[0] == 1 and falls == pytest.approx([1 / 90] * 89)


def test_cosine_is_at_half_height_half_way():
    config = run(schedule="cosine", warmup=0.1)
    assert optim.learning_rate(10, config) == 1
    assert optim.learning_rate(55, config) == pytest.approx(0.5)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_schedule_stretches_with_the_token_budget(schedule):
    short, long = run(schedule=schedule), run(schedule=schedule, tokens=16_000)
    for share in (0.2, 0.5, 0.9):
        assert optim.learning_rate(round(share * short.steps), short) == pytest.approx(
            optim.learning_rate(round(share * long.steps), long), abs=0.02
        )


def test_setting_the_rate_keeps_the_ratios_of_the_groups():
    optimizer = optim.make_optimizer(Transformer(SMALL), run())
    peaks = [group["lr"] for group in optimizer.param_groups]
    for fraction in (0.5, 0.25, 1.0):  # of the peak each time, not of the last rate
        optim.set_rate(optimizer, fraction)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
            [fraction * peak for peak in peaks]
        )


# --- rates by shape


def by_name(config: TrainConfig) -> dict[str, float]:
    model = Transformer(config.model)
    names = {id(weight): name for name, weight in model.named_parameters()}
    groups = optim.param_groups(model, config)
    listed = [names[id(weight)] for group in groups for weight in group["params"]]
    assert sorted(listed) == sorted(names.values())  # each once, none forgotten
    return {names[id(weight)]: group["lr"] for group in groups for weight in group["params"]}


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_mup_divides_the_rate_of_matrices_by_the_width_and_leaves_lookups_alone(positions):
    narrow, wide = (
        by_name(run(model=ModelConfig(width=width, heads=2, positions=positions))) for width in (32, 128)
    )
    for name, rate in narrow.items():
        factor = 1 if "embed" in name or "position" in name else 4
        assert rate / wide[name] == pytest.approx(factor), name


def test_the_standard_parametrisation_is_the_same_at_every_width():
    narrow, wide = (
        by_name(run(model=ModelConfig(width=width, heads=2), parametrization="standard"))
        for width in (32, 128)
    )
    assert narrow == wide


def test_the_two_agree_at_the_base_width():
    base = ModelConfig(width=optim.BASE_WIDTH, heads=2)
    assert by_name(run(model=base)) == by_name(run(model=base, parametrization="standard"))


def test_a_step_moves_wide_and_narrow_models_alike_only_under_mup():
    """The coordinate check of Yang et al. 2022 (appendix D.1): how far the logits move in a few steps, by width."""

    def moved(width: int, parametrization: str) -> float:
        config = run(
            model=ModelConfig(vocab_size=20, context=8, width=width, heads=4), parametrization=parametrization
        )
        torch.manual_seed(0)
        model = Transformer(config.model)
        optimizer = optim.make_optimizer(model, config)
        x_BxL = torch.randint(20, (8, 8))
        for _ in range(4):
            cross_entropy(model(x_BxL), x_BxL.roll(-1, 1)).backward()
            optimizer.step()
            optimizer.zero_grad()
        return model(x_BxL).abs().mean().item()  # they start at zero

    growth = {name: moved(256, name) / moved(32, name) for name in ("mup", "standard")}
    assert 0.4 < growth["mup"] < 2.5
    assert growth["standard"] > 2 * growth["mup"]


# --- the step


def slow_rate(step: int, steps: int, warmup: float) -> float:
    rise = round(warmup * steps)
    return (step + 1) / (rise + 1) if step < rise else (steps - step) / (steps - rise)


def test_our_steps_equal_a_bare_torch_loop():
    """Fused AdamW over groups with a schedule, against torch's plain AdamW with every rate set by hand."""
    config = run(tokens=320, warmup=0.25, weight_decay=0.1, beta2=0.95)
    assert config.steps == 20
    torch.manual_seed(0)
    ours, bare = Transformer(SMALL), Transformer(SMALL)
    bare.load_state_dict(ours.state_dict())
    batches = torch.randint(20, (20, 2, 9))

    optimizer = optim.make_optimizer(ours, config)
    for step, text_BxL in enumerate(batches):
        optim.set_rate(optimizer, optim.learning_rate(step, config))
        cross_entropy(ours(text_BxL[:, :-1]), text_BxL[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()

    peaks = by_name(config)
    one_each = [{"params": [weight], "peak": peaks[name]} for name, weight in bare.named_parameters()]
    plain = torch.optim.AdamW(one_each, lr=0.0, betas=(0.9, 0.95), weight_decay=0.1, foreach=False)
    for step, text_BxL in enumerate(batches):
        for group in plain.param_groups:
            group["lr"] = group["peak"] * slow_rate(step, 20, 0.25)
        logits_BxLxV = bare(text_BxL[:, :-1])
        nn.functional.cross_entropy(logits_BxLxV.reshape(-1, 20), text_BxL[:, 1:].reshape(-1)).backward()
        plain.step()
        plain.zero_grad()

    for (name, mine), theirs in zip(ours.named_parameters(), bare.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5, msg=name)
