"""Exercises: what a learner computes, predicts, builds, debugs, designs or reads, and how he is told whether it is right.

In a notebook::

    answer = ...                  # replace the three dots
    check("02.1", answer)

and for a build, a function that the rest of the notebook uses::

    def signature(shingles, seeds):
        ...

    check("01.4", signature)
    signature = built("01.4")     # yours once it is right, until then the kit's own

`hint`, `solution` and `reset` say more, show one way, and bring back the skeleton. What is printed is the same on every machine
while an exercise is open, so that a notebook test can compare it; nothing is raised for a wrong answer.

The exercises themselves live in `scalept_lab.course.sets.nbNN`, one module per notebook; this module never
imports torch, and numpy only if an answer brings it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scalept_lab.checks import one_of
from scalept_lab.course import learner
from scalept_lab.course.answers import SECONDS, UNANSWERED, Check, Verdict
from scalept_lab.course.cards import BAD, GOOD, OPEN, Card, buttons
from scalept_lab.course.equal import parts
from scalept_lab.course.guard import guarded
from scalept_lab.errors import InputError

KINDS = ("compute", "predict", "build", "debug", "design", "read")


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    id           "NN.k": the notebook's number, a dot, the exercise's
    question     in full, as it stands in the notebook
    check        answer -> Verdict; from `number`, `choice`, `function`, `several`, `build` or `judged`
    hints        three, each saying more than the one before; none gives the answer itself
    solution     Python source that ends by assigning `answer`
    kind         one of KINDS
    minutes      that it takes, about
    difficulty   1 to 5
    wrong        typical wrong answers, each with a fragment that its diagnosis must contain
    placeholder  what the unsolved notebook passes to `check`
    skeleton     for a build: the function as it stands in the notebook, to be filled in
    own          for a build: gives the kit's own piece, which serves while the exercise is open
    """

    id: str
    question: str
    check: Check
    hints: tuple[str, str, str]
    solution: str
    kind: str = "compute"
    minutes: int = 5
    difficulty: int = 2
    wrong: tuple[tuple[Any, str], ...] = ()
    placeholder: Any = ...
    skeleton: str = ""
    own: Callable[[], Any] | None = None

    @property
    def heading(self) -> str:
        """`Exercise 01.4 · build · 15 minutes · ★★★☆☆`, as it stands above the question."""
        stars = "★" * self.difficulty + "☆" * (5 - self.difficulty)
        return f"Exercise {self.id} · {self.kind} · {self.minutes} minutes · {stars}"


# --- finding exercises --------------------------------------------------------------------------------------


def notebook_numbers() -> list[str]:
    """Numbers of the notebooks that have a set of exercises, e.g. ["00", "02"]."""
    from scalept_lab.course import sets

    names = (module.name for module in pkgutil.iter_modules(sets.__path__))
    return sorted(name[2:] for name in names if name.startswith("nb") and name[2:].isdigit())


def notebook_exercises(number: str) -> tuple[Exercise, ...]:
    """The exercises of one notebook, in order. `number` has two digits."""
    one_of("notebook", number, notebook_numbers())
    return importlib.import_module(f"scalept_lab.course.sets.nb{number}").EXERCISES


def _find(id: str) -> Exercise:
    number = str(id).partition(".")[0]
    for exercise in notebook_exercises(number):
        if exercise.id == id:
            return exercise
    known = ", ".join(exercise.id for exercise in notebook_exercises(number))
    raise InputError(f"no exercise {id!r}; notebook {number} has {known}")


# --- what a learner calls -----------------------------------------------------------------------------------

_right: dict[str, Any] = {}  # builds of this session that were right


def grade(id: str, answer: Any) -> Verdict:
    """The verdict on an answer, without printing. What a learner's code does wrong, however badly, becomes part of it."""
    exercise = _find(id)
    if _is_blank(answer):
        return UNANSWERED
    return exercise.check(answer)


