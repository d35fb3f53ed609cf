"""A copy of a model with nothing but plain weights, whatever was done to it before: what every way to compress starts from."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils import prune

from scalept_lab.errors import InputError

Model = TypeVar("Model", bound=nn.Module)


def plain_copy(model: Model, what: str) -> Model:
    """A copy in which the masks of pruning are multiplied in (pruned weights are zeros, and may become something else).

    Raises: InputError for a model whose weights a library has quantized: those cannot be changed any more.
    """
    need_floats(model, what)
    for module in model.modules():
        if masked(module):  # the product that the last pass left there; it is made again in the next one
            module.weight = module.weight.detach()  # type: ignore[operator]
    made = copy.deepcopy(model)
    for module in made.modules():
        if masked(module):
            prune.remove(module, "weight")
    return made


def masked(module: nn.Module) -> bool:
    return hasattr(module, "weight_mask")


def need_floats(model: nn.Module, what: str) -> None:
    """Raises: InputError for a model of 8-bit integers."""
    if any(_of_a_library(module) for module in model.modules()):
        raise InputError(
            f"model: {what} expects floating-point weights, got a model in 8 bits by a library; do it before int8()"
        )


def _of_a_library(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    # torch.ao has modules of its own, whose weight is a function; torchao puts its own kind of tensor into ours
    return callable(weight) or type(getattr(weight, "data", None)).__module__.startswith("torchao")
