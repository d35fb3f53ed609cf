"""Block-scaled formats against numbers worked out by hand, and against torchao, which has the MX formats and NVFP4."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from refusals import one_line

from scalept_lab.costs import blocks
from scalept_lab.costs.blocks import SCALED, scaled


def row(*first: float, length: int = 32) -> np.ndarray:
    return np.array([*first, *[0.0] * (length - len(first))])


def test_mxfp4_by_hand():
    """Largest 10: ⌊log₂ 10⌋ = 3, so the scale is 2^(3 − 2) = 2. 10 / 2 = 5 is half way between 4 and 6; 4 has the even last
    bit (1.0 · 4, while 6 is 1.5 · 4). -2.6 / 2 = -1.3 goes to -1.5. 0.4 / 2 = 0.2 goes to 0, 0.6 / 2 = 0.3 to 0.5."""
    assert scaled(row(10, -2.6, 0.4, 0.6), "mxfp4")[:4].tolist() == [8, -3, 0, 1]
    # 15 / 2 = 7.5 is beyond 6 and stays there: 12. The power of two is chosen without a look at the mantissa.
    assert scaled(row(15), "mxfp4")[0] == 12


def test_rounded_up_the_scale_cuts_nothing_off():
    """15 / 6 = 2.5, so the scale is 4: 15 / 4 = 3.75 goes to 4. 12 / 6 is 2, a power of two already."""
    assert scaled(row(15, 12), "mxfp4_up")[:2].tolist() == [16, 12]
    assert scaled(row(12, 1), "mxfp4_up")[:2].tolist() == [12, 1]


def test_mxfp8_by_hand():
    """Largest 300: the scale is 2^(8 − 8) = 1, and E4M3 has 288 and 320 there (steps of 32): 300 goes to 288. 500 is beyond
    448. With 700 the scale is 2: 350 goes to 352. 0.013 / 2 is 3.3 times E4M3's smallest number, 2^-9, and becomes 3 of them."""
    assert scaled(row(300), "mxfp8")[0] == 288 and scaled(row(500), "mxfp8")[0] == 448
    assert scaled(row(700, 0.013), "mxfp8")[:2].tolist() == [704, 2 * 3 * 2.0**-9]


def test_nvfp4_by_hand():
    """Two blocks with largest 12 and 1.6. The tensor's scale is 12 / (6 · 448) = 1/224. The first block's is 448, as
    12 = 6 · 448/224; there, 5.1 / 2 = 2.55 goes to 3. The second's: 1.6/6 · 224 = 59.73 goes to 60 in E4M3 (steps of 4), so
    that numbers stand on 60/224 = 0.268 times the grid: 1.6 / 0.268 = 5.97 goes to 6, 0.5 / 0.268 = 1.87 to 2.
    """
    made = scaled([*row(12, 5.1, length=16), *row(1.6, 0.5, length=16)], "nvfp4")
    assert made[[0, 1]] == pytest.approx([12, 3 * 448 / 224], rel=1e-12)
    assert made[[16, 17]] == pytest.approx([6 * 60 / 224, 2 * 60 / 224], rel=1e-12)


def test_a_block_far_below_the_tensor_is_lost():
    """The block's scale, 1e-3/6 · 224·… , is below half of E4M3's smallest number: nothing of the block is left."""
    made = scaled([*row(1e6, length=16), *row(0.01, length=16)], "nvfp4")
    assert made[0] == 1e6 and not made[16:].any()


def test_without_a_scale_small_numbers_are_lost():
    assert scaled([500.0, 1.1, 0.0009, 0.0011], "fp8_bare").tolist() == [448, 1.125, 0, 2.0**-9]
    assert scaled([0.0009, 0.0011], "fp8") == pytest.approx([0.0009, 0.0011], rel=0.05)


def test_fp8_by_hand():
    """One scale for the tensor, 896 / 448 = 2. 3.3 / 2 = 1.65 goes to 1.625. With a tile for each 128 the second has its own."""
    x = np.concatenate([row(896, length=128), row(3.3, 0.7, length=130)])
    assert scaled(x, "fp8")[[0, 128, 129]].tolist() == [896, 3.25, 2 * 0.34375]
    tiles = scaled(x, "fp8_tiles")
    # 0.7 / 3.3 · 448 = 95.03 goes to 96
    assert tiles[128] == pytest.approx(3.3, rel=1e-12) and tiles[129] == pytest.approx(96 * 3.3 / 448)


def test_square_tiles_share_their_scale_over_rows():
    x = np.array([[448.0], [0.3]])
    assert scaled(x, "fp8_tiles").tolist() == [[448.0], [pytest.approx(0.3)]]
    assert scaled(x, "fp8_tiles", weights=True).tolist() == [[448.0], [0.3125]]
    assert scaled(np.array([[3.0], [1.4]]), "mxfp4", weights=True).tolist() == [
        [3.0],
        [1.5],
    ]  # 1.4 alone: 4 · 1.4 = 5.6


def test_bits_of_a_number_with_its_share_of_the_scale():
    assert {name: form.bits for name, form in SCALED.items()} == {
        "fp8_bare": 8, "fp8": 8, "fp8_tiles": 8.25, "mxfp8": 8.25, "mxfp4": 4.25, "mxfp4_up": 4.25, "nvfp4": 4.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "element"), [("mxfp8", torch.float8_e4m3fn), ("mxfp4", torch.float4_e2m1fn_x2)]
)
def test_mx_is_torchaos_to_the_last_bit(name, element):
    to_mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor").MXTensor.to_mx
    theirs = to_mx(_wild(), element, 32).dequantize(torch.float32)
    assert np.array_equal(scaled(_wild().numpy(), name), theirs.double().numpy())


def test_nvfp4_is_torchaos():
    """But for blocks whose scale would be 0, where torchao takes the smallest scale that there is."""
    theirs = pytest.importorskip("torchao.prototype.mx_formats.nvfp4_tensor")
    x = torch.randn(8, 64, generator=torch.Generator().manual_seed(1))
    made = theirs.NVFP4Tensor.to_nvfp4(
        x, per_tensor_scale=theirs.per_tensor_amax_to_scale(x.abs().amax())
    ).dequantize(torch.float32)
    np.testing.assert_allclose(scaled(x.numpy(), "nvfp4"), made.double().numpy(), rtol=1e-6)


def _wild() -> torch.Tensor:
    return (
        torch.randn(16, 64, generator=torch.Generator().manual_seed(0)) * torch.logspace(-6, 4, 16)[:, None]
    )


def test_zeros_stay_zeros_and_what_is_representable_stays():
    for name, form in SCALED.items():
        assert not scaled(np.zeros((2, 40)), name).any()
        own = form.element.round(np.linspace(-form.element.largest, form.element.largest, 200))
        own = own[: form.block or 200]
        own[0] = -form.element.largest
        np.testing.assert_allclose(scaled(own, name), own, rtol=1e-12)


def test_bad_input_is_refused_in_a_line():
    one_line(lambda: scaled([1.0], "mxfp5"), "format: expected one of fp8_bare", "did you mean mxfp")
    one_line(lambda: scaled([1.0, np.inf], "mxfp4"), "x: expected a vector or a matrix of finite numbers")
    one_line(lambda: scaled("ten", "mxfp4"), "x: expected")
    one_line(lambda: scaled(np.ones((2, 2, 2)), "mxfp4"), "x: expected")
    assert blocks.get("nvfp4").block == 16
