"""A training step whose matrix products read block-scaled numbers, emulated exactly on any device (formats: `costs.blocks`).

What a product y = x Wᵀ and the two products of its backward pass read is rounded along the dimension that they sum over, and what
they read is then multiplied in fp32: the numbers that 8- and 4-bit tensor cores would multiply, with sums in fp32 as they have.
It is slower than fp32, not faster. Weights, gradients of weights and the optimizer stay in fp32, as in every published recipe.

What keeps 4 bits alive (NVIDIA 2025, Pretraining Large Language Models with NVFP4, §4):
    stochastic   gradients are rounded up or down by chance, right on average; to nearest, small ones are always rounded to 0
    hadamard     before the product that gives a weight's gradient, 16 neighbours are mixed by an orthogonal matrix, so that one
                 large number is spread over all of them; both factors are, and the product is the same
    keep         the last blocks stay in fp32; and the output layer, unless `head` asks for it
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalept_lab.checks import one_of, whole
from scalept_lab.costs.blocks import E4M3, SCALED, Scaled, top_exponent
from scalept_lab.costs.numbers import Format
from scalept_lab.errors import InputError

MIXED = 16  # numbers that a Hadamard matrix mixes
EXPONENT_BITS = 0x7F800000  # of an fp32


@dataclass(frozen=True)
class Recipe:
    """What the products of a model read, and how (see above). Raises: InputError for an unknown format."""

    format: str
    stochastic: bool = False
    hadamard: bool = False

    def __post_init__(self) -> None:
        one_of("format", self.format, SCALED)


def rounded(x: Tensor, element: Format, stochastic: bool = False) -> Tensor:
    """x (fp32, any shape) in a small format, beyond its largest number that one: to the nearest, or with `stochastic` to one of
    the two neighbours by chance, right on average."""
    step = _power_of_two(x).clamp_min(element.smallest_normal) * element.epsilon
    steps = x / step
    if stochastic:
        below = steps.floor()
        steps = below + (torch.rand_like(x) < steps - below)
    else:
        steps = steps.round()
    return (steps * step).clamp(-element.largest, element.largest)


def quantized(
    x: Tensor, form: Scaled, *, weights: bool = False, gradient: bool = False, stochastic: bool = False
) -> Tensor:
    """What a block-scaled format makes of the rows of x (N, K), as fp32. The last block of a row may be shorter."""
    element = form.gradient if gradient and form.gradient else form.element
    scale = _scales(x, form, element, weights)
    return torch.where(scale > 0, scale * rounded(x / scale, element, stochastic), 0.0)


def _scales(x: Tensor, form: Scaled, element: Format, weights: bool) -> Tensor:
    """A scale for each number of x, or one for all."""
    tensor = x.abs().amax()
    if form.scale == "one":
        return torch.ones_like(tensor)
    if form.block is None:
        return tensor / element.largest
    largest = _largest(x, form.block, form.block if weights and form.square else 1)
    if form.scale == "e8m0":
        return _power_of_two(largest) * 2.0 ** -top_exponent(element)
    if form.scale == "e8m0_up":
        wanted = largest / element.largest
        power = _power_of_two(wanted)
        return torch.where(power < wanted, 2 * power, power)
    if form.scale == "e4m3":
        outer = tensor / (element.largest * E4M3.largest)
        return torch.where(outer > 0, outer * rounded(largest / element.largest / outer, E4M3), 0.0)
    return largest / element.largest


def _power_of_two(x: Tensor) -> Tensor:
    """2^⌊log₂|x|⌋, or 0 below fp32's normal numbers."""
    return (x.contiguous().view(torch.int32) & EXPONENT_BITS).view(torch.float32)


def _largest(x: Tensor, columns: int, rows: int) -> Tensor:
    """The largest size in the block of each number: blocks of `rows` × `columns`."""
    N, K = x.shape
    padded = F.pad(x.abs(), (0, -K % columns, 0, -N % rows))
    tiles = padded.view(padded.shape[0] // rows, rows, padded.shape[1] // columns, columns)
    largest = tiles.amax((1, 3), keepdim=True).expand(tiles.shape).reshape(padded.shape)
    return largest[:N, :K]


@cache
def hadamard(size: int = MIXED) -> Tensor:
    """An orthogonal matrix of +1 and -1 over √size; `size` is a power of two. Raises: InputError."""
    whole("size", size)
    if size & (size - 1):
        raise InputError(f"size: expected a power of two, got {size}; take {MIXED}")
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / size**0.5


class Product(torch.autograd.Function):
    """x (N, I) times W (O, I) transposed; each product, forward and backward, reads rounded numbers."""

    @staticmethod
    def forward(ctx: Any, x_NxI: Tensor, weight_OxI: Tensor, recipe: Recipe) -> Tensor:
        ctx.save_for_backward(x_NxI, weight_OxI)
        ctx.recipe, form = recipe, SCALED[recipe.format]
        return quantized(x_NxI, form) @ quantized(weight_OxI, form, weights=True).T

    @staticmethod
    def backward(ctx: Any, gradient_NxO: Tensor) -> Any:
        x_NxI, weight_OxI = ctx.saved_tensors
        recipe, form = ctx.recipe, SCALED[ctx.recipe.format]
        small = partial(quantized, form=form, gradient=True, stochastic=recipe.stochastic)
        to_x = small(gradient_NxO) @ quantized(weight_OxI.T.contiguous(), form, weights=True).T
        g_OxN, x_IxN = gradient_NxO.T.contiguous(), x_NxI.T.contiguous()
        if recipe.hadamard:
            g_OxN, x_IxN = mixed(g_OxN, x_IxN)
        return to_x, small(g_OxN) @ quantized(x_IxN, form).T, None


def mixed(a_MxK: Tensor, b_NxK: Tensor) -> tuple[Tensor, Tensor]:
    """Both factors of a Bᵀ with 16 neighbours of each row mixed by the same random orthogonal matrix; the product stays the same.

    Rows that are no multiple of 16 long are filled with zeros.
    """
    K = a_MxK.shape[1]
    sign = torch.randint(2, (MIXED, 1), device=a_MxK.device) * 2.0 - 1.0
    mix = sign * hadamard().to(a_MxK.device)
    a, b = (F.pad(each, (0, -K % MIXED)).unflatten(1, (-1, MIXED)) @ mix for each in (a_MxK, b_NxK))
    return a.flatten(1), b.flatten(1)


def emulate(model: nn.Module, recipe: Recipe, keep: int = 0, head: bool = False) -> nn.Module:
    """From now on the matrices of `model.blocks`, but for the last `keep` blocks, read what `recipe` says; the same model.

    With `head` the output layer does so, too. Attention's own products and the embedding stay in fp32. Raises: InputError for a
    model without blocks, or with no block left.
    """
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.ModuleList) or not len(blocks):
        raise InputError(f"model: expected one with a list of blocks, got {type(model).__name__}")
    whole("keep", keep, 0, len(blocks) - 1, f"the model has {len(blocks)} blocks")
    inside = [layer for block in blocks[: len(blocks) - keep] for layer in block.modules()]
    for layer in (*inside, *([model.head] if head else ())):
        if isinstance(layer, nn.Linear):
            layer.forward = partial(_product, layer, recipe)  # type: ignore[method-assign]
    return model


def _product(layer: nn.Linear, recipe: Recipe, x: Tensor) -> Tensor:
    y_NxO = Product.apply(x.flatten(0, -2), layer.weight, recipe)
    return y_NxO.unflatten(0, x.shape[:-1])
