"""Models with quantized weights: our own affine quantization, to see what it does to the loss, and the libraries'.

`costs.numbers` has the formula. `rounded` returns an ordinary model whose weights went through it and back: it shows the
loss, not the speed. `int8` gives a model that computes with 8-bit integers (or unpacks them on the fly), by torchao, which
is what torch 2.13 points to, or by torch's older built-in quantization, which it calls deprecated.
"""

from __future__ import annotations

import io
import warnings

import torch
from torch import nn

from scalept_lab.checks import one_of
from scalept_lab.compress.copies import plain_copy
from scalept_lab.costs import numbers
from scalept_lab.errors import InputError
from scalept_lab.model.experts import need_dense
from scalept_lab.model.transformer import Transformer

METHODS = {
    "weights": "torchao: 8-bit weights, unpacked for each product (embeddings as well)",
    "linear weights": "torchao: the same, embeddings left in fp32 (what the library does unasked)",
    "dynamic": "torchao: 8-bit weights, and activations quantized on the fly; products of integers",
    "builtin": "torch.ao (deprecated): the same idea with the kernels that torch has long had for CPUs",
}


@torch.no_grad()
def rounded(
    model: nn.Module, bits: int, granularity: str = "channel", embeddings: bool = True
) -> tuple[nn.Module, int]:
    """A copy of the model whose weight matrices are quantized and read back, and the bytes they take when packed.

    Everything that is not quantized counts with the bytes that it has. Raises: InputError as `costs.numbers.quantize`, and for a
    model with experts or in a library's 8 bits.
    """
    numbers.check(bits, granularity)
    _need_matrices(model)
    made, stored = plain_copy(model, "quantization"), 0
    chosen = (nn.Linear, nn.Embedding) if embeddings else (nn.Linear,)
    matrices = {id(module.weight) for module in made.modules() if isinstance(module, chosen)}
    for parameter in made.parameters():
        if id(parameter) in matrices:
            found = numbers.quantize(parameter.float().cpu().numpy(), bits, granularity)
            parameter.copy_(torch.from_numpy(found.values()))
            stored += found.stored_bytes
        else:
            stored += parameter.nbytes
    return made, stored


def int8(model: nn.Module, method: str = "weights") -> nn.Module:
    """A copy of the model in 8 bits, made by a library; `METHODS` says by which and how. It can be called, not trained.

    Raises: InputError for an unknown method, a model with experts or in 8 bits already, or where torchao is not installed.
    """
    one_of("method", method, METHODS)
    _need_matrices(model)
    made = plain_copy(model, "quantization").cpu().eval()
    if method == "builtin":
        return _builtin(made)
    ao = _torchao()
    if method == "dynamic":
        ao.quantize_(made, ao.Int8DynamicActivationInt8WeightConfig())
    else:
        ao.quantize_(made, ao.Int8WeightOnlyConfig())
    if method != "linear weights":
        by_row = ao.IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=ao.PerAxis(0))
        ao.quantize_(made, by_row, filter_fn=lambda module, name: isinstance(module, nn.Embedding))
    return made


def saved_bytes(model: nn.Module) -> int:
    """Bytes of the model's file as `torch.save` writes it: the same measure for every library's kind of tensor."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getbuffer().nbytes


def _need_matrices(model: nn.Module) -> None:
    """Raises: InputError for a model whose weights are mostly not in linear layers, and would stay as they are."""
    if isinstance(model, Transformer):
        need_dense(model.config, "quantization")


def _torchao():
    try:
        import torchao.quantization as ao
    except ImportError:
        raise InputError(
            "int8 by torchao: expected the package torchao, found none; pip install torchao, or use method='builtin'"
        ) from None
    return ao


def _builtin(model: nn.Module) -> nn.Module:
    from torch.ao import quantization

    settings: dict = {
        nn.Linear: quantization.per_channel_dynamic_qconfig,
        nn.Embedding: quantization.float_qparams_weight_only_qconfig,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated is said above
        return quantization.quantize_dynamic(model, settings)
