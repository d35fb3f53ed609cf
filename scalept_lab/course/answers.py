"""What makes an answer right, and what a wrong one looks like: checks for numbers, choices and functions.

A check is a function `answer -> Verdict`. A wrong answer gets the diagnosis of the slip it looks like, where
there is one: a unit, a convention, a step left out. Right answers are never printed for a number, so a
learner can try again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scalept_lab.errors import InputError


@dataclass(frozen=True)
class Verdict:
    """What a check found: `ok`, one line for the learner, and whether there was an answer at all."""

    ok: bool
    message: str = ""
    answered: bool = True


UNANSWERED = Verdict(False, answered=False)
Check = Callable[[Any], Verdict]
Lazy = Any  # a value, or a function of no arguments that returns it when first needed

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

    def checked(answer: Any) -> Verdict:
        value = _number(answer)
        if value is None:
            return Verdict(False, f"a number is asked for, this is {_kind(answer)}.")
        if not math.isfinite(value):
            return Verdict(False, f"a finite number is asked for, this is {value}.")
        target = float(_now(expected))
        if math.isclose(value, target, rel_tol=rel, abs_tol=abs):
            return Verdict(True, right)
        for wrong, text in diagnoses:
            if math.isclose(value, float(_now(wrong)), rel_tol=rel, abs_tol=abs):
                return Verdict(False, text)
        for factor, text in slips:
            if target and math.isclose(value, target * factor, rel_tol=rel):
                return Verdict(False, text)
        return Verdict(False, _how_far(value, target))

    return checked


def choice(expected: Any, options: Mapping[Any, str], *, right: str = "") -> Check:
    """A check for one of several options. `options` maps each to its diagnosis (empty for the right one).

    Text is compared without regard to case or blanks around it.
    """
    diagnosis = {_plain(option): text for option, text in options.items()}
    if _plain(expected) not in diagnosis:
        raise InputError(f"the expected choice {expected!r} is not among the options {list(options)}")

    def checked(answer: Any) -> Verdict:
        given = _plain(answer)
        if given not in diagnosis:
            return Verdict(False, f"choose one of {', '.join(repr(option) for option in options)}.")
        return Verdict(True, right) if given == _plain(expected) else Verdict(False, diagnosis[given])

    return checked


def function(
    reference: Callable[..., Any],
    inputs: Lazy,
    *,
    rel: float = 1e-6,
    abs: float = 1e-12,
    diagnoses: Iterable[tuple[Callable[..., Any], str]] = (),
    right: str = "",
) -> Check:
    """A check for a function the learner writes: compared with `reference` on each tuple of arguments.

    Results may be numbers, text, arrays, or nested lists, tuples and dicts of them. `diagnoses` holds (wrong
    function, what to tell): the first one that agrees with the learner's on every input gives the diagnosis.
    """

    def checked(answer: Any) -> Verdict:
        if not callable(answer):
            return Verdict(False, f"a function is asked for, this is {_kind(answer)}.")
        cases = [tuple(args) for args in _now(inputs)]
        results = []
        for args in cases:
            try:
                results.append(_data(answer(*args)))
            except Exception as error:
                return Verdict(False, f"with {_call(args)} your function raised {one_line(error)}.")
        wanted = [_data(reference(*args)) for args in cases]
        blank = all(result is None or result is ... for result in results)
        if blank and any(want is not None for want in wanted):
            return UNANSWERED
        agrees = [_same(result, want, rel, abs) for result, want in zip(results, wanted, strict=True)]
        if all(agrees):
            return Verdict(True, right)
        for wrong, text in diagnoses:
            would_be = [_data(wrong(*args)) for args in cases]
            if _same(results, would_be, rel, abs):
                return Verdict(False, text)
        at = agrees.index(False)
        got, want = _short(results[at]), _short(wanted[at])
        return Verdict(False, f"with {_call(cases[at])} your function returns {got}; {want} is right.")

    return checked


def several(**parts: Check) -> Check:
    """A check for an answer in several named parts, `{"N": …, "D": …}` or a tuple in the same order."""

    def checked(answer: Any) -> Verdict:
        if isinstance(answer, Mapping):
            if set(answer) != set(parts):
                return Verdict(False, f"the answer needs exactly the keys {', '.join(parts)}.")
            values = [answer[name] for name in parts]
        elif isinstance(answer, (tuple, list)) and len(answer) == len(parts):
            values = list(answer)
        else:
            return Verdict(False, f"the answer needs {len(parts)} parts: {', '.join(parts)}.")
        verdicts = {name: part(value) for (name, part), value in zip(parts.items(), values, strict=True)}
        for name, verdict in verdicts.items():
            if not verdict.ok:
                return Verdict(False, f"{name}: {verdict.message}", verdict.answered)
        return Verdict(True, " ".join(verdict.message for verdict in verdicts.values() if verdict.message))

    return checked


# --- small helpers ------------------------------------------------------------------------------------------


def _now(value: Lazy) -> Any:
    return value() if callable(value) else value


def _number(answer: Any) -> float | None:
    """The answer as a float, or None: text, truth values and several numbers are not one number."""
    if isinstance(answer, (str, bytes, bool)) or type(answer).__name__ in ("bool_", "bool"):
        return None
    try:
        return float(answer.item() if hasattr(answer, "item") else answer)
    except OverflowError:
        return math.inf
    except Exception:
        return None


def _kind(answer: Any) -> str:
    if callable(answer):
        return "a function (did you forget to call it?)"
    names = {str: "text", bool: "a truth value", type(None): "None"}
    return names.get(type(answer), f"a {type(answer).__name__}")


def _how_far(value: float, target: float) -> str:
    direction = "too large" if value > target else "too small"
    if target == 0 or value / target <= 0:
        return f"{direction}."
    ratio = max(value / target, target / value)
    for bound, size in ((1.1, "less than a tenth"), (1.5, "less than half"), (10, "a factor of 1.5 to 10")):
        if ratio <= bound:
            return f"{direction}, by {size}."
    return f"{direction}, by more than a factor of 10."


def _plain(option: Any) -> Any:
    if isinstance(option, list):
        return tuple(option)
    return option.strip().casefold() if isinstance(option, str) else option


def _data(value: Any) -> Any:
    """Arrays and tensors as nested lists, without importing what made them."""
    return value.tolist() if hasattr(value, "tolist") else value


def _same(left: Any, right: Any, rel: float, abs: float) -> bool:
    left, right = _data(left), _data(right)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(left[key], right[key], rel, abs) for key in left)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(lambda a, b: _same(a, b, rel, abs), left, right))
    a, b = _number(left), _number(right)
    if a is None or b is None:
        return type(left) is type(right) and bool(left == right)
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=rel, abs_tol=abs)


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def _call(args: tuple[Any, ...]) -> str:
    return f"({', '.join(_short(_data(arg)) for arg in args)})"


def one_line(error: BaseException) -> str:
    """An error as one line, without its traceback."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":").removesuffix(".")
