"""Every exercise held to its promises: no placeholder passes, each solution does, each likely slip is told."""

from __future__ import annotations

import pytest

from scalept_lab.course import answers, exercises
from scalept_lab.course.exercises import Exercise, grade

SETS = {nb: exercises.notebook_exercises(nb) for nb in exercises.notebook_numbers()}


ALL = [pytest.param(nb, exercise, id=exercise.id) for nb, found in SETS.items() for exercise in found]


@pytest.mark.parametrize("nb", SETS)
def test_set_has_three_or_more_with_ids_of_its_notebook(nb):
    ids = [exercise.id for exercise in SETS[nb]]
    assert ids == [f"{nb}.{k}" for k in range(1, len(ids) + 1)]
    assert len(ids) >= 3


@pytest.mark.parametrize(("nb", "exercise"), ALL)
def test_form(nb, exercise):
    assert isinstance(exercise, Exercise)
    assert exercise.question.strip()
    assert len(exercise.hints) == 3 and all(text.strip() for text in exercise.hints)
    assert len(set(exercise.hints)) == 3
    assert exercise.wrong, "give at least one typical wrong answer with its diagnosis"


@pytest.mark.parametrize(("nb", "exercise"), ALL)
def test_placeholder_does_not_pass(nb, exercise):
    assert not grade(exercise.id, exercise.placeholder).ok
    assert grade(exercise.id, ...) == answers.UNANSWERED


@pytest.mark.parametrize(("nb", "exercise"), ALL)
def test_solution_passes(nb, exercise, capsys):
    space: dict = {"__name__": "solution"}
    exec(compile(exercise.solution, f"<solution {exercise.id}>", "exec"), space)
    verdict = grade(exercise.id, space["answer"])
    assert verdict.ok, verdict.message
    capsys.readouterr()
    exercises.solution(exercise.id)
    assert capsys.readouterr().out.strip() == exercise.solution.strip()


@pytest.mark.parametrize(("nb", "exercise"), ALL)
def test_wrong_answers_get_their_own_diagnosis(nb, exercise):
    messages = []
    for bad, fragment in exercise.wrong:
        verdict = grade(exercise.id, bad)
        assert verdict.answered and not verdict.ok, f"{bad!r} is not refused"
        assert fragment in verdict.message, f"{bad!r}: {verdict.message!r}"
        messages.append(verdict.message)
    assert len(set(messages)) == len(messages), "two wrong answers share one diagnosis"
