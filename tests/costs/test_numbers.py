"""Formats against torch's casts, bit for bit where torch has the type; tf32, which it has not, against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from refusals import one_line

from scalept_lab.costs import numbers as formats
from scalept_lab.costs.numbers import FORMATS, lost_to_zero, rounded
from scalept_lab.errors import InputError

TORCH = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8_e4m3": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}
INTEGERS = {1: torch.uint8, 2: torch.uint16, 4: torch.int32}
each = pytest.mark.parametrize("name", TORCH)


def numbers() -> np.ndarray:
    """Any fp32 bit pattern, and plain numbers of every size, exact halves between neighbours among them."""
    rng = np.random.default_rng(0)
    wild = rng.integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    tame = (rng.standard_normal(200_000) * 2.0 ** rng.integers(-30, 20, 200_000)).astype(np.float32)
    halves = (rng.integers(0, 2**12, 50_000) * 2.0 ** rng.integers(-30, 10, 50_000)).astype(np.float32)
    special = np.array(
        [0.0, -0.0, np.inf, -np.inf, np.nan, 448, 464, 465, 480, 65504, 65519.9, 65520, 57344, 61440],
        np.float32,
    )
    return np.concatenate([wild, tame, halves, -halves, special])


@each
def test_rounding_is_torchs_cast_bit_for_bit(name):
    x = numbers()
    ours = rounded(x, name)
    theirs = torch.from_numpy(x).to(TORCH[name]).to(torch.float64).numpy()
    if np.isnan(torch.tensor(1e6).to(TORCH[name]).item()):  # a torch whose cast does not saturate
        theirs = np.where(np.isnan(theirs) & ~np.isnan(x), np.copysign(FORMATS[name].largest, x), theirs)
    assert np.array_equal(ours, theirs, equal_nan=True)
    there = ~np.isnan(ours)
    assert np.array_equal(np.signbit(ours[there]), np.signbit(theirs[there])), "the sign of zero counts, too"


@pytest.mark.parametrize("name", ["bf16", "fp16", "fp8_e4m3", "fp8_e5m2"])
def test_every_number_of_a_small_format_rounds_to_itself_and_shows_its_own_bits(name):
    form = FORMATS[name]
    words = torch.arange(2**form.bits, dtype=torch.int32).to(INTEGERS[form.bytes])
    values = words.view(TORCH[name]).to(torch.float64).numpy()
    finite = np.isfinite(values)
    assert np.array_equal(form.round(values[finite]), values[finite])
    for word in np.flatnonzero(finite)[:: max(1, finite.sum() // 2000)]:
        assert form.pattern(values[word]).replace(" ", "") == f"{word:0{form.bits}b}"


@each
def test_limits_are_torchs(name):
    form, info = FORMATS[name], torch.finfo(TORCH[name])
    assert form.bits == info.bits
    assert form.largest == info.max
    assert form.smallest_normal == info.smallest_normal
    assert form.epsilon == info.eps


def test_tf32_is_fp32_range_with_fp16_precision():
    tf32, x = FORMATS["tf32"], numbers()[:400_000]
    assert (tf32.smallest_normal, tf32.epsilon) == (FORMATS["fp32"].smallest_normal, FORMATS["fp16"].epsilon)
    assert (tf32.bits, tf32.bytes) == (19, 4)
    words = x[np.isfinite(x)].view(np.uint32).astype(np.uint64)
    up = (words + 0xFFF + ((words >> 13) & 1)) & ~np.uint64(0x1FFF)  # add half a step (less one at ties), cut
    with np.errstate(over="ignore"):
        assert np.array_equal(
            tf32.round(x[np.isfinite(x)]), up.astype(np.uint32).view(np.float32).astype(np.float64)
        )


@pytest.mark.parametrize("form", FORMATS.values(), ids=str)
def test_spacing_is_the_way_to_the_next_number(form):
    for x in (1.0, 1.5, -3.0, form.largest, form.smallest_normal, form.smallest_subnormal, 0.0):
        step = float(form.spacing(x))
        if abs(x) < form.largest:
            assert form.round(abs(x) + step) == abs(x) + step
        assert form.round(abs(x) + 0.49 * step) == abs(x)
    assert np.isnan(form.spacing(form.largest * 2))


def test_the_update_that_vanishes():
    assert rounded(1 + 2**-8, "bf16") == 1  # exactly half way: the even neighbour is 1
    assert rounded(1 + 2**-8 + 2**-20, "bf16") == 1 + 2**-7
    assert rounded(1e-8, "fp16") == 0 and rounded(1e-8, "bf16") > 0


def test_table_has_every_format():
    assert [row["format"] for row in formats.table()] == list(FORMATS)
    rows = {row["format"]: row for row in formats.table()}
    limits = ("largest", "smallest normal", "smallest")
    # Micikevicius 2022, table 1; OCP Microscaling Formats 1.0, §5.3.3
    assert [rows["fp8_e4m3"][name] for name in limits] == [448, 2**-6, 2**-9]
    assert [rows["fp4_e2m1"][name] for name in limits] == [6, 1, 0.5]


def test_the_numbers_of_fp4_are_these():
    form = FORMATS["fp4_e2m1"]
    x = np.array([0.2, 0.3, 0.74, 0.76, 1.25, 1.75, 2.4, 2.5, 3.5, 3.6, 4.9, 5, 5.1, 7, 100, -0.3, -2.6])
    want = [0, 0.5, 0.5, 1, 1, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, -0.5, -3]  # of two equally near, the even one
    assert form.round(x).tolist() == want
    assert form.pattern(3) == "0 10 1"
    assert (form.pattern(-6), form.pattern(0.5), form.bytes) == ("1 11 1", "0 00 1", 0.5)


@pytest.mark.parametrize("form", FORMATS.values(), ids=str)
def test_stochastic_rounding_is_right_on_average_and_never_leaves_the_two_neighbours(form):
    rng = np.random.default_rng(0)
    size = min(form.largest / 4, 1e30)
    x = np.append(rng.standard_normal(500) * 2.0 ** rng.uniform(-8, 2, 500), [0.0, size, -1.0])
    x = np.clip(x, -form.largest, form.largest).astype(np.float32)
    near = form.round(x)
    u = (np.arange(1000)[:, None] + 0.5) / 1000
    many = form.stochastic(x, u)  # of all of chance an even share
    step = form.spacing(x)
    assert (np.abs(many - x) < step).all()
    np.testing.assert_allclose(many.mean(0), x, atol=5.1e-4 * step.max(), rtol=0)
    assert np.array_equal(
        form.stochastic(near, u)[::100], np.broadcast_to(near, (10, len(x)))
    )  # what fits stays
    over = form.stochastic(np.array([np.inf, -np.inf, np.nan, form.largest]), 0.999)
    assert np.array_equal(over, form.round(np.array([np.inf, -np.inf, np.nan, form.largest])), equal_nan=True)


def test_a_format_needs_bits():
    for bits in ((0, 0), (1, 3), (12, 3)):
        one_line(
            lambda bits=bits: formats.Format("mine", *bits), "exponent: expected a whole number from 2 to 11"
        )
    one_line(lambda: formats.Format("mine", 5, 0), "mantissa: expected a whole number from 1 to 52, got 0")


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_affine_equals_torchs_fake_quantization(bits, granularity):
    x = torch.randn(6, 64, generator=torch.Generator().manual_seed(bits)) * torch.logspace(-2, 0, 6)[:, None]
    x[3] += 4  # a row that does not cross zero
    made = formats.quantize(x.numpy(), bits, granularity)
    scale, zero = (torch.from_numpy(part[:, 0]) for part in (made.scale.astype(np.float32), made.zero))
    if granularity == "tensor":
        twin = torch.fake_quantize_per_tensor_affine(x, scale.item(), int(zero.item()), 0, 2**bits - 1)
    else:
        twin = torch.fake_quantize_per_channel_affine(x, scale, zero.int(), 0, 0, 2**bits - 1)
    np.testing.assert_allclose(made.values(), twin.numpy(), atol=1e-5)


def test_zero_is_exact_and_the_error_at_most_half_a_step():
    x = np.random.default_rng(0).standard_normal((4, 64))
    x[1, 5], x[2] = 0.0, 0.0
    for granularity in formats.GRANULARITIES:
        made = formats.quantize(x, 5, granularity)
        assert made.values()[1, 5] == 0 and not made.values()[2].any()
        assert (np.abs(made.values() - x) <= 1.01 * made.scale.max()).all()
        inside = formats.quantize(x, 8, granularity)
        assert np.median(np.abs(inside.values() - x)) <= inside.scale.max() / 2


def test_theory_of_the_error_and_six_decibels_a_bit():
    x = np.random.default_rng(1).uniform(-1, 1, (8, 4096))
    for bits in (3, 4, 6, 8):
        measured, theory = formats.error(x, bits, "channel")
        assert measured == pytest.approx(theory, rel=0.05)
    gained = formats.error(x, 6)[0] / formats.error(x, 7)[0]
    assert 10 * math.log10(gained) == pytest.approx(6.02, abs=0.2)


def test_finer_pieces_err_less_and_cost_more():
    x = np.random.default_rng(2).standard_normal((16, 128)) * np.geomspace(0.01, 1, 16)[:, None]
    errors = [formats.error(x, 4, granularity)[0] for granularity in formats.GRANULARITIES]
    sizes = [formats.quantize(x, 4, granularity).stored_bytes for granularity in formats.GRANULARITIES]
    assert errors == sorted(errors, reverse=True) and sizes == sorted(sizes)
    assert sizes[0] == math.ceil(4 * (x.size + 1) / 8) + 4


@pytest.mark.parametrize("bits", [0, 1, 9, 16, 4.5, True, "8", None])
def test_bits_outside_two_to_eight(bits):
    one_line(
        lambda: formats.quantize(np.ones(4), bits),
        "bits: expected a whole number from 2 to 8, got",
        "use bf16",
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: formats.quantize(np.ones(4), 8, "row"), "granularity: expected one of tensor"),
        (lambda: formats.quantize(np.array([1.0, np.nan])), "finite numbers"),
        (lambda: formats.quantize(np.ones((2, 0))), "finite numbers"),
        (lambda: formats.quantize(np.ones((2, 40)), 4, "group"), "length is a multiple, got 40"),
    ],
)
def test_what_cannot_be_quantized(call, says):
    one_line(call, says)


def test_lost_to_zero_counts_what_was_not_zero_before():
    assert lost_to_zero([0.0, 1e-9, 1.0, 0.0], "fp16") == 0.5
    assert lost_to_zero([0.0, 1e-9, 1.0, 0.0], "fp16", scale=2**16) == 0
    assert lost_to_zero([0.0], "fp16") == 0


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: rounded(1.0, "fp12"), "format: expected one of fp32, tf32, .*, got 'fp12'"),
        (lambda: rounded("one", "bf16"), "x: expected a number or an array of numbers, got 'one'"),
        (lambda: lost_to_zero([1.0], "fp16", scale=-2), "scale: expected a positive number, got -2"),
        (
            lambda: lost_to_zero([1.0], "fp16", scale=float("nan")),
            "scale: expected a positive number, got nan",
        ),
    ],
)
def test_bad_input_says_so_in_one_line(call, line):
    with pytest.raises(InputError, match=line) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_an_integer_grid_by_hand():
    """−1 to 2 in 2 bits: steps of 1, and 0 is the integer 1. In the second row 0 is the lowest, so that steps are of 2."""
    made = formats.quantize(np.array([[-1.0, 0.3, 1.0, 2.0], [6.0, 1.2, 4.0, 3.2]]), bits=2)
    assert made.q.tolist() == [[0, 1, 2, 3], [3, 1, 2, 2]]
    assert (made.scale.tolist(), made.zero.tolist()) == ([[1.0], [2.0]], [[1.0], [0.0]])
    assert made.values().tolist() == [[-1, 0, 1, 2], [6, 2, 4, 4]] and made.values().dtype == np.float32
    # 8 numbers and 2 zero points of 2 bits, and 2 scales of 4 bytes
    assert made.stored_bytes == 3 + 8


def test_what_shares_a_scale():
    x = np.arange(128.0).reshape(2, 64) - 30
    sizes = {name: formats.quantize(x, 3, name) for name in formats.GRANULARITIES}
    assert {name: len(made.scale) for name, made in sizes.items()} == {"tensor": 1, "channel": 2, "group": 4}
    assert all(made.values().shape == (2, 64) for made in sizes.values())
    assert sizes["group"].scale.ravel() == pytest.approx([31 / 7, 33 / 7, 65 / 7, 97 / 7])
    assert sizes["tensor"].scale.item() == pytest.approx(127 / 7) and sizes["tensor"].zero.item() == 2
    assert sizes["group"].stored_bytes == -(-3 * 132 // 8) + 16


def test_the_error_of_a_grid_measured_and_by_theory():
    """0, 0.4 and 3 in steps of 1: 0.4² over three numbers, and 1/12."""
    assert formats.error(np.array([0.0, 0.4, 3.0]), 2, "tensor") == pytest.approx((0.16 / 3, 1 / 12))
    flat = formats.quantize(np.zeros((1, 4)), 8)
    assert flat.values().tolist() == [[0, 0, 0, 0]] and flat.scale.item() == 1


@pytest.mark.parametrize(
    ("x", "bits", "granularity", "says"),
    [
        (np.ones(4), 1, "tensor", "bits: expected a whole number from 2 to 8, got 1"),
        (np.ones(4), 9, "tensor", "bits: expected a whole number from 2 to 8, got 9"),
        (np.ones(4), 4, "row", "granularity: expected one of tensor, channel, group"),
        (np.array([1.0, np.nan]), 4, "tensor", "expected finite numbers"),
        (np.array([]), 4, "tensor", "expected finite numbers"),
        (np.ones((2, 48)), 4, "group", "groups of 32: expected rows whose length is a multiple, got 48"),
    ],
)
def test_what_cannot_be_put_on_a_grid(x, bits, granularity, says):
    with pytest.raises(InputError, match=says) as caught:
        formats.quantize(x, bits, granularity)
    assert "\n" not in str(caught.value)


def test_patterns_by_hand():
    assert (
        formats.get("fp8_e4m3").pattern(-1.5) == "1 0111 100"
        and formats.get("fp8_e4m3").pattern(1e9) == "0 1111 110"
    )
    assert (
        formats.get("fp8_e5m2").pattern(-1e9) == "1 11111 00"
        and formats.get("fp8_e5m2").pattern(np.nan) == "0 11111 11"
    )
    assert (
        formats.get("fp16").pattern(2.0**-24) == "0 00000 0000000001"
        and formats.get("bf16").pattern(-0.0) == "1 00000000 0000000"
    )
