"""The exercises on privacy: solutions pass, each slip is named, and the pieces agree with the kit's."""

from __future__ import annotations

import numpy as np
import pytest

from scalept_lab.course.sets import nb09_privacy
from scalept_lab.transfer import membership

EXERCISES = {exercise.id: exercise for exercise in nb09_privacy.EXERCISES}


@pytest.mark.parametrize("id", EXERCISES)
def test_the_solution_passes_and_three_dots_do_not(id):
    exercise, space = EXERCISES[id], {"__name__": "solution"}
    exec(compile(exercise.solution, f"<solution {id}>", "exec"), space)
    verdict = exercise.check(space["answer"])
    assert verdict.ok, verdict.message
    assert not exercise.check(exercise.placeholder).ok


@pytest.mark.parametrize("id", EXERCISES)
def test_each_slip_is_named(id):
    messages = []
    for bad, fragment in EXERCISES[id].wrong:
        verdict = EXERCISES[id].check(bad)
        assert not verdict.ok and fragment in verdict.message, (bad, verdict.message)
        messages.append(verdict.message)
    assert len(messages) >= 3 and len(set(messages)) == len(messages)


def test_the_learners_pieces_are_the_kits():
    rng = np.random.default_rng(5)
    members = np.repeat([1, 0], 30)
    logits = np.round(rng.normal(size=(60, 2)), 1)
    scores, caught, accused = nb09_privacy.attack(logits, rng.integers(0, 2, 60), None, members, 0.1)
    curve = membership.roc(scores, members)
    for ours, theirs in zip(nb09_privacy.roc(scores, members), curve, strict=True):
        assert np.allclose(ours, theirs)
    assert caught == membership.caught_at(curve, 0.1) and accused <= 0.1
