"""A task with two right answers: a point goes from the left to the right, and around a disc that stands between.

It goes over the disc or under it, both are right, and the middle of the two is wrong. What a policy sees are three numbers: the
heights of start, goal and disc. Its action is a whole chunk: the velocities of `steps` equal parts of the way, in two
dimensions, in widths of the field per time of the journey. Units: the point starts at x = −1 and the goal is at x = +1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalept_lab.checks import one_of, whole
from scalept_lab.errors import InputError

RADIUS = 0.3  # of the disc
NEAR = 0.15  # how near the goal the journey has to end
SIDES = ("either", "over", "shorter")


@dataclass(frozen=True)
class Journeys:
    """What is seen, (N, 3): heights of start, goal and disc; and what was done, (N, steps, 2): velocities."""

    seen_Nx3: np.ndarray
    chunk_NxSx2: np.ndarray

    def __len__(self) -> int:
        return len(self.seen_Nx3)


def scenes(count: int, seed: int) -> np.ndarray:
    """Heights of start, goal and disc, (N, 3), drawn at random. Raises: InputError for a count below 1."""
    whole("count", count, 1)
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3)) * (0.4, 0.4, 0.2)


def demonstrate(
    count: int, seed: int, sides: str = "either", steps: int = 16, seen_Nx3: np.ndarray | None = None
) -> Journeys:
    """Journeys of people who all arrive, in scenes of their own or in those given.

    `sides`: "either", each takes one by the toss of a coin; "over", all the same; "shorter", the one that the scene makes
    shorter. All differ in height, in pace and by a slow wobble.
    Raises: InputError for other sides, fewer than one journey or two steps, or scenes that are not (count, 3).
    """
    one_of("sides", sides, SIDES, "take one of them")
    whole("steps", steps, 2)
    seen = scenes(count, seed) if seen_Nx3 is None else np.asarray(seen_Nx3, float)
    if seen.shape != (count, 3):
        raise InputError(f"scenes: expected {count} × 3 heights, got {seen.shape}")
    start, goal, disc = seen.T[:, :, None]
    rng = np.random.default_rng([seed, 1])
    coin = rng.choice((-1.0, 1.0), (count, 1))
    middle = (start + goal) / 2 - disc
    side = {"either": coin, "over": np.ones_like(coin), "shorter": np.where(middle >= 0, 1.0, -1.0)}[sides]
    at = np.linspace(0, 1, steps + 1)
    height = RADIUS + rng.uniform(0.15, 0.3, (count, 1))
    pace, wobble = rng.normal(0, 0.02, (2, count, 1))
    x = -1 + 2 * (at + pace * np.sin(2 * np.pi * at))
    y = (
        start
        + (goal - start) * at
        + (side * height - middle) * np.sin(np.pi * at) ** 2
        + wobble * np.sin(3 * np.pi * at)
    )
    return Journeys(seen, np.diff(np.stack([x, y], axis=-1), axis=1) * steps)


def path(seen_Nx3: np.ndarray, chunk_NxSx2: np.ndarray) -> np.ndarray:
    """Where the point is before each step and after the last, (N, steps + 1, 2)."""
    steps = chunk_NxSx2.shape[1]
    start = np.stack([np.full(len(seen_Nx3), -1.0), seen_Nx3[:, 0]], axis=-1)[:, None]
    return np.concatenate([start, start + np.cumsum(chunk_NxSx2, axis=1) / steps], axis=1)


def arrives(seen_Nx3: np.ndarray, chunk_NxSx2: np.ndarray) -> np.ndarray:
    """Which journeys end at the goal and touch the disc nowhere, not even between two steps, (N,)."""
    way = path(seen_Nx3, chunk_NxSx2)
    disc = np.stack([np.zeros(len(seen_Nx3)), seen_Nx3[:, 2]], axis=-1)[:, None]
    goal = np.stack([np.ones(len(seen_Nx3)), seen_Nx3[:, 1]], axis=-1)
    a, part = way[:, :-1], np.diff(way, axis=1)
    length = np.maximum((part**2).sum(-1), 1e-12)
    nearest = np.clip(
        ((disc - a) * part).sum(-1) / length, 0, 1
    )  # along each part, where the disc's middle is nearest
    away = np.linalg.norm(a + nearest[..., None] * part - disc, axis=-1).min(1)
    return (away > RADIUS) & (np.linalg.norm(way[:, -1] - goal, axis=-1) < NEAR)


def over(seen_Nx3: np.ndarray, chunk_NxSx2: np.ndarray) -> np.ndarray:
    """Which journeys pass the disc's middle above it, (N,)."""
    way = path(seen_Nx3, chunk_NxSx2)
    halfway = np.abs(way[..., 0]).argmin(1)
    return way[np.arange(len(way)), halfway, 1] > seen_Nx3[:, 2]


def roughness(chunk_NxSx2: np.ndarray) -> np.ndarray:
    """How far the velocity jumps from one step to the next, root mean square over a journey, (N,)."""
    return np.sqrt((np.diff(chunk_NxSx2, axis=1) ** 2).sum(-1).mean(1))
