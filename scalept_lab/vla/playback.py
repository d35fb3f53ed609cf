"""See an episode again: the same actions in the same world, drawn as pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scalept_lab.errors import InputError
from scalept_lab.vla import worlds


def replay(level: str, seed: int, actions: Sequence[int], tile: int = 24) -> list[np.ndarray]:
    """Pictures of the whole world, uint8 (rows, columns, 3), `tile` pixels per cell: before each action and after the last.

    What the agent sees is lighter. `actions` are those of `Rollouts.actions` or of a demonstration.
    Raises: InputError for an unknown level, a number that is no action, or actions that go on after the episode's end.
    """
    actions = [int(action) for action in actions]
    if wrong := [action for action in actions if not 0 <= action < len(worlds.ACTIONS)]:
        raise InputError(f"actions: expected numbers from 0 to {len(worlds.ACTIONS) - 1}, got {wrong[0]}")
    env = worlds.make(level)
    worlds.reset(env, seed)
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
