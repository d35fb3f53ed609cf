"""Guesses that are kept before the result is known, and what they came to.

    predict("08.a", ..., otherwise=("no change", 2.41))     # put your guess in place of the three dots
    …                                                       # the run
    compare("08.a", measured, {"straight line": 2.2})

A guess is written to the learner's file at once. A later one is kept beside it, never over it; the first that was made before the
result was known is the one that is scored. Left open, the named naive guess stands in and the notebook runs on.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from scalept_lab import screen
from scalept_lab.course import learner
from scalept_lab.course.answers import SECONDS
from scalept_lab.course.cards import BAD, GOOD, OPEN, Card
from scalept_lab.course.equal import as_number, plain
from scalept_lab.course.guard import guarded
from scalept_lab.course.learner import Guess
from scalept_lab.errors import InputError, printable
from scalept_lab.laws.skill import forecast_skill

_standing: dict[
    str, tuple[str, Any]
] = {}  # id -> (whose, value) of this session: yours, or the naive guess that stands in


def predict(
    id: str,
    value: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    options: Sequence[Any] = (),
    otherwise: tuple[str, Any] | None = None,
) -> None:
    """Keep a guess on disk. Left open (`...`), the named naive guess stands in.

    low, high  an interval that you expect to hold the result in 19 of 20 cases
    options    what may be chosen, where the guess is no number
    otherwise  (name, value) of the naive guess, e.g. ("no change", 2.41)

    Prints one line. A guess that is none (no number, not among the options, an interval that does not hold it) is told so
    and not kept; the naive one stands in. Raises: InputError for an id that is no "NN.letter".
    """
    _checked_id(id)
    if _open(value):
        _stand_in(id, otherwise, "left open")
        return
    looked = guarded(lambda: _parsed(value, low, high, options), SECONDS)  # it may be any object
    problem, guess = looked.value or (
        f"expected a number or a choice, got what {looked.error}: not kept",
        None,
    )
    if guess is None:
        _stand_in(id, otherwise, problem)
        return
    with learner.change() as kept:
        found = kept.predictions.setdefault(id, learner.Prediction())
        known = found.measured is not None
        same = any(
            old.value == guess.value and (old.low, old.high) == (guess.low, guess.high)
            for old in found.guesses
        )
        if not same:
            found.guesses.append(guess.model_copy(update={"after_result": known}))
        first = next((old for old in found.guesses if not old.after_result), None)
    _standing[id] = ("your guess", guess.value)
    said = f"kept: {_shown(guess.value)}"
    if guess.low is not None or guess.high is not None:
        said += f", between {_shown(guess.low)} and {_shown(guess.high)}"
    if known and not same:
        said += "; the result was known already, so it is not scored"
    elif first is not None and first.value != guess.value:
        said += f"; your first guess, {_shown(first.value)}, stays beside it and is the one that is scored"
    Card(id, GOOD, "", (said + ".",)).show()


def compare(id: str, measured: Any, rivals: Mapping[str, Any] | None = None) -> None:
    """Show a guess beside the measurement and the naive rivals' guesses, and keep the score.

    rivals  name -> what it predicts, e.g. {"no change": 2.41}; your skill against each is 1 − your error / its error

    Where nothing was guessed, the naive guess is scored alone and nothing is kept. Raises: InputError for an id that is no
    "NN.letter".
    """
    _checked_id(id)
    looked = guarded(lambda: _measured(measured, rivals or {}), SECONDS)  # they may be any objects
    result, theirs = looked.value or (math.nan, {})
    if isinstance(result, float) and not math.isfinite(result):
        why = (
            f"what was measured {looked.error}"
            if looked.error
            else "nothing was measured (the run diverged?)"
        )
        Card(id, OPEN, "", (f"{why}, so nothing is scored.",)).show()
        return
    first = _keep(id, result, theirs)
    whose, value = ("your guess", first.value) if first is not None else _standing.get(id, ("no guess", None))
    rows = [(whose, value, first)] if value is not None else []
    rows += [(name, other, None) for name, other in theirs.items() if name != whose]
    _Comparison(id, result, rows).show()


def _measured(measured: Any, rivals: Mapping[str, Any]) -> tuple[float | str, dict[str, float]]:
    """A measurement and the rivals' guesses as they are kept: numbers, or words; a rival without a finite number is left out."""
    numbers = {name: as_number(value) for name, value in rivals.items()}
    return _told(measured), {
        name: value for name, value in numbers.items() if value is not None and math.isfinite(value)
    }


def _told(value: Any) -> float | str:
    number = as_number(value)
    return number if number is not None else printable(str(plain(value)))


def _keep(id: str, result: float | str, rivals: dict[str, float]) -> Guess | None:
    """The guess that is scored, if there is one; the measurement is kept beside it."""
    if id not in learner.read().predictions:
        return None  # nothing was guessed: nothing is written
    with learner.change() as kept:
        found = kept.predictions.setdefault(id, learner.Prediction())
        if found.measured is None:
            found.measured = result
            found.rivals = rivals
    return next((guess for guess in found.guesses if not guess.after_result), None)


