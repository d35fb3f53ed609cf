"""Orders run by real ranks: the gradients of one process, boxes where they can be, faults told before anything starts."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from refusals import one_line

from scalept_lab.costs import schedules
from scalept_lab.costs.traffic import Slot
from scalept_lab.parallel import orders


def backwards(stage, stages, microbatches):
    """GPipe with the gradients taken from the last micro-batch to the first: legal, and messages in another order."""
    return [("F", m) for m in range(microbatches)] + [("B", m) for m in reversed(range(microbatches))]


def test_every_order_gives_the_gradients_of_one_process():
    tried = {
        "1f1b": schedules.one_forward_one_backward,
        "split": schedules.zero_bubble,
        "backwards": backwards,
    }
    found = orders.run_orders(tried, 2, 3, pause=0.005, repeats=2)
    alone = orders.alone(2, 3)
    assert [len(runs) for runs in found.values()] == [2, 2, 2]
    for name, runs in found.items():
        for run in runs:
            for mine, whole in zip(run.gradients, alone, strict=True):
                torch.testing.assert_close(mine, whole)
            assert min(slot.start for slot in run.slots) == 0
            for stage in range(2):
                mine = sorted(
                    (slot for slot in run.slots if slot.stage == stage), key=lambda slot: slot.start
                )
                assert [(slot.phase, slot.microbatch) for slot in mine] == list(tried[name](stage, 2, 3))
                assert all(a.end <= b.start for a, b in pairwise(mine))
                long = {slot.phase: slot.end - slot.start for slot in mine}
                assert long["F"] >= 0.005 and long["B"] >= (0.005 if name == "split" else 0.01)


def test_an_order_that_cannot_end_starts_nothing(monkeypatch):
    monkeypatch.setattr(orders, "launch", None)

    def late(stage, stages, microbatches):
        return [("F", 0), ("B", 0), ("F", 1), ("B", 1)] if stage == 0 else backwards(stage, stages, 2)

    one_line(lambda: orders.run_orders({"late": late}, 2, 2), "stage 0: waits for ever")
    one_line(lambda: orders.run_orders({"late": late}, 0, 2), "stages: expected a whole number of at least 1")


@pytest.mark.parametrize("first", [0.0, 7.0])
def test_one_clock_for_all_ranks(first):
    parts = [[Slot(0, 0, "F", first + 1, first + 2)], [Slot(1, 0, "F", first, first + 3)]]
    assert [(slot.start, slot.end) for slot in orders.from_the_start(parts)] == [(1, 2), (0, 3)]
