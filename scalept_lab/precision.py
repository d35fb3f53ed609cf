"""Mixed precision: what autocast makes of a forward pass, loss scaling written out, master weights, parts of a batch.

Mixed precision (Micikevicius et al. 2018, §3) is three measures: a 32-bit master copy of the weights, loss scaling, and
sums in 32 bits. `torch.autocast` keeps the weights themselves in 32 bits and casts what a matrix product reads, which
is the same from the other side: the 16-bit copy is the one that is made on the way.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from scalept_lab import machine
from scalept_lab.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_of(name: str) -> torch.dtype:
    """torch's dtype of this name. Raises: InputError listing the names there are."""
    if name not in DTYPES:
        raise InputError(f"dtype: expected one of {', '.join(DTYPES)}, got {name!r}")
    return DTYPES[name]


def autocast(dtype: str, device: str | None = None) -> AbstractContextManager:
    """Inside, matrix products run in `dtype`; "float32" switches casting off. `device`: machine.device() if not given."""
    chosen = dtype_of(dtype)
    low = (
        torch.bfloat16 if chosen is torch.float32 else chosen
    )  # torch.autocast refuses float32, even switched off
    return torch.autocast(device or machine.device(), low, enabled=chosen is not torch.float32)


# --- what ran in which dtype ------------------------------------------------------------------------------------------


class _Watch(TorchDispatchMode):
    """Sees every operation after autocast has chosen its dtype: module hooks would see only what modules return."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[tuple[str, str]] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        first = out[0] if isinstance(out, (tuple, list)) and len(out) else out
        if isinstance(first, Tensor) and first.is_floating_point() and not func.is_view:
            name = func.overloadpacket.__name__
            self.seen[name, str(first.dtype).removeprefix("torch.")] += 1
        return out


def observed(forward: Callable[[], object]) -> dict[str, dict[str, int]]:
    """Run `forward()` and count, for each ATen operation that makes a float tensor, its results by dtype.

    `_to_copy` are the casts. Views, which compute nothing, are left out.
    """
    with _Watch() as watch:
        forward()
    found: dict[str, dict[str, int]] = {}
    for (name, dtype), count in watch.seen.items():
        found.setdefault(name, {})[dtype] = count
    return found


# --- loss scaling -----------------------------------------------------------------------------------------------------


class LossScaler:
    """Dynamic loss scaling, step by step as `torch.amp.GradScaler` does it (Micikevicius et al. 2018, §3.2).

    The loss is multiplied by `scale` before the backward pass, so that small gradients stay above the smallest 16-bit
    number, and the gradients are divided by it before the step. If any of them is infinite or NaN, the step is skipped
    and the scale multiplied by `backoff`; after `interval` steps in a row without that it is multiplied by `growth`.

    Attributes: scale, skipped (steps so far). Raises: InputError for factors that make no sense.
    """

    def __init__(
        self, scale: float = 2.0**16, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000
    ):
        if not (math.isfinite(scale) and scale > 0):
            raise InputError(f"scale: expected a positive number, got {scale!r}")
        if not growth > 1 or not 0 < backoff < 1:
            raise InputError(
                f"growth, backoff: expected above 1, and between 0 and 1, got {growth!r} and {backoff!r}"
            )
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise InputError(f"interval: expected a whole number of steps of at least 1, got {interval!r}")
        self.scale, self.growth, self.backoff, self.interval = float(scale), growth, backoff, interval
        self.skipped, self._in_a_row, self._overflow = 0, 0, False

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to call `.backward()` on."""
        return loss * self.scale

    def unscale(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Divide the gradients by the scale, in place; True if all are finite. Before clipping, which compares sizes."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        for gradient in gradients:
            gradient.mul_(1 / self.scale)
        self._overflow = not all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
        return not self._overflow

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """One step of the optimizer, after `unscale`; or none, if a gradient was not finite. Adapts the scale."""
        if self._overflow:
            self.skipped, self._in_a_row = self.skipped + 1, 0
            self.scale *= self.backoff
            return
        optimizer.step()
        self._in_a_row += 1
        if self._in_a_row == self.interval:
            self.scale, self._in_a_row = self.scale * self.growth, 0


# --- master weights ---------------------------------------------------------------------------------------------------


class MasterWeights:
    """A 16-bit model to compute with, and the 32-bit model whose weights are the true ones.

    Each step: forward and backward pass of `low`; `pull()` hands its gradients to `master`; the optimizer, made for the
    parameters of `master`, steps; `push()` rounds the new weights into `low` (Micikevicius et al. 2018, §3.1, fig. 1).
    """

    def __init__(self, master: nn.Module, dtype: str = "bfloat16"):
        self.master = master
        self.low = copy.deepcopy(master).to(dtype_of(dtype))

    def pull(self) -> None:
        for true, rounded in zip(self.master.parameters(), self.low.parameters(), strict=True):
            true.grad = None if rounded.grad is None else rounded.grad.to(true.dtype)
            rounded.grad = None

    @torch.no_grad()
    def push(self) -> None:
        for true, rounded in zip(self.master.parameters(), self.low.parameters(), strict=True):
            rounded.copy_(true)


# --- gradients --------------------------------------------------------------------------------------------------------


def micro_batches(x_BxL: Tensor, y_BxL: Tensor, parts: int) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Cut a batch into `parts`; yields (x, y, share), where share is the part's share of all B sequences.

    The shares weigh the parts' mean losses: their weighted sum is the mean loss of the whole batch, also where the
    parts differ in size. Raises: InputError if there are more parts than sequences.
    """
    if isinstance(parts, bool) or not isinstance(parts, int) or not 1 <= parts <= len(x_BxL):
        raise InputError(
            f"parts: expected a whole number from 1 to {len(x_BxL)}, the sequences of the batch, got {parts!r}"
        )
    cut = zip(x_BxL.tensor_split(parts), y_BxL.tensor_split(parts), strict=True)
    return ((x, y, len(x) / len(x_BxL)) for x, y in cut)


def gradients(model: nn.Module) -> Tensor:
    """All gradients of a model as one vector in 32 bits, for comparing and for counting zeros."""
    return torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])
