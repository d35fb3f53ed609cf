"""A backward pass over a slow link: what leaves early is hidden, what is held back is not, and the sums are right."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from refusals import one_line

from scalept_lab.course.sets.nb05 import ddp_backward
from scalept_lab.parallel import overlap
from scalept_lab.parallel.overlap import Span


def test_buckets_that_leave_early_leave_less_exposed():
    """Four buckets of 10 ms beside 40 ms of computing: after it all of them stick out, else only the last."""
    how = dict(rate=2 * 4096 / 0.01, layers=8, pause=0.005, repeats=3)
    late, early = (overlap.traced(ddp_backward, 2 * 4096, during=during, **how) for during in (False, True))
    for spans in (*late, *early):
        assert [sum(span.kind == kind for span in spans) for kind in ("layer", "bucket")] == [8, 4]
        assert min(span.start for span in spans) == 0
    computed = [max(span.end for span in spans if span.kind == "layer") for spans in late]
    assert all(
        span.start >= end
        for spans, end in zip(late, computed, strict=True)
        for span in spans
        if span.kind == "bucket"
    )
    assert min(map(overlap.exposed, early)) < min(map(overlap.exposed, late)) - 0.01


def summed(model, loss, limit, send):
    """Keeps what came back, to be looked at by an assertion in the rank."""
    loss.backward()
    for parameter in model.parameters():
        mine = parameter.grad.clone()
        send(parameter.grad).wait()
        dist.all_reduce(mine)
        assert torch.equal(mine, parameter.grad)


def test_what_the_link_carries_is_summed_over_ranks():
    (spans,) = overlap.traced(summed, 1, layers=2, pause=0.0, repeats=1, rate=1e9)
    assert sum(span.kind == "bucket" for span in spans) == 2


def test_exposed_by_hand():
    spans = [Span("layer", 0, 0.0, 0.5), Span("bucket", 0, 0.25, 0.75), Span("layer", 1, 0.5, 0.625)]
    assert overlap.exposed(spans) == 0.125
    assert overlap.exposed(spans[:1]) == 0.0


def sends_nothing(model, loss, limit, send):
    loss.backward()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: overlap.traced(sends_nothing, 1, layers=1, pause=0.0, repeats=1),
            "backward: expected it to send at least",
        ),
        (lambda: overlap.traced(sends_nothing, 1, rate=0), "rate: expected a positive number, got 0"),
        (lambda: overlap.traced(sends_nothing, 1, ranks=1), "ranks: expected a whole number of at least 2"),
    ],
)
def test_what_cannot_be_traced_is_one_line(call, says):
    one_line(call, says)
