"""The experts' exercises: a rank that goes its own way is named in one line, with nothing left running."""

from __future__ import annotations

import multiprocessing

import torch.distributed as dist

from scalept_lab.course.ranks import ranked
from scalept_lab.course.sets import nb12_experts
from scalept_lab.parallel.experts import expert_parallel


def test_a_rank_that_keeps_its_tokens_is_named():
    """A collective called by one rank only: one line, and no process left."""

    def alone(x, expert, weight, up, down):
        return expert_parallel(x, expert, weight, up, down) if dist.get_rank() == 0 else x

    quick = ranked(nb12_experts._in_one_process, [(2, nb12_experts._inputs)], seconds=3)
    verdict = quick(alone)
    assert not verdict.ok and "\n" not in verdict.message
    assert "rank 0" in verdict.message and "rank 1" in verdict.message and "all_to_all" in verdict.message
    assert not [process for process in multiprocessing.active_children() if process.name.startswith("rank")]
