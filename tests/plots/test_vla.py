"""Pictures of policies: an episode acted again, where a policy looks, success with its floor; and the explorer."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from refusals import one_line

from scalept_lab import plots
from scalept_lab.errors import InputError
from scalept_lab.laws.compare import wilson
from scalept_lab.model.transformer import norm
from scalept_lab.plots import explorers, style, vla
from scalept_lab.plots.style import png
from scalept_lab.vla import model, worlds
from scalept_lab.vla.model import Policy, PolicyConfig

LEVEL, SEED = "GoToLocalS8N4", 0


@pytest.fixture(scope="module")
def episode() -> worlds.Episode:
    return worlds.demonstrate(LEVEL, SEED)


@pytest.fixture(scope="module")
def frames(episode) -> list[np.ndarray]:
    return worlds.replay(LEVEL, SEED, episode.action_T)


# --- playback ---------------------------------------------------------------------------------------------------------


def test_an_episode_is_seen_as_it_was(episode, frames):
    assert len(frames) == len(episode) + 1
    assert all(frame.shape == (8 * 24, 8 * 24, 3) and frame.dtype == np.uint8 for frame in frames)
    env = worlds.make(LEVEL)
    worlds.reset(env, SEED)
    for frame, action in zip(frames, episode.action_T, strict=False):
        assert np.array_equal(frame, env.get_frame(tile_size=24))
        _, reward, over, _, _ = env.step(int(action))
    assert over and reward > 0 and np.array_equal(frames[-1], env.get_frame(tile_size=24))
    assert len(worlds.replay(LEVEL, SEED, [])) == 1


def test_what_cannot_be_acted_again(episode):
    one_line(lambda: worlds.replay("GoToLocl", SEED, [0]), "expected a BabyAI level")
    one_line(lambda: worlds.replay(LEVEL, SEED, [0, 7]), "numbers from 0 to 6, got 7")
    one_line(lambda: worlds.replay(LEVEL, SEED, [*episode.action_T, 0]), f"at most {len(episode)}", "is over")


# --- attention --------------------------------------------------------------------------------------------------------


def random_policy(**changes) -> Policy:
    torch.manual_seed(0)
    policy = Policy(PolicyConfig(**({"width": 12} | changes)))
    for block in policy.blocks:
        torch.nn.init.normal_(block.out.weight, std=0.5)
    return policy


def test_shares_of_attention_are_those_that_mix_the_values(episode):
    """What a block adds, made again from the shares of `vla.model` and the block's own values."""
    policy = random_policy(heads=1)
    image = episode.image_Tx7x7x3[1]
    found = model.attention(policy, image, episode.mission)
    words = episode.mission.split()
    assert (
        found.words == words
        and found.words_MxRxC.shape == (len(words), 7, 7)
        and found.query_RxC.shape == (7, 7)
    )
    tokens = torch.from_numpy(worlds.encode(episode.mission))[None]
    inputs = torch.from_numpy(image)[None], tokens, torch.full((1, 4), len(worlds.ACTIONS))
    with torch.no_grad():
        x, meant, _ = policy.tokens(*inputs)
        block = policy.blocks[0]
        scale, shift, *_ = block.modulation(meant)
        q, k, _ = (part[0, 0] for part in block.attended(norm(x) * (1 + scale) + shift))
    for word in range(len(words)):
        scores = [math.exp(float(q[49 + word] @ k[j]) / math.sqrt(12)) for j in range(len(k))]
        for column, row in ((0, 0), (3, 6), (5, 2)):
            share = scores[7 * column + row] / sum(scores)
            assert found.words_MxRxC[word, row, column] == pytest.approx(share, rel=1e-4)
    assert (found.words_MxRxC.sum((1, 2)) < 1).all() and 0 < found.query_RxC.sum() < 1


