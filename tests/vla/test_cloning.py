"""Behaviour cloning: it learns, it counts its compute, and it follows a schedule, or says why it cannot."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scalept_lab.errors import InputError
from scalept_lab.runs import parse_record
from scalept_lab.train.curriculum import Adaptive, Mixture, Stepwise
from scalept_lab.vla import cloning, worlds
from scalept_lab.vla.cloning import CloneConfig, Source, act_in, clone, feed, flops, score
from scalept_lab.vla.demos import VALIDATION, Steps, steps, to_dataset
from scalept_lab.vla.model import Policy, PolicyConfig

TINY = PolicyConfig.family(8)
POINT, ACT = Source(episodes=60, task="point"), Source(episodes=60)


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch):
    monkeypatch.setattr(cloning, "VALIDATION_EPISODES", 20)


def config(**changes) -> CloneConfig:
    return CloneConfig(**{"policy": TINY, "sources": (POINT, ACT), "steps": 30, "batch": 16, **changes})


def test_a_run_learns_and_is_a_record():
    policy, record = clone(config(steps=75, batch=32))
    assert record.curve[-1][2] < record.curve[0][2] - 0.05
    assert record.D == 75 * 32 and record.id == config(steps=75, batch=32).id()
    assert parse_record(record.model_dump_json()) == record
    rollouts, scored = score(policy, record, episodes=8)
    assert (
        scored.metrics["success"]
        == rollouts.success.mean()
        == act_in(policy, "GoToLocalS8N4", 8).success.mean()
    )
    assert scored.metrics["success_low"] <= scored.metrics["success"] <= scored.metrics["success_high"]


def test_the_same_config_is_the_same_run():
    (one, first), (two, second) = clone(config()), clone(config())
    assert first.curve == second.curve and first.L == second.L
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert clone(config(seed=1))[1].curve != first.curve


@pytest.mark.parametrize(
    "shape",
    [TINY, PolicyConfig.family(16, depth=3), PolicyConfig.family(8, film=False, history=0, chunk=3),
     PolicyConfig.family(8, view="pixels", tile=2, patch=2)],
)  # fmt: skip
def test_flops_equal_those_that_torch_counts(shape):
    policy, words = Policy(shape), 5
    side = shape.side
    inputs = (
        torch.zeros(2, side, side, 3, dtype=torch.uint8),
        torch.ones(2, words),
        torch.zeros(2, shape.history),
    )
    forward, per_patch = 2 * flops(shape, words) / 3, 2 * 2.0 * shape.patch**2 * shape.channels * shape.width
    with sdpa_kernel(SDPBackend.MATH):  # the CPU's own kernel is not counted
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            policy(*inputs)
        assert counter.get_total_flops() == forward
        with FlopCounterMode(display=False) as counter:
            policy(*inputs).sum().backward()
    # no gradient goes back into the picture itself
    assert counter.get_total_flops() == 3 * forward - per_patch * (side // shape.patch) ** 2


def test_a_schedule_decides_where_batches_come_from(monkeypatch):
    drawn = []
    plain = cloning.Feed.loss
    monkeypatch.setattr(
        cloning.Feed, "loss", lambda self, *rest: drawn.append(self.source.name) or plain(self, *rest)
    )
    clone(config(), Stepwise((POINT.name, ACT.name), (10,)))
    assert drawn[:30] == [POINT.name] * 10 + [ACT.name] * 20
    drawn.clear()
    half = {POINT.name: 0.5, ACT.name: 0.5}
    clone(config(steps=200, batch=2), Mixture(half, half, 0))
    assert 70 < drawn[:200].count(POINT.name) < 130
    drawn.clear()
    clone(config())
    assert set(drawn) == {ACT.name}


def test_an_adaptive_schedule_is_told_how_the_present_source_does():
    seen = []

    class Watched(Adaptive):
        def __call__(self, step, performance=()):
            seen.append(tuple(performance))
            return super().__call__(step, performance)

    clone(config(steps=60), Watched((POINT.name, ACT.name), promote=0.99, deadline=40))
    assert len(seen[-1]) == 2 and all(0 <= value <= 1 for value in seen[-1])
    assert seen[0] == () and len(seen[30]) == 1  # looked at after 25 steps


def test_the_id_holds_the_schedule_and_the_same_data_serve_all_arms():
    staged = Stepwise((POINT.name, ACT.name), (10,))
    assert config().paced(staged).id() != config().id() == config().paced(None).id()
    assert clone(config(), staged)[1].id == config().paced(staged).id()
    assert json.loads(json.dumps(config().model_dump()))["pacing"] == "target"


def test_held_out_demonstrations_are_others():
    check = cloning._held_out(ACT.replace(without=("red ball",)))
    assert check.first == VALIDATION and check.without == () and check.episodes == 20


def test_missions_left_out_are_left_out():
    whole, part = (feed(ACT.replace(without=w), TINY) for w in ((), ("red ball", "green box", "blue key")))
    assert 0.5 * len(whole.targets) < len(part.targets) < len(whole.targets)


def test_pictures_are_pointed_at_row_by_row():
    pictures = PolicyConfig.family(8, view="pixels", tile=2, patch=2)
    cells, patches = (feed(POINT, p).targets.reshape(-1, 7, 7) for p in (TINY, pictures))
    assert torch.equal(cells.swapaxes(1, 2), patches) and not torch.equal(cells, patches)
    with pytest.raises(InputError, match="a cell each, to point at cells, got 7"):
        feed(POINT, pictures.replace(patch=7))


def test_chunks_are_the_actions_ahead():
    policy = PolicyConfig.family(8, chunk=3)
    got = feed(ACT, policy).targets
    assert got.shape[1] == 3 and (got[:, 0] >= 0).all() and (got[:, 2] == -1).any()
    assert np.isfinite(clone(config(policy=policy))[1].L)


@pytest.mark.parametrize(
    ("changes", "schedule", "says"),
    [
        ({}, Adaptive((POINT.name, ACT.name), promote=0.9), "never ends; give it a deadline"),
        ({}, Stepwise((POINT.name, "act GoToMoon"), (5,)), "expected sources among point GoToLocalS8N4"),
        ({"sources": (Source(level="GoToMoon"),)}, None, "expected a BabyAI level, got 'GoToMoon'"),
        ({"sources": (ACT, ACT)}, None, "each with a task and level of its own"),
        ({"sources": ()}, None, "expected at least one source"),
        ({"policy": PolicyConfig.family(8, mission=3)}, None, "missions of at most 3 words"),
    ],
)  # fmt: skip
def test_refusals(changes, schedule, says):
    with pytest.raises((InputError, ValueError), match=says):
        clone(config(**changes), schedule)


@pytest.fixture(scope="module")
def some() -> Steps:
    env = worlds.make("GoToLocalS8N4")
    return steps(to_dataset([worlds.demonstrate("GoToLocalS8N4", seed, env) for seed in range(40)]))


def test_targets_by_a_plain_search(some):
    found = cloning.targets_SxP(some)
    for row in range(0, len(some), 7):
        kind, colour = worlds.named_object(some.mission_SxM[row])
        image = some.image_Sx7x7x3[row]
        plain = [image[i, j, 0] == kind and image[i, j, 1] == colour for i in range(7) for j in range(7)]
        assert found[row].tolist() == plain


def test_what_the_bot_reaches_is_what_the_mission_names(some):
    """At the last step of a "go to" mission the named object is next to the agent, most often right before it."""
    last = np.flatnonzero(np.diff(np.r_[some.episode_S, -1]))
    assert cloning.targets_SxP(some)[last].any(1).mean() > 0.9


def test_visible_keeps_steps_with_a_target(some):
    kept, targets = cloning.visible(some)
    assert len(kept) == len(targets) < len(some) and targets.any(1).all()
    assert kept.episode_S.max() + 1 == len(np.unique(kept.episode_S))


def test_point_loss_is_minus_log_of_the_right_probability():
    logits = torch.randn(5, 49, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(5, 49, dtype=torch.bool)
    targets[range(5), range(5)] = True
    targets[0, 7] = True  # two red balls: either is right
    slow = -(logits.softmax(-1) * targets).sum(-1).log().mean()
    assert cloning.point_loss(logits, targets).item() == pytest.approx(slow.item(), abs=1e-12)


def test_naming_finds_missions(some):
    found = cloning.naming(some, ["red ball", "blue key"])
    words = [worlds.decode(tokens) for tokens in some.mission_SxM]
    assert found.tolist() == [w.endswith(("red ball", "blue key")) for w in words] and 0 < found.mean() < 1


def test_missions_and_views_without_a_target_are_refused(some):
    with pytest.raises(InputError, match="mission: expected words"):
        cloning.naming(some, ["red dragon"])
    hidden = Steps(np.zeros_like(some.image_Sx7x7x3), some.mission_SxM, some.action_S, some.episode_S)
    with pytest.raises(InputError, match="in view, got none"):
        cloning.visible(hidden)
