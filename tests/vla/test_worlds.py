"""BabyAI worlds: names, words, and episodes that a seed makes again."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from scalept_lab import runs
from scalept_lab.errors import InputError
from scalept_lab.vla import demos, worlds


def digest(episode: worlds.Episode) -> str:
    parts = (episode.image_Tx7x7x3, episode.direction_T, episode.action_T)
    whole = b"".join(part.tobytes() for part in parts) + episode.mission.encode()
    return hashlib.sha256(whole).hexdigest()


def test_numbers_of_an_image_are_minigrids():
    from minigrid.core.actions import Actions
    from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX

    assert {name: i for i, name in enumerate(worlds.KINDS)} == OBJECT_TO_IDX
    assert {name: i for i, name in enumerate(worlds.COLOURS)} == COLOR_TO_IDX
    assert {name: i for i, name in enumerate(worlds.STATES)} == STATE_TO_IDX
    assert list(worlds.ACTIONS) == [action.name for action in Actions]


def test_words_are_those_of_all_levels():
    """Five missions of every level that is quick to draw, and of a slow one with long missions."""
    names = [name for name in worlds.levels() if "Local" in name or "Loc" in name or "Pickup" in name]
    for name in [*names, "OpenTwoDoors", "PutNextS4N1", "PickupAbove", "GoToSeqS5R2", "BossLevel"]:
        env = worlds.make(name)
        for seed in range(5):
            mission = worlds.reset(env, seed)["mission"]
            assert worlds.decode(worlds.encode(mission)) == mission


def test_levels_and_the_sizes_between_them():
    assert len(worlds.levels()) > 90 and "GoToLocalS8N4" in worlds.levels()
    listed, made = worlds.make("GoToLocalS8N4"), worlds.make("GoToLocalS12N4")
    assert (listed.room_size, listed.num_dists) == (8, 4)
    assert (made.room_size, made.num_dists, made.width) == (12, 4, 12)
    assert worlds.make("GoToLocal", render=True).render_mode == "rgb_array"


@pytest.mark.parametrize(
    "name", ["GoToLocl", "BabyAI-GoToLocal-v0", "GoToLocalS5N9", "GoToLocalS99N4", "", "nothing"]
)
def test_an_unknown_level_is_one_line_with_near_names(name):
    with pytest.raises(InputError, match="level: expected a BabyAI level") as error:
        worlds.make(name)
    assert "\n" not in str(error.value)
    if name == "GoToLocl":
        assert "GoToLocal" in str(error.value).split("close to it:")[1]


def test_worlds_are_drawn_in_silence(capfd):
    """This seed is one where minigrid rejects a world and says so."""
    env = worlds.make("PutNextLocalS5N3")
    loud = [seed for seed in range(40) if env.reset(seed=seed) and capfd.readouterr().out]
    assert loud
    for seed in loud:
        worlds.reset(env, seed)
        worlds.demonstrate("PutNextLocalS5N3", seed)
    assert capfd.readouterr() == ("", "")


def test_an_episode_is_made_again_from_its_seed_bit_for_bit():
    """In this process with a used world and a fresh one, in another process, and as it was shipped."""
    used = worlds.make("GoToLocalS8N4")
    shipped = demos.read(runs.data_folder() / "demonstrations/GoToLocalS8N4/00000500.parquet").with_format(
        "numpy"
    )
    for seed in (613, 500, 749):
        episode = worlds.demonstrate("GoToLocalS8N4", seed, used)
        assert episode.success and digest(episode) == digest(worlds.demonstrate("GoToLocalS8N4", seed))
        rows = shipped[np.flatnonzero(np.array(shipped["seed"]) == seed)]
        assert np.array_equal(rows["image"], episode.image_Tx7x7x3)
        assert np.array_equal(rows["action"], episode.action_T)
        assert np.array_equal(rows["direction"], episode.direction_T)
        assert all(worlds.decode(np.array(words)) == episode.mission for words in rows["mission"])
    code = (
        "from tests.vla import test_worlds as t; import scalept_lab.vla.worlds as b; "
        "print(*(t.digest(b.demonstrate('GoToLocalS8N4', seed)) for seed in (613, 500, 749)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=demos.Path(__file__).parents[2],
    )
    here = [digest(worlds.demonstrate("GoToLocalS8N4", seed)) for seed in (613, 500, 749)]
    assert done.stdout.split() == here, done.stderr


def test_the_bot_that_gives_up_says_so_in_one_line():
    with pytest.raises(InputError, match="KeyInBox: expected a level that the bot can carry out") as error:
        worlds.demonstrate("KeyInBox", 0)
    assert "\n" not in str(error.value)


def test_missions_as_tokens():
    tokens = worlds.encode("put the red ball next to a box, then go to the grey door", 20)
    assert tokens.dtype == np.uint8 and len(tokens) == 20
    assert worlds.WORDS[tokens[8]] == "," and (tokens[15:] == 0).all() and (tokens[:15] > 0).all()
    assert worlds.decode(tokens) == "put the red ball next to a box, then go to the grey door"
    assert len(set(worlds.WORDS)) == len(worlds.WORDS)
    with pytest.raises(InputError, match="got 'pink' in 'go to the pink ball'"):
        worlds.encode("go to the pink ball")
    with pytest.raises(InputError, match="at most 3 words, got 5"):
        worlds.encode("go to the red ball", 3)


def test_which_object_a_mission_names():
    for mission, kind, colour in (
        ("go to the red ball", "ball", 0),
        ("pick up a key", "key", None),
        ("put the blue box next to the red ball", "box", 2),
        ("go to a door on your left", "door", None),
    ):
        number = -1 if colour is None else colour
        assert worlds.named_object(worlds.encode(mission)) == (worlds.KINDS.index(kind), number)
    with pytest.raises(InputError, match="expected one that names an object, got 'go to the red'"):
        worlds.named_object(worlds.encode("go to the red"))


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


def test_the_expert_can_be_asked_whoever_acts():
    env = worlds.make("GoToLocalS5N2")
    shown = worlds.demonstrate("GoToLocalS5N2", 3)
    worlds.reset(env, 3)
    says, said = worlds.expert(env), []
    for action in shown.action_T:
        said.append(says(said[-1] if said else None))
        env.step(action)
    assert said == shown.action_T.tolist()


def test_the_expert_gives_up_in_one_line_where_a_box_was_opened():
    from minigrid.core.world_object import Box

    env = worlds.make("GoToLocalS5N2")
    worlds.reset(env, 3)
    says, toggle = worlds.expert(env), worlds.ACTIONS.index("toggle")
    env.grid.set(*env.front_pos, Box("grey"))
    says(None)
    env.step(toggle)
    with pytest.raises(InputError, match="bot: expected a mission and a state") as error:
        says(toggle)
    assert "\n" not in str(error.value)
