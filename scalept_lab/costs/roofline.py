"""Roofline: what two ceilings of a machine allow each operation of a training step (Williams, Waterman, Patterson 2009).

A machine computes at most `peak` FLOPs a second and moves at most `bandwidth` bytes a second between memory and processor.
An operation with F FLOPs that moves B bytes has the arithmetic intensity F / B and takes at least

    max(F / peak, B / bandwidth) seconds,      which is  min(peak, intensity · bandwidth)  FLOPs a second.

Counted is the least that can be moved: each input is read once, each result written once. What stays in a cache moves less,
and what a cache cannot hold may move more. Of operations on single numbers the FLOPs are a convention (an exponential counts
as one); an intensity of 1 may be 2 by another one, and is far from that of a product all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from scalept_lab.checks import positive, whole
from scalept_lab.config import ModelConfig
from scalept_lab.costs import counts

PER_NUMBER = {
    "layer norm": 8,
    "softmax": 5,
    "GELU": 10,
    "residual sum": 1,
}  # FLOPs for each number of the result
ADAMW = (
    14  # FLOPs for each parameter; 4 numbers of 32 bits are read (weight, gradient, two moments), 3 written
)


@dataclass(frozen=True)
class Operation:
    """FLOPs that an operation does, and bytes that it has to move at least."""

    name: str
    flops: float
    bytes: float

    @property
    def intensity(self) -> float:
        """FLOPs for each byte moved."""
        return self.flops / self.bytes

    def attainable(self, peak: float, bandwidth: float) -> float:
        """FLOPs a second under two ceilings (FLOPs a second, bytes a second). Raises: InputError for one that is not positive."""
        return min(positive("peak", peak), self.intensity * positive("bandwidth", bandwidth))

    def seconds(self, peak: float, bandwidth: float) -> float:
        """The least time under two ceilings. Raises: InputError."""
        return self.flops / self.attainable(peak, bandwidth)


def operations(model: ModelConfig, batch: int, width: int = 4) -> list[Operation]:
    """The operations of one block's forward pass, and of the optimizer on the whole model; `width` bytes a number.

    A backward pass repeats each product twice (for its input and its weight) at the same intensity. "attention, fused" reads
    queries, keys and values and writes the result; the two products and the softmax of "stored" attention write their (L, L)
    scores to memory and read them again. Raises: InputError for a batch that is no whole number.
    """
    T, D = whole("batch", batch) * model.context, model.width
    hidden, scores = model.mlp_ratio * D, T * model.context * model.heads
    both = 2 * 2 * T * model.context * D  # queries with keys, and weights with values

    def product(name: str, inputs: int, outputs: int) -> Operation:
        return Operation(
            name, 2.0 * T * inputs * outputs, width * (T * inputs + inputs * outputs + T * outputs)
        )

    def each(name: str, numbers: int, moved: int) -> Operation:
        return Operation(name, float(PER_NUMBER[name] * numbers), width * moved * numbers)

    total = counts.count_params(model)["total"]
    return [
        product("queries, keys, values", D, D + 2 * model.kv_width),
        product("MLP up", D, hidden),
        product("MLP down", hidden, D),
        Operation("attention, fused", float(both), width * 2 * T * (D + model.kv_width)),
        Operation("attention, stored", float(both), width * 2 * (T * (D + model.kv_width) + scores)),
        each("softmax", scores, 2),
        each("layer norm", T * D, 2),
        each("GELU", T * hidden, 2),
        each("residual sum", T * D, 3),
        Operation("AdamW", float(ADAMW * total), 28 * total),
    ]