def check(id: str, answer: Any) -> None:
    """Say whether an answer is right, and if not, what it looks like went wrong. Raises: InputError for an unknown id."""
    exercise, verdict = _find(id), grade(id, answer)
    if exercise.kind == "build":
        _right.pop(id, None)
        if verdict.ok:
            _right[id] = answer
    if verdict.answered:
        _keep(id, verdict.ok)
    _card(exercise, verdict).show()
    if not verdict.ok:
        buttons(id, lambda: _hint(id), lambda: _solution(id))


def built(id: str) -> Any:
    """The piece that stands under a build's number: yours if the last `check` found it right, until then the kit's own.

    Raises: InputError for an exercise that is no build.
    """
    exercise = _find(id)
    if exercise.own is None:
        raise InputError(f"built: expected a build, got {id!r}, which is of kind {exercise.kind!r}")
    return _right[id] if id in _right else exercise.own()


def hint(id: str, level: int | None = None) -> None:
    """Print the next hint of three, or the one asked for (1, 2 or 3). Raises: InputError for another level."""
    print(_hint(id, level))


def solution(id: str) -> None:
    """Print the source of one solution. It ends by assigning `answer`, so it can be run as it is."""
    print(_solution(id))


def reset(id: str) -> None:
    """Print the skeleton of a build, to paste into its cell. Raises: InputError for an exercise without one."""
    exercise = _find(id)
    if not exercise.skeleton:
        raise InputError(f"reset: expected a build, got {id!r}, which is of kind {exercise.kind!r}")
    print(exercise.skeleton.strip())


_hints_given: dict[str, int] = {}  # of this session, where the file cannot be written


def _hint(id: str, level: int | None = None) -> str:
    hints = _find(id).hints
    given = max(_hints_given.get(id, 0), learner.read().exercises.get(id, learner.Work()).hints)
    if level is None:
        level = min(given + 1, len(hints))
    if not 1 <= level <= len(hints):
        raise InputError(f"hints have levels 1 to {len(hints)}, got {level}")
    _hints_given[id] = max(given, level)
    with learner.change() as kept:
        kept.exercises.setdefault(id, learner.Work()).hints = max(given, level)
    last = f'\nThat was the last hint; solution("{id}") shows one way.' if level == len(hints) else ""
    return f"{id}, hint {level} of {len(hints)}: {hints[level - 1]}{last}"


def _solution(id: str) -> str:
    text = _find(id).solution.strip()
    with learner.change() as kept:
        kept.exercises.setdefault(id, learner.Work()).solution_seen = True
    return text


def _keep(id: str, right: bool) -> None:
    with learner.change() as kept:
        work = kept.exercises.setdefault(id, learner.Work())
        work.tries += 1
        work.right = work.right or right


def _card(exercise: Exercise, verdict: Verdict) -> Card:
    id, more = exercise.id, f'hint("{exercise.id}") helps.'
    wanted = f"Wanted: {exercise.check.wanted}."
    if not verdict.answered:
        if exercise.kind == "debug" and not exercise.skeleton:
            what = "find the bug and mend it"
        elif exercise.skeleton or callable(exercise.placeholder):
            what = "write the body of the function"
        else:
            what = "replace the three dots"
        return Card(id, OPEN, "not answered yet - ", (f"{what}; {more}", wanted))
    printed = f"your code printed:\n{verdict.printed}" if verdict.printed else ""
    if verdict.ok:
        return Card(id, GOOD, "right. ", (verdict.message,), verdict.rows, printed)
    work = learner.read().exercises.get(id)
    if work is not None and work.hints == len(exercise.hints):
        more = f'solution("{id}") shows one way.'
    return Card(id, BAD, "not yet - ", (verdict.message, more, wanted), verdict.rows, printed)


# --- small helpers ------------------------------------------------------------------------------------------


def _is_blank(answer: Any) -> bool:
    """Whether any part of an answer is still the three dots."""
    return bool(guarded(lambda: any(part is ... for part in parts(answer)), SECONDS).value)
