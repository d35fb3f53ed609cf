"""GPTQ, AWQ and 2:4: against rounding to nearest, least squares, and what has nothing in it."""

from __future__ import annotations

import pytest
import torch
import untrained
from refusals import one_line

from scalept_lab.compress import gptq, prune, quantize
from scalept_lab.config import ModelConfig
from scalept_lab.costs import numbers
from scalept_lab.model.transformer import norm

WIDE = ModelConfig(width=64, depth=1, heads=4, context=48)


def correlated(inputs: int = 32, tokens: int = 400) -> torch.Tensor:
    made = torch.Generator().manual_seed(2)
    x = torch.randn(tokens, inputs, generator=made, dtype=torch.float64)
    x = x @ torch.randn(inputs, inputs, generator=made, dtype=torch.float64)
    return x.T @ x / tokens


def weights(outputs: int = 5, inputs: int = 32) -> torch.Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_hessians_are_of_what_each_layer_reads():
    model, x = untrained.model(WIDE), untrained.tokens(3, 20)
    found = gptq.hessians(model, x)
    with torch.no_grad():
        first = norm(model.embed(x)).flatten(0, 1).double()
    assert set(found) == {
        "head", *(f"blocks.0.{name}" for name in ("attention.qkv", "attention.out", "mlp.up", "mlp.down"))
    }  # fmt: skip
    assert torch.allclose(found["blocks.0.attention.qkv"], first.T @ first / 60, rtol=1e-5)
    assert found["blocks.0.mlp.down"].shape == (256, 256)
    assert not model.blocks[0].mlp.up._forward_pre_hooks


def test_what_is_left_makes_up_for_a_column_as_least_squares_does():
    """The first column set to zero: the others are the best that they can be."""
    W, H = weights(), correlated()
    made = gptq.compensated(W, H, lambda M, j: M[:, j] * (j > 0), damping=1e-9)
    best = W[:, 1:] + W[:, :1] @ H[:1, 1:] @ torch.linalg.inv(H[1:, 1:])
    assert torch.allclose(made[:, 1:], best, rtol=1e-4, atol=1e-5) and not made[:, 0].any()


@pytest.mark.parametrize("granularity", ["channel", "group"])
def test_without_correlation_it_is_rounding_to_nearest(granularity):
    model = untrained.model(WIDE)
    blind = {name: torch.eye(len(H)) for name, H in gptq.hessians(model, untrained.tokens()).items()}
    made, stored = gptq.gptq(model, blind, 3, granularity)
    nearest, same = quantize.rounded(model, 3, granularity)
    assert stored == same
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), nearest.parameters(), strict=True))


@pytest.mark.parametrize("bits", [3, 4])
def test_outputs_are_nearer_than_those_of_rounding_to_nearest(bits):
    W, H = weights(), correlated()
    nearest = torch.from_numpy(numbers.quantize(W.numpy(), bits, "group").values())
    made = gptq.compensated(W, H, gptq.nearest(bits, 32))
    assert gptq.output_error(W, made, H) < 0.7 * gptq.output_error(W, nearest, H)
    for row in made:  # on a grid of 2^bits marks
        assert len(row.unique()) <= 2**bits
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    wrong = gptq.compensated(W, H[order][:, order], gptq.nearest(bits, 32))
    assert gptq.output_error(W, wrong, H) > gptq.output_error(W, made, H)


def test_output_error_is_that_of_the_outputs():
    x, W, made = torch.randn(50, 8).double(), weights(3, 8), weights(3, 8).round()
    by_hand = ((x @ (W - made).T) ** 2).sum(1).mean()
    assert gptq.output_error(W, made, x.T @ x / 50) == pytest.approx(float(by_hand))


def test_scaling_by_alpha_zero_is_rounding_to_nearest_and_a_grid_never_does_worse():
    W, H = weights(8, 64), correlated(64)
    plain, error = gptq.scaled(W, H, 3, "channel", 0.0)
    nearest = torch.from_numpy(numbers.quantize(W.numpy(), 3).values()).double()
    assert torch.equal(plain, nearest) and error == gptq.output_error(W, nearest, H)
    outlier = H.clone()
    outlier[5] *= 100  # one input is a hundred times as large as it was
    outlier[:, 5] *= 100
    found = [gptq.scaled(W, outlier, 3, "channel", alpha)[1] for alpha in gptq.ALPHAS]
    assert min(found) < 0.5 * found[0]