def test_a_policy_of_pixels_looks_at_the_same_places(episode):
    """A cell changed at the right edge changes the share of that place, in rows and columns of the picture."""
    policy = random_policy(view="pixels", tile=8, patch=8, heads=1)
    picture = worlds.render_steps(episode.image_Tx7x7x3[:1])[0]
    before = model.attention(policy, picture, "go to the red ball", np.array([2, 2, 2, 2]))
    picture[16:24, 48:] = 255 - picture[16:24, 48:]
    after = model.attention(policy, picture, "go to the red ball", np.array([2, 2, 2, 2]))
    ratio = after.words_MxRxC / before.words_MxRxC
    odd = np.abs(ratio / np.median(ratio, axis=(1, 2), keepdims=True) - 1) > 1e-4
    assert odd[:, 2, 6].all() and odd.sum() == odd[:, 2, 6].sum()


def test_what_gaze_refuses(episode):
    policy = random_policy(mission=4)
    image = episode.image_Tx7x7x3[0]
    one_line(lambda: model.attention(policy, image[:5, :5], "go to it"), "7 × 7 × 3", "5 × 5 × 3")
    one_line(lambda: model.attention(policy, image, "go to the red ball"), "at most 4 words, got 5")
    one_line(lambda: model.attention(policy, image, "go to a pink"), "'pink'")


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_strip_has_its_mission_and_the_action_under_each_picture(episode, frames):
    fig = vla.plot_episode(frames, episode.action_T, episode.mission, True)
    shown = [ax for ax in fig.axes if ax.images]
    assert 2 <= len(shown) <= 8
    assert fig.get_suptitle() == f"“{episode.mission}”, carried out in {len(episode)} steps"
    first, last = shown[0].get_xlabel(), shown[-1].get_xlabel()
    assert first == f"0: {worlds.ACTIONS[episode.action_T[0]]}" and last == f"{len(episode)}: done"
    assert np.array_equal(shown[0].images[0].get_array(), frames[0])
    assert np.array_equal(shown[-1].images[0].get_array(), frames[-1])
    long = vla.plot_episode(frames[:1] * 21, [6] * 20, "", False)
    assert len([ax for ax in long.axes if ax.images]) == 8 and "not carried out in 20" in long.get_suptitle()
    assert len(vla.plot_episode(frames[:1], []).axes) == 1
    one_line(lambda: vla.plot_episode(frames, episode.action_T[1:]), "frames: expected", "got")


def test_side_by_side_the_shorter_one_waits_at_its_end(episode, frames):
    n = len(episode)
    slow, wait = frames[:1] * 21, [6] * 20
    fig = vla.plot_side_by_side(slow, frames, n + 2, ("a", "b"), wait, episode.action_T, episode.mission)
    a, b = fig.axes
    assert (
        a.get_title(loc="left") == f"a: step {n + 2} of 20"
        and b.get_title(loc="left") == f"b: step {n} of {n}"
    )
    assert a.get_xlabel() == "next: done" and b.get_xlabel() == "next: the end"
    assert np.array_equal(b.images[0].get_array(), frames[-1])
    assert vla.plot_side_by_side(slow, frames).axes[0].get_xlabel() == ""
    one_line(lambda: vla.plot_side_by_side(slow, frames, -1), "step: expected 0 or more")
    one_line(lambda: vla.plot_side_by_side(slow, frames, actions_b=[0]), "frames: expected 2")


def test_attention_has_one_scale_for_all_words():
    picture = np.full((56, 56, 3), 90, np.uint8)
    grid = np.zeros((7, 7))
    grid[2, 5] = 0.5
    fig = vla.plot_gaze(picture, {"red": grid, "ball": grid / 5}, "go to the red ball")
    heats = [ax.images[1] for ax in fig.axes if len(ax.images) > 1]
    assert [heat.get_clim() for heat in heats] == [(0, 0.5)] * 2
    assert [ax.get_xlabel() for ax in fig.axes[:3]] == ["what it sees", "red", "ball"]
    assert fig.axes[-1].get_ylabel() == "share of attention"
    vla.plot_gaze(picture, [("the query", 0 * grid)])
    one_line(lambda: vla.plot_gaze(picture, {}), "weights: expected a grid")
    one_line(lambda: vla.plot_gaze(picture, {"red": grid[0]}), "weights: expected a grid", "(7,)")


