"""Mixed precision: what autocast makes of a forward pass, loss scaling written out, master weights, parts of a batch.

Mixed precision (Micikevicius et al. 2018, §3) is three measures: a 32-bit master copy of the weights, loss scaling, and
sums in 32 bits. `torch.autocast` keeps the weights themselves in 32 bits and casts what a matrix product reads, which
is the same from the other side: the 16-bit copy is the one that is made on the way.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from scalept_lab import machine
from scalept_lab.checks import one_of, positive, whole
from scalept_lab.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_of(name: str) -> torch.dtype:
    """torch's dtype of this name. Raises: InputError listing the names there are."""
    return DTYPES[one_of("dtype", name, DTYPES)]


def autocast(dtype: str, device: str | None = None) -> AbstractContextManager:
    """Inside, matrix products run in `dtype`; "float32" switches casting off. `device`: machine.device() if not given."""
    chosen = dtype_of(dtype)
    # torch.autocast refuses float32, even switched off
    low = torch.bfloat16 if chosen is torch.float32 else chosen
    return torch.autocast(device or machine.device(), low, enabled=chosen is not torch.float32)


def use_tf32() -> None:
    """Let a GPU compute float32 products in TF32: numbers of 32 bits go in and come out, but only 10 bits of each mantissa are
    multiplied (bfloat16 has 7). Several times as fast; records made on a GPU say so in their provenance."""
    torch.set_float32_matmul_precision("high")


def compiled(model: nn.Module, device: str) -> nn.Module:
    """`torch.compile` of a model. Raises: InputError where what it needs to build its kernels is missing."""
    names = [os.environ.get("CXX", ""), "g++", "clang++", "cl"]
    if not any(shutil.which(name) for name in names if name):
        raise InputError(
            "compile: expected a C++ compiler (g++, clang++, or the one that CXX names), found none; "
            "install one, or leave compile out"
        )
    if device == "cuda" and importlib.util.find_spec("triton") is None:
        raise InputError(
            "compile: expected the package triton on a GPU, found none; pip install triton, or leave compile out"
        )
    return torch.compile(model)  # type: ignore[return-value]


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
    """Dynamic loss scaling, step by step as `torch.amp.GradScaler` does it, with its names, so that one can stand in for
    the other (Micikevicius et al. 2018, §3.2).

    The loss is multiplied by the scale before the backward pass, so that small gradients stay above the smallest 16-bit
    number, and the gradients are divided by it before the step. If any of them is infinite or NaN, the step is skipped
    and the scale multiplied by `backoff_factor`; after `growth_interval` good steps in a row by `growth_factor`.

    `skipped` counts skipped steps. Raises: InputError for a scale or factors that make no sense.
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ):
        self._scale = positive("init_scale", init_scale)
        self.interval = whole("growth_interval", growth_interval)
        if not growth_factor > 1 or not 0 < backoff_factor < 1:
            raise InputError(
                "growth_factor, backoff_factor: expected above 1, and between 0 and 1, "
                f"got {growth_factor!r} and {backoff_factor!r}"
            )
        self.growth, self.backoff = growth_factor, backoff_factor
        self.skipped, self._in_a_row = 0, 0
        self._finite: bool | None = None  # None: the gradients of this step are not unscaled yet

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to call `.backward()` on."""
        return loss * self._scale

    def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by the scale, in place. Before clipping, which compares sizes."""
        self._finite = True
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            if parameter.grad is not None:
                parameter.grad.mul_(1 / self._scale)
                self._finite = self._finite and bool(torch.isfinite(parameter.grad).all())

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """A step of the optimizer; or none, if a gradient is not finite."""
        if self._finite is None:
            self.unscale_(optimizer)
        if self._finite:
            optimizer.step()
        else:
            self.skipped += 1

    def update(self) -> None:
        """Adapt the scale, once after each step."""
        if self._finite:
            self._in_a_row += 1
            if self._in_a_row == self.interval:
                self._scale, self._in_a_row = self._scale * self.growth, 0
        else:
            self._scale, self._in_a_row = self._scale * self.backoff, 0
        self._finite = None


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
    parts = whole("parts", parts, 1, len(x_BxL), "a part has at least one sequence of the batch")
    cut = zip(x_BxL.tensor_split(parts), y_BxL.tensor_split(parts), strict=True)
    return ((x, y, len(x) / len(x_BxL)) for x, y in cut)


def gradients(model: nn.Module) -> Tensor:
    """All gradients of a model as one vector in 32 bits, for comparing and for counting zeros."""
    return torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])
