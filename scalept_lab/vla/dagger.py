"""DAgger: let the policy act, ask the expert what it would do there, learn from that too (Ross et al. 2011, algorithm 3.1).

Cloning shows a policy the states that the expert gets into. One slip, and it stands where it was never shown what to do. So a
round of DAgger collects the states that the policy itself gets into, with the expert's action for each, and adds them to
what it learns from. The control has the expert act in the same worlds: as many labelled steps, of the expert's own states.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field

from scalept_lab.errors import InputError
from scalept_lab.runs import RunRecord
from scalept_lab.vla import worlds
from scalept_lab.vla.cloning import CloneConfig, Feed, Source, clone
from scalept_lab.vla.model import Policy, PolicyConfig
from scalept_lab.vla.rollouts import Decider, Rollouts, decider, recent
from scalept_lab.vla.worlds import CAP

AWAY = 5_000  # seeds between a run's demonstrations and the worlds of its rounds


class Row(NamedTuple):
    """A state with its label: what was seen, the mission, the actions taken so far, and what the expert would do now."""

    image: np.ndarray
    mission: str
    taken: tuple[int, ...]
    label: int


class DaggerConfig(CloneConfig):
    """A run that gets new examples on its way: before each step in `rounds`, `labels` labelled steps are added to the target's.

    `acting`: who moves while they are collected. The expert always says the label.
    """

    rounds: tuple[int, ...] = (400, 600, 800)
    labels: int = Field(1000, ge=1)
    acting: Literal["policy", "bot"] = "policy"


def collect(
    decide: Decider | None, env: Any, seeds: Iterable[int], labels: int | None = None, cap: int = CAP
) -> list[Row]:
    """The states that `decide` gets into, each with the expert's action; None lets the expert act itself.

    World after world, each until it is done or `cap` steps are taken; `labels`: no more rows than so many.
    Raises: InputError if the bot knows no way on from a state, or `seeds` end before there are `labels` rows.
    """
    rows: list[Row] = []
    for seed in seeds:
        seen, done = worlds.reset(env, seed), False
        taken: list[int] = []
        says = worlds.expert(env)
        while not done and len(taken) < cap:
            label = says(taken[-1] if taken else None)
            rows.append(Row(seen["image"], env.mission, tuple(taken), label))
            action = decide(seen["image"], env.mission, taken)[0] if decide else label
            seen, _, terminated, truncated, _ = env.step(action)
            taken.append(action)
            done = terminated or truncated
        if labels is not None and len(rows) >= labels:
            return rows[:labels]
    if labels is not None:
        raise InputError(
            f"labels: expected seeds enough for {labels} labelled steps, got {len(rows)}; give more seeds"
        )
    return rows


def examples(rows: Sequence[Row], source: Source, policy: PolicyConfig, device: Any = "cpu") -> Feed:
    """Rows to train on. What is seen as history is what was done; what is to be learned is what the expert said.

    Raises: InputError for no rows, a policy that sees pixels, or one that says several actions at once: the expert says one.
    """
    if not rows or policy.view != "symbols" or policy.chunk > 1:
        raise InputError(
            f"examples: expected rows for a policy that sees symbols and says one action, "
            f"got {len(rows)} rows, view {policy.view}, chunk {policy.chunk}"
        )
    missions = [worlds.encode(row.mission) for row in rows]
    longest = max(map(len, missions))
    arrays = (
        np.stack([row.image for row in rows]),
        np.stack([np.pad(mission, (0, longest - len(mission))) for mission in missions]),
        np.array([recent(row.taken, policy.history) for row in rows], np.uint8).reshape(len(rows), -1),
    )
    labels = torch.tensor([[row.label] for row in rows], device=device)
    images, missions_SxM, histories = (torch.from_numpy(array).to(device) for array in arrays)
    return Feed(source, (images, missions_SxM, histories), labels)


def joined(old: Feed, new: Feed) -> Feed:
    """The examples of both; shorter missions are filled up with 0."""
    words = max(feed.inputs[1].shape[1] for feed in (old, new))
    both = []
    for a, b in zip((*old.inputs, old.targets), (*new.inputs, new.targets), strict=True):
        if a is old.inputs[1]:
            a, b = (torch.nn.functional.pad(part, (0, words - part.shape[1])) for part in (a, b))
        both.append(torch.cat([a, b]))
    return replace(old, inputs=(both[0], both[1], both[2]), targets=both[3])


def dagger(config: DaggerConfig) -> tuple[Policy, RunRecord]:
    """`clone` with rounds. The worlds of a round have seeds of their own, the same whoever acts in them.

    Raises: InputError as `clone` and `collect`, or for a round after the last step.
    """
    if config.rounds and not 0 <= min(config.rounds) <= max(config.rounds) < config.steps:
        raise InputError(f"rounds: expected steps from 0 to {config.steps - 1}, got {list(config.rounds)}")
    target = config.sources[-1]
    env, seeds = worlds.make(target.level), iter(range(target.first + AWAY, target.first + 2 * AWAY))

    def more(step: int, policy: Policy, feed: Feed) -> Feed:
        for _ in range(config.rounds.count(step)):
            decide = decider(policy) if config.acting == "policy" else None
            rows = collect(decide, env, seeds, config.labels)
            feed = joined(feed, examples(rows, target, config.policy, policy.query.device))
        return feed

    return clone(config, more=more)


def loops(found: Rollouts, last: int = 8) -> np.ndarray:
    """Which worlds (bool) end in failure with `last` turns to and fro: left and right, and nothing else."""
    turns = {worlds.ACTIONS.index("left"), worlds.ACTIONS.index("right")}
    ends = [set(actions[-last:]) == turns for actions in found.actions]
    return ~found.success & np.array(ends)
