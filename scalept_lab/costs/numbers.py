"""How numbers are kept: floating-point formats bit by bit, and integers with a scale and a zero point. numpy only.

A floating-point number is (-1)^sign · 1.mantissa · 2^(exponent − bias). The exponent bits buy range, the mantissa bits buy
precision. Below the smallest normal number the leading 1 becomes a 0 and the spacing stays the same (subnormal numbers), down
to zero. fp32 and fp16 are IEEE 754 binary32 and binary16; bf16 is the upper half of an fp32; tf32 is what NVIDIA's tensor cores
make of the inputs of an fp32 product (19 bits kept in 32); the fp8 pair is Micikevicius et al. 2022 (§3, table 1): e5m2 follows
IEEE 754, e4m3 gives up infinity, and all but one NaN of each sign, for a factor of almost two in range. fp4 (e2m1: OCP
Microscaling Formats 1.0, 2023, §5.3.3) has neither infinity nor NaN: its sizes are 0, 0.5, 1, 1.5, 2, 3, 4 and 6.

Affine quantization keeps a number x in b bits as q, with a scale s and a zero point z (Jacob et al. 2018, eq. 1):

    q = clamp(round(x / s) + z, 0, 2^b - 1)        x ≈ s (q - z)

One pair (s, z) serves a whole matrix ("tensor"), each of its rows ("channel": a row holds the weights of one output) or each
run of 32 neighbours in a row ("group").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalept_lab.checks import one_of, positive, whole
from scalept_lab.errors import InputError


@dataclass(frozen=True)
class Format:
    """A binary floating-point format: one bit of sign, `exponent` bits, `mantissa` bits.

    `infinity=False`: the topmost exponent holds numbers, too, and only its last pattern is NaN (e4m3); with `nan=False`
    that one is a number as well (e2m1). `stored` bits in memory per number, where that is more than the format uses (tf32).
    Raises: InputError for bits that make no format: fewer than 2 of exponent, more than a float64 has.
    """

    name: str
    exponent: int
    mantissa: int
    infinity: bool = True
    stored: int | None = None
    nan: bool = True

    def __post_init__(self) -> None:
        whole("exponent", self.exponent, 2, 11, "a sign and 1 bit are no floating-point format")
        whole("mantissa", self.mantissa, 1, 52, "the leading 1 is not stored")

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.mantissa

    @property
    def bytes(self) -> float:
        """Bytes that one number takes in memory."""
        return (self.stored or self.bits) / 8

    @property
    def bias(self) -> int:
        return 2 ** (self.exponent - 1) - 1

    @property
    def lowest(self) -> int:
        """Exponent of the smallest normal number (pattern 0…01; 0…00 is for zero and subnormal numbers)."""
        return 1 - self.bias

    @property
    def highest(self) -> int:
        """Exponent of the largest number: the pattern 1…11 is for infinity and NaN, if the format has infinity."""
        return self.bias if self.infinity else self.bias + 1

    @property
    def largest(self) -> float:
        last = (
            4 if self.nan and not self.infinity else 2
        )  # where the pattern 1…1 1…1 alone is NaN, one step is missing
        return (2 - last / 2 * 2.0**-self.mantissa) * 2.0**self.highest

    @property
    def smallest_normal(self) -> float:
        return 2.0**self.lowest

    @property
    def smallest_subnormal(self) -> float:
        return 2.0 ** (self.lowest - self.mantissa)

    @property
    def epsilon(self) -> float:
        """Spacing at 1: the next number after 1 is 1 + epsilon."""
        return 2.0**-self.mantissa

    def spacing(self, x: Any) -> np.ndarray:
        """Distance to the next number of this format, away from zero, at |x|; NaN beyond the largest number."""
        size = np.abs(np.asarray(x, np.float64))
        _, power = np.frexp(size)  # size = f · 2^power with 0.5 <= f < 1
        exponent = np.maximum(np.where(size > 0, power - 1, self.lowest), self.lowest)
        return np.where(size <= self.largest, np.ldexp(1.0, exponent - self.mantissa), np.nan)

    def round(self, x: Any) -> np.ndarray:
        """The nearest number of this format (float64); of two equally near, the one whose last bit is 0.

        What would round beyond the largest number becomes infinity; a format without infinity stops at its largest
        number ("saturates"), as the cast of torch 2.13 does (earlier versions of it gave NaN).
        """
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            value = np.asarray(x, np.float64)
        _, power = np.frexp(value)
        exponent = np.maximum(np.where(value != 0, power - 1, self.lowest), self.lowest)
        with np.errstate(invalid="ignore", over="ignore"):
            # dividing by a power of two is exact, and rint goes to the even neighbour
            rounded = np.ldexp(np.rint(np.ldexp(value, self.mantissa - exponent)), exponent - self.mantissa)
            over = np.copysign(np.inf if self.infinity else self.largest, value)
            return np.where(np.abs(rounded) > self.largest, over, rounded)

    def stochastic(self, x: Any, u: Any) -> np.ndarray:
        """One of the two neighbours of x in this format (float64): the upper one if u is below the share of the way to it.

        With `u` uniform between 0 and 1, the mean of the results is x: rounding without bias. A number of the format stays
        what it is. Beyond the largest number as `round`.
        """
        value = np.asarray(x, np.float64)
        inside = np.clip(np.where(np.isnan(value), 0.0, value), -self.largest, self.largest)
        step = self.spacing(inside)
        whole_steps = np.floor(inside / step)  # dividing by a power of two is exact
        up = np.asarray(u) < inside / step - whole_steps
        return np.where(np.abs(value) <= self.largest, (whole_steps + up) * step, self.round(value))

    def pattern(self, x: float) -> str:
        """The bits of `round(x)` as "sign exponent mantissa". NaN shows as all ones."""
        value = float(self.round(x))
        sign = "1" if math.copysign(1.0, value) < 0 else "0"
        if math.isnan(value):
            return f"0 {'1' * self.exponent} {'1' * self.mantissa}"
        if math.isinf(value):
            return f"{sign} {'1' * self.exponent} {'0' * self.mantissa}"
        size = abs(value)
        exponent = max(math.frexp(size)[1] - 1, self.lowest) if size else self.lowest
        # the mantissa with its leading bit, as a whole number
        units = round(math.ldexp(size, self.mantissa - exponent))
        normal = units >= 2**self.mantissa
        field = exponent + self.bias if normal else 0
        return f"{sign} {field:0{self.exponent}b} {units - normal * 2**self.mantissa:0{self.mantissa}b}"


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format("fp32", 8, 23),
        Format("tf32", 8, 10, stored=32),
        Format("bf16", 8, 7),
        Format("fp16", 5, 10),
        Format("fp8_e5m2", 5, 2),
        Format("fp8_e4m3", 4, 3, infinity=False),
        Format("fp4_e2m1", 2, 1, infinity=False, nan=False),
    )
}


def get(name: str) -> Format:
    """The format of this name. Raises: InputError listing the names there are."""
    return FORMATS[one_of("format", name, FORMATS)]


def rounded(x: Any, name: str) -> np.ndarray:
    """`x` rounded into the format called `name`, as float64. Raises: InputError for an unknown format or no numbers."""
    try:
        with np.errstate(invalid="ignore"):
            value = np.asarray(x, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"x: expected a number or an array of numbers, got {x!r}") from None
    return get(name).round(value)


def table() -> list[dict[str, Any]]:
    """A row for each format: its bits, largest, smallest normal and subnormal number, spacing at 1."""
    return [
        {
            "format": f.name,
            "bits": f.bits,
            "exponent": f.exponent,
            "mantissa": f.mantissa,
            "largest": f.largest,
            "smallest normal": f.smallest_normal,
            "smallest": f.smallest_subnormal,
            "spacing at 1": f.epsilon,
        }
        for f in FORMATS.values()
    ]


def lost_to_zero(values: Any, name: str, scale: float = 1.0) -> float:
    """Share of the non-zero `values` that become 0 when `scale` times them is rounded into a format: underflow.

    Raises: InputError for an unknown format or a scale that is not a positive number.
    """
    scale = positive("scale", scale)
    values = np.asarray(values, np.float64)
    values = values[values != 0]
    if not values.size:
        return 0.0
    return float(np.mean(get(name).round(scale * values) == 0))


GRANULARITIES = ("tensor", "channel", "group")
GROUP = 32
SCALE_BYTES = 4  # a scale is kept in fp32
LOW, HIGH = 2, 8


@dataclass(frozen=True)
class Quantized:
    """Integers with what is needed to read them. `q` has the shape (pieces, numbers of a piece), `scale` and `zero`
    (pieces, 1), where a piece is what shares them; `shape` is that of the matrix."""

    q: np.ndarray  # uint8, whatever the bits: packing them is up to who stores them
    scale: np.ndarray
    zero: np.ndarray
    bits: int
    shape: tuple[int, ...]

    def values(self) -> np.ndarray:
        """What the integers stand for: s (q - z), float32."""
        x = self.scale * (self.q.astype(np.float64) - self.zero)
        return x.astype(np.float32).reshape(self.shape)

    @property
    def stored_bytes(self) -> int:
        """Packed: b bits a number, and for each piece a scale and, in b bits as well, a zero point."""
        pieces = len(self.scale)
        return -(-self.bits * (self.q.size + pieces) // 8) + SCALE_BYTES * pieces


def quantize(x: np.ndarray, bits: int = 8, granularity: str = "channel") -> Quantized:
    """Quantize a vector or matrix. The range of a piece is that of its numbers, widened so that 0 is in it and exact.

    Raises: InputError for bits outside 2 to 8, an unknown granularity, numbers that are not finite, or rows that
    groups of 32 do not fill.
    """
    check(bits, granularity)
    x = np.asarray(x, dtype=np.float64)
    if x.size == 0 or not np.isfinite(x).all():
        raise InputError(
            "expected finite numbers to quantize, got none or some that are not; look for a diverged run"
        )
    if granularity == "group" and x.shape[-1] % GROUP:
        raise InputError(
            f"groups of {GROUP}: expected rows whose length is a multiple, got {x.shape[-1]}; use 'channel'"
        )
    pieces = {"tensor": (1, -1), "channel": (-1, x.shape[-1]), "group": (-1, GROUP)}[granularity]
    pieces_PxK = x.reshape(pieces)
    scale, zero = grid(pieces_PxK, bits)
    q = np.clip(np.round(pieces_PxK / scale) + zero, 0, 2**bits - 1)
    return Quantized(q.astype(np.uint8), scale, zero, bits, x.shape)


def grid(pieces_PxK: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of each piece, (P, 1): 2^b marks from its smallest number to its largest, 0 being one of them."""
    low = np.minimum(pieces_PxK.min(axis=1, keepdims=True), 0.0)
    high = np.maximum(pieces_PxK.max(axis=1, keepdims=True), 0.0)
    scale = (high - low) / (2**bits - 1)
    scale = np.where(scale > 0, scale, 1.0)  # a piece of zeros
    return scale, np.clip(np.round(-low / scale), 0, 2**bits - 1)


def error(x: np.ndarray, bits: int, granularity: str = "channel") -> tuple[float, float]:
    """Mean squared error of quantizing `x`, measured, and as theory has it: the mean of s²/12 over the numbers.

    Theory: rounding is off by anything between -s/2 and s/2, all alike; that has the variance s²/12.
    """
    made = quantize(x, bits, granularity)
    measured = float(np.mean((np.asarray(x, np.float64) - made.values()) ** 2))
    return measured, float(np.mean(made.scale**2) / 12)  # pieces are of equal size


def check(bits: int, granularity: str = "tensor") -> None:
    """Raises: InputError."""
    whole("bits", bits, LOW, HIGH, "above 8 use bf16 or fp16")
    one_of("granularity", granularity, GRANULARITIES, "'channel' suits most")
