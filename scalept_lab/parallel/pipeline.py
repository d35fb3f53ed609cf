"""Pipeline parallelism: each rank holds some of the blocks, and micro-batches flow through them.

PyTorch's own schedules (GPipe, Huang et al. 2019; 1F1B and interleaved 1F1B, Narayanan et al. 2021, §2.2) run stages cut from
the unchanged model. Names of parameters stay those of the whole model.

`measured_timelines` shows which stage worked on which micro-batch when, and how long it waited. Four stages cannot compute at
once on two cores, so there a stage's *computing* is a pause of fixed length, as a CPU waits for its accelerator. Everything
else is real: the processes, the messages, autograd, and PyTorch's schedule.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scalept_lab.config import ModelConfig, Parallel, TrainConfig
from scalept_lab.costs.traffic import Slot
from scalept_lab.model.transformer import Transformer, norm
from scalept_lab.parallel import spread
from scalept_lab.parallel.launcher import launch
from scalept_lab.parallel.orders import from_the_start
from scalept_lab.parallel.spread import Ranks, rank, world

FULL_PRECISION: AbstractContextManager = nullcontext()
IGNORED = -100  # target of a row that only fills up the last micro-batch


class Stage(nn.Module):
    """Blocks `first` to `last` (exclusive) of a model; the first stage also has its embedding, the last its output layer."""

    def __init__(self, model: Transformer, first: int, last: int, cast: AbstractContextManager):
        super().__init__()
        self.cast = cast
        self.blocks = nn.ModuleDict({str(i): model.blocks[i] for i in range(first, last)})
        self.rotary = model.rotary
        self.embedded = model.embedded if first == 0 else None
        if first == 0:
            self.embed = model.embed
            if model.config.positions == "learned":
                self.position = model.position
        self.head = model.head if last == len(model.blocks) else None

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, L) into the first stage, x_BxLxD between stages, logits (B, L, V) out of the last."""
        with self.cast:
            rotary = self.rotary(x.shape[1])
            if self.embedded is not None:
                x = self.embedded(x)
            for block in self.blocks.values():
                x = block(x, rotary)
            return x if self.head is None else self.head(norm(x))


class Pipeline:
    """The stages of this rank and the schedule that runs them."""

    def __init__(
        self,
        model: Transformer,
        parallel: Parallel,
        cast: AbstractContextManager = FULL_PRECISION,
        device: str | torch.device = "cpu",
    ):
        from torch.distributed import pipelining

        self.ranks = Ranks(rank(), world(), stages=world())
        self.microbatches, self.cast = parallel.microbatches, cast
        each = 2 if parallel.schedule == "interleaved" else 1  # stages per rank: rank r holds r, r + ranks, …
        count = each * self.ranks.world
        length = len(model.blocks) // count
        mine = [self.ranks.rank + i * self.ranks.world for i in range(each)]
        parts = [Stage(model, i * length, (i + 1) * length, cast) for i in mine]
        self.module = _union(parts)
        stages = [
            pipelining.PipelineStage(part, i, count, torch.device(device))
            for part, i in zip(parts, mine, strict=True)
        ]
        kinds = {"gpipe": pipelining.ScheduleGPipe, "1f1b": pipelining.Schedule1F1B}
        options: dict[str, Any] = {"loss_fn": self._loss, "scale_grads": False}
        if parallel.schedule == "interleaved":
            self.schedule: Any = pipelining.ScheduleInterleaved1F1B(
                list(stages), self.microbatches, **options
            )
        else:
            self.schedule = kinds[parallel.schedule](stages[0], self.microbatches, **options)
        self.first, self.last = 0 in mine, count - 1 in mine

    def forward_backward(self, x_BxL: Tensor, y_BxL: Tensor) -> Tensor:
        """One batch through all stages and back. Returns this rank's part of the mean loss: all of it on the last stage."""
        self._tokens = y_BxL.numel()
        x_BxL, y_BxL = self._filled(x_BxL, 0), self._filled(y_BxL, IGNORED)
        losses: list[Tensor] = []
        inputs = (x_BxL,) if self.first else ()
        ends = {"target": y_BxL, "losses": losses} if self.last else {}
        self.schedule.step(*inputs, **ends, return_outputs=False)
        return torch.stack(losses).sum().detach() if losses else torch.zeros((), device=x_BxL.device)

    def _loss(self, logits_BxLxV: Tensor, targets_BxL: Tensor) -> Tensor:
        """A micro-batch's part of the mean over the whole batch: parts add up, whatever their sizes."""
        with self.cast:  # it sees to it that the loss is taken in 32 bits
            total = F.cross_entropy(
                logits_BxLxV.flatten(0, 1), targets_BxL.flatten(), ignore_index=IGNORED, reduction="sum"
            )
        return total / self._tokens

    def _filled(self, rows_BxL: Tensor, value: int) -> Tensor:
        """Rows of `value` until the micro-batches are equal, and all in one piece: so are the buffers of a stage.

        Inputs cut from rows of L + 1 tokens are not in one piece, and torch 2.11 refuses their strides.
        """
        missing = -len(rows_BxL) % self.microbatches
        return F.pad(rows_BxL, (0, 0, 0, missing), value=value).contiguous()


def _union(parts: list[Stage]) -> nn.Module:
    """One module with all that this rank holds, under the names of the whole model: for the optimizer and checkpoints."""
    union = nn.Module()
    union.blocks = nn.ModuleDict({name: block for part in parts for name, block in part.blocks.items()})
    for part in parts:
        for name, child in part.named_children():
            if name != "blocks":
                union.add_module(name, child)
    return union


BACKWARD = 2  # times the forward pass: two products where that has one


def measured_timelines(
    stages: int, cases: Sequence[tuple[int, str]], pause: float = 0.02, seconds: float = 120.0
) -> list[list[Slot]]:
    """A step of a pipeline for each case (micro-batches, schedule), in turn by the same `stages` ranks.

    Returns for each `Slot`s (rank, micro-batch, "F" or "B", start, end, chunk) in seconds.

    `pause` is what a rank's forward pass of one micro-batch takes in all; interleaved stages take half of it each.
    Raises: InputError as `parallel.spread.check`.
    """
    jobs = []
    for microbatches, schedule in cases:
        parallel = Parallel(strategy="pipeline", schedule=schedule, microbatches=microbatches)
        chunks = 2 if schedule == "interleaved" else 1
        model = ModelConfig(width=8, heads=1, depth=stages * chunks, context=8)
        spread.check(TrainConfig(model=model, batch=microbatches, parallel=parallel), stages)
        jobs.append((model, parallel, pause / chunks))
    found = launch(_timed_steps, stages, jobs, seconds=seconds)
    return [from_the_start(parts) for parts in zip(*found, strict=True)]


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


def _timed_steps(jobs: Sequence[tuple[ModelConfig, Parallel, float]]) -> list[list[Slot]]:
    return [_timed_step(*job) for job in jobs]


def _timed_step(config: ModelConfig, parallel: Parallel, pause: float) -> list[Slot]:
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
    return _slots(blocks, pipe.ranks.rank)


def _slots(blocks: Sequence[_Paused], rank: int) -> list[Slot]:
    rows = []
    for chunk, block in enumerate(blocks):
        for wanted in "FB":  # each block takes the micro-batches in their order
            times = [(a, b) for kind, a, b in block.notes if kind == wanted]
            rows += [Slot(rank, m, wanted, a, b, chunk) for m, (a, b) in enumerate(times)]
    return rows
