"""Does it work? A policy acts in many worlds at once, and the share of missions that it carries out is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from scalept_lab.errors import InputError
from scalept_lab.laws.compare import Interval, wilson
from scalept_lab.vla import worlds as babyai
from scalept_lab.vla.demos import TEST
from scalept_lab.vla.model import Policy
from scalept_lab.vla.worlds import ACTIONS, CAP, VIEW

Actor = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From images (B, 7, 7, 3), missions (B, M) and last actions (B, K) to one action or more for each, (B, A)."""

BATCH = 64  # worlds at once


@dataclass(frozen=True)
class Rollouts:
    """What became of some episodes, in the order of their seeds."""

    level: str
    seeds: Sequence[int]
    success: np.ndarray
    length: np.ndarray  # steps taken
    missions: list[str]
    actions: list[list[int]]  # to see an episode again: the same actions in the same world

    @property
    def rate(self) -> Interval:
        """The share of missions carried out, with Wilson's 95 % interval."""
        return wilson(int(self.success.sum()), len(self.success))


def actor(policy: Policy, greedy: bool = True, seed: int = 0, ahead: int | None = None) -> Actor:
    """The policy as something that acts: by its likeliest actions, or (`greedy=False`) by drawing one.

    `ahead`: how many of the actions that it says at once are carried out before it looks again (default: all).
    Raises: InputError for more actions ahead than it says, or none.
    """
    chunk = policy.config.chunk
    if ahead is not None and not 1 <= ahead <= chunk:
        raise InputError(
            f"ahead: expected 1 to {chunk}, the actions that the policy says at once, got {ahead}"
        )
    rng = torch.Generator().manual_seed(seed)
    device = policy.query.device

    @torch.no_grad()
    def act(image: np.ndarray, mission: np.ndarray, history: np.ndarray) -> np.ndarray:
        inputs = (torch.from_numpy(array).to(device) for array in (image, mission, history))
        logits_BxAxV = policy(*inputs)[:, :ahead].float().cpu()
        if greedy:
            return logits_BxAxV.argmax(-1).numpy()
        flat = torch.multinomial(logits_BxAxV.flatten(0, 1).softmax(-1), 1, generator=rng)
        return flat.view(logits_BxAxV.shape[:2]).numpy()

    return act


Decider = Callable[[np.ndarray, str, Sequence[int]], list[int]]
"""From an image (7, 7, 3), a mission in words and the actions so far to the next action, or several."""


def decider(policy: Policy, see: Callable[[np.ndarray], np.ndarray] | None = None) -> Decider:
    """The policy in one world at a time, greedily: image, mission and the actions so far in, its next actions out, the first
    first. `see` turns symbols into what it sees, such as a noise.
    """
    act, shape = actor(policy), policy.config

    def decide(image: np.ndarray, mission: str, taken: Sequence[int]) -> list[int]:
        past = np.array([recent(taken, shape.history)], np.uint8).reshape(1, -1)
        seen = see(image) if see else image
        return [int(action) for action in act(seen[None], babyai.encode(mission)[None], past)[0]]

    return decide


def blind(shares: Sequence[float], seed: int = 0) -> Actor:
    """Acts without looking: draws each action by its share. The shares of a bot's actions give the floor that a policy must beat.

    Raises: InputError for shares that are negative, too many, or do not sum to one.
    """
    shares_V = np.zeros(len(ACTIONS))
    shares_V[: len(shares)] = shares[: len(ACTIONS)]
    if len(shares) > len(ACTIONS) or (shares_V < 0).any() or not abs(shares_V.sum() - 1) < 1e-6:
        raise InputError(
            f"blind: expected shares of at most {len(ACTIONS)} actions that sum to one, got {list(shares)}"
        )
    rng = np.random.default_rng(seed)
    return lambda image, mission, history: rng.choice(len(ACTIONS), (len(image), 1), p=shares_V)


