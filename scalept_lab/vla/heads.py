"""Five ways in which one small network gives a chunk of numbers: their mean, tokens each apart or in turn, and a flow.

All have the same trunk, and exactly as many weights where a token has as many levels as a chunk has numbers. In each step of
training each passes the network once per example: for tokens at one place of the chunk, for a flow at one time, drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from scalept_lab import machine
from scalept_lab.checks import whole
from scalept_lab.config import Frozen
from scalept_lab.model.transformer import device_of
from scalept_lab.runs import RunRecord
from scalept_lab.train import outcome
from scalept_lab.vla import detour
from scalept_lab.vla.chunks import Code, bins, frequencies
from scalept_lab.vla.detour import Journeys

LEVELS = 32  # of a token: the whole numbers from −16 to 15
REACH = 3.2  # what bins reach to on both sides, in standard deviations of the numbers
KEEP = 6  # frequencies of each dimension
WAVES = 8  # frequencies of the sines and cosines that tell the network a place or a time

Velocity = Callable[[Tensor, Tensor], Tensor]


class HeadConfig(Frozen):
    """One run: what the demonstrators did, what the policy writes its chunk with, and how it is trained."""

    head: Literal["mean", "bins apart", "bins", "frequencies", "flow"] = "flow"
    sides: Literal["either", "over", "shorter"] = "either"
    chunk: int = Field(16, ge=2)  # actions in it
    demonstrations: int = Field(2000, ge=2)
    width: int = Field(128, ge=1)
    steps: int = Field(1500, ge=1)
    batch: int = Field(128, ge=1)
    lr: float = Field(0.005, gt=0)
    seed: int = Field(0, ge=0)

    @property
    def numbers(self) -> int:
        """In a chunk: two for each action."""
        return 2 * self.chunk

    def described(self) -> dict[str, Any]:
        """What a record says of the run."""
        return {"kind": "heads", **self.model_dump(mode="json")}


class Net(nn.Module):
    """Three numbers that are seen, what is given of the chunk (zeros where nothing is), and a place or time from 0 to 1."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        width = config.width
        outputs = config.numbers if config.head in ("mean", "flow") else LEVELS
        self.enter = nn.Linear(3 + config.numbers + 2 * WAVES, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.out = nn.Linear(width, outputs)

    def forward(self, seen_Bx3: Tensor, given_BxK: Tensor, when_B: Tensor) -> Tensor:
        angle = math.pi * when_B[:, None] * 2.0 ** torch.arange(WAVES, device=when_B.device)
        x = F.silu(self.enter(torch.cat([seen_Bx3, given_BxK, angle.sin(), angle.cos()], dim=1)))
        for layer in self.layers:
            x = x + F.silu(layer(x))
        return self.out(x)


def flow_loss(velocity: Velocity, chunk_BxK: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Flow matching (Lipman et al., 2023; as π0 uses it: Black et al., 2024): the mean squared error of a velocity.

    A straight line leads from noise at time 0 to a chunk at time 1. At a random time, one for each example,
    `velocity(x_BxK, time_B)` is asked which way the line goes.
    """
    noise = torch.randn(chunk_BxK.shape, generator=generator).to(chunk_BxK)
    time_B = torch.rand(len(chunk_BxK), generator=generator).to(chunk_BxK)
    x = (1 - time_B[:, None]) * noise + time_B[:, None] * chunk_BxK
    return ((velocity(x, time_B) - (chunk_BxK - noise)) ** 2).mean()


def euler(velocity: Velocity, noise_BxK: Tensor, steps: int) -> Tensor:
    """From noise at time 0 along the velocity to time 1, in equal steps (Euler's method)."""
    x = noise_BxK
    for step in range(steps):
        time_B = torch.full((len(x),), step / steps).to(x)
        x = x + velocity(x, time_B) / steps
    return x


class Policy(nn.Module):
    """A trained head: from what is seen to a chunk of actions, `act`. `shift` and `scale` are mean and spread of the actions."""

    shift: Tensor
    scale: Tensor

    def __init__(self, config: HeadConfig, code: Code | None = None):
        super().__init__()
        self.config, self.code = config, code or own_code(config)
        self.net = Net(config)
        self.register_buffer("shift", torch.zeros(2))
        self.register_buffer("scale", torch.ones(2))

    def tokens(self, chunk_NxSx2: np.ndarray) -> Tensor:
        """The code's whole numbers of chunks in units of their spread, from 0 to LEVELS − 1."""
        return torch.as_tensor(np.clip(self.code[0](chunk_NxSx2) + LEVELS // 2, 0, LEVELS - 1))

    def shown(self, tokens_NxK: Tensor, upto: Tensor) -> Tensor:
        """What a policy that writes tokens in turn is given: those before the place `upto`, each as a number from −1 to 1."""
        given = tokens_NxK.new_zeros((len(tokens_NxK), self.config.numbers), dtype=torch.float32)
        if self.config.head != "bins apart":
            count = tokens_NxK.shape[1]
            before = torch.arange(count, device=tokens_NxK.device) < upto[:, None]
            given[:, :count] = (2 * tokens_NxK / (LEVELS - 1) - 1) * before
        return given

    @torch.no_grad()
    def act(
        self, seen_Nx3: np.ndarray, seed: int = 0, passes: int = 10,
        sampler: Callable[[Velocity, Tensor, int], Tensor] = euler,
    ) -> np.ndarray:  # fmt: skip
        """A chunk for each scene, (N, steps, 2). A flow takes `passes` steps of `sampler`, tokens a pass each, the mean one.

        Raises: InputError for passes below 1.
        """
        whole("passes", passes)
        device, generator = device_of(self), torch.Generator().manual_seed(seed)
        seen = torch.as_tensor(seen_Nx3, dtype=torch.float32).to(device)
        nothing, start = seen.new_zeros(len(seen), self.config.numbers), seen.new_zeros(len(seen))
        if self.config.head == "mean":
            chunk = self.net(seen, nothing, start)
        elif self.config.head == "flow":
            noise = torch.randn(nothing.shape, generator=generator).to(device)
            chunk = sampler(lambda x, time: self.net(seen, x, time), noise, passes)
        else:
            numbers = self._written(seen, generator).cpu().numpy() - LEVELS // 2
            chunk = torch.as_tensor(self.code[1](numbers), dtype=torch.float32)
        chunk = chunk.reshape(len(seen), self.config.chunk, 2).to(device) * self.scale + self.shift
        return chunk.cpu().double().numpy()

    def _written(self, seen: Tensor, generator: torch.Generator) -> Tensor:
        """Tokens, one after the other, each drawn from what the network says of its place."""
        count = self.length
        tokens = torch.zeros(len(seen), count, dtype=torch.long, device=seen.device)
        for place in range(count):
            at = torch.full((len(seen),), place, device=seen.device)
            logits = self.net(seen, self.shown(tokens, at), at / count)
            drawn = torch.multinomial(logits.softmax(-1).cpu(), 1, generator=generator)
            tokens[:, place] = drawn[:, 0].to(seen.device)
        return tokens

    @property
    def length(self) -> int:
        """Tokens of a chunk."""
        return self.tokens(np.zeros((1, self.config.chunk, 2))).shape[1]


def own_code(config: HeadConfig) -> Code:
    """The kit's code for a head. A frequency's spread grows with the root of the chunk's length, and its unit with it."""
    if config.head == "frequencies":
        return frequencies(config.chunk, min(KEEP, config.chunk), 0.15 * math.sqrt(config.chunk))
    return bins(config.chunk, 2 * REACH / LEVELS)


def passes(policy: Policy, steps: int = 10) -> int:
    """How often the network is passed for one chunk."""
    return {"mean": 1, "flow": steps}.get(policy.config.head) or policy.length


def fit(
    config: HeadConfig, *, code: Code | None = None, loss: Callable[..., Tensor] = flow_loss
) -> tuple[Policy, RunRecord]:
    """Train a head on demonstrations. L is its own loss on others (squared error, or nats per token): no two heads' compare.

    `code` and `loss` stand in for the kit's own, of tokens and of a flow. In the record, D counts examples.
    """
    torch.manual_seed(config.seed)
    where = machine.device()
    policy = Policy(config, code).to(where)
    device, generator = device_of(policy), torch.Generator().manual_seed(config.seed)
    journeys, held_out = (
        detour.demonstrate(config.demonstrations, seed, config.sides, config.chunk)
        for seed in (config.seed, 10_000 + config.seed)
    )
    shift, scale = journeys.chunk_NxSx2.mean((0, 1)), journeys.chunk_NxSx2.std((0, 1))
    policy.shift, policy.scale = (
        torch.as_tensor(part, dtype=torch.float32).to(device) for part in (shift, scale)
    )
    seen, chunk = _examples(policy, journeys, shift, scale)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=config.lr, betas=(0.9, 0.99), weight_decay=0.01)
    warm = max(1, config.steps // 30)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / warm) * (1 - step / config.steps)
    )
    watch = outcome.Watch(config.steps, config.batch, LEVELS)
    watch.start()
    for _ in range(config.steps):
        rows = torch.randint(len(journeys), (config.batch,), generator=generator).to(device)
        value = _loss(policy, seen[rows], chunk[rows], generator, loss)
        value.backward()
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
        if watch.note(value.detach()) and watch.diverged:
            break
    watch.stop()
    with torch.no_grad():
        L = _loss(policy, *_examples(policy, held_out, shift, scale), generator, loss).item()
    N, D = sum(weight.numel() for weight in policy.parameters()), watch.step * config.batch
    return policy, outcome.record(
        config.described(), math.nan if watch.diverged else L, why=watch.why(), curve=watch.curve, seconds=watch.seconds,
        N=N, N_total=N, D=D, C=6.0 * N * D, metrics={"passes": passes(policy)}, provenance=outcome.provenance(where),
    )  # fmt: skip


def _examples(
    policy: Policy, journeys: Journeys, shift: np.ndarray, scale: np.ndarray
) -> tuple[Tensor, Tensor]:
    """What is seen, and the chunks in units of their spread: as numbers, or as tokens."""
    scaled = (journeys.chunk_NxSx2 - shift) / scale
    plain = policy.config.head in ("mean", "flow")
    chunk = torch.as_tensor(scaled, dtype=torch.float32).flatten(1) if plain else policy.tokens(scaled)
    device = device_of(policy)
    return torch.as_tensor(journeys.seen_Nx3, dtype=torch.float32).to(device), chunk.to(device)


def _loss(
    policy: Policy, seen: Tensor, chunk: Tensor, generator: torch.Generator, flow: Callable[..., Tensor]
) -> Tensor:
    head, net = policy.config.head, policy.net
    if head == "mean":
        return F.mse_loss(net(seen, torch.zeros_like(chunk), seen.new_zeros(len(seen))), chunk)
    if head == "flow":
        return flow(lambda x, time: net(seen, x, time), chunk, generator)
    count = chunk.shape[1]
    place = torch.randint(count, (len(chunk),), generator=generator).to(chunk.device)
    logits = net(seen, policy.shown(chunk, place), place / count)
    return F.cross_entropy(logits, chunk.gather(1, place[:, None])[:, 0])


def score(policy: Policy, record: RunRecord, count: int = 500) -> tuple[np.ndarray, RunRecord]:
    """Let the policy act in `count` new scenes, the same for all policies: the chunks, and the record with what came of them.

    That is the share that arrives, the share of these that went over the disc, the roughness; and for a flow also the share that
    arrives after 1, 2, 5 and 20 Euler steps, beside the usual 10.
    """
    seen = detour.scenes(count, 20_000)
    chunk = policy.act(seen)
    arrived = detour.arrives(seen, chunk)
    found = {"success": arrived.mean(), "roughness": detour.roughness(chunk).mean()}
    if arrived.any():
        found["over"] = detour.over(seen, chunk)[arrived].mean()
    if policy.config.head == "flow":
        found |= {
            f"success_{steps}": detour.arrives(seen, policy.act(seen, passes=steps)).mean()
            for steps in (1, 2, 5, 20)
        }
    metrics = {name: float(value) for name, value in found.items()}
    return chunk, record.model_copy(update={"metrics": record.metrics | metrics})
