"""Orders of a pipeline: legal, as few idle as the formula says, and no more kept than they promise; faults are named."""

from __future__ import annotations

import pytest
from refusals import one_line

from scalept_lab.costs import schedules, traffic

SIZES = [(1, 3), (2, 2), (3, 4), (4, 8), (4, 4), (8, 9)]


def orders(order, p, m):
    return [list(order(stage, p, m)) for stage in range(p)]


@pytest.mark.parametrize(("p", "m"), SIZES)
@pytest.mark.parametrize(
    "order", [schedules.gpipe, schedules.one_forward_one_backward, schedules.zero_bubble]
)
def test_played_ideally_an_order_waits_as_the_formula_says(order, p, m):
    slots = schedules.play(orders(order, p, m), m)
    split = order is schedules.zero_bubble
    assert traffic.idle_share(slots) == pytest.approx(traffic.bubble(p, m, split=split), abs=1e-12)
    assert len(slots) == p * m * (3 if split else 2)


@pytest.mark.parametrize(("p", "m"), SIZES)
def test_what_each_stage_keeps(p, m):
    kept = {
        order: [schedules.most_kept(steps) for steps in orders(order, p, m)]
        for order in (schedules.gpipe, schedules.one_forward_one_backward, schedules.zero_bubble)
    }
    assert kept[schedules.gpipe] == [m] * p
    assert kept[schedules.one_forward_one_backward] == [min(p - s, m) for s in range(p)]
    assert max(kept[schedules.zero_bubble]) <= min(p, m)


def test_two_stages_by_hand():
    """Two micro-batches: the second stage takes them in turns, the first waits from 2 to 4 and from 6 to 7."""
    found = schedules.play(orders(schedules.one_forward_one_backward, 2, 2), 2, unit=10)
    times = {(slot.stage, slot.phase, slot.microbatch): (slot.start, slot.end) for slot in found}
    assert times[0, "F", 1] == (10, 20) and times[1, "B", 0] == (20, 40)
    assert times[0, "B", 0] == (40, 60) and times[1, "F", 1] == (40, 50)
    assert times[1, "B", 1] == (50, 70) and times[0, "B", 1] == (70, 90)


def test_one_stage_differs_from_1f1b():
    plain, odd = (
        orders(order, 4, 6) for order in (schedules.one_forward_one_backward, schedules.one_stage_differs)
    )
    assert [a == b for a, b in zip(plain, odd, strict=True)] == [True, True, False, True]
    ends = [max(slot.end for slot in schedules.play(steps, 6)) for steps in (plain, odd)]
    assert schedules.most_kept(odd[2]) == 3 and ends == [27, 34]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([[("F", 0), ("B", 0), ("F", 0)]], "stage 0: expected each step once, got F of micro-batch 0 twice"),
        ([[("B", 0), ("F", 0)]], "stage 0: expected F of micro-batch 0 before its B, got it later or never"),
        ([[("F", 0), ("W", 0), ("B", 0)]], "expected B of micro-batch 0 before its W"),
        ([[("F", 0)]], "stage 0: expected B of each micro-batch, got none of micro-batch 0"),
        (
            [[("F", 0), ("B", 0)], [("F", 0), ("B", 0), ("X", 0)]],
            "micro-batches 0 to 0, got ('X', 0)",
        ),
        ([["F0"]], "expected steps such as"),
        ([[3]], "expected steps such as"),
        ([[("F", 1), ("B", 1)]], "micro-batches 0 to 0"),
        (
            [[("F", 0), ("B", 0), ("F", 1), ("B", 1)], [("F", 0), ("F", 1), ("B", 0), ("B", 1)]],
            "stage 0: waits for ever for what B of micro-batch 0 needs",
        ),
    ],
)
def test_what_is_wrong_with_an_order_is_one_line(steps, says):
    microbatches = 2 if "ever" in says else 1
    one_line(lambda: schedules.play(steps, microbatches), says)
