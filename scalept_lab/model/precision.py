"""Mixed precision: what autocast makes of a forward pass, and master weights. (Loss scaling is `torch.amp.GradScaler`.)

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
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from scalept_lab import machine
from scalept_lab.checks import one_of
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


def gradients(model: nn.Module) -> Tensor:
    """All gradients of a model as one vector in 32 bits, for comparing and for counting zeros."""
    return torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])