def rollout(
    act: Actor, level: str, seeds: Sequence[int] | int = 256, *, history: int = 4, words: int = 24, cap: int = CAP,
    noise: float = 0.0, see: Callable[[Any], np.ndarray] | None = None,
) -> Rollouts:  # fmt: skip
    """Let `act` try each mission once, for at most `cap` steps. `seeds`: which worlds, or how many of the held-out ones.

    `noise`: the share of cells that it sees nothing of, drawn anew at every step. `see`: what it sees of a world instead of
    the symbols, such as `vla.worlds.view`.
    Raises: InputError for an unknown level, no seeds, or a noise outside [0, 1].
    """
    seeds = list(range(TEST, TEST + seeds)) if isinstance(seeds, int) else list(seeds)
    if not seeds or not 0 <= noise <= 1 or cap < 1:
        raise InputError(
            f"rollout: expected at least one seed and one step, and a noise from 0 to 1, "
            f"got {len(seeds)} seeds, cap {cap}, noise {noise}"
        )
    envs = [babyai.make(level) for _ in range(min(BATCH, len(seeds)))]
    rng = np.random.default_rng(0)
    found = Rollouts(level, seeds, np.zeros(len(seeds), bool), np.zeros(len(seeds), int), [], [])
    for start in range(0, len(seeds), BATCH):
        some = slice(start, start + BATCH)
        success, missions, taken = _together(act, envs, seeds[some], history, words, cap, noise, rng, see)
        found.success[some], found.length[some] = success, [len(actions) for actions in taken]
        found.missions.extend(missions)
        found.actions.extend(taken)
    return found


def worlds_naming(level: str, count: int, naming: Sequence[str], first: int = TEST) -> list[int]:
    """The first `count` seeds from `first` on whose mission names one of these objects first, such as "red ball".

    Raises: InputError for an unknown level or object, or if 100 worlds in a row name none of them.
    """
    wanted = {babyai.named_object(babyai.encode(name)) for name in naming}
    env, seed = babyai.make(level), first
    found: list[int] = []
    while len(found) < count:
        if seed - (found[-1] if found else first) > 100:
            raise InputError(
                f"worlds: expected missions of {level} that name {', '.join(naming)}, got none in 100 worlds"
            )
        babyai.reset(env, seed)
        if babyai.named_object(babyai.encode(env.mission)) in wanted:
            found.append(seed)
        seed += 1
    return found


def _together(
    act: Actor, envs: list, seeds: list[int], history: int, words: int, cap: int, noise: float, rng: np.random.Generator,
    see: Callable[[Any], np.ndarray] | None,
) -> tuple[list[bool], list[str], list[list[int]]]:  # fmt: skip
    """One batch of worlds, step by step; a world that is done leaves the batch."""
    seen = [babyai.reset(env, seed)["image"] for env, seed in zip(envs, seeds, strict=False)]
    missions = [env.mission for env in envs[: len(seeds)]]
    mission_BxM = np.stack([babyai.encode(mission, words) for mission in missions])
    mission_BxM = mission_BxM[:, : int((mission_BxM > 0).sum(1).max())]
    success = [False] * len(seeds)
    taken: list[list[int]] = [[] for _ in seeds]
    plans: list[list[int]] = [[] for _ in seeds]
    going = list(range(len(seeds)))
    for _ in range(cap):
        asking = [i for i in going if not plans[i]]
        if asking:
            images = np.stack([see(envs[i]) if see else seen[i] for i in asking])
            if noise:
                hidden = rng.random((len(asking), VIEW, VIEW)) < noise
                tile = images.shape[1] // VIEW  # a cell of a picture is a square of pixels
                images[hidden.repeat(tile, 1).repeat(tile, 2)] = 0
            past = np.array([recent(taken[i], history) for i in asking], np.uint8).reshape(
                len(asking), history
            )
            for i, plan in zip(asking, act(images, mission_BxM[asking], past), strict=True):
                plans[i] = [int(action) for action in plan]
        for i in list(going):
            action = plans[i].pop(0)
            observation, reward, terminated, truncated, _ = envs[i].step(action)
            seen[i] = observation["image"]
            taken[i].append(action)
            if terminated or truncated:
                success[i] = reward > 0
                going.remove(i)
        if not going:
            break
    return success, missions, taken


def recent(actions: Sequence[int], history: int) -> list[int]:
    """The last actions as `Steps.history_SxK` gives them."""
    latest = list(actions[-history:]) if history else []
    return [len(ACTIONS)] * (history - len(latest)) + latest