class _Comparison:
    """A small table: who said what, and how far off it was."""

    def __init__(self, id: str, measured: float | str, rows: list[tuple[str, Any, Guess | None]]):
        self.id, self.measured, self.rows = id, measured, rows

    def show(self) -> None:
        screen.show("\n".join(self._lines()), self._html())

    def _lines(self) -> list[str]:
        lines = [f"{self.id}: measured {_shown(self.measured)}"]
        lines += ["  " + "  ".join(filter(None, cells)) for cells in self._cells()]
        return lines

    def _cells(self) -> list[tuple[str, str, str, str]]:
        mine = self.rows[0][1] if self.rows else None
        cells = []
        for name, value, guess in self.rows:
            cells.append(
                (
                    name,
                    _shown(value),
                    self._error(value, guess),
                    self._skill(mine, value) if value is not mine else "",
                )
            )
        return cells

    def _error(self, value: Any, guess: Guess | None) -> str:
        if isinstance(self.measured, str) or isinstance(value, str):
            right = str(value).strip().casefold() == str(self.measured).strip().casefold()
            return "right" if right else "wrong"
        error = (
            f"{100 * (value / self.measured - 1):+.1f} %"
            if self.measured
            else f"{value - self.measured:+.3g}"
        )
        if guess is None or (guess.low is None and guess.high is None):
            return error
        inside = (guess.low is None or guess.low <= self.measured) and (
            guess.high is None or self.measured <= guess.high
        )
        return f"{error}, {'inside' if inside else 'outside'} your interval"

    def _skill(self, mine: Any, theirs: Any) -> str:
        numbers = (mine, theirs, self.measured)
        if not all(isinstance(number, float) and number > 0 for number in numbers):
            return ""
        skill = forecast_skill(mine, self.measured, {"it": theirs})["it"]  # type: ignore[arg-type]
        return f"skill against it {skill:+.2f}" if math.isfinite(skill) else "it was exact"

    def _html(self) -> str:
        color = GOOD[0]
        body = "".join(
            "<tr>"
            + "".join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in cells)
            + "</tr>"
            for cells in self._cells()
        )
        return (
            f'<div role="status" style="border-left:5px solid {color};padding:0.3em 0.8em;margin:0.2em 0">'
            f"<b>{html.escape(self.id)}: measured {html.escape(_shown(self.measured))}</b><table>{body}</table></div>"
        )


def _stand_in(id: str, otherwise: tuple[str, Any] | None, why: str) -> None:
    name, value = otherwise if otherwise is not None else ("nothing", None)
    _standing[id] = (name, None if value is None else guarded(lambda: _told(value), SECONDS).value)
    look = OPEN if why == "left open" else BAD
    Card(id, look, "", (f'{why}; "{name}" stands in.',)).show()


def _parsed(value: Any, low: Any, high: Any, options: Sequence[Any]) -> tuple[str, Guess | None]:
    """What is wrong with a guess, or the guess."""
    if options:
        chosen = next((option for option in options if _same(option, value)), None)
        if chosen is None:
            return f"expected one of {', '.join(map(repr, options))}, got {str(value)[:40]!r}: not kept", None
        number = as_number(chosen) if not isinstance(chosen, str) else None
        return "", Guess(value=chosen if number is None else number, at=learner.now())
    number = as_number(value)
    if number is None or not math.isfinite(number):
        return f"expected a number, got {str(value)[:40]!r}: not kept", None
    ends = []
    for name, end in (("low", low), ("high", high)):
        ends.append(None if end is None or _open(end) else as_number(end))
        if end is not None and not _open(end) and (ends[-1] is None or not math.isfinite(ends[-1])):
            return f"expected a number for {name}, got {str(end)[:40]!r}: not kept", None
    if (ends[0] is not None and ends[0] > number) or (ends[1] is not None and ends[1] < number):
        return "expected low ≤ guess ≤ high, got an interval that does not hold the guess: not kept", None
    return "", Guess(value=number, low=ends[0], high=ends[1], at=learner.now())


def _same(option: Any, value: Any) -> bool:
    a, b = as_number(option), as_number(value)
    if a is not None and b is not None:
        return a == b
    return str(option).strip().casefold() == str(plain(value)).strip().casefold()


def _open(value: Any) -> bool:
    return value is ... or value is None


def _checked_id(id: Any) -> None:
    number, dot, letter = str(id).partition(".")
    if not (
        len(number) == 2
        and number.isdigit()
        and dot
        and len(letter) == 1
        and letter.isalpha()
        and letter.islower()
    ):
        raise InputError(f'predict: expected an id like "08.a", got {id!r}')


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
