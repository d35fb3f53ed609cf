"""Behaviour cloning: train a policy to do what the bot did, from one source of demonstrations or several in turns.

A `Source` is a level with a task: "act" (which action did the bot take?) or "point" (which cell does the mission name?). A
schedule of `curriculum` says, step by step, which source the batch comes from, or with which weight each is drawn; without
one it is always the last.

Pointing is a stage to train before, or beside, imitating actions (grounding). Its label is in the symbols: the cells whose
kind and colour are those that the mission says. Whoever makes it knows what words and symbols mean; the policy does not. So
this stage brings in knowledge that demonstrations alone do not state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from scalept_lab import machine
from scalept_lab.config import Frozen, run_id
from scalept_lab.errors import InputError
from scalept_lab.model.optim import learning_rate, set_rate
from scalept_lab.runs import RunRecord
from scalept_lab.train import outcome
from scalept_lab.train.curriculum import Schedule, draw_source, must_end
from scalept_lab.train.outcome import Watch
from scalept_lab.vla import worlds
from scalept_lab.vla.demos import VALIDATION, Steps, demonstrations, steps
from scalept_lab.vla.model import Policy, PolicyConfig, clone_loss, parameters
from scalept_lab.vla.rollouts import Rollouts, actor, rollout
from scalept_lab.vla.worlds import ACTIONS, CAP, VIEW

BASE_WIDTH = 24  # where the rate was tuned
VALIDATION_EPISODES = 250
LOOK = 25  # steps between two looks at the performance, where a schedule asks for it


class Source(Frozen):
    """Where examples come from: `episodes` demonstrations of a level, seeds from `first` on, and what to learn from them.

    `without`: objects ("red ball") that no mission names first; their episodes are left out.
    """

    level: str = "GoToLocalS8N4"
    episodes: int = Field(1000, ge=1)
    task: Literal["act", "point"] = "act"
    first: int = Field(0, ge=0)
    without: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What a schedule calls it: "act GoToLocalS8N4"."""
        return f"{self.task} {self.level}"


class CloneConfig(Frozen):
    """One run. The last source is the target: the policy is scored there."""

    policy: PolicyConfig = PolicyConfig()
    sources: tuple[Source, ...] = (Source(),)
    steps: int = Field(500, ge=1)
    batch: int = Field(128, ge=1)
    lr: float = Field(0.01, gt=0)  # of matrices at width 24; lr · 24 / width at others
    warmup: float = Field(0.06, ge=0, lt=1)
    schedule: Literal["linear", "cosine", "wsd", "constant"] = "wsd"
    weight_decay: float = Field(0.1, ge=0)
    clip: float = Field(1.0, gt=0)
    seed: int = Field(0, ge=0)
    pacing: str = "target"  # the schedule of the sources, written out

    @model_validator(mode="after")
    def _names_differ(self) -> CloneConfig:
        names = [source.name for source in self.sources]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"expected at least one source, each with a task and level of its own, got {names}"
            )
        return self

    def paced(self, schedule: Schedule | None) -> CloneConfig:
        """The config of this run under a schedule."""
        return self if schedule is None else self.replace(pacing=repr(schedule))

    def described(self) -> dict[str, Any]:
        """What a record says of the run; the words of the levels are the same for all."""
        return {"kind": "vla", **self.model_dump(mode="json", exclude={"policy": {"words"}})}

    def id(self) -> str:
        return run_id(self.described())


@dataclass
class Feed:
    """The examples of a source as tensors, to draw batches from."""

    source: Source
    inputs: tuple[Tensor, Tensor, Tensor]  # views, missions, last actions
    targets: Tensor  # actions ahead (S, A), or the right cells (S, P)

    def loss(self, policy: Policy, rows: Tensor | slice) -> Tensor:
        inputs, targets = [part[rows] for part in self.inputs], self.targets[rows]
        if self.source.task == "point":
            return point_loss(policy.pointing(*inputs), targets)
        return clone_loss(policy(*inputs), targets)

    @torch.no_grad()
    def accuracy(self, policy: Policy) -> float:
        """The share of steps where the likeliest action (or cell) is a right one."""
        if self.source.task == "point":
            best = policy.pointing(*self.inputs).argmax(-1, keepdim=True)
            return self.targets.gather(1, best).float().mean().item()
        return (policy(*self.inputs)[:, 0].argmax(-1) == self.targets[:, 0]).float().mean().item()


