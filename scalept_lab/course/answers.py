"""What makes an answer right, and what a wrong one looks like: checks for numbers, choices, functions and builds.

A check is a function `answer -> Verdict`. A wrong answer gets the diagnosis of the slip it looks like, where
there is one: a unit, a convention, a step left out. No message contains the right answer, so a learner can try again.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scalept_lab.course.equal import as_number, close, difference, kind, plain, precision, typed
from scalept_lab.course.guard import guarded
from scalept_lab.errors import InputError

SECONDS = 10.0  # that a check may take


@dataclass(frozen=True)
class Verdict:
    """What a check found: `ok`, one line for the learner, whether there was an answer at all, and what was compared.

    rows     a small table: (case, what was found, whether it agrees)
    printed  what the learner's code printed while it was checked
    """

    ok: bool
    message: str = ""
    answered: bool = True
    rows: tuple[tuple[str, str, bool], ...] = ()
    printed: str = ""


UNANSWERED = Verdict(False, answered=False)
Lazy = Any  # a value, or a function of no arguments that returns it when first needed


@dataclass(frozen=True)
class Check:
    """What judges an answer. Called, it gives the verdict; `wanted` says how exact an answer has to be."""

    judge: Callable[[Any], Verdict]
    wanted: str
    seconds: float = SECONDS

    def __call__(self, answer: Any) -> Verdict:
        """The verdict; whatever the answer does while it is looked at becomes part of it. Raises nothing."""
        outcome = guarded(lambda: self.judge(answer), self.seconds)
        if outcome.error is not None:
            return Verdict(False, f"your answer {outcome.error}.", printed=outcome.printed)
        return replace(outcome.value, printed=outcome.printed)


SLIPS: tuple[tuple[float, str], ...] = (
    (-1.0, "the sign is the other way round."),
    (1e3, "1,000 times too large: look at the unit (k, M, G)."),
    (1e-3, "1,000 times too small: look at the unit (k, M, G)."),
    (1e6, "a million times too large: look at the unit."),
    (1e-6, "a million times too small: look at the unit."),
    (1e9, "1e9 times too large: look at the unit."),
    (1e-9, "1e9 times too small: look at the unit."),
    (100.0, "100 times too large: a fraction is asked for, this looks like percent."),
    (0.01, "100 times too small: percent is asked for, this looks like a fraction."),
    (8.0, "8 times too large: this looks like bits where bytes are asked for."),
    (1 / 8, "8 times too small: this looks like bytes where bits are asked for."),
    (1 / math.log(2), "this looks like bits where nats are asked for; 1 bit is ln 2 nats."),
    (math.log(2), "this looks like nats where bits are asked for; 1 bit is ln 2 nats."),
)
"""Slips of unit and convention that `number` recognises: (answer / expected, what to tell the learner)."""


def number(
    expected: Lazy,
    *,
    rel: float = 0.01,
    abs: float = 0.0,
    diagnoses: Iterable[tuple[Lazy, str]] = (),
    slips: Iterable[tuple[float, str]] = SLIPS,
    right: str = "",
) -> Check:
    """A check for one number, right within `rel` of the expected size or `abs`, whichever is wider.

    diagnoses  (wrong value, what to tell), tried before `slips`, with the same tolerance
    slips      (factor, what to tell) for answers that are off by a unit or convention; () switches them off
    right      a sentence added to the verdict of a right answer

    `expected` and wrong values may be functions of no arguments, called when an answer is checked.
    """

    def judge(answer: Any) -> Verdict:
        value = as_number(answer)
        if value is None:
            return Verdict(False, f"a number is asked for, this is {kind(answer)}.")
        if not math.isfinite(value):
            return Verdict(False, f"a finite number is asked for, this is {value}.")
        target, within = float(_now(expected)), max(rel, precision(answer))
        if close(value, target, within, abs):
            return Verdict(True, right)
        for wrong, text in diagnoses:
            if close(value, float(_now(wrong)), rel, abs):
                return Verdict(False, text)
        for factor, text in slips:
            if target and close(value, target * factor, rel):
                return Verdict(False, text)
        return Verdict(False, _how_far(value, target))

    shown = [f"{100 * rel:.2g} %"] * bool(rel) + [f"±{abs:g}"] * bool(abs)
    return Check(judge, f"a number, right within {' or '.join(shown) or 'nothing: exactly'}")


def choice(expected: Any, options: Mapping[Any, str], *, right: str = "") -> Check:
    """A check for one of several options. `options` maps each to its diagnosis (empty for the right one).

    Text is compared without regard to case, quotes or blanks around it.
    """
    diagnosis = {_option(option): text for option, text in options.items()}
    if _option(expected) not in diagnosis:
        raise InputError(f"the expected choice {expected!r} is not among the options {list(options)}")
    among = f"one of {', '.join(sorted(map(repr, options)))}"

    def judge(answer: Any) -> Verdict:
        given = _option(answer)
        if given not in diagnosis:
            return Verdict(False, f"choose {among}.")
        return Verdict(True, right) if given == _option(expected) else Verdict(False, diagnosis[given])

    return Check(judge, among)


def several(**parts: Check) -> Check:
    """A check for an answer in several named parts: `{"N": …, "D": …}`, values in the same order, or something with
    these attributes."""

    def judge(answer: Any) -> Verdict:
        values = _parts(answer, list(parts))
        if isinstance(values, str):
            return Verdict(False, values)
        verdicts = {
            name: part.judge(value) for (name, part), value in zip(parts.items(), values, strict=True)
        }
        for name, verdict in verdicts.items():
            if not verdict.ok:
                return Verdict(False, f"{name}: {verdict.message}", verdict.answered)
        return Verdict(True, " ".join(verdict.message for verdict in verdicts.values() if verdict.message))

    return Check(judge, "; ".join(f"{name}: {part.wanted}" for name, part in parts.items()))


# --- code that a learner writes -----------------------------------------------------------------------------


def function(
    reference: Callable[..., Any],
    inputs: Lazy,
    *,
    rel: float = 1e-4,
    abs: float = 1e-9,
    diagnoses: Iterable[tuple[Callable[..., Any], str]] = (),
    right: str = "",
    names: Sequence[str] | None = None,
    seconds: float = SECONDS,
) -> Check:
    """A check for a function the learner writes: compared with `reference` on each tuple of arguments.

    Results may be numbers, text, arrays, sets, or nested lists, tuples and dicts of them; `reference`, `inputs` may be
    made when needed. `diagnoses` holds (wrong function, what to tell): the first one that agrees with the learner's
    on every input gives the diagnosis. `names` call the cases something shorter than their arguments.
    The arguments are copies; a function that changes them is told so.
    """

    def judge(answer: Any) -> Verdict:
        if not callable(answer):
            return Verdict(False, f"a function is asked for, this is {kind(answer)}.")
        cases = [tuple(args) for args in _now(inputs)]
        labels = list(names) if names is not None else [_call(args) for args in cases]
        results = []
        for label, args in zip(labels, cases, strict=True):
            mine = copy.deepcopy(args)
            outcome = guarded(lambda mine=mine: answer(*mine), seconds)  # type: ignore[misc]
            if outcome.printed:
                print(outcome.printed)
            problem = outcome.error and f"your function {outcome.error}"
            problem = problem or _not_a_result(outcome.value) or _changed(answer, args, mine)
            if problem:
                return Verdict(False, f"with {label} {problem}.")
            results.append(outcome.value)
        wanted = [reference(*copy.deepcopy(args)) for args in cases]
        blank = all(result is None or result is ... for result in results)
        if blank and any(want is not None for want in wanted):
            return UNANSWERED
        found = [difference(result, want, rel, abs) for result, want in zip(results, wanted, strict=True)]
        rows = tuple((label, text or "agrees", not text) for label, text in zip(labels, found, strict=True))
        if not any(found):
            return Verdict(True, right, rows=rows)
        for wrong, text in diagnoses:
            if _agrees(wrong, cases, results, rel, abs):
                return Verdict(False, text, rows=rows)
        at = next(i for i, text in enumerate(found) if text)
        return Verdict(
            False, f"with {labels[at]} your function returns {_short(results[at])}: {found[at]}.", rows=rows
        )

    digits = max(1, round(-math.log10(rel)))
    return Check(judge, f"a function, compared to {digits} digits", seconds=20 * seconds)


build = function
"""A build is a longer function: the same comparison, case by case."""


def judged(
    judge: Callable[[Callable[..., Any]], Verdict], *, seconds: float = 30.0, wanted: str = ""
) -> Check:
    """A check whose oracle is no reference function: finite differences, exact bytes, a forecast on hidden runs.

    `judge` calls the learner's function itself, as often as it likes within `seconds`, and returns the verdict.
    What the function raises is told with the learner's own line.
    """

    def guardedly(answer: Any) -> Verdict:
        if not callable(answer):
            return Verdict(False, f"a function is asked for, this is {kind(answer)}.")
        return judge(answer)

    return Check(guardedly, wanted or "a function, judged by what it does", seconds)


def _not_a_result(value: Any) -> str:
    if isinstance(value, Iterator):
        return f"your function returns a {type(value).__name__}, which can be read only once: return a list, list(…)"
    return ""


def _changed(function: Callable[..., Any], before: tuple[Any, ...], after: tuple[Any, ...]) -> str:
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        if not callable(old) and difference(new, old, 0.0, 0.0):
            try:
                name = list(inspect.signature(function).parameters)[place]
            except (ValueError, TypeError, IndexError):
                name = f"argument {place + 1}"
            return f"your function changes its input {name}: work on a copy, others still need it"
    return ""


def _agrees(
    wrong: Callable[..., Any], cases: list[tuple[Any, ...]], results: list[Any], rel: float, abs: float
) -> bool:
    """Whether a wrong function does on every case what the learner's did. One that fails on a case does not agree."""
    try:
        return not any(
            difference(result, wrong(*copy.deepcopy(args)), rel, abs)
            for args, result in zip(cases, results, strict=True)
        )
    except Exception:
        return False


