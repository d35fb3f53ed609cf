"""The same views as pictures: a policy that sees pixels learns from the demonstrations as they are.

minigrid draws a view cell by cell, and a cell's picture depends on its three numbers alone. So the symbols of a demonstration
suffice to draw what its agent saw: nothing has to be acted again.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from scalept_lab.errors import InputError
from scalept_lab.vla.worlds import COLOURS, KINDS, STATES, VIEW

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