def feed(source: Source, policy: PolicyConfig, device: str = "cpu", view: Callable | None = None) -> Feed:
    """The demonstrations of a source, made now if need be. `view` turns symbols into what the policy sees.

    Raises: InputError for an unknown level, or missions longer than the policy reads.
    """
    found = _steps(source.level, source.episodes, source.first)
    if found.mission_SxM.shape[1] > policy.mission:
        raise InputError(
            f"{source.level}: expected missions of at most {policy.mission} words, the policy's, "
            f"got {found.mission_SxM.shape[1]}"
        )
    if source.without:
        found = found.where(~naming(found, source.without))
    if source.task == "point":
        found, targets = visible(found)
        if policy.view == "pixels":  # cells are numbered [x, y], patches [row, column]
            if policy.patch != policy.tile:
                raise InputError(
                    f"patch: expected {policy.tile} pixels, a cell each, to point at cells, got {policy.patch}"
                )
            targets = targets.reshape(-1, VIEW, VIEW).swapaxes(1, 2).reshape(len(targets), -1)
    else:
        targets = found.chunk_SxA(policy.chunk)
    images = view(found.image_Sx7x7x3) if view else found.image_Sx7x7x3
    arrays = (images, found.mission_SxM, found.history_SxK(policy.history))
    # a copy: the arrays of a dataset cannot be written to, and torch warns of that
    inputs = tuple(torch.from_numpy(np.array(array)).to(device) for array in arrays)
    return Feed(source, inputs, torch.from_numpy(targets).to(device))  # type: ignore[arg-type]


@cache
def _steps(level: str, episodes: int, first: int) -> Steps:
    return steps(demonstrations(level, episodes, first, progress=False))


