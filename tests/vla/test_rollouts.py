"""Rollouts against a plain loop, the bot's own actions, and actors that see nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from scalept_lab.errors import InputError
from scalept_lab.vla import demos
from scalept_lab.vla import worlds as babyai
from scalept_lab.vla.model import Policy, PolicyConfig
from scalept_lab.vla.rollouts import actor, blind, rollout, worlds_naming
from scalept_lab.vla.worlds import ACTIONS

LEVEL = "GoToLocalS8N4"
SEEDS = list(range(demos.TEST, demos.TEST + 12))
SHARES = (0.16, 0.2, 0.64)


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.manual_seed(1)
    policy = Policy(PolicyConfig(width=12))
    for block in policy.blocks:
        torch.nn.init.normal_(block.out.weight, std=0.5)
        torch.nn.init.normal_(block.down.weight, std=0.5)
    return policy


def one_at_a_time(act, seed: int, cap: int, history: int = 4) -> tuple[bool, list[int]]:
    """The slow twin: one world, one action, nothing batched."""
    env, taken = babyai.make(LEVEL), []
    seen = babyai.reset(env, seed)
    mission = babyai.encode(seen["mission"])[None]
    for _ in range(cap):
        past = ([len(ACTIONS)] * history + taken)[len(taken) :]
        action = int(act(seen["image"][None], mission, np.array([past], np.uint8))[0, 0])
        taken.append(action)
        seen, reward, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            return reward > 0, taken
    return False, taken


def test_in_batches_as_one_at_a_time(policy, monkeypatch):
    monkeypatch.setattr("scalept_lab.vla.rollouts.BATCH", 5)  # two whole batches, and a part of one
    found = rollout(actor(policy), LEVEL, SEEDS, cap=12)
    for i, seed in enumerate(SEEDS):
        success, taken = one_at_a_time(actor(policy), seed, cap=12)
        assert found.actions[i] == taken and found.success[i] == success and found.length[i] == len(taken)
        assert found.missions[i] == babyai.reset(babyai.make(LEVEL), seed)["mission"]
    assert list(found.seeds) == SEEDS and len({tuple(actions) for actions in found.actions}) > 3
    assert found.rate.mean == found.success.mean()


def script(rows: list[list[int]]) -> Callable:
    """An actor that says all its actions at once, whatever it sees."""
    longest = max(map(len, rows))
    return lambda image, mission, history: np.array([row + [6] * (longest - len(row)) for row in rows])


def test_the_bots_actions_acted_again_succeed():
    bot = [babyai.demonstrate(LEVEL, seed) for seed in SEEDS]
    found = rollout(script([episode.action_T.tolist() for episode in bot]), LEVEL, SEEDS)
    assert found.success.all() and found.length.tolist() == [len(episode) for episode in bot]
    assert found.missions == [episode.mission for episode in bot]
    assert found.rate.low > 0.7 and found.rate.high == pytest.approx(1.0)
    # with the last step missing, none has arrived
    rows = [[*episode.action_T.tolist()[:-1], 6] for episode in bot]
    assert not rollout(script(rows), LEVEL, SEEDS, cap=max(map(len, rows))).success.any()


def test_chunks_are_acted_to_their_end_before_it_looks_again():
    asked, plan = [], np.array([[0, 1, 6]])

    def act(image, mission, history):
        asked.append((len(image), history.copy()))
        return np.repeat(plan, len(image), 0)

    found = rollout(act, LEVEL, SEEDS[:4], cap=8, history=3)
    assert [taken for taken in found.actions] == [[0, 1, 6, 0, 1, 6, 0, 1]] * 4
    assert [count for count, _ in asked] == [4, 4, 4]
    assert (asked[0][1] == len(ACTIONS)).all() and (asked[1][1] == plan).all()


def test_with_all_cells_hidden_it_acts_blindly(policy):
    act = actor(policy)
    hidden = rollout(act, LEVEL, SEEDS, noise=1.0)
    blindly = rollout(lambda image, mission, history: act(0 * image, mission, history), LEVEL, SEEDS)
    assert hidden.actions == blindly.actions
    assert hidden.actions != rollout(act, LEVEL, SEEDS).actions


def test_noise_hides_a_share_of_cells_whole(policy):
    shown = []

    def act(image, mission, history):
        shown.append(image.copy())
        return np.full((len(image), 1), 6)

    rollout(act, LEVEL, SEEDS, cap=20)
    clear, shown = np.concatenate(shown), []
    rollout(act, LEVEL, SEEDS, cap=20, noise=0.3)
    noisy = np.concatenate(shown)
    there = clear[..., 0] > 0
    gone = there & (noisy[..., 0] == 0)
    assert (noisy[gone] == 0).all() and (noisy[~gone] == clear[~gone]).all()
    assert abs(gone.sum() / there.sum() - 0.3) < 0.02


def test_noise_on_pictures_hides_whole_cells():
    """Else a thousand single pixels would be lost, and the picture would still show everything."""
    shown = []

    def act(image, mission, history):
        shown.append(image.copy())
        return np.full((len(image), 1), 6)

    rollout(act, LEVEL, SEEDS, cap=2, noise=0.5, see=lambda env: np.full((28, 28, 3), 200, np.uint8))
    image = np.concatenate(shown)
    cells = image.reshape(len(image), 7, 4, 7, 4, 3).swapaxes(2, 3).reshape(len(image), 49, -1)
    assert ((cells == 0).all(-1) | (cells == 200).all(-1)).all()
    assert abs((cells == 0).mean() - 0.5) < 0.05


def test_the_blind_floor_is_repeated_exactly_and_another_draw_is_near():
    seeds = list(range(demos.TEST, demos.TEST + 128))
    first, again, other = (rollout(blind(SHARES, seed), LEVEL, seeds) for seed in (0, 0, 1))
    assert first.actions == again.actions and first.rate == again.rate
    assert first.actions != other.actions
    assert first.rate.low <= other.rate.mean <= first.rate.high
    taken = np.bincount(np.concatenate(first.actions), minlength=7) / first.length.sum()
    assert np.abs(taken[:3] - SHARES).max() < 0.04 and (taken[3:] == 0).all()


def test_drawing_actions_goes_by_the_policys_shares(policy):
    first, again = (rollout(actor(policy, greedy=False, seed=3), LEVEL, SEEDS, cap=6) for _ in range(2))
    assert first.actions == again.actions != rollout(actor(policy), LEVEL, SEEDS, cap=6).actions
    act = actor(policy, greedy=False)
    image, mission = babyai.demonstrate(LEVEL, 0).image_Tx7x7x3[:1], babyai.encode("go to the red ball")[None]
    past = np.full((1, 4), len(ACTIONS), np.uint8)
    drawn = np.concatenate([act(*(np.repeat(a, 500, 0) for a in (image, mission, past))) for _ in range(8)])
    wanted = policy(*map(torch.from_numpy, (image, mission, past))).softmax(-1).detach().numpy().ravel()
    assert np.abs(np.bincount(drawn.ravel(), minlength=7) / len(drawn) - wanted).max() < 0.03


def test_worlds_by_what_their_missions_name():
    found = worlds_naming(LEVEL, 6, ["red ball", "green key"])
    assert found == sorted(found) and len(set(found)) == 6 and found[0] >= demos.TEST
    env = babyai.make(LEVEL)
    for seed in range(demos.TEST, found[-1] + 1):
        named = babyai.reset(env, seed)["mission"].endswith(("red ball", "green key"))
        assert named == (seed in found)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: blind([0.5, 0.2]), "sum to one, got [0.5, 0.2]"),
        (lambda: blind([1.5, -0.5]), "sum to one"),
        (lambda: blind([float("nan"), 1.0]), "sum to one"),
        (lambda: blind([0.125] * 8), "at most 7 actions"),
        (lambda: rollout(blind([1.0]), LEVEL, 4, noise=1.2), "noise from 0 to 1, got 4 seeds, cap 20, noise 1.2"),
        (lambda: rollout(blind([1.0]), LEVEL, 4, noise=float("nan")), "noise from 0 to 1"),
        (lambda: rollout(blind([1.0]), LEVEL, []), "at least one seed"),
        (lambda: rollout(blind([1.0]), LEVEL, 4, cap=0), "one step"),
        (lambda: rollout(blind([1.0]), "GoToLocl", 4), "expected a BabyAI level"),
        (lambda: rollout(blind([1.0]), LEVEL, 4, words=3), "at most 3 words, got 5"),
        (lambda: worlds_naming("GoToRedBallNoDists", 1, ["blue key"]), "name blue key, got none in 100 worlds"),
        (lambda: worlds_naming(LEVEL, 1, ["pink ball"]), "got 'pink'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(call, words):
    with pytest.raises(InputError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)


def test_the_learners_loops_do_what_the_kits_rollout_does():
    """Scripted by what is seen, so that all three play the same game."""
    from scalept_lab.course.sets.nb10_acting import open_loop, roll_out
    from scalept_lab.vla.rollouts import decider, rollout

    torch.manual_seed(0)
    policy = Policy(PolicyConfig.family(8, chunk=3))
    env, seeds = babyai.make("GoToLocalS5N2"), list(range(12))
    decide = decider(policy)
    for ahead in (1, 2, 3):
        kits = rollout(actor(policy, ahead=ahead), "GoToLocalS5N2", seeds, cap=9)
        mine = [open_loop(decide, env, seed, ahead, cap=9) for seed in seeds]
        assert [found[0] for found in mine] == kits.success.tolist()
        assert [found[1] for found in mine] == kits.actions
        assert [found[2] for found in mine] == [-(-len(taken) // ahead) for taken in kits.actions]
    success, actions = roll_out(decide, env, seeds, cap=9)
    kits = rollout(actor(policy, ahead=1), "GoToLocalS5N2", seeds, cap=9)
    assert success == kits.success.tolist() and actions == kits.actions


def test_no_more_actions_ahead_than_the_policy_says():
    policy = Policy(PolicyConfig.family(8, chunk=2))
    for ahead in (0, 3):
        with pytest.raises(InputError, match="ahead: expected 1 to 2") as error:
            actor(policy, ahead=ahead)
        assert "\n" not in str(error.value)
