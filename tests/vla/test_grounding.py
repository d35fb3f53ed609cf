"""Labels of "which cell does the mission name?" against a plain search, and the loss against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scalept_lab.errors import InputError
from scalept_lab.vla import cloning, worlds
from scalept_lab.vla.demos import Steps, steps, to_dataset


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


def test_refusals(some):
    with pytest.raises(InputError, match="mission: expected words"):
        cloning.naming(some, ["red dragon"])
    hidden = Steps(np.zeros_like(some.image_Sx7x7x3), some.mission_SxM, some.action_S, some.episode_S)
    with pytest.raises(InputError, match="in view, got none"):
        cloning.visible(hidden)
