"""FLOPs and bytes of single operations, worked out by hand for a small shape, and the two ceilings."""

from __future__ import annotations

import pytest
from refusals import one_line

from scalept_lab.config import ModelConfig
from scalept_lab.costs.roofline import Operation, operations

SHAPE = ModelConfig(width=32, depth=3, heads=4, context=10)  # 2 sequences: 20 tokens


def found(width: int = 4) -> dict[str, Operation]:
    return {op.name: op for op in operations(SHAPE, 2, width)}


def test_by_hand():
    ops = found()
    up = ops["MLP up"]  # (20, 32) times (32, 128)
    assert (up.flops, up.bytes) == (2 * 20 * 32 * 128, 4 * (20 * 32 + 32 * 128 + 20 * 128))
    fused, stored = ops["attention, fused"], ops["attention, stored"]
    # two products of 2·10·32 FLOPs for each of 20 queries; queries, keys, values, result
    assert (fused.flops, fused.bytes) == (2 * 2 * 20 * 10 * 32, 4 * 4 * 20 * 32)
    assert (
        stored.flops == fused.flops and stored.bytes - fused.bytes == 4 * 2 * 2 * 4 * 10 * 10
    )  # (2, 4, 10, 10) twice
    assert (ops["layer norm"].flops, ops["layer norm"].bytes) == (8 * 640, 4 * 2 * 640)
    assert (ops["softmax"].flops, ops["softmax"].bytes) == (5 * 800, 4 * 2 * 800)
    assert (ops["GELU"].flops, ops["residual sum"].bytes) == (10 * 2560, 4 * 3 * 640)
    total = 2 * 256 * 32 + 3 * 12 * 32**2
    assert (ops["AdamW"].flops, ops["AdamW"].bytes) == (14 * total, 28 * total)
    assert ops["queries, keys, values"].flops == 2 * 20 * 32 * 96 and ops["MLP down"].flops == up.flops


def test_shared_heads_move_fewer_keys_and_values():
    """One head of 8 channels in place of four: keys and values of 8 numbers for each of 20 tokens."""
    ops = {op.name: op for op in operations(SHAPE.replace(kv_heads=1), 2)}
    assert ops["attention, fused"].bytes == 4 * 20 * (2 * 32 + 2 * 8)
    assert ops["attention, stored"].bytes - ops["attention, fused"].bytes == 4 * 2 * 2 * 4 * 10 * 10
    assert ops["queries, keys, values"].flops == 2 * 20 * 32 * (32 + 2 * 8)


def test_half_the_bytes_are_twice_the_intensity_but_not_of_adamw():
    ops, half = found(), found(2)
    for name in ops:
        times = 1 if name == "AdamW" else 2
        assert half[name].intensity == pytest.approx(times * ops[name].intensity), name


def test_below_the_ridge_bandwidth_decides_and_above_it_the_peak():
    op = Operation("x", flops=600.0, bytes=200.0)  # 3 FLOPs a byte
    assert op.attainable(peak=100.0, bandwidth=20.0) == 60 and op.seconds(100.0, 20.0) == 10
    assert op.attainable(peak=50.0, bandwidth=20.0) == 50 and op.seconds(50.0, 20.0) == 12
    one_line(lambda: op.attainable(0, 1), "peak: expected a positive number, got 0")
    one_line(lambda: op.attainable(1, -1), "bandwidth: expected a positive number")
    one_line(lambda: operations(SHAPE, 0), "batch: expected a whole number")
