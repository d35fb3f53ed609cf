"""A pipeline's timeline, measured: which stage worked on which micro-batch when, and how long it waited.

Four stages cannot compute at once on two cores, so here a stage's *computing* is a pause of fixed length, as a CPU waits
for its accelerator. Everything else is real: the processes, the messages, autograd, and PyTorch's schedule.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from scalept_lab.config import ModelConfig, Parallel, TrainConfig
from scalept_lab.costs.traffic import Slot
from scalept_lab.model.transformer import Transformer
from scalept_lab.parallel import spread
from scalept_lab.parallel.launcher import launch
from scalept_lab.parallel.pipeline import Pipeline

BACKWARD = 2  # times the forward pass: two products where that has one


def measured_timeline(
    stages: int, microbatches: int, schedule: str = "1f1b", pause: float = 0.02, seconds: float = 120.0
) -> list[Slot]:
    """One step of a pipeline of `stages` ranks, as `Slot`s (rank, micro-batch, "F" or "B", start, end) in seconds.

    `pause` is what a rank's forward pass of one micro-batch takes in all; interleaved stages take half of it each.
    Raises: InputError as `parallel.spread.check`.
    """
    parallel = Parallel(strategy="pipeline", schedule=schedule, microbatches=microbatches)
    chunks = 2 if schedule == "interleaved" else 1
    model = ModelConfig(width=8, heads=1, depth=stages * chunks, context=8)
    spread.check(TrainConfig(model=model, batch=microbatches, parallel=parallel), stages)
    found = launch(_timed_step, stages, model, parallel, pause / chunks, seconds=seconds)
    start = min(slot[3] for rows in found for slot in rows)
    return [
        Slot(r, m, kind, a - start, b - start, chunk) for rows in found for r, m, kind, a, b, chunk in rows
    ]


class _Pause(torch.autograd.Function):
    """Identity that takes `seconds` forward and `BACKWARD` times as long backward, and notes when."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seconds: float, notes: list) -> Tensor:
        ctx.seconds, ctx.notes = seconds, notes
        _wait("F", seconds, notes)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple:
        _wait("B", BACKWARD * ctx.seconds, ctx.notes)
        return grads[0], None, None


def _wait(kind: str, seconds: float, notes: list) -> None:
    started = time.monotonic()
    time.sleep(seconds)
    notes.append((kind, started, time.monotonic()))


class _Paused(nn.Module):
    """A block that also takes the time of a much larger one."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block, self.seconds = block, 0.0
        self.notes: list[tuple[str, float, float]] = []  # (phase, start, end)

    def forward(self, x: Tensor, rotary: Any) -> Tensor:
        return _Pause.apply(self.block(x, rotary), self.seconds, self.notes)


def _timed_step(config: ModelConfig, parallel: Parallel, pause: float) -> list[tuple]:
    torch.manual_seed(0)
    model = Transformer(config)
    for i, block in enumerate(model.blocks):
        model.blocks[i] = _Paused(block)
    pipe = Pipeline(model, parallel)
    x_BxL = torch.zeros(parallel.microbatches, config.context, dtype=torch.long)
    blocks = list(pipe.module.blocks.values())  # type: ignore[operator]
    for seconds in (0.0, pause):  # a first step without pauses settles shapes and opens connections
        for block in blocks:
            block.seconds = seconds
            block.notes.clear()
        torch.distributed.barrier()
        pipe.forward_backward(x_BxL, x_BxL)
    rows = []
    for chunk, block in enumerate(blocks):
        for wanted in "FB":  # each block takes the micro-batches in their order
            times = [(a, b) for kind, a, b in block.notes if kind == wanted]
            rows += [(pipe.ranks.rank, m, wanted, a, b, chunk) for m, (a, b) in enumerate(times)]
    return rows
