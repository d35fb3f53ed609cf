"""Exercises and claims: what a learner answers, and what a notebook says it has shown.

In a notebook::

    answer = ...                  # replace the three dots
    check("02.1", answer)
    # hint("02.1")                # up to three times, each says more
    # solution("02.1")            # one way to do it

    claim("Four times the data lowers the loss", gain > 0, margin=gain, spread=seed_spread)

`check`, `hint`, `solution` and `claim` print one line that is the same on every machine, so that a notebook
test can compare it, and raise nothing for a wrong answer. Measured numbers belong to `evidence()`, in a cell
of its own that carries the tag `nbval-ignore-output`.

The exercises themselves live in `scalept_lab.course.sets.nbNN`, one module per notebook; this module never
imports torch, and numpy only if an answer brings it.
"""

from __future__ import annotations

import html
import importlib
import math
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalept_lab.checks import one_of
from scalept_lab.course.answers import UNANSWERED, Check, Verdict, one_line
from scalept_lab.errors import InputError


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    id           "NN.k": the notebook's number, a dot, the exercise's
    question     one or two sentences, as in the notebook
    check        answer -> Verdict; usually from `number`, `choice`, `function` or `several`
    hints        three, each saying more than the one before; none gives the answer itself
    solution     Python source that ends by assigning `answer`
    wrong        typical wrong answers, each with a fragment that its diagnosis must contain
    placeholder  what the unsolved notebook passes to `check`
    """

    id: str
    question: str
    check: Check
    hints: tuple[str, str, str]
    solution: str
    wrong: tuple[tuple[Any, str], ...] = ()
    placeholder: Any = ...


# --- finding exercises --------------------------------------------------------------------------------------


def notebook_numbers() -> list[str]:
    """Numbers of the notebooks that have a set of exercises, e.g. ["00", "02"]."""
    from scalept_lab.course import sets

    names = (module.name for module in pkgutil.iter_modules(sets.__path__))
    return sorted(name[2:] for name in names if name.startswith("nb"))


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

_hints_given: dict[str, int] = {}


def grade(id: str, answer: Any) -> Verdict:
    """The verdict on an answer, without printing. What a learner's code raises becomes part of it."""
    exercise = _find(id)
    if _is_blank(answer):
        return UNANSWERED
    try:
        return exercise.check(answer)
    except Exception as error:  # a learner's code may raise anything; the notebook goes on
        return Verdict(False, f"your answer raised {one_line(error)}.")


def check(id: str, answer: Any) -> None:
    """Print whether an answer is right, and if not, what it looks like went wrong."""
    verdict = grade(id, answer)
    if not verdict.answered:
        print(f'{id}: not answered yet - replace the three dots; hint("{id}") helps.')
    elif verdict.ok:
        print(f"{id}: right. {verdict.message}".rstrip())
    else:
        print(f'{id}: not yet - {verdict.message} hint("{id}") helps.')


def hint(id: str, level: int | None = None) -> None:
    """Print the next hint of three, or the one asked for (1, 2 or 3)."""
    hints = _find(id).hints
    given = _hints_given.get(id, 0)
    if level is None:
        level = min(given + 1, len(hints))
    if not 1 <= level <= len(hints):
        raise InputError(f"hints have levels 1 to {len(hints)}, got {level}")
    _hints_given[id] = max(given, level)
    print(f"{id}, hint {level} of {len(hints)}: {hints[level - 1]}")
    if level == len(hints):
        print(f'That was the last hint; solution("{id}") shows one way.')


def solution(id: str) -> None:
    """Print the source of one solution. It ends by assigning `answer`, so it can be run as it is."""
    print(_find(id).solution.strip())


# --- claims -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Claim:
    text: str
    verdict: str
    margin: float | None
    spread: float | None
    detail: str

    @property
    def numbers(self) -> tuple[str, str]:
        shown = ["" if value is None else f"{value:.4g}" for value in (self.margin, self.spread)]
        return shown[0], shown[1]


class _Evidence:
    """The measured numbers behind claims, as a table in a notebook or a terminal."""

    def __init__(self, claims: Sequence[_Claim]):
        self.claims = claims

    def __repr__(self) -> str:
        if not self.claims:
            return "no claim so far"
        rows = []
        for item in self.claims:
            margin, spread = item.numbers
            parts = [f"margin {margin}" if margin else "", f"spread {spread}" if spread else "", item.detail]
            rows.append(f"{item.verdict:<9} {item.text}: " + ", ".join(part for part in parts if part))
        return "\n".join(row.removesuffix(": ") for row in rows)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("verdict", "claim", "margin", "spread", "detail"))
        rows = ((item.verdict, item.text, *item.numbers, item.detail) for item in self.claims)
        cells = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_claims: dict[str, _Claim] = {}


def claim(
    text: str,
    condition: Any,
    margin: float | None = None,
    spread: float | None = None,
    detail: str = "",
) -> None:
    """State what a notebook has shown; print `CLAIM HOLDS: text`, `CLAIM FAILS: …` or `CLAIM NOT SHOWN: …`.

    condition  truth of the statement. None or NaN (nothing was measured): not shown
    margin     by how much it holds, spread by how much repeats (seeds) differ, in the same unit. A true
               condition whose margin is missing beside a spread, not finite, or not larger than the spread,
               is not shown
    detail     further measured numbers, for `evidence()`

    The text must hold no measured number, so that the line is the same on every machine. Nothing is raised:
    the notebook goes on, and its test sees the different line.
    """
    verdict = _judge(condition, margin, spread)
    _claims.pop(text, None)
    _claims[text] = _Claim(text, verdict.lower(), _float(margin), _float(spread), detail)
    print(f"CLAIM {verdict}: {text}")


def evidence(last: int | None = None) -> _Evidence:
    """Margins, spreads and details of all claims so far (or the last), for a cell that no test compares."""
    claims = list(_claims.values())
    return _Evidence(claims if last is None else claims[-last:])


def _judge(condition: Any, margin: Any, spread: Any) -> str:
    margin, spread = _float(margin), _float(spread)
    if condition is None or condition != condition:  # NaN, of whatever type, differs from itself
        return "NOT SHOWN"
    if margin is not None and not math.isfinite(margin):  # and makes any comparison that led here false
        return "NOT SHOWN"
    if not bool(condition):
        return "FAILS"
    if spread is not None and not (margin is not None and margin > spread):  # a NaN spread also ends here
        return "NOT SHOWN"
    return "HOLDS"


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


# --- small helpers ------------------------------------------------------------------------------------------


def _is_blank(answer: Any) -> bool:
    """Whether any part of an answer is still the three dots."""
    if isinstance(answer, Mapping):
        answer = tuple(answer.values())
    if isinstance(answer, (tuple, list)):
        return any(_is_blank(part) for part in answer)
    return answer is ...
