"""Affine quantization, written out in numpy: numbers of b bits, a scale and a zero point. To be read, and for the explorer.

    q = clamp(round(x / s) + z, 0, 2^b - 1)        x ≈ s (q - z)

(Jacob et al. 2018, eq. 1.) One pair (s, z) serves a whole matrix ("tensor"), each of its rows ("channel": a row holds the
weights of one output) or each run of 32 neighbours in a row ("group").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalept_lab.checks import one_of, whole
from scalept_lab.errors import InputError

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
    low = np.minimum(pieces_PxK.min(axis=1, keepdims=True), 0.0)
    high = np.maximum(pieces_PxK.max(axis=1, keepdims=True), 0.0)
    top = 2**bits - 1
    scale = (high - low) / top
    scale = np.where(scale > 0, scale, 1.0)  # a piece of zeros
    zero = np.clip(np.round(-low / scale), 0, top)
    q = np.clip(np.round(pieces_PxK / scale) + zero, 0, top)
    return Quantized(q.astype(np.uint8), scale, zero, bits, x.shape)


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
