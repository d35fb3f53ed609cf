"""Products on block-scaled numbers: the rounding against its slow twin, the chance in it, and the three products of a layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from refusals import one_line
from torch import nn

from scalept_lab.config import ModelConfig
from scalept_lab.costs import blocks as slow
from scalept_lab.costs.blocks import SCALED
from scalept_lab.costs.numbers import FORMATS
from scalept_lab.model import blocks
from scalept_lab.model.blocks import Product, Recipe, emulate, hadamard, mixed, quantized, rounded
from scalept_lab.model.transformer import Transformer, cross_entropy


def wild(rows: int = 9, columns: int = 150, seed: int = 0) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=drawn) * torch.logspace(-3, 2, rows)[:, None]


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2", "fp4_e2m1", "fp16", "bf16"])
def test_rounding_is_that_of_the_format(name):
    form = FORMATS[name]
    x = torch.cat(
        [wild().flatten(), torch.arange(-40, 40) / 8, torch.tensor([0.0, form.smallest_subnormal / 2])]
    )
    want = np.clip(form.round(x.numpy()), -form.largest, form.largest)
    assert np.array_equal(rounded(x, form).double().numpy(), want)
    assert rounded(torch.tensor([1e30]), form).item() == form.largest or name == "bf16"


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("name", SCALED)
def test_it_is_its_slow_twin(name, weights):
    """Rows of 150 end in a block that is not full."""
    x = wild()
    made = quantized(x, SCALED[name], weights=weights).double().numpy()
    np.testing.assert_allclose(made, slow.scaled(x.numpy(), name, weights=weights), rtol=2e-7)


def test_chance_is_right_on_average_and_stays_between_the_neighbours():
    torch.manual_seed(0)
    x = torch.tensor([0.1, 0.35, 1.2, 2.9, -4.4, 5.0, 3.0])
    many = rounded(x.expand(40_000, -1), FORMATS["fp4_e2m1"], stochastic=True)
    assert [sorted(set(column.tolist())) for column in many.T] == [
        [0, 0.5], [0, 0.5], [1, 1.5], [2, 3], [-6, -4], [4, 6], [3],
    ]  # fmt: skip
    # the standard error of a mean is at most half a step over √40,000
    assert ((many.mean(0) - x).abs() < 5 * torch.tensor([0.25, 0.25, 0.25, 0.5, 1, 1, 0]) / 200 + 1e-6).all()


def test_gradients_of_fp8_have_the_wider_format():
    x = torch.tensor([[57344.0, 1.1]])
    assert quantized(x, SCALED["fp8"], gradient=True)[0].tolist() == [57344, 1.0]
    assert (
        quantized(x, SCALED["fp8"])[0, 0].item() == 57344
    )  # 128 · 448, and 1.1 is below the smallest step there
    assert quantized(torch.zeros(2, 3), SCALED["nvfp4"]).tolist() == [[0] * 3] * 2


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "fp8_tiles"])
def test_the_three_products_read_what_the_format_makes(name):
    """Forward: rows of x and W. To the input: rows of the gradient and of W transposed. To the weight: both transposed."""
    form, x, w, g = SCALED[name], wild(6, 20, 1), wild(5, 20, 2), wild(6, 5, 3)
    x, w = x.requires_grad_(), w.requires_grad_()
    y = Product.apply(x, w, Recipe(name))
    y.backward(g)

    def q(t, **how):
        return quantized(t.detach().contiguous(), form, **how)

    assert torch.allclose(y, q(x) @ q(w, weights=True).T)
    assert torch.allclose(x.grad, q(g) @ q(w.T, weights=True).T)
    assert torch.allclose(w.grad, q(g.T) @ q(x.T).T)


def test_stochastic_gradients_are_right_on_average_and_nearest_are_not():
    """One large gradient and many small ones in a block: to nearest all of these are lost."""
    torch.manual_seed(0)
    x, w = torch.ones(32, 1), torch.ones(1, 1, requires_grad=True)
    g = torch.full((32, 1), 0.1)
    g[0] = 6.0
    for stochastic, want in ((False, 6.0), (True, 9.1)):
        found = []
        for _ in range(100):
            w.grad = None
            Product.apply(x, w, Recipe("mxfp4", stochastic)).backward(g)
            found.append(w.grad.item())
        assert np.mean(found) == pytest.approx(want, abs=0.7), stochastic


def test_mixing_leaves_the_product_as_it_is_and_spreads_what_is_large():
    H = hadamard(16)
    assert torch.allclose(H @ H.T, torch.eye(16), atol=1e-6) and set(H.abs().flatten().tolist()) == {0.25}
    a, b = wild(3, 40, 1), wild(5, 40, 2)
    mixed_a, mixed_b = mixed(a, b)
    assert mixed_a.shape == (3, 48) and torch.allclose(mixed_a @ mixed_b.T, a @ b.T, rtol=1e-4, atol=1e-4)
    alone = torch.zeros(1, 16)
    alone[0, 3] = 8
    assert set(mixed(alone, alone)[0].abs().flatten().tolist()) == {2.0}
    one_line(lambda: hadamard(12), "size: expected a power of two, got 12")


def test_a_model_is_emulated_in_its_blocks_alone():
    shape = ModelConfig(width=16, depth=2, heads=2, context=16)
    torch.manual_seed(0)
    plain = Transformer(shape)
    nn.init.normal_(plain.head.weight)
    tokens = torch.randint(256, (2, 16))
    want = plain(tokens)
    torch.manual_seed(0)
    model = emulate(Transformer(shape), Recipe("nvfp4", stochastic=True, hadamard=True), keep=1)
    model.load_state_dict(plain.state_dict())
    assert "forward" in vars(model.blocks[0].mlp.up) and "forward" not in vars(model.blocks[1].mlp.up)
    assert "forward" not in vars(model.head)
    assert "forward" in vars(emulate(Transformer(shape), Recipe("mxfp4"), head=True).head)
    logits = model(tokens)
    assert not torch.equal(logits, want) and (logits - want).norm() < 0.5 * want.norm()
    cross_entropy(logits, tokens).backward()
    assert all(torch.isfinite(p.grad).all() and p.dtype is torch.float32 for p in model.parameters())


def test_bad_input_is_refused_in_a_line():
    model = Transformer(ModelConfig(width=16, depth=2, heads=2, context=16))
    one_line(lambda: Recipe("fp4"), "format: expected one of fp8_bare")
    one_line(lambda: emulate(nn.Linear(2, 2), Recipe("nvfp4")), "model: expected one with a list of blocks")
    one_line(lambda: emulate(model, Recipe("nvfp4"), keep=2), "keep: expected a whole number from 0 to 1")
    assert not any("forward" in vars(layer) for layer in model.modules())
    assert blocks.MIXED == 16
