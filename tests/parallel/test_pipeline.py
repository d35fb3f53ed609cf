"""A measured pipeline: its boxes are in an order that a pipeline can have, and it waits no less than the formula says."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from scalept_lab.costs.traffic import bubble, idle_share
from scalept_lab.errors import InputError
from scalept_lab.parallel.pipeline import measured_timeline


@pytest.mark.parametrize(("schedule", "chunks"), [("gpipe", 1), ("1f1b", 1), ("interleaved", 2)])
def test_a_measured_timeline_respects_the_pipeline(schedule, chunks):
    rows = measured_timeline(2, 4, schedule, pause=0.02)
    assert Counter((row.stage, row.phase) for row in rows) == {
        (s, p): 4 * chunks for s in (0, 1) for p in "FB"
    }
    at = {(row.chunk * 2 + row.stage, row.microbatch, row.phase): row for row in rows}
    last = 2 * chunks - 1
    for (place, micro, phase), row in at.items():
        if phase == "F" and place:
            assert row.start >= at[place - 1, micro, "F"].end
        if phase == "B" and place < last:
            assert row.start >= at[place + 1, micro, "B"].end
        if phase == "B":
            assert row.start >= at[place, micro, "F"].end
    for stage in (0, 1):  # a stage does one thing at a time
        mine = sorted((row for row in rows if row.stage == stage), key=lambda row: row.start)
        assert all(a.end <= b.start for a, b in itertools.pairwise(mine))
    assert idle_share(rows) > bubble(2, 4, chunks) - 0.05


def test_gpipe_runs_all_forward_first_and_1f1b_does_not():
    ends = {}
    for schedule in ("gpipe", "1f1b"):
        rows = [row for row in measured_timeline(2, 4, schedule, pause=0.02) if row.stage == 1]
        ends[schedule] = [row.phase for row in sorted(rows, key=lambda row: row.start)]
    assert ends["gpipe"] == list("FFFFBBBB") and ends["1f1b"] == list("FBFBFBFB")


def test_too_few_microbatches_are_refused():
    with pytest.raises(InputError, match=r"parallel\.microbatches: 1f1b needs at least one per rank"):
        measured_timeline(4, 2)
