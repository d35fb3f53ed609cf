"""When two answers are the same: whatever their type, and to the precision that their type can hold.

A number may come as int, float, a numpy or torch scalar, an array or list of one, a fraction, or text ("1,024"). Arrays, lists
and tuples of the same shape are the same. What came in half or single precision is compared with the tolerance of that precision.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

PRECISION = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 2e-5, "complex64": 2e-5}
"""Relative difference that a few operations in this type leave."""

MOST = 10**7  # numbers of an answer
DEEPEST = 8  # lists in lists: a list that holds itself has no end

NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+(\.\d*)?|\d+(_\d+)*(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def plain(value: Any) -> Any:
    """Arrays, tensors, series and tables as nested lists, without importing what made them; one with more than `MOST` numbers, as
    views of a single one can have, stays as it is."""
    shape = getattr(value, "shape", ())
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape) and math.prod(shape) > MOST:
        return value
    for name in ("detach", "tolist"):  # a tensor that carries a gradient gives no list
        if hasattr(value, name) and not isinstance(value, type):
            value = getattr(value, name)()
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = value.to_numpy().tolist()
    return value


def typed(text: str) -> str:
    """Text as it was meant: without blanks around it, and the full-width letters of a Chinese keyboard as plain ones (NFKC)."""
    return unicodedata.normalize("NFKC", text).strip()


def as_number(value: Any) -> float | None:
    """The value as a float, or None: truth values, words and several numbers are not one number."""
    value = plain(value)
    for _ in range(DEEPEST):
        if isinstance(value, (list, tuple)) and len(value) == 1:
            value = plain(value[0])
    if isinstance(value, (bool, bytes, list, tuple, Mapping)):
        return None
    if isinstance(value, str):
        text = typed(value).strip("'\"").replace("−", "-")
        return float(text.replace(",", "").replace("_", "")) if NUMBER.fullmatch(text) else None
    if isinstance(value, complex):
        return value.real if value.imag == 0 else None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except Exception:
        return None


def parts(value: Any) -> Iterator[Any]:
    """A value and what it holds, down through its lists and dicts; each once, as one may hold itself."""
    waiting, seen = [value], set()
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, (Mapping, list, tuple)) and id(part) not in seen:
            seen.add(id(part))
            waiting.extend(part.values() if isinstance(part, Mapping) else part)


def precision(value: Any) -> float:
    """The relative tolerance that the value's own type asks for; 0 for Python's numbers and double precision."""
    kinds = (str(getattr(part, "dtype", "")).removeprefix("torch.") for part in islice(parts(value), 10_000))
    return max((PRECISION.get(kind, 0.0) for kind in kinds), default=0.0)


def close(left: float, right: float, rel: float, abs: float = 0.0) -> bool:
    both_missing = math.isnan(left) and math.isnan(right)
    return both_missing or math.isclose(left, right, rel_tol=rel, abs_tol=abs)


def difference(mine: Any, wanted: Any, rel: float, abs: float) -> str:
    """What sets `mine` apart from `wanted`, in a few words that do not say what is wanted; "" if nothing does."""
    rel = max(rel, precision(mine))
    worst, count, off = 0.0, 0, 0
    for left, right in _pairs(plain(mine), plain(wanted)):
        if isinstance(right, str) and right.startswith(_SHAPE):
            return right.removeprefix(_SHAPE)
        count += 1
        a, b = as_number(left), as_number(right)
        if b is None or isinstance(right, (str, bool)):  # words, truth values, None
            if type(left) is not type(right) or left != right:
                off, worst = off + 1, math.inf
        elif a is None:
            off, worst = off + 1, math.inf
        elif not close(a, b, rel, abs):
            off += 1
            measurable = math.isfinite(a) and math.isfinite(b) and b != 0
            worst = max(worst, math.fabs(a / b - 1) if measurable else math.inf)
    if not off:
        return ""
    share = "" if count == 1 else f"{off} of {count} values differ"
    if worst == math.inf:
        return share or "differs"
    return ", ".join(filter(None, (share, f"off by {_percent(worst)}")))


_SHAPE = "\0"


def _pairs(left: Any, right: Any) -> Iterator[tuple[Any, Any]]:
    left, right = plain(left), plain(right)
    if isinstance(right, (set, frozenset)) and isinstance(left, (set, frozenset, list, tuple)):
        missing, more = len(right - set(left)), len(set(left) - right)
        if missing or more:
            yield None, f"{_SHAPE}{missing} missing, {more} that do not belong there"
        return
    if isinstance(right, Mapping):
        if not isinstance(left, Mapping):
            yield None, f"{_SHAPE}expected a dict, got {kind(left)}"
        elif set(left) != set(right):
            yield (
                None,
                f"{_SHAPE}other keys than asked for: {', '.join(sorted(map(str, left))[:6]) or 'none'}",
            )
        else:
            for name in right:
                yield from _pairs(left[name], right[name])
        return
    if isinstance(right, (list, tuple)):
        if not isinstance(left, (list, tuple)):
            yield None, f"{_SHAPE}expected {len(right)} values, got {kind(left)}"
        elif len(left) != len(right):
            yield None, f"{_SHAPE}{len(left)} values, not as many as asked for"
        else:
            for a, b in zip(left, right, strict=True):
                yield from _pairs(a, b)
        return
    if isinstance(left, (list, tuple)) and as_number(left) is None:
        yield None, f"{_SHAPE}expected one value, got {len(left)}"
        return
    yield left, right


def _percent(share: float) -> str:
    if share < 1e-4:
        return f"{share:.0e} of its size"
    return f"{100 * share:.2g} %" if share < 1 else f"{share:.2g} times its size"


def kind(value: Any) -> str:
    """What a value is, in words."""
    if callable(value):
        return "a function (did you forget to call it?)"
    names = {str: "text", bool: "a truth value", type(None): "None", int: "a number", float: "a number"}
    return names.get(type(value), f"a {type(value).__name__}")
