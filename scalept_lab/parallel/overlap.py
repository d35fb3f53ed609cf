"""What communication costs beside computing: a backward pass whose buckets of gradients go over a slow link, with time stamps.

The backward pass, its hooks, the buckets and the sums are real. A layer's *computing* and the link's *sending* are pauses:
gloo on one machine is too fast to be seen, and two cores are shared by all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scalept_lab.checks import positive, whole
from scalept_lab.errors import InputError
from scalept_lab.parallel.launcher import launch

WIDTH = 32  # of a layer: 4,096 bytes of gradients
Send = Callable[
    [Tensor], Any
]  # starts the sum of a flat tensor over ranks, in place; .wait() on what it returns
Backward = Callable[[nn.Module, Tensor, int, Send], Any]  # model, loss, bytes of a bucket, send


class Span(NamedTuple):
    """A stretch of time, in seconds: `kind` is "layer" (computing) or "bucket" (sending), counted from 0 as they came."""

    kind: str
    number: int
    start: float
    end: float


def start_sum(flat: Tensor) -> Any:
    """Start the sum of `flat` over all ranks, in place, and return at once; `.wait()` on the result waits for it."""
    return dist.all_reduce(flat, async_op=True)


def traced(
    backward: Backward, bucket_bytes: int, *, rate: float = 5e5, layers: int = 8, pause: float = 0.01, ranks: int = 2,
    repeats: int = 3, during: bool = True, seconds: float = 120.0,
) -> list[list[Span]]:  # fmt: skip
    """Run `backward` over a link of `rate` bytes a second, `repeats` times; returns what the first rank did when.

    Each of the `layers` has 4,096 bytes of gradients and takes `pause` seconds. `during=False`: the link starts when the backward
    pass is over, as if nothing overlapped. Raises: InputError, also for a `backward` that sends no bucket.
    """
    options = (
        whole("bucket_bytes", bucket_bytes), positive("rate", rate), whole("layers", layers),
        positive("pause", pause, zero=True), whole("repeats", repeats), during,
    )  # fmt: skip
    found = launch(_rank, whole("ranks", ranks, 2), backward, *options, seconds=seconds)[0]
    for spans in found:
        sent = sum(span.kind == "bucket" for span in spans)
        if not sent:
            raise InputError("backward: expected it to send at least one bucket, got none; call send(flat)")
    return found


def exposed(spans: list[Span]) -> float:
    """Seconds of sending that no computing hides: from the end of the last layer to the end of the last bucket."""
    ends = {
        kind: max((span.end for span in spans if span.kind == kind), default=0.0)
        for kind in ("layer", "bucket")
    }
    return max(0.0, ends["bucket"] - ends["layer"])


class _Link:
    """One bucket after the other, by a thread of its own, as a network card does; `wait` on what `send` returns."""

    def __init__(self, rate: float, during: bool):
        self.rate, self.during = rate, during
        self.thread = ThreadPoolExecutor(1)
        self.spans: list[Span] = []
        self.held: list[_Parcel] = []

    def send(self, flat: Tensor) -> _Parcel:
        parcel = _Parcel(self, flat)
        self.held.append(parcel)
        if self.during:
            self.go()
        return parcel

    def go(self) -> None:
        for parcel in self.held:
            parcel.done = self.thread.submit(self._carry, parcel.flat)
        self.held.clear()

    def _carry(self, flat: Tensor) -> None:
        start = time.monotonic()
        time.sleep(flat.nbytes / self.rate)
        dist.all_reduce(flat)
        self.spans.append(Span("bucket", len(self.spans), start, time.monotonic()))


class _Parcel:
    def __init__(self, link: _Link, flat: Tensor):
        self.link, self.flat = link, flat
        self.done: Future | None = None

    def wait(self) -> None:
        self.link.go()
        if self.done is not None:
            self.done.result()


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH) / WIDTH**0.5)


class _Takes(torch.autograd.Function):
    """tanh(x W), whose backward pass also takes `pause` seconds, and notes when."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, pause: float, notes: list) -> Tensor:
        y = torch.tanh(x @ weight)
        ctx.save_for_backward(x, weight, y)
        ctx.pause, ctx.notes = pause, notes
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple:
        start = time.monotonic()
        x, weight, y = ctx.saved_tensors
        grad = grads[0] * (1 - y * y)
        found = grad @ weight.T, x.T @ grad
        time.sleep(ctx.pause)
        ctx.notes.append(Span("layer", len(ctx.notes), start, time.monotonic()))
        return *found, None, None


def _rank(
    backward: Backward, bucket_bytes: int, rate: float, layers: int, pause: float, repeats: int, during: bool
) -> list[list[Span]]:
    torch.manual_seed(0)
    model = nn.Sequential(*[_Layer() for _ in range(layers)])
    steps = []
    for _ in range(repeats + 1):  # the first opens connections
        notes: list[Span] = []
        link = _Link(rate, during)
        model.zero_grad()
        x = torch.ones(4, WIDTH)
        for layer in model:
            x = _Takes.apply(x, layer.weight, pause, notes)
        loss = x.sum()
        dist.barrier()
        backward(model, loss, bucket_bytes, link.send)
        link.thread.shutdown()
        spans = notes + link.spans
        begin = min(span.start for span in spans)
        steps.append([span._replace(start=span.start - begin, end=span.end - begin) for span in spans])
    return steps[1:]
