"""A measured pipeline: its boxes are in an order that a pipeline can have, and it waits no less than the formula says."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
import untrained

from scalept_lab.costs.traffic import bubble, idle_share
from scalept_lab.errors import InputError
from scalept_lab.model.transformer import cross_entropy
from scalept_lab.parallel import pipeline
from scalept_lab.parallel.pipeline import measured_timelines


@pytest.mark.parametrize(("schedule", "chunks"), [("gpipe", 1), ("1f1b", 1), ("interleaved", 2)])
def test_a_measured_timeline_respects_the_pipeline(schedule, chunks):
    (rows,) = measured_timelines(2, [(4, schedule)], pause=0.02)
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
    found = measured_timelines(2, [(4, "gpipe"), (4, "1f1b")], pause=0.02)
    last = [sorted((row for row in rows if row.stage == 1), key=lambda row: row.start) for rows in found]
    assert ["".join(row.phase for row in rows) for rows in last] == ["FFFFBBBB", "FBFBFBFB"]


def test_too_few_microbatches_are_refused():
    with pytest.raises(InputError, match=r"parallel\.microbatches: 1f1b needs at least one per rank"):
        measured_timelines(4, [(2, "1f1b")])


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_stages_one_after_the_other_are_the_model(positions):
    model = untrained.model(untrained.SMALL.replace(depth=4, positions=positions))
    parts = [
        pipeline.Stage(model, first, last, pipeline.FULL_PRECISION)
        for first, last in ((0, 1), (1, 3), (3, 4))
    ]
    assert [list(part.blocks) for part in parts] == [["0"], ["1", "2"], ["3"]]
    x = tokens_BxL = untrained.tokens(2, 9)
    for part in parts:
        x = part(x)
    assert torch.equal(x, model(tokens_BxL))
    union = pipeline._union(parts)
    assert dict(union.named_parameters()).keys() == dict(model.named_parameters()).keys()


def test_rows_that_fill_up_the_last_microbatch_count_for_nothing():
    """Five rows in four micro-batches: eight, and the mean is over the five."""
    pipe = object.__new__(pipeline.Pipeline)
    pipe.microbatches, pipe.cast, pipe._tokens = 4, pipeline.FULL_PRECISION, 5 * 3
    torch.manual_seed(0)
    logits, targets = torch.randn(8, 3, 6), torch.randint(6, (5, 3))
    filled = pipe._filled(targets, pipeline.IGNORED)
    assert torch.equal(filled[:5], targets) and filled[5:].tolist() == [[pipeline.IGNORED] * 3] * 3
    assert torch.equal(pipe._filled(filled, 0), filled)
    parts = [pipe._loss(*both) for both in zip(logits.split(2), filled.split(2), strict=True)]
    assert torch.stack(parts).sum().item() == pytest.approx(cross_entropy(logits[:5], targets).item())


class Handed:
    """In place of a schedule: keeps what a step hands to the stages."""

    def step(self, *inputs, target, losses, return_outputs):
        self.tensors = [*inputs, target]
        losses.append(torch.ones(()))


@pytest.mark.parametrize("rows", [4, 5])
def test_a_stage_is_handed_micro_batches_in_one_piece(rows):
    """Rows of L + 1 tokens without their last or first one keep the stride L + 1, which torch 2.11 refuses."""
    pipe = object.__new__(pipeline.Pipeline)
    pipe.microbatches, pipe.first, pipe.last, pipe.schedule = 2, True, True, Handed()
    tokens = untrained.tokens(rows, 17)
    x_BxL, y_BxL = tokens[:, :-1], tokens[:, 1:]
    pipe.forward_backward(x_BxL, y_BxL)
    assert [tensor.stride() for tensor in pipe.schedule.tensors] == [(16, 1), (16, 1)]
    assert all(
        torch.equal(got[:rows], given)
        for got, given in zip(pipe.schedule.tensors, (x_BxL, y_BxL), strict=True)
    )
