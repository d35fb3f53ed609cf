"""Schedules as functions of the step, rates as functions of the shape, and the step itself against a bare loop."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.errors import InputError
from scalept_lab.model import optim, optimizers
from scalept_lab.model.transformer import Transformer, cross_entropy

SMALL = ModelConfig(vocab_size=20, context=8, width=16, heads=2)


def run(**fields) -> TrainConfig:
    return TrainConfig(**{"model": SMALL, "batch": 2, "tokens": 1600, **fields})  # 100 steps


def rates(config: TrainConfig) -> list[float]:
    return [optim.learning_rate(step, config) for step in range(config.steps)]


# --- schedules


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd", "constant"])
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


@pytest.mark.parametrize(("schedule", "slope"), [("linear", 2), ("cosine", 2), ("wsd", 6)])
@pytest.mark.parametrize("tokens", [160, 1600, 1700, 16_000])
def test_the_decay_ends_one_step_after_the_last(schedule, slope, tokens):
    config = run(schedule=schedule, tokens=tokens)
    assert optim.learning_rate(config.steps, config) == pytest.approx(0, abs=1e-12)
    last = optim.learning_rate(config.steps - 1, config)
    assert 0 < last < slope / config.steps


def test_linear_decay_is_a_line():
    found = rates(run(schedule="linear", warmup=0.1))[10:]
    falls = [a - b for a, b in itertools.pairwise(found)]
    assert found[0] == 1 and falls == pytest.approx([1 / 90] * 89)


def test_cosine_is_at_half_height_half_way():
    config = run(schedule="cosine", warmup=0.1)
    assert optim.learning_rate(10, config) == 1
    assert optim.learning_rate(55, config) == pytest.approx(0.5)


def test_rates_by_hand():
    """Cosine, a third of the way down: (1 + cos 60°)/2. One step is all warm-up; two leave one for the peak."""
    assert optim.learning_rate(40, run(schedule="cosine", warmup=0.1)) == pytest.approx(0.75)
    assert rates(run(tokens=16)) == [0.5]
    for schedule in ("linear", "wsd", "cosine", "constant"):
        assert rates(run(tokens=32, schedule=schedule, warmup=0.01)) == [0.5, 1.0]
        assert rates(run(tokens=32, schedule=schedule, warmup=0.0))[0] == 1.0  # none was asked for
    assert rates(run(tokens=64, schedule="linear", warmup=0.0)) == [1.0, 0.75, 0.5, 0.25]
    assert rates(run(tokens=160, warmup=0.3))[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates(run(tokens=160, schedule="constant", warmup=0.3))[3:] == [1.0] * 7


def test_wsd_keeps_the_peak_and_falls_in_a_line_over_the_last_fifth():
    found = rates(run(schedule="wsd", warmup=0.1))
    assert found[10:81] == [1.0] * 71
    assert found[80:] == pytest.approx([1 - k / 20 for k in range(20)])
    short = rates(run(schedule="wsd", warmup=0.9))  # warm-up leaves a tenth for the decay
    assert short[90:] == pytest.approx([1 - k / 10 for k in range(10)])


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd", "constant"])
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


@pytest.mark.parametrize(("name", "lr"), [("adamw", 0.01), ("muon", 0.005), ("momentum", 0.2), ("sgd", 0.5)])
def test_a_step_moves_wide_and_narrow_models_alike_only_under_mup(name, lr):
    """The coordinate check of Yang et al. 2022 (appendix D.1): how far the logits move in a few steps, by width."""

    def moved(width: int, parametrization: str) -> float:
        model = ModelConfig(vocab_size=20, context=8, width=width, heads=4)
        config = run(model=model, parametrization=parametrization, optimizer=name, lr=lr)
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


@pytest.mark.parametrize(
    ("name", "mup", "standard"),
    [
        ("adamw", (0.1, 0.005, 0.015), (0.1, 0.01, 0.03)),
        ("muon", (0.1, 0.02, 0.015), (0.1, 0.02, 0.03)),
        ("sgd", (0.02, 0.01, 0.005), (0.01, 0.01, 0.01)),
        ("momentum", (0.02, 0.01, 0.005), (0.01, 0.01, 0.01)),
    ],
)
def test_the_rates_of_embeddings_matrices_and_output_by_hand(name, mup, standard):
    """Of 0.01 at twice the base width. Factors 10, 1, 3 for AdamW, 10, 2, 3 with Muon."""
    wide = ModelConfig(width=64, heads=2, positions="learned")
    names = ("position.weight", "blocks.1.mlp.up.weight", "head.weight")
    for parametrization, expected in (("mup", mup), ("standard", standard)):
        found = by_name(run(model=wide, optimizer=name, lr=0.01, parametrization=parametrization))
        assert [found[key] for key in names] == pytest.approx(list(expected))
        assert found["embed.weight"] == found["position.weight"]


# --- the optimizers by name


def trained(config: TrainConfig, optimizer, steps: int = 20) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = Transformer(SMALL)
    optimizer = optimizer(model)
    draw = torch.Generator().manual_seed(1)
    for step in range(steps):
        optim.set_rate(optimizer, optim.learning_rate(step, config))
        text_BxL = torch.randint(20, (2, 9), generator=draw)
        cross_entropy(model(text_BxL[:, :-1]), text_BxL[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return [p.detach() for p in model.parameters()]


def written_out(model: Transformer, config: TrainConfig):
    """What `make_optimizer` promises, with the optimizers written out from their formulas: one for each tensor."""
    peaks, names = by_name(config), dict(model.named_parameters())
    made = []
    for name, tensor in names.items():
        decay = config.weight_decay
        if config.optimizer == "sgd":
            one = optimizers.SGD([tensor], peaks[name], weight_decay=decay)
        elif config.optimizer == "momentum":
            one = optimizers.Momentum([tensor], peaks[name], 0.9, weight_decay=decay)
        elif config.optimizer == "muon" and name.startswith("blocks."):
            one = optimizers.Muon([tensor], peaks[name], weight_decay=decay)
        else:
            one = optimizers.AdamW([tensor], peaks[name], (0.9, config.beta2), weight_decay=decay)
        made.append(one)

    class Each:
        def __init__(self):
            self.param_groups = [group for one in made for group in one.param_groups]

        def step(self):
            for one in made:
                one.step()

        def zero_grad(self):
            for one in made:
                one.zero_grad()

    return Each()


@pytest.mark.parametrize(("name", "lr"), [("adamw", 0.01), ("sgd", 0.5), ("momentum", 0.1), ("muon", 0.01)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_each_optimizer_is_the_one_written_out(name, lr, decay):
    config = run(tokens=320, optimizer=name, lr=lr, weight_decay=decay)
    theirs = trained(config, lambda model: optim.make_optimizer(model, config))
    ours = trained(config, lambda model: written_out(model, config))
    tolerance = 2e-2 if name == "muon" else 1e-4  # Muon rounds to bfloat16: tiny differences grow
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_an_unknown_optimizer_is_refused_in_one_line():
    config = run().model_copy(update={"optimizer": "adagrad"})
    with pytest.raises(InputError, match="optimizer: expected one of adamw, sgd, momentum, muon") as error:
        optim.make_optimizer(Transformer(SMALL), config)
    assert "\n" not in str(error.value)


# --- two optimizers as one


def test_muon_takes_the_matrices_inside_and_adamw_the_rest():
    model = Transformer(SMALL)
    pair = optim.make_optimizer(model, run(optimizer="muon"))
    adamw, muon = pair.both
    names = {id(p): name for name, p in model.named_parameters()}
    taken = {
        kind: {names[id(p)] for group in one.param_groups for p in group["params"]}
        for kind, one in (("adamw", adamw), ("muon", muon))
    }
    assert taken["adamw"] == {"embed.weight", "head.weight"}
    assert taken["muon"] == set(names.values()) - taken["adamw"]
    assert isinstance(adamw, torch.optim.AdamW) and isinstance(muon, torch.optim.Muon)
    assert isinstance(pair, torch.optim.Optimizer)


@pytest.mark.parametrize("name", ["adamw", "sgd", "momentum", "muon"])
def test_a_run_goes_on_from_a_saved_state(name, tmp_path):
    """Ten steps, a file, a new model and optimizer, ten more: the same as twenty."""
    config = run(tokens=320, optimizer=name, lr=0.01)
    batches = torch.randint(20, (20, 2, 9), generator=torch.Generator().manual_seed(3))

    def go(model, optimizer, steps):
        for step in steps:
            optim.set_rate(optimizer, optim.learning_rate(step, config))
            cross_entropy(model(batches[step][:, :-1]), batches[step][:, 1:]).backward()
            optimizer.step()
            optimizer.zero_grad()

    torch.manual_seed(0)
    model = Transformer(SMALL)
    optimizer = optim.make_optimizer(model, config)
    go(model, optimizer, range(10))
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "saved.pt")
    go(model, optimizer, range(10, 20))

    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    again = Transformer(SMALL)
    again.load_state_dict(saved["model"])
    resumed = optim.make_optimizer(again, config)
    resumed.load_state_dict(saved["optimizer"])
    assert [group["peak"] for group in resumed.param_groups] == [g["peak"] for g in optimizer.param_groups]
    go(again, resumed, range(10, 20))
    for (tensor, p), q in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q), tensor


def test_the_state_of_a_pair_is_numbered_through_and_complete():
    config = run(optimizer="muon")
    model = Transformer(SMALL)
    pair = optim.make_optimizer(model, config)
    cross_entropy(model(torch.ones(1, 8, dtype=torch.long)), torch.ones(1, 8, dtype=torch.long)).backward()
    pair.step()
    saved = pair.state_dict()
    count = len(list(model.parameters()))
    listed = [i for group in saved["param_groups"] for i in group["params"]]
    assert sorted(listed) == sorted(saved["state"]) == list(range(count))
    assert len(pair.state) == count
    floats = sum(t.numel() for s in pair.state.values() for t in s.values() if t.ndim == 2)
    inside = sum(p.numel() for name, p in model.named_parameters() if name.startswith("blocks."))
    total = sum(p.numel() for p in model.parameters())
    assert floats == inside + 2 * (total - inside)  # Muon keeps one number for each weight, AdamW two


def test_a_vector_inside_a_block_goes_to_adamw_at_the_blocks_rate():
    model = Transformer(SMALL)
    gain = model.blocks[0].gain = nn.Parameter(torch.ones(16))
    pair = optim.make_optimizer(model, run(optimizer="muon", lr=0.01, weight_decay=0.3))
    adamw, muon = pair.both
    (mine,) = [group for group in adamw.param_groups if any(p is gain for p in group["params"])]
    assert mine["params"] == [gain] and mine["peak"] == mine["lr"] == pytest.approx(0.02)
    assert mine["weight_decay"] == muon.param_groups[0]["weight_decay"] == 0.3
    assert all(p.ndim == 2 for group in muon.param_groups for p in group["params"])


def test_a_state_of_other_groups_is_refused():
    pair = optim.make_optimizer(Transformer(SMALL), run(optimizer="muon"))
    other = optim.make_optimizer(Transformer(SMALL), run())
    with pytest.raises(ValueError):
        pair.load_state_dict(other.state_dict() | {"param_groups": other.state_dict()["param_groups"] * 2})


def stepped(model, optimizer):
    text_BxL = torch.tensor([[1, 2, 3, 5, 8, 13, 2, 1]])
    cross_entropy(model(text_BxL[:, :-1]), text_BxL[:, 1:]).backward()
    optimizer.step()
    optimizer.zero_grad()
    return model


def test_a_pair_has_all_that_torchs_optimizers_have():
    model, called = Transformer(SMALL), []
    pair = optim.make_optimizer(model, run(optimizer="muon"))
    hooks = [
        pair.register_step_pre_hook(lambda *_: called.append("before")),
        pair.register_step_post_hook(lambda *_: called.append("after")),
        pair.register_state_dict_pre_hook(lambda *_: called.append("save")),
        pair.register_load_state_dict_post_hook(lambda *_: called.append("load")),
    ]
    stepped(model, pair)
    pair.load_state_dict(pair.state_dict())
    assert called == ["before", "after", "save", "load"]
    for hook in hooks:
        hook.remove()
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(InputError, match="param_group: expected none") as error:
        pair.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    assert "\n" not in str(error.value) and len(pair.param_groups) == 3
    with pytest.raises(InputError, match="closure: expected none"):
        pair.step(lambda: 0.0)


def test_rates_and_states_of_a_pair_are_those_its_optimizers_work_with():
    """After loading as well, and in a copy: a rate of zero keeps every weight where it is."""
    torch.manual_seed(0)
    model = Transformer(SMALL)
    pair = optim.make_optimizer(model, run(optimizer="muon"))
    stepped(model, pair)
    pair.load_state_dict(copy.deepcopy(pair.state_dict()))
    model, pair = copy.deepcopy((model, pair))
    assert all(one.state is pair.state for one in pair.both)
    assert [len(one.param_groups) for one in pair.both] == [2, 1]
    optim.set_rate(pair, 0.0)
    before = [p.clone() for p in model.parameters()]
    stepped(model, pair)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    optim.set_rate(pair, 1.0)
    stepped(model, pair)
    assert not any(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    steps = {int(state["step"]) for state in pair.state.values() if "step" in state}
    assert steps == {3}


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