def test_awq_counts_its_scales():
    model = untrained.model(WIDE)
    H = gptq.hessians(model, untrained.tokens())
    made, stored = gptq.awq(model, H, 4)
    inputs = 4 * (64 + 64 + 64 + 256 + 64)
    assert stored == quantize.rounded(model, 4)[1] + inputs
    assert torch.equal(made.embed.weight, quantize.rounded(model, 4)[0].embed.weight)


def test_two_of_four_keeps_the_larger_and_of_equal_ones_the_earlier():
    size = torch.tensor([[0.1, 0.4, 0.3, 0.2, 1.0, 1.0, 1.0, 1.0]])
    assert gptq.largest_of(size).tolist() == [[False, True, True, False, True, True, False, False]]


def test_two_of_four_by_size_and_with_the_others_making_up():
    model, x = untrained.model(WIDE), untrained.tokens(8, 40)
    H = gptq.hessians(model, x)
    by_size, made = prune.two_of_four(model), prune.two_of_four(model, H)
    for name in H:
        if name == "head":
            continue
        W, one, other = (m.get_submodule(name).weight for m in (model, by_size, made))
        for pruned in (one, other):
            assert ((pruned != 0).unflatten(1, (-1, 4)).sum(-1) == 2).all()
        assert torch.equal(one, W * gptq.largest_of(W.abs()))
        assert gptq.output_error(W, other, H[name]) < gptq.output_error(W, one, H[name])
    blind = {name: torch.eye(len(h)) for name, h in H.items()}
    same = prune.made_permanent(prune.two_of_four(model, blind))
    for a, b in zip(same.parameters(), prune.made_permanent(by_size).parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_pruned_model_is_calibrated_and_quantized():
    model, x = prune.unstructured(untrained.model(WIDE), 0.5), untrained.tokens()
    with torch.no_grad():
        model(x)
    made, _ = gptq.gptq(model, gptq.hessians(model, x), 4)
    assert torch.isfinite(made(x)).all()


def test_bad_input():
    model, x = untrained.model(ModelConfig(width=24, depth=1, heads=2)), untrained.tokens()
    H = gptq.hessians(model, x)
    for method in (gptq.gptq, gptq.awq):
        one_line(
            lambda method=method: method(model, H, 4, "group"),
            "groups of 32: expected rows whose length",
            "24",
        )
        one_line(lambda method=method: method(model, H, 9), "bits: expected a whole number from 2 to 8")
        one_line(
            lambda method=method: method(model, {}, 4),
            "hessians: expected one for each linear layer",
            "make them",
        )
    one_line(lambda: gptq.gptq(model, H, 4, "tensor"), "granularity: expected 'channel' or 'group'")
    one_line(lambda: gptq.awq(model, H, 4, alphas=(2.0,)), "alpha: expected a number from 0 to 1")
    one_line(
        lambda: gptq.compensated(weights(), torch.eye(4), gptq.nearest(4, 32)),
        "hessian: expected (32, 32)",
        "(4, 4)",
    )
    one_line(
        lambda: gptq.compensated(weights(), torch.eye(32), gptq.nearest(4, 32), 0.0),
        "damping: expected a positive",
    )
    one_line(
        lambda: gptq.largest_of(torch.ones(2, 6)),
        "2 of 4: expected rows whose length is a multiple of 4, got 6",
    )
    one_line(lambda: prune.two_of_four(model, {}), "hessians: expected one for each linear layer")
    mixture = untrained.model(untrained.SMALL.replace(experts={"number": 2, "active": 1}))
    for refused in (
        lambda: gptq.hessians(mixture, x),
        lambda: gptq.gptq(mixture, {}, 4),
        lambda: prune.two_of_four(mixture),
    ):
        one_line(refused, "expects a dense model, got one with 2 experts")
    for library in ("weights", "builtin"):
        eight = quantize.int8(model, library)
        one_line(
            lambda eight=eight: gptq.hessians(eight, x),
            "calibration expects floating-point weights",
            "before int8()",
        )
        one_line(lambda eight=eight: gptq.gptq(eight, H, 4), "quantization expects floating-point weights")


def test_a_layer_that_is_never_active_is_rounded():
    made = gptq.compensated(weights(), torch.zeros(32, 32), gptq.nearest(4, 32))
    assert torch.isfinite(made).all()
