"""Block-scaled formats: few bits for each number, and a scale that a block of neighbours shares. numpy only.

    x ≈ scale · q        q is a number of a small format, the scale is shared by a block of neighbours in a row

| name      | q    | a block                             | its scale                                            |
|-----------|------|-------------------------------------|------------------------------------------------------|
| fp8_bare  | E4M3 | none: what fp8 is without a scale   | 1                                                    |
| fp8       | E4M3 | the whole tensor (gradients: E5M2)  | fp32: largest number / largest of E4M3 (448)         |
| fp8_tiles | E4M3 | 128 neighbours; of weights 128×128  | fp32, the same                                       |
| mxfp8     | E4M3 | 32 neighbours                       | E8M0, a power of two: 2^(⌊log₂ largest⌋ − 8)         |
| mxfp4     | E2M1 | 32 neighbours                       | E8M0: 2^(⌊log₂ largest⌋ − 2)                         |
| mxfp4_up  | E2M1 | 32 neighbours, a control            | E8M0, rounded up, so that nothing lies beyond 6      |
| nvfp4     | E2M1 | 16 neighbours                       | E4M3: largest / 6, over an fp32 scale for the tensor |

fp8: Micikevicius et al. 2022, §3 and §5. fp8_tiles: DeepSeek-V3, 2024, §3.3.2. MX: OCP Microscaling Formats 1.0, 2023, §5.3 and
§6.3. nvfp4: NVIDIA 2025 (Pretraining Large Language Models with NVFP4), §2: the tensor's scale is largest / (6 · 448), so that
the largest scale of a block is the largest number of E4M3.

`scaled` is written from these lines, block by block. `model.blocks` does the same on tensors, fast; a test compares them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalept_lab.checks import one_of
from scalept_lab.costs.numbers import FORMATS, Format
from scalept_lab.errors import InputError

E4M3, E5M2, E2M1 = FORMATS["fp8_e4m3"], FORMATS["fp8_e5m2"], FORMATS["fp4_e2m1"]
SCALE_BITS = {"one": 0, "fp32": 32, "e8m0": 8, "e8m0_up": 8, "e4m3": 8}


@dataclass(frozen=True)
class Scaled:
    """A block-scaled format: numbers in `element`, `block` neighbours of a row sharing a scale (None: the whole tensor).

    `scale` is the format of the scale; `square`: a block of a weight matrix has as many rows as columns; `gradient` is the
    element of gradients, where it is another one.
    """

    name: str
    element: Format
    block: int | None
    scale: str
    square: bool = False
    gradient: Format | None = None

    @property
    def bits(self) -> float:
        """Bits for each number, its share of the block's scale included; a scale of the whole tensor costs nothing."""
        return self.element.bits + (SCALE_BITS[self.scale] / self.block if self.block else 0)


SCALED: dict[str, Scaled] = {
    form.name: form
    for form in (
        Scaled("fp8_bare", E4M3, None, "one"),
        Scaled("fp8", E4M3, None, "fp32", gradient=E5M2),
        Scaled("fp8_tiles", E4M3, 128, "fp32", square=True),
        Scaled("mxfp8", E4M3, 32, "e8m0"),
        Scaled("mxfp4", E2M1, 32, "e8m0"),
        Scaled("mxfp4_up", E2M1, 32, "e8m0_up"),
        Scaled("nvfp4", E2M1, 16, "e4m3"),
    )
}


def get(name: str) -> Scaled:
    """The block-scaled format of this name. Raises: InputError listing the names there are."""
    return SCALED[one_of("format", name, SCALED)]


def top_exponent(element: Format) -> int:
    """Exponent of the largest power of two in a format: 8 for E4M3 (256), 2 for E2M1 (4)."""
    return math.floor(math.log2(element.largest))


def scaled(x: Any, name: str, *, weights: bool = False) -> np.ndarray:
    """What a block-scaled format makes of a vector or of the rows of a matrix, rounded to nearest; float64.

    The last block of a row may be shorter. With `weights`, blocks are square where the format has them so.
    Raises: InputError for an unknown format, or for what is no vector or matrix of finite numbers.
    """
    form, values = get(name), _matrix(x)
    whole = float(np.abs(values).max(initial=0.0))
    made = np.zeros_like(values)
    for place in _blocks(form, values.shape, weights):
        scale = scale_of(form, float(np.abs(values[place]).max(initial=0.0)), whole)
        if scale > 0:
            made[place] = scale * _saturated(form.element, values[place] / scale)
    return made.reshape(np.shape(x))


def scale_of(form: Scaled, largest: float, tensor: float) -> float:
    """The scale of a block whose largest number is `largest`, in a tensor whose largest is `tensor`. 0: the block is all 0."""
    if largest == 0 or form.scale == "one":
        return float(largest > 0)
    if form.scale == "e8m0":
        _, power = math.frexp(largest)  # largest = f · 2^power with 0.5 <= f < 1
        return 2.0 ** min(127, max(-127, power - 1 - top_exponent(form.element)))
    if form.scale == "e8m0_up":
        fraction, power = math.frexp(largest / form.element.largest)
        return 2.0 ** (power - (fraction == 0.5))
    if form.scale == "e4m3":
        outer = tensor / (form.element.largest * E4M3.largest)
        return outer * float(E4M3.round(largest / form.element.largest / outer))
    return largest / form.element.largest


def _saturated(element: Format, q: np.ndarray) -> np.ndarray:
    return np.clip(element.round(q), -element.largest, element.largest)


def _blocks(form: Scaled, shape: tuple[int, ...], weights: bool) -> Iterator[tuple[slice, slice]]:
    rows, columns = shape
    if form.block is None:
        yield slice(0, rows), slice(0, columns)
        return
    high = form.block if weights and form.square else 1
    for row in range(0, rows, high):
        for column in range(0, columns, form.block):
            yield slice(row, row + high), slice(column, column + form.block)


def _matrix(x: Any) -> np.ndarray:
    try:
        values = np.asarray(x, np.float64)
    except (TypeError, ValueError):
        values = np.empty((0, 0, 0))
    if values.ndim not in (1, 2) or not np.isfinite(values).all():
        raise InputError(
            "x: expected a vector or a matrix of finite numbers, got something else; look for infinity or NaN"
        )
    return np.atleast_2d(values)
