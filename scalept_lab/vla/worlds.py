"""BabyAI: small grid worlds, a mission in words, and a bot that carries it out (Chevalier-Boisvert et al. 2019).

The worlds are Farama's `minigrid`. An agent sees the 7 × 7 cells before it, each as three small whole numbers (what it
is, its colour, its state), and turns, walks, picks up, drops or toggles. The same level and seed give the same episode
on every machine: a demonstration need not be stored, only its seed.

The same views can be pictures: minigrid draws a view cell by cell, and a cell's picture depends on its three numbers alone. So
the symbols of a demonstration suffice to draw what its agent saw, and a policy that sees pixels learns from the same
demonstrations. `replay` draws whole worlds, for people.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from scalept_lab.errors import InputError

VIEW = 7  # cells, of the agent's square view
ACTIONS = ("left", "right", "forward", "pickup", "drop", "toggle", "done")
KINDS = ("unseen", "empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava", "agent")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
STATES = ("open", "closed", "locked")
WORDS = (
    "<pad>", "a", "after", "and", "ball", "behind", "blue", "box", "door", "front", "go", "green", "grey", "in", "key",
    "left", "next", "object", "of", "on", "open", "pick", "purple", "put", "red", "right", "the", "then", "to", "up",
    "yellow", "you", "your", ",",
)  # fmt: skip
"""Every word of the missions that BabyAI makes; a word's token is its place here, and 0 fills up."""
CAP = 20  # steps that a policy gets: with ever more of them, a blind agent bumps into its goal more and more often


@dataclass(frozen=True)
class Episode:
    """One mission carried out: T steps, and what was seen before each of them."""

    level: str
    seed: int
    mission: str
    image_Tx7x7x3: np.ndarray  # uint8: kind, colour, state of the cells in view; the agent stands at [3, 6]
    direction_T: np.ndarray  # 0 east, 1 south, 2 west, 3 north
    action_T: np.ndarray
    success: bool

    def __len__(self) -> int:
        return len(self.action_T)


def levels() -> tuple[str, ...]:
    """The names of BabyAI's levels, without the `BabyAI-` and `-v0` around them."""
    return tuple(sorted(_registry()))


def make(level: str, render: bool = False) -> Any:
    """The environment of a level, bare: none of gymnasium's checking wrappers around it.

    `GoToLocalS8N4` is a room of 8 × 8 cells with its walls and 4 objects; sizes that BabyAI does not list are made in the
    same way (`GoToLocalS12N4`). With `render`, `env.render()` gives a picture.
    Raises: InputError for a name that is no level.
    """
    import gymnasium

    name, options = _resolve(level)
    with quiet():
        mode = "rgb_array" if render else None
        return gymnasium.make(name, disable_env_checker=True, render_mode=mode, **options).unwrapped


def _resolve(level: str) -> tuple[str, dict[str, int]]:
    """(gymnasium's name, what to give it) of a level."""
    known = _registry()
    if level in known:
        return known[level], {}
    if found := re.fullmatch(r"GoToLocalS(\d+)N(\d+)", level):
        size, objects = map(int, found.groups())
        if 5 <= size <= 25 and 1 <= objects <= (size - 2) ** 2 // 3:
            return "BabyAI-GoToLocal-v0", {"room_size": size, "num_dists": objects}
    near = difflib.get_close_matches(level, known, n=3, cutoff=0.5)
    raise InputError(
        f"level: expected a BabyAI level, got {level!r}; close to it: {', '.join(near) or 'nothing'} "
        "(scalept_lab.vla.worlds.levels() lists all)"
    )


@cache
def _registry() -> dict[str, str]:
    """gymnasium's name of each level."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import gymnasium
    import minigrid  # noqa: F401  registers its worlds

    names = [name for name in gymnasium.registry if name.startswith("BabyAI-")]
    return {re.sub(r"^BabyAI-|-v\d+$", "", name): name for name in names}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """minigrid prints whenever it draws a world anew ("Sampling rejected"): nobody needs to read that."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def reset(env: Any, seed: int) -> dict[str, Any]:
    """The first observation of the episode with this seed: image, direction, mission."""
    with quiet():
        return env.reset(seed=seed)[0]


def demonstrate(level: str, seed: int, env: Any = None) -> Episode:
    """What the bot does on the mission with this seed. `env`: one made before, to save the time of making it.

    Raises: InputError for an unknown level, or one whose missions the bot does not understand (`KeyInBox`).
    """
    env = env or make(level)
    seen = reset(env, seed)
    images, directions, over, reward = [], [], False, 0.0
    actions: list[int] = []
    says = expert(
        env, f"{level}: expected a level that the bot can carry out, but with seed {seed} it gives up"
    )
    while not over:
        action = says(actions[-1] if actions else None)
        images.append(seen["image"])
        directions.append(seen["direction"])
        actions.append(action)
        seen, reward, terminated, truncated, _ = env.step(action)
        over = terminated or truncated
    return Episode(
        level, seed, seen["mission"], np.stack(images), np.array(directions, np.uint8), np.array(actions, np.uint8),
        success=reward > 0,
    )  # fmt: skip


GIVES_UP = "bot: expected a mission and a state from which it knows the way, but it gives up"


def expert(env: Any, complaint: str = GIVES_UP) -> Callable[[int | None], int]:
    """The bot beside an episode that has just begun, whoever acts in it: told the last action (None at first), it says
    what it would do now. To be asked before each step, since it remembers what it has seen.

    Raises: InputError for a mission that the bot does not understand, now or when it is asked for a state from which it
    knows no way on, such as after a box was opened.
    """
    from minigrid.utils.baby_ai_bot import BabyAIBot, DisappearedBoxError

    def asked(what: Callable[[], Any]) -> Any:
        try:
            return what()
        except (AssertionError, DisappearedBoxError) as error:
            reason = str(error) or "a mission unknown to it"
            raise InputError(f"{complaint} ({reason}); take another level") from None

    bot = asked(lambda: BabyAIBot(env))

    def says(taken: int | None = None) -> int:
        return int(asked(lambda: bot.replan(taken)))

    return says


