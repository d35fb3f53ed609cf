"""Rounding and pruning that look at what a matrix multiplies: the activations of a calibration text.

Rounding to the nearest mark keeps each weight near to itself. What counts is the output W x. On calibration inputs X (a column
for each input channel, I of them) the error of a row w is

    ‖X (w − ŵ)‖² = (w − ŵ)ᵀ H (w − ŵ)        H = XᵀX, (I, I)

`compensated` takes the columns one after the other and lets those that are still to come make up for each error (GPTQ, Frantar et
al. 2023, algorithm 1; SparseGPT, Frantar & Alistarh 2023, when the "rounding" is to zero). `scaled` widens the columns that meet
large activations, so that their marks are finer (AWQ, Lin et al. 2024, eq. 5).

A table of embeddings is looked up: a token reads one row of it, so H is diagonal, and nothing can make up for anything. Both
leave it to rounding to nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from scalept_lab.checks import positive
from scalept_lab.compress.copies import plain_copy
from scalept_lab.costs import numbers
from scalept_lab.errors import InputError
from scalept_lab.model.experts import need_dense
from scalept_lab.model.transformer import Transformer, device_of

Rule = Callable[[Tensor, int], Tensor]
"""(W_OxI as it stands, j) -> what column j becomes, (O,). Asked for j = 0, 1, … in order."""

ALPHAS = tuple(step / 10 for step in range(11))


@torch.no_grad()
def hessians(model: Transformer, tokens_BxL: Tensor) -> dict[str, Tensor]:
    """H = XᵀX / n of each linear layer, (I, I) in float64, over the n tokens of calibration text, by the layer's name.

    All layers see the activations of the model as it is; the paper quantizes block by block, and measures each block's inputs
    behind the blocks that are quantized already. Raises: InputError for a model with experts, or one in a library's 8 bits.
    """
    need_dense(model.config, "calibration")
    model, found, hooks = plain_copy(model, "calibration"), {}, []
    for name, layer in _layers(model):

        def note(_: nn.Module, inputs: tuple[Tensor], name: str = name) -> None:
            x_TxI = inputs[0].flatten(0, -2).double()
            found[name] = x_TxI.T @ x_TxI / len(x_TxI)

        hooks.append(layer.register_forward_pre_hook(note))
    try:
        model(tokens_BxL.to(device_of(model)))
    finally:
        for hook in hooks:
            hook.remove()
    return found


@torch.no_grad()
def compensated(weight_OxI: Tensor, hessian_IxI: Tensor, rule: Rule, damping: float = 0.01) -> Tensor:
    """The matrix with each column as `rule` has it, where later columns make up for the errors of earlier ones. float64, (O, I).

    `damping` adds that share of H's mean diagonal to its diagonal: channels that were never active leave H without an inverse.
    Raises: InputError for shapes that do not fit, or a damping that is not above 0.
    """
    I = weight_OxI.shape[1]
    if hessian_IxI.shape != (I, I):
        raise InputError(
            f"hessian: expected ({I}, {I}), one row for each input, got {tuple(hessian_IxI.shape)}"
        )
    U_IxI = _factor(hessian_IxI, damping)
    W_OxI = weight_OxI.double().clone()
    made_OxI = torch.zeros_like(W_OxI)
    for j in range(I):
        made_OxI[:, j] = rule(W_OxI, j)
        error_O = (W_OxI[:, j] - made_OxI[:, j]) / U_IxI[j, j]
        W_OxI[:, j + 1 :] -= torch.outer(error_O, U_IxI[j, j + 1 :])
    return made_OxI


def _factor(hessian_IxI: Tensor, damping: float) -> Tensor:
    """U, upper triangular, with UᵀU = the inverse of the damped H: row j says how the columns after j make up for column j."""
    positive("damping", damping, hint="0.01 is the paper's")
    H_IxI = hessian_IxI.double()
    more = (
        damping * float(H_IxI.diagonal().mean()) or 1.0
    )  # a layer that is never active: nothing to make up for
    eye_IxI = torch.eye(len(H_IxI), dtype=H_IxI.dtype, device=H_IxI.device)
    return torch.linalg.cholesky(torch.linalg.inv(H_IxI + more * eye_IxI), upper=True)


def nearest(bits: int, group: int) -> Rule:
    """The rule of quantization: the nearest mark. Every `group` columns a row gets a new grid, of its weights by then."""
    grid: list[Tensor] = []

    def rule(W_OxI: Tensor, j: int) -> Tensor:
        if j % group == 0:
            made = numbers.grid(W_OxI[:, j : j + group].cpu().numpy(), bits)
            grid[:] = (torch.from_numpy(part[:, 0]).to(W_OxI.device) for part in made)
        scale_O, zero_O = grid
        q_O = (W_OxI[:, j] / scale_O).round().add(zero_O).clamp(0, 2**bits - 1)
        return scale_O * (q_O - zero_O)

    return rule


def two_smallest(hessian_IxI: Tensor, damping: float = 0.01) -> Rule:
    """The rule of 2:4 pruning: of four neighbours the two whose loss is cheapest to make up for, (w_j / U_jj)², become zero."""
    U_I = _factor(hessian_IxI, damping).diagonal()
    kept: list[Tensor] = []

    def rule(W_OxI: Tensor, j: int) -> Tensor:
        if j % 4 == 0:
            kept[:] = largest_of((W_OxI[:, j : j + 4] / U_I[j : j + 4]).abs()).T
        return W_OxI[:, j] * kept[j % 4]

    return rule


def largest_of(size_OxI: Tensor, keep: int = 2, of: int = 4) -> Tensor:
    """True for the `keep` largest of each `of` neighbours in a row, (O, I); of equal ones the earlier stays.

    Raises: InputError for rows that are no multiple of `of`.
    """
    if size_OxI.shape[1] % of:
        raise InputError(
            f"{keep} of {of}: expected rows whose length is a multiple of {of}, got {size_OxI.shape[1]}; "
            "take out another number of units"
        )
    fours_OxGxK = size_OxI.unflatten(1, (-1, of))
    order_OxGxK = fours_OxGxK.argsort(dim=-1, descending=True, stable=True)
    kept_OxGxK = torch.zeros_like(fours_OxGxK, dtype=torch.bool).scatter_(-1, order_OxGxK[..., :keep], True)
    return kept_OxGxK.flatten(1)


def gptq(
    model: Transformer, hessians: Mapping[str, Tensor], bits: int, granularity: str = "channel", damping: float = 0.01
) -> tuple[Transformer, int]:  # fmt: skip
    """As `quantize.rounded`, with GPTQ in every linear layer: the model, and the bytes it takes when packed (the same).

    Raises: InputError as `costs.numbers.quantize`, for a model with experts, and where a layer has no H.
    """

    def by_columns(weight_OxI: Tensor, H_IxI: Tensor) -> tuple[Tensor, int]:
        I = weight_OxI.shape[1]
        group = {"tensor": 0, "channel": I, "group": numbers.GROUP}[granularity]
        found = numbers.quantize(weight_OxI.cpu().numpy(), bits, granularity)  # its checks, and its bytes
        return compensated(weight_OxI, H_IxI, nearest(bits, group), damping), found.stored_bytes

    if granularity == "tensor":
        raise InputError(
            "granularity: expected 'channel' or 'group', got 'tensor'; one grid for all rows leaves GPTQ no choice"
        )
    return _each(model, hessians, bits, granularity, by_columns)


def awq(
    model: Transformer, hessians: Mapping[str, Tensor], bits: int, granularity: str = "channel", alphas: Iterable[float] = ALPHAS
) -> tuple[Transformer, int]:  # fmt: skip
    """As `quantize.rounded`, with each linear layer's columns scaled first (`scaled`). A scale takes 4 bytes for each input.

    Raises: InputError as `gptq`.
    """
    tried = [positive("alpha", alpha, zero=True, most=1, hint="0 is rounding to nearest") for alpha in alphas]

    def by_scales(weight_OxI: Tensor, H_IxI: Tensor) -> tuple[Tensor, int]:
        best = min(
            (scaled(weight_OxI, H_IxI, bits, granularity, alpha) for alpha in tried),
            key=lambda found: found[1],
        )
        stored = numbers.quantize(weight_OxI.cpu().numpy(), bits, granularity).stored_bytes
        return best[0], stored + numbers.SCALE_BYTES * weight_OxI.shape[1]

    return _each(model, hessians, bits, granularity, by_scales)


@torch.no_grad()
def scaled(
    weight_OxI: Tensor, hessian_IxI: Tensor, bits: int, granularity: str, alpha: float
) -> tuple[Tensor, float]:
    """Round W · diag(s) and divide by s again, with s = (size of the input channel)^alpha: the matrix, and its output error.

    The size of a channel is its root mean square, √H_ii (the paper takes the mean absolute value). alpha = 0 is rounding to
    nearest. Output error: the mean over calibration tokens of ‖(W − Ŵ) x‖².
    """
    size_I = hessian_IxI.diagonal().sqrt()
    s_I = size_I.clamp(min=1e-6 * float(size_I.max()) + 1e-12) ** alpha
    found = numbers.quantize((weight_OxI.double() * s_I).cpu().numpy(), bits, granularity)
    made_OxI = torch.from_numpy(found.values()).to(weight_OxI.device).double() / s_I
    return made_OxI, output_error(weight_OxI, made_OxI, hessian_IxI)


def output_error(weight_OxI: Tensor, made_OxI: Tensor, hessian_IxI: Tensor) -> float:
    """Mean over the calibration tokens of ‖(W − Ŵ) x‖² = trace of (W − Ŵ) H (W − Ŵ)ᵀ."""
    off_OxI = weight_OxI.detach().double() - made_OxI.detach().double()
    return float((off_OxI @ hessian_IxI * off_OxI).sum())


def hessian_of(name: str, hessians: Mapping[str, Tensor]) -> Tensor:
    """Raises: InputError where the layer of this name has none."""
    if name not in hessians:
        raise InputError(
            f"hessians: expected one for each linear layer, got none for {name}; make them with this model"
        )
    return hessians[name]


def _layers(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    return [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]


@torch.no_grad()
def _each(
    model: Transformer, hessians: Mapping[str, Tensor], bits: int, granularity: str, change: Callable
) -> tuple[Transformer, int]:  # fmt: skip
    """A copy with `change(W, H) -> (W, bytes)` done to every linear layer; embeddings are rounded to nearest."""
    numbers.check(bits, granularity)
    need_dense(model.config, "quantization of single layers")
    made, stored = plain_copy(model, "quantization"), 0
    layers = {id(layer.weight): name for name, layer in _layers(made)}
    for parameter in made.parameters():
        if id(parameter) in layers:
            values, size = change(
                parameter.detach().float(), hessian_of(layers[id(parameter)], hessians).to(parameter.device)
            )
            parameter.copy_(values)
        else:
            found = numbers.quantize(parameter.float().cpu().numpy().astype(np.float64), bits, granularity)
            parameter.copy_(torch.from_numpy(found.values()))
            size = found.stored_bytes
        stored += size
    return made, stored
