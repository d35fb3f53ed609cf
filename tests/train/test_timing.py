"""Timing: ratios within rounds, on clocks that the test winds."""

from __future__ import annotations

import statistics

import pytest
import torch
from refusals import one_line
from torch.utils.flop_counter import FlopCounterMode

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.costs import counts
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


def seconds_of(table):
    """In place of steps: the seconds of each, in turn, the first round being a warm-up."""
    return lambda config, device=None: iter(table[config.dtype]).__next__


def test_speedups_by_hand(monkeypatch):
    """Ratios within rounds: 4, 2, 6, of which the middle one is 4 and the quartiles are 2 and 6."""
    table = {"float32": [99.0, 8.0, 2.0, 6.0], "bfloat16": [1.0, 2.0, 1.0, 1.0]}
    monkeypatch.setattr(timing, "step_function", seconds_of(table))
    (row,) = timing.speedups([16], rounds=3)
    assert row == {"width": 16, "seconds": 6.0, "bfloat16": 4.0, "bfloat16 low": 2.0, "bfloat16 high": 6.0}
    (row,) = timing.speedups([16], rounds=1)
    assert row["bfloat16 low"] == row["bfloat16"] == row["bfloat16 high"] == 4.0


def test_utilisation_by_hand(monkeypatch):
    """A batch of 2 times 16 tokens in half a second."""
    monkeypatch.setattr(timing, "step_function", seconds_of({"float32": [9.0, 0.5, 0.25, 4.0]}))
    config = TrainConfig(model=ModelConfig(width=8, heads=1, context=16), batch=2)
    found = timing.utilisation(config, rounds=3, peak=1e9, device="cpu")
    flops = 64 * counts.flops_per_token(config.model)
    assert found == {"tokens/s": 64.0, "FLOP/s": flops, "peak": 1e9, "utilisation": flops / 1e9}


def test_a_products_flops_and_repeated_work_by_a_wound_clock(monkeypatch):
    """A clock that moves by 0.25 s when it is read: 2·64³ FLOPs in 0.25 s."""
    now = iter(range(1000))
    monkeypatch.setattr(timing.time, "process_time", lambda: next(now) / 4)
    monkeypatch.setattr(timing.torch.cuda, "is_available", lambda: False)
    for seconds, products in ((1.0, 4), (0.1, 3)):  # at least three; one more warms up
        with FlopCounterMode(display=False) as counter:
            assert timing.product_flops("float32", 64, seconds, device="cpu") == 2 * 64**3 / 0.25
        assert counter.get_total_flops() == (1 + products) * 2 * 64**3
    done = []
    assert timing.timed(lambda: done.append(1), repeat=5)() == 0.05 and len(done) == 5
    monkeypatch.setattr(timing.time, "perf_counter", iter([0, 50, 0, 50, 0, 50, 0, 3, 0, 1, 0, 2]).__next__)
    assert timing.by_threads(lambda: None, [1], rounds=3) == {1: 2}


def test_a_forward_pass_is_timed_as_often_as_asked_without_gradients():
    class Watched(torch.nn.Module):
        def forward(self, x):
            seen.append((x.tolist(), self.training, torch.is_inference_mode_enabled()))

    seen: list = []
    timing.forward_pass(Watched(), torch.tensor([3, 1]), repeat=3)()
    assert seen == [([3, 1], False, True)] * 3


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
