"""Quantized models: the formula applied to each matrix, and what the libraries make of one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import untrained
from refusals import one_line
from torch import nn

from scalept_lab.compress import quantize
from scalept_lab.config import ModelConfig
from scalept_lab.costs import numbers
from scalept_lab.errors import InputError


def test_rounded_model_is_the_formula_applied_to_each_matrix():
    model = untrained.model()
    made, stored = quantize.rounded(model, 4, "channel", embeddings=False)
    assert torch.equal(made.embed.weight, model.embed.weight)
    weight = model.blocks[0].mlp.up.weight.detach().numpy()
    assert np.array_equal(
        made.blocks[0].mlp.up.weight.detach().numpy(), numbers.quantize(weight, 4, "channel").values()
    )
    by_hand = 4 * model.embed.weight.numel()
    for layer in (module for module in model.modules() if isinstance(module, nn.Linear)):
        rows, columns = layer.weight.shape
        by_hand += math.ceil(4 * rows * (columns + 1) / 8) + 4 * rows
    assert stored == by_hand


@pytest.mark.parametrize("method", quantize.METHODS)
def test_int8_of_the_libraries_is_small_and_near(method, capfd):
    model, x = untrained.model(ModelConfig(width=128, depth=2, heads=4)), untrained.tokens()
    made = quantize.int8(model, method)
    with torch.inference_mode():
        exact, near = model(x), made(x)
    assert (near - exact).norm() < 0.05 * exact.norm()
    share = quantize.saved_bytes(made) / quantize.saved_bytes(model)
    assert share < 0.30 if method != "linear weights" else 0.30 < share < 0.33
    assert "Failed to load" not in capfd.readouterr().err


def test_saved_bytes_are_those_of_the_file(tmp_path):
    model = untrained.model()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    on_disk = (tmp_path / "model.pt").stat().st_size  # the archive also holds its own name, a few times
    assert quantize.saved_bytes(model) == pytest.approx(on_disk, rel=0.01)


def test_torchao_missing_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchao.quantization", None)
    with pytest.raises(InputError, match="pip install torchao"):
        quantize.int8(untrained.model())


def test_bad_input():
    for bits in (1, 9, 4.5):
        one_line(
            lambda bits=bits: quantize.rounded(untrained.model(), bits),
            "bits: expected a whole number from 2 to 8",
        )
    one_line(lambda: quantize.rounded(nn.LayerNorm(4), 4, "row"), "granularity: expected one of tensor")
    one_line(lambda: quantize.int8(untrained.model(), "int4"), "method: expected one of weights")


def test_bytes_of_a_small_layer_by_hand():
    """Two rows of three 8-bit weights and a zero point each, 4 bytes of scale a row; a bias keeps its 8 bytes."""
    layer = nn.Linear(3, 2)
    made, stored = quantize.rounded(layer, 8)
    assert stored == 2 * (3 + 1) + 2 * 4 + 2 * 4
    assert torch.equal(made.bias, layer.bias) and not torch.equal(made.weight, layer.weight)


def test_embeddings_are_rounded_unless_asked_not_to():
    model = untrained.model(untrained.SMALL.replace(positions="learned"))
    made, stored = quantize.rounded(model, 8, "tensor")
    matrices = [p.numel() for p in model.parameters()]
    assert stored == sum(n + 1 + 4 for n in matrices)
    assert not torch.equal(made.position.weight, model.position.weight)
    whole, more = quantize.rounded(model, 8, "tensor", embeddings=False)
    assert torch.equal(whole.position.weight, model.position.weight)
    tables = (256 + 48) * 32
    assert more - stored == 4 * tables - (tables + 2 * 5)
