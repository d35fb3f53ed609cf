"""The experts' exercises: solutions pass, and a rank that goes its own way is named in one line, with nothing left running."""

from __future__ import annotations

import multiprocessing

import pytest
import torch.distributed as dist

from scalept_lab.course.ranks import ranked
from scalept_lab.course.sets import nb12_experts
from scalept_lab.parallel.experts import expert_parallel

EXERCISES = {exercise.id: exercise for exercise in nb12_experts.EXERCISES}
PARALLEL = EXERCISES[f"12.{nb12_experts.FIRST + 3}"]


@pytest.mark.parametrize("id", EXERCISES)
def test_the_solution_passes_and_three_dots_do_not(id):
    exercise, space = EXERCISES[id], {"__name__": "solution"}
    exec(compile(exercise.solution, f"<solution {id}>", "exec"), space)
    verdict = exercise.check(space["answer"])
    assert verdict.ok, verdict.message
    assert not exercise.check(exercise.placeholder).ok


@pytest.mark.parametrize("id", [id for id in EXERCISES if id != PARALLEL.id])
def test_each_slip_is_named(id):
    for bad, fragment in EXERCISES[id].wrong:
        verdict = EXERCISES[id].check(bad)
        assert not verdict.ok and fragment in verdict.message, (bad, verdict.message)


@pytest.mark.parametrize("which", range(len(PARALLEL.wrong)))
def test_each_slip_on_ranks_is_named(which):
    bad, fragment = PARALLEL.wrong[which]
    verdict = PARALLEL.check(bad)
    assert not verdict.ok and fragment in verdict.message, verdict.message


def test_a_rank_that_keeps_its_tokens_is_named():
    """A collective called by one rank only: one line, and no process left."""

    def alone(x, expert, weight, up, down):
        return expert_parallel(x, expert, weight, up, down) if dist.get_rank() == 0 else x

    quick = ranked(nb12_experts._in_one_process, [(2, nb12_experts._inputs)], seconds=3)
    verdict = quick(alone)
    assert not verdict.ok and "\n" not in verdict.message
    assert "rank 0" in verdict.message and "rank 1" in verdict.message and "all_to_all" in verdict.message
    assert not [process for process in multiprocessing.active_children() if process.name.startswith("rank")]