def encode(mission: str, length: int | None = None) -> np.ndarray:
    """Tokens of a mission, uint8, filled up with 0 to `length`. Raises: InputError for a word that is none of `WORDS`."""
    words = mission.lower().replace(",", " , ").split()
    try:
        tokens = [WORDS.index(word) for word in words]
    except ValueError:
        new = next(word for word in words if word not in WORDS)
        raise InputError(
            f"mission: expected words of BabyAI's language, got {new!r} in {mission!r}; scalept_lab.vla.worlds.WORDS has all"
        ) from None
    if length is not None and len(tokens) > length:
        raise InputError(
            f"mission: expected at most {length} words, got {len(tokens)} in {mission!r}; take a longer policy"
        )
    return np.array(tokens + [0] * ((length or len(tokens)) - len(tokens)), np.uint8)


def decode(tokens: np.ndarray) -> str:
    """The words of a mission again."""
    return " ".join(WORDS[token] for token in tokens if token).replace(" ,", ",")


def named_object(tokens: np.ndarray) -> tuple[int, int]:
    """(kind, colour) of the first object that a mission names, as numbers of an image; colour -1 where it names none.

    Raises: InputError for a mission without an object.
    """
    words, colour = [WORDS[token] for token in tokens if token], -1
    for word in words:
        if word in COLOURS:
            colour = COLOURS.index(word)
        elif word in KINDS:
            return KINDS.index(word), colour
    raise InputError(f"mission: expected one that names an object, got {' '.join(words)!r}")


AGENT = (3, 6)  # where it stands in its view
SIZES = (len(KINDS), len(COLOURS), len(STATES))


def view(env: Any, tile: int = 8) -> np.ndarray:
    """What the agent sees now, uint8 (7 · tile, 7 · tile, 3): the picture of minigrid's `RGBImgPartialObsWrapper`."""
    return render_steps(env.gen_obs()["image"][None], tile)[0]


def render_steps(image_Sx7x7x3: np.ndarray, tile: int = 8) -> np.ndarray:
    """The pictures of S views in symbols: uint8 (S, 7 · tile, 7 · tile, 3), rows first, the agent looking up.

    Raises: InputError for views of another shape, numbers that stand for nothing, or a tile below one pixel.
    """
    image = np.asarray(image_Sx7x7x3)
    if image.shape[1:] != (VIEW, VIEW, 3) or tile < 1:
        raise InputError(
            f"pixels: expected views of {VIEW} × {VIEW} × 3 numbers and a tile of at least one pixel, "
            f"got {' × '.join(map(str, image.shape[1:]))} and {tile}"
        )
    if image.size and (image.reshape(-1, 3).max(0) >= SIZES).any():
        raise InputError(
            f"pixels: expected kinds, colours and states below {SIZES}, "
            f"got up to {tuple(image.reshape(-1, 3).max(0).tolist())}"
        )
    code_Sx7x7 = np.ravel_multi_index(np.moveaxis(image, -1, 0), SIZES)
    code_Sx7x7[:, *AGENT] += np.prod(SIZES)  # the same cells, with the agent in them
    codes, which = np.unique(code_Sx7x7, return_inverse=True)
    tiles = np.array([_tile(int(code), tile) for code in codes], np.uint8).reshape(-1, tile, tile, 3)
    # cells are numbered [x, y], pixels [row, column]
    drawn_Sx7x7xHxWx3 = tiles[which.reshape(code_Sx7x7.shape).swapaxes(1, 2)]
    return drawn_Sx7x7xHxWx3.swapaxes(2, 3).reshape(-1, VIEW * tile, VIEW * tile, 3)


@cache
def _tile(code: int, tile: int) -> np.ndarray:
    """The picture of one cell. What is in view is lighter than what is not."""
    from minigrid.core.grid import Grid
    from minigrid.core.world_object import WorldObj

    agent, code = divmod(code, int(np.prod(SIZES)))
    kind, colour, state = map(int, np.unravel_index(code, SIZES))
    what = WorldObj.decode(kind, colour, state)
    seen = KINDS[kind] != "unseen"
    return Grid.render_tile(what, agent_dir=3 if agent else None, highlight=seen, tile_size=tile)


def replay(level: str, seed: int, actions: Sequence[int], tile: int = 24) -> list[np.ndarray]:
    """Pictures of the whole world, uint8 (rows, columns, 3), `tile` pixels per cell: before each action and after the last.

    What the agent sees is lighter. `actions` are those of `Rollouts.actions` or of a demonstration.
    Raises: InputError for an unknown level, a number that is no action, or actions that go on after the episode's end.
    """
    actions = [int(action) for action in actions]
    if wrong := [action for action in actions if not 0 <= action < len(ACTIONS)]:
        raise InputError(f"actions: expected numbers from 0 to {len(ACTIONS) - 1}, got {wrong[0]}")
    env = make(level)
    reset(env, seed)
    frames, over = [env.get_frame(tile_size=tile)], False
    for step, action in enumerate(actions):
        if over:
            raise InputError(
                f"actions: expected at most {step}, after which the episode with seed {seed} of {level} is over, "
                f"got {len(actions)}"
            )
        _, _, terminated, truncated, _ = env.step(action)
        over = terminated or truncated
        frames.append(env.get_frame(tile_size=tile))
    return frames