def test_success_is_drawn_with_wilsons_bars_and_its_floor():
    rates = [wilson(k, 256) for k in (80, 180, 240)]
    fig = vla.plot_success([25, 100, 400], {"width 24": rates}, floor=0.23, bot=1.0)
    (ax,) = fig.axes
    bars = [segment for collection in ax.collections for segment in collection.get_segments()]
    assert sorted(map(tuple, (bar[:, 1] for bar in bars))) == [(r.low, r.high) for r in rates]
    texts = [text.get_text() for text in ax.texts]
    assert {"width 24", "the bot: 1.00", "acting blindly: 0.23"} == set(texts)
    assert ax.get_xscale() == "log" and [t.get_text() for t in ax.get_xticklabels()] == ["25", "100", "400"]
    assert ax.get_ylabel() == "success rate (share of missions)" and ax.get_xlabel() == "demonstrations"

    seeds = [[wilson(k, 256), wilson(k + 10, 256), wilson(k - 10, 256)] for k in (80, 180, 240)]
    fig = vla.plot_success([0, 0.1, 0.2], {"a": seeds, "b": rates}, logx=False, xlabel="noise")
    line = next(line for line in fig.axes[0].lines if len(line.get_ydata()) == 3)
    assert np.allclose(line.get_ydata(), np.array([80, 180, 240]) / 256)
    one_line(lambda: vla.plot_success([1, 2], {"a": rates}), "a: expected 2 success rates", "got 3")


def test_they_stand_with_the_other_figures_and_come_out_the_same(episode, frames):
    for name in ("plot_episode", "plot_gaze", "plot_side_by_side", "plot_success"):
        assert getattr(plots, name) is getattr(vla, name) and name in plots.__all__
    first, again = (
        hashlib.sha256(png(vla.plot_episode(frames, episode.action_T))).hexdigest() for _ in range(2)
    )
    assert first == again
    assert isinstance(vla.plot_episode(frames, episode.action_T), style.Picture)


def test_the_explorer_steps_through_both(episode, frames):
    box = explorers.episode_explorer(
        frames[:1] * 21, frames, actions_a=[6] * 20, actions_b=episode.action_T, mission=episode.mission
    )
    assert box.controls["step"].max == 20 and box.message.value == ""
    seen = set()
    for step in (0, 1, 20):
        box.controls["step"].value = step
        seen.add(box.picture.value)
        assert f"step = {step}" in box.picture.value and box.message.value == ""
    assert len(seen) == 3


def test_runs_have_a_dot_each_and_a_line_through_the_means():
    curves = {"success": ([10, 100], [[0.2, 0.4], [0.8, 0.8]])}
    panels = {"demonstrations": curves, "steps": curves}
    fig = plots.plot_runs(panels, "share", title="More of both helps here", lines={"floor": 0.1})
    left, right = fig.axes
    assert left.get_ylabel() == "share" and right.get_xlabel() == "steps"
    (line,) = [line for line in left.lines if line.get_label() == "success"]
    assert list(line.get_ydata()) == pytest.approx([0.3, 0.8])
    assert fig.get_suptitle() == "More of both helps here"
    with pytest.raises(InputError, match="panels: expected at least one"):
        plots.plot_runs({}, "share")
    with pytest.raises(InputError, match="success: expected some runs at each of 2 places"):
        plots.plot_runs({"steps": {"success": ([1, 2], [[0.1], []])}}, "share")


def test_seeds_have_a_dot_each_and_the_interval_of_their_mean():
    fig = plots.plot_seeds({"success": {"a": [0.1, 0.2, 0.3], "b": [0.5, 0.6]}}, title="b is above a")
    (ax,) = fig.axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["b", "a"]
    assert "95 % interval" in ax.get_xlabel()
    with pytest.raises(InputError, match="a: expected two or more seeds, got 1"):
        plots.plot_seeds({"success": {"a": [0.1]}})