# --- small helpers ------------------------------------------------------------------------------------------


def _now(value: Lazy) -> Any:
    return value() if callable(value) else value


def _how_far(value: float, target: float) -> str:
    direction = "too large" if value > target else "too small"
    if target == 0 or value / target <= 0:
        return f"{direction}."
    ratio = max(value / target, target / value)
    for bound, size in ((1.1, "less than a tenth"), (1.5, "less than half"), (10, "a factor of 1.5 to 10")):
        if ratio <= bound:
            return f"{direction}, by {size}."
    return f"{direction}, by more than a factor of 10."


def _option(option: Any) -> Any:
    """Options as text, so that 3, "3" and [3] are one."""
    option = plain(option)
    if isinstance(option, (list, tuple, set, frozenset)):
        parts = tuple(_option(part) for part in option)
        return parts[0] if len(parts) == 1 else parts
    if isinstance(option, str):
        return typed(option).strip("'\".").strip().casefold()
    value = as_number(option)
    return str(option).casefold() if value is None else f"{value:g}"


def _parts(answer: Any, names: list[str]) -> list[Any] | str:
    """The values of an answer in the order of `names`, or what is wrong with its form."""
    if not isinstance(answer, Mapping) and hasattr(answer, "to_dict"):
        answer = answer.to_dict()
    if isinstance(answer, Mapping):
        keys = {str(key).strip().casefold(): key for key in answer}
        if set(keys) != {name.casefold() for name in names}:
            return f"the answer needs exactly the keys {', '.join(names)}."
        return [answer[keys[name.casefold()]] for name in names]
    answer = plain(answer)
    if isinstance(answer, (list, tuple)) and len(answer) == len(names):
        return list(answer)
    if all(hasattr(answer, name) for name in names):
        return [getattr(answer, name) for name in names]
    return f"the answer needs {len(names)} parts: {', '.join(names)}."


def _short(value: Any) -> str:
    value = plain(value)
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def _call(args: tuple[Any, ...]) -> str:
    text = f"({', '.join(_short(arg) for arg in args)})"
    return text if len(text) <= 90 else text[:87] + "..."
