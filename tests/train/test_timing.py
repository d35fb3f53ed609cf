"""Timing: ratios within rounds, on clocks that the test winds."""

from __future__ import annotations

import statistics

import pytest
import torch
from refusals import one_line

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.model import precision
from scalept_lab.train import timing
from scalept_lab.train.timing import Ratio


def test_arms_take_turns_and_the_first_round_does_not_count():
    order: list[str] = []

    def arm(name):
        return lambda: order.append(name) or float(len(order))

    seconds = timing.in_turns({"a": arm("a"), "b": arm("b")}, rounds=2)
    assert order == ["a", "b"] * 3
    assert seconds == {"a": [3.0, 5.0], "b": [4.0, 6.0]}
    one_line(lambda: timing.in_turns({}), "arms: expected at least one")


def test_instructions_are_named():
    assert set(timing.instructions()) == set(timing.INSTRUCTIONS)
    assert all(isinstance(there, bool) for there in timing.instructions().values())


def test_speedups_and_utilisation_have_their_columns():
    (row,) = timing.speedups([8], ("bfloat16", "float16"), batch=1, context=16, rounds=3, device="cpu")
    assert row["width"] == 8 and row["bfloat16 low"] <= row["bfloat16"] <= row["bfloat16 high"]
    assert row["float16"] > 0
    found = timing.utilisation(
        TrainConfig(model=ModelConfig(width=16, depth=2, heads=2, context=16)), rounds=3, device="cpu"
    )
    assert 0 < found["utilisation"] < 1
    assert found["FLOP/s"] / found["peak"] == pytest.approx(found["utilisation"])


@pytest.mark.timing
def test_fp16_gains_less_from_this_cpu_than_bf16_where_it_has_bf16_instructions():
    found = timing.instructions()
    if not (found["AVX512-BF16"] or found["AMX-BF16"]) or found["AVX512-FP16"] or found["AMX-FP16"]:
        pytest.skip("needs a processor with bf16 and without fp16 instructions")
    speed = {
        d: statistics.median(timing.product_flops(d, 256, 0.1, "cpu") for _ in range(3))
        for d in precision.DTYPES
    }
    assert speed["bfloat16"] > 2 * speed["float16"]


def test_ratios_are_taken_within_rounds():
    slow = iter([9.0, 2.0, 4.0, 6.0, 8.0])
    fast = iter([1.0, 1.0, 2.0, 3.0, 4.0])
    found = timing.against({"a": lambda: next(slow), "b": lambda: next(fast)}, "b", rounds=4)
    assert found["a"] == Ratio(2.0, 2.0, 2.0, 5.0) and found["b"].median == 1
    assert str(found["a"]) == "2.00 (2.00 to 2.00)"
    one_line(lambda: timing.against({"a": lambda: 1.0}, "fp32"), "baseline: expected one of a")
    one_line(lambda: timing.against({"a": lambda: 1.0}, "a", rounds=1),
             "rounds: expected a whole number of at least 2, got 1; one has no spread")  # fmt: skip


def test_threads_are_set_and_put_back():
    before, seen = torch.get_num_threads(), []
    found = timing.by_threads(lambda: seen.append(torch.get_num_threads()), (1, 2), rounds=2)
    assert set(found) == {1, 2} and seen == 5 * [1] + 5 * [2]
    assert torch.get_num_threads() == before