def clone(
    config: CloneConfig, schedule: Schedule | None = None, *, progress: Callable[[int], None] | None = None,
    view: Callable | None = None, more: Callable[[int, Policy, Feed], Feed] | None = None,
) -> tuple[Policy, RunRecord]:  # fmt: skip
    """Train a policy and record it: L and the accuracy on held-out demonstrations of the target. No rollouts yet: `score`.

    `schedule(step, performance)` names the source of a step's batch, or gives a weight to each name, by which one is drawn. The
    performance: every 25 steps the accuracy on held-out demonstrations of the source that is then in turn (the heaviest).
    `more(step, policy, feed)`, asked before each step, gives the target's examples from then on (DAgger adds some).
    In the record, D counts examples, and C the floating-point operations on them (not those of the looks).
    Raises: InputError for unknown levels, a schedule that never ends, or one that names other sources.
    """
    config, device = config.paced(schedule), machine.device()
    if schedule is not None:
        must_end(schedule, config.steps)
    torch.manual_seed(config.seed)
    policy = Policy(config.policy).to(device)
    optimizer = make_optimizer(policy, config)
    feeds = {source.name: feed(source, config.policy, device, view) for source in config.sources}
    checks = {source.name: feed(_held_out(source), config.policy, device, view) for source in config.sources}
    target = config.sources[-1].name
    rng = np.random.default_rng(config.seed)
    watch = Watch(config.steps, config.batch, max(VIEW * VIEW, len(ACTIONS)))
    performance: list[float] = []
    C = 0.0

    watch.start()
    for step in range(config.steps):
        if more:
            feeds[target] = more(step, policy, feeds[target])
        weights = _weights(schedule(step, performance) if schedule else target, feeds)
        batch = feeds[draw_source(weights, rng)]
        rows = torch.from_numpy(rng.integers(0, len(batch.targets), config.batch)).to(device)
        set_rate(optimizer, learning_rate(step, config))  # type: ignore[arg-type]
        loss = batch.loss(policy, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad()

        C += config.batch * flops(config.policy, batch.inputs[1].shape[1])
        if watch.note(loss.detach()):
            if watch.diverged:
                break
            if progress:
                progress(watch.step)
        if schedule and (watch.step % LOOK == 0 or watch.step == config.steps):
            performance.append(checks[max(weights, key=weights.__getitem__)].accuracy(policy))
    watch.stop()

    with torch.no_grad():
        L = math.nan if watch.diverged else checks[target].loss(policy, slice(None)).item()
    total = parameters(config.policy)
    embeddings = sum(m.weight.numel() for m in policy.modules() if isinstance(m, torch.nn.Embedding))
    return policy, outcome.record(
        config.described(), L, why=watch.why(), curve=watch.curve, seconds=watch.seconds,
        N=total - embeddings, N_total=total, D=watch.step * config.batch, C=C,
        metrics={"accuracy": checks[target].accuracy(policy)}, provenance=provenance(device),
    )  # fmt: skip


def score(
    policy: Policy, record: RunRecord, level: str | None = None, episodes: int = 256, **options: Any
) -> tuple[Rollouts, RunRecord]:
    """Let the policy act in held-out worlds of the target (or another level); the record gains success and length."""
    level = level or record.config["sources"][-1]["level"]
    found = act_in(policy, level, episodes, **options)
    rate = found.rate
    metrics = {
        "success": rate.mean,
        "success_low": rate.low,
        "success_high": rate.high,
        "length": float(found.length.mean()),
    }
    return found, record.model_copy(update={"metrics": record.metrics | metrics})


def act_in(policy: Policy, level: str, episodes: int | Sequence[int] = 256, **options: Any) -> Rollouts:
    """`rollout` of a policy, greedily, with what its config says of missions and history."""
    shape = policy.config
    given = {"history": shape.history, "words": shape.mission, "cap": CAP} | options
    return rollout(actor(policy), level, episodes, **given)


def make_optimizer(policy: Policy, config: CloneConfig) -> torch.optim.Optimizer:
    """AdamW. Matrices inside learn at lr · 24 / width, as one step of theirs moves a sum over `width` inputs; the rest at lr."""
    inside = [m.weight for block in policy.blocks for m in block.modules() if isinstance(m, torch.nn.Linear)]
    inside += [policy.act.weight, policy.point.weight]
    known = {id(weight) for weight in inside}
    rest = [weight for weight in policy.parameters() if id(weight) not in known]
    groups = [
        {"params": inside, "lr": config.lr * BASE_WIDTH / config.policy.width},
        {"params": rest, "lr": config.lr},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=config.weight_decay)
    for group in optimizer.param_groups:
        group["peak"] = group["lr"]
    return optimizer


def flops(config: PolicyConfig, words: int) -> float:
    """Floating-point operations to train on one example with a mission of so many words: forward, and twice that backward.

    Products of matrices alone, two operations per multiply-add; of the last block the query only.
    """
    D, F = config.width, config.mlp_ratio * config.width
    P = (config.side // config.patch) ** 2
    L = P + words + config.history + 1
    film = 4 * D * D if config.film else 0
    whole = L * (4 * D * D + 2 * D * F) + 2 * L * L * D + film
    last = L * 2 * D * D + 2 * D * D + 2 * D * F + 2 * L * D + film
    ends = P * config.patch**2 * config.channels * D + D * config.chunk * len(ACTIONS)
    return 3 * 2.0 * ((config.depth - 1) * whole + last + ends)


def provenance(device: str) -> dict[str, Any]:
    import minigrid

    found = outcome.provenance(device)
    return {**found, "versions": {**found["versions"], "minigrid": minigrid.__version__}}


def _held_out(source: Source) -> Source:
    return source.replace(episodes=VALIDATION_EPISODES, first=VALIDATION, without=())


def _weights(choice: str | Mapping[str, float], feeds: Mapping[str, Feed]) -> Mapping[str, float]:
    weights = {choice: 1.0} if isinstance(choice, str) else choice
    if unknown := set(weights) - set(feeds):
        raise InputError(f"schedule: expected sources among {', '.join(feeds)}, got {sorted(unknown)[0]}")
    return weights


def targets_SxP(steps: Steps) -> np.ndarray:
    """For each step, which of the 49 cells hold an object that the mission names first (bool; none where it is out of view).

    A mission without a colour ("go to the ball") means any colour. Raises: InputError for a mission without an object.
    """
    named_Sx2 = named_objects(steps)
    kind_SxP, colour_SxP = (steps.image_Sx7x7x3[..., part].reshape(len(steps), -1) for part in (0, 1))
    right_colour = (colour_SxP == named_Sx2[:, 1:]) | (named_Sx2[:, 1:] < 0)
    return (kind_SxP == named_Sx2[:, :1]) & right_colour


def naming(steps: Steps, objects: Sequence[str]) -> np.ndarray:
    """The steps (bool) whose mission names one of `objects` first, each a colour and a kind: "red ball".

    Raises: InputError for what is no such pair.
    """
    wanted_Ox2 = np.array([worlds.named_object(worlds.encode(name)) for name in objects]).reshape(-1, 2)
    return (named_objects(steps)[:, None] == wanted_Ox2).all(-1).any(-1)


def named_objects(steps: Steps) -> np.ndarray:
    """(kind, colour) of the object that the mission of each step names first, (S, 2); see `vla.worlds.named_object`."""
    missions, which_S = np.unique(steps.mission_SxM, axis=0, return_inverse=True)
    return np.array([worlds.named_object(tokens) for tokens in missions])[which_S.reshape(-1)]


def visible(steps: Steps) -> tuple[Steps, np.ndarray]:
    """The steps at which the named object is in view, with their targets. Raises: InputError if it never is."""
    targets = targets_SxP(steps)
    seen: np.ndarray = np.any(targets, axis=1)
    if not seen.any():
        raise InputError(
            "grounding: expected steps at which the mission's object is in view, got none; take other demonstrations"
        )
    return steps.where(seen), targets[seen]


def point_loss(logits_BxP: Tensor, targets_BxP: Tensor) -> Tensor:
    """Mean −log of the probability on the right cells together, in nats: with two red balls, either is right."""
    right_B = logits_BxP.masked_fill(~targets_BxP, -torch.inf).logsumexp(-1)
    return (logits_BxP.logsumexp(-1) - right_B).mean()
