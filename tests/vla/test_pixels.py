"""Views as pictures: the same, to the pixel, as what minigrid's own wrapper shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scalept_lab import runs
from scalept_lab.errors import InputError
from scalept_lab.vla import demos, worlds
from scalept_lab.vla.model import Policy, PolicyConfig
from scalept_lab.vla.rollouts import actor, rollout


@pytest.mark.parametrize(
    ("level", "tile"), [("GoToLocalS8N4", 8), ("UnlockLocal", 8), ("PutNextLocalS5N3", 5), ("GoTo", 14)]
)
def test_drawn_from_symbols_or_from_the_world_it_is_the_wrappers_picture(level, tile):
    """Doors, walls, carried objects, cells out of sight, every direction: the bot's whole way."""
    from minigrid.utils.baby_ai_bot import BabyAIBot
    from minigrid.wrappers import RGBImgPartialObsWrapper

    env = worlds.make(level)
    wrapper = RGBImgPartialObsWrapper(env, tile_size=tile)
    pictures, symbols, carried, unseen = [], [], 0, 0
    for seed in range(3):
        worlds.reset(env, seed)
        bot, over = BabyAIBot(env), False
        while not over and len(pictures) < 90:
            seen = env.gen_obs()
            symbols.append(seen["image"])
            pictures.append(wrapper.observation(seen)["image"])
            assert np.array_equal(worlds.view(env, tile), pictures[-1])
            carried += env.carrying is not None
            unseen += (seen["image"][..., 0] == 0).any()
            _, _, terminated, truncated, _ = env.step(int(bot.replan()))
            over = terminated or truncated
    found = worlds.render_steps(np.stack(symbols), tile)
    assert found.dtype == np.uint8 and np.array_equal(found, np.stack(pictures))
    assert carried or "GoTo" in level
    assert unseen


def test_other_views_are_refused_in_one_line():
    for image, tile in (
        (np.zeros((2, 5, 5, 3), np.uint8), 8),
        (np.zeros((7, 7, 3), np.uint8), 8),
        (np.zeros((2, 7, 7, 3), np.uint8), 0),
        (np.full((2, 7, 7, 3), 99, np.uint8), 8),
    ):
        with pytest.raises(InputError, match="pixels: expected") as error:
            worlds.render_steps(image, tile)
        assert "\n" not in str(error.value)
    assert worlds.render_steps(np.zeros((0, 7, 7, 3), np.uint8)).shape == (0, 56, 56, 3)


def test_the_same_policy_reads_them():
    """One patch per cell, in the same place: and it acts on pictures in its worlds."""
    config = PolicyConfig(width=8, heads=2, view="pixels", tile=8, patch=8)
    policy = Policy(config)
    episode = worlds.demonstrate("GoToLocalS8N4", 0)
    picture = worlds.render_steps(episode.image_Tx7x7x3)
    patches = policy.cut(torch.from_numpy(picture))
    assert patches.shape == (len(episode), 49, 8 * 8 * 3)
    top_right = (picture[0, :8, 48:].reshape(-1) / 255 - 0.25) * 10 / 192
    assert np.allclose(patches[0, 6].numpy(), top_right, atol=1e-7)
    found = rollout(actor(policy), "GoToLocalS8N4", range(demos.TEST, demos.TEST + 4), see=worlds.view, cap=3)
    assert found.length.max() <= 3


def test_pixels_speak_about_as_loudly_as_symbols():
    """Else one of the two would need rates of its own: the spread of a patch's tokens over real views, at the beginning."""
    steps = demos.steps(demos.read(runs.data_folder() / "demonstrations/GoToLocalS8N4/00000000.parquet"))
    spread = {}
    for view, images in (
        ("symbols", steps.image_Sx7x7x3),
        ("pixels", worlds.render_steps(steps.image_Sx7x7x3)),
    ):
        torch.manual_seed(0)
        policy = Policy(PolicyConfig(view=view, patch=8 if view == "pixels" else 1))
        tokens = policy.patch(policy.cut(torch.from_numpy(np.array(images[:200]))))
        spread[view] = float(tokens.detach().std(dim=(0, 1)).mean())
    assert 0.3 < spread["pixels"] / spread["symbols"] < 3
