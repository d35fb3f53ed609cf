"""Timing: ratios within rounds, on clocks that the test winds."""

from __future__ import annotations

import torch
from refusals import one_line

from scalept_lab.train import timing
from scalept_lab.train.timing import Ratio


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
