"""Any order of a pipeline's steps, run by real ranks: messages, autograd and weights are real, the computing is a pause.

PyTorch's schedules fix the order themselves (`parallel.pipeline`). Here it is an argument (`costs.schedules` has some), and the
backward pass may be split in two: B, the gradient of a stage's input, which the stage before waits for, and W, the gradient of
its weights, which nobody waits for (Qi et al. 2023, §2). Each stage is one layer, tanh(x W).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from scalept_lab.checks import positive, whole
from scalept_lab.costs import schedules
from scalept_lab.costs.schedules import Order, Step
from scalept_lab.costs.traffic import Slot
from scalept_lab.parallel.launcher import launch

WIDTH, ROWS = 8, 2  # of a layer, of a micro-batch


@dataclass(frozen=True)
class Played:
    """One run of an order: its timeline in seconds, and the gradient of each stage's weights."""

    slots: list[Slot]
    gradients: list[Tensor]


def run_orders(
    orders: Mapping[str, Order], stages: int, microbatches: int, pause: float = 0.02, repeats: int = 1,
    seconds: float = 120.0,
) -> dict[str, list[Played]]:  # fmt: skip
    """Run each order on `stages` ranks, all of them in turn, `repeats` times over: what disturbs one disturbs the others, too.

    `pause`: seconds of a forward pass, and of each half of a backward pass. Raises: InputError for an order that cannot be run to
    the end, before anything is started.
    """
    p, m = whole("stages", stages), whole("microbatches", microbatches)
    listed = [[list(order(stage, p, m)) for stage in range(p)] for order in orders.values()]
    for steps in listed:
        schedules.play(steps, m)
    turns = listed * whole("repeats", repeats)
    found = launch(_stage, p, turns, m, positive("pause", pause), seconds=seconds)
    runs = [_played(parts) for parts in zip(*found, strict=True)]
    return {name: runs[place :: len(orders)] for place, name in enumerate(orders)}


def _played(parts: Sequence[tuple[list[Slot], Tensor]]) -> Played:
    """One run, from what each stage did of it."""
    return Played(from_the_start([slots for slots, _ in parts]), [gradient for _, gradient in parts])


def from_the_start(parts: Sequence[list[Slot]]) -> list[Slot]:
    """The boxes of all ranks on one clock, which begins with the first of them."""
    rows = [row for part in parts for row in part]
    start = min(row.start for row in rows)
    return [row._replace(start=row.start - start, end=row.end - start) for row in rows]


def alone(stages: int, microbatches: int) -> list[Tensor]:
    """The same gradients, computed by one process without a pipeline."""
    weights = [_weight(stage).requires_grad_() for stage in range(stages)]
    for m in range(microbatches):
        x = _rows(m)
        for weight in weights:
            x = torch.tanh(x @ weight)
        _loss(x, microbatches).backward()
    return [weight.grad for weight in weights if weight.grad is not None]


def _weight(stage: int) -> Tensor:
    return torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(stage)) / WIDTH**0.5


def _rows(m: int) -> Tensor:
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1000 + m))


def _loss(y: Tensor, microbatches: int) -> Tensor:
    return y.square().mean() / microbatches


def _stage(
    turns: Sequence[Sequence[Sequence[Step]]], microbatches: int, pause: float
) -> list[tuple[list[Slot], Tensor]]:
    _run(turns[0], microbatches, 0.0)  # opens the connections
    return [_run(orders, microbatches, pause) for orders in turns]


def _run(orders: Sequence[Sequence[Step]], microbatches: int, pause: float) -> tuple[list[Slot], Tensor]:
    stage, last = dist.get_rank(), dist.get_world_size() - 1
    weight = _weight(stage).requires_grad_()
    total, split = torch.zeros_like(weight), any(kind == "W" for kind, _ in orders[stage])
    kept: dict[int, tuple[Tensor, Tensor]] = {}  # activations of a micro-batch: what came in, what went out
    given: dict[int, Tensor] = {}  # the gradient of what went out
    sent, slots = [], []
    dist.barrier()
    for kind, m in orders[stage]:
        if kind == "F":
            x = _rows(m) if stage == 0 else _received(stage - 1, m)
        elif kind == "B" and stage < last:
            given[m] = _received(stage + 1, microbatches + m)
        start = time.monotonic()
        if kind == "F":
            kept[m] = x.requires_grad_(), torch.tanh(x @ weight)
            message, to, tag = kept[m][1], stage + 1, m
        elif kind == "B":
            x, y = kept[m]
            if stage == last:
                (given[m],) = torch.autograd.grad(
                    _loss(out := y.detach().requires_grad_(), microbatches), out
                )
            wanted = (x,) if split else (x, weight)
            message, *weights = torch.autograd.grad(y, wanted, given[m], retain_graph=split)
            total += sum(weights)
            to, tag = stage - 1, microbatches + m
        else:
            (more,) = torch.autograd.grad(kept.pop(m)[1], (weight,), given.pop(m))
            total, to = total + more, -1
        time.sleep(pause * (2 if kind == "B" and not split else 1))
        slots.append(Slot(stage, m, kind, start, time.monotonic()))
        if 0 <= to <= last:
            sent.append(dist.isend(message.detach().contiguous(), to, tag=tag))
    for work in sent:
        if work is not None:
            work.wait()
    return slots, total


def _received(source: int, tag: int) -> Tensor:
    message = torch.empty(ROWS, WIDTH)
    dist.recv(message, source, tag=tag)
    return message
