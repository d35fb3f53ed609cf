"""The checks of single values that all modules share. Bad input ends in one line: what was expected, what came, what to do.

Each check returns the value, as a plain Python number where it is one, so that it stands where the value is used.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from numbers import Real
from typing import Any, TypeVar

from scalept_lab.errors import InputError

T = TypeVar("T")
LARGEST = 2**63 - 1  # larger whole numbers fit no array, and soon no float


def positive(name: str, value: Any, zero: bool = False, most: float = math.inf, hint: str = "") -> float:
    """`value` as a finite float above 0 (with `zero`, at least 0) and at most `most`. Raises: InputError."""
    try:
        # The type's name, since numpy's truth values are no subclass of Python's and numpy is not needed here.
        number = math.nan if type(value).__name__.startswith("bool") else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero) or number > most:
        limit = "" if most == math.inf else f" of at most {most:g}"
        low = "a number of at least 0" if zero else "a positive number"
        expected = f"a number from 0 to {most:g}" if zero and limit else low + limit
        raise _refusal(name, expected, shown(value), hint)
    return number


def whole(name: str, value: Any, least: int = 1, most: int = LARGEST, hint: str = "") -> int:
    """`value` as an int from `least` to `most`; 2.0 is whole, 2.5, "2" and True are not. Raises: InputError."""
    if (
        type(value) is int and least <= value <= most
    ):  # the usual case, at a tenth of the time of what follows
        return value
    try:
        real = isinstance(value, Real) and not isinstance(value, bool)
        number = int(value) if real else None
    except (ValueError, OverflowError):  # NaN and infinity
        number = None
    if number is None or number != value or not least <= number <= most:
        limit = f"of at least {least}" if most == LARGEST else f"from {least} to {most}"
        raise _refusal(name, f"a whole number {limit}", shown(value), hint)
    return number


def one_of(name: str, value: T, allowed: Iterable[Any], hint: str = "") -> T:
    """`value`, if it is one of `allowed`. Raises: InputError that lists them, and names the one that was perhaps meant."""
    known = list(allowed)
    # Comparing an array gives an array, which is neither true nor false.
    if getattr(value, "ndim", 0) or value not in known:
        raise unknown(name, value, known, hint)
    return value


def unknown(name: str, value: Any, allowed: Iterable[Any], hint: str = "") -> InputError:
    """The error of `one_of`, for a look-up that has failed already."""
    known = list(map(str, allowed))
    close = difflib.get_close_matches(shown(value).strip("'"), known, n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return _refusal(name, f"one of {', '.join(known) or 'none'}", shown(value) + meant, hint)


def shown(value: Any, most: int = 60) -> str:
    """`repr(value)` in one line of at most `most` characters, however long or broken it is."""
    try:
        text = " ".join(repr(value).split())
    # Python does not print an int of more than 4,300 digits; other objects have faults of their own.
    except Exception:
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}…"


def _refusal(name: str, expected: str, got: str, hint: str) -> InputError:
    return InputError(f"{name}: expected {expected}, got {got}" + (f"; {hint}" if hint else ""))
