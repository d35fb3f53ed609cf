"""One piece of code for a build: its solution is the source of a function, its skeleton what stands above the body, and a slip is
the solution with one piece of it changed.

A slip is compiled from that changed source: text of this package alone, never of a file or a learner.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

NUMPY = "import numpy as np\n\n\n"


def source(function: Callable, needs: str = "") -> str:
    """A solution to show: what the function `needs` above it, the function, and the answer."""
    return f"{needs}{inspect.getsource(function)}\n\nanswer = {function.__name__}"


def skeleton(function: Callable) -> str:
    """The function without its body."""
    head, text, _ = inspect.getsource(function).split('"""')
    return f'{head}"""{text}"""\n    ...'


def slip(function: Callable, right: str, wrong: str) -> Callable:
    """The function with `wrong` in place of `right`. Raises: ValueError if `right` is not in its source."""
    text = inspect.getsource(function)
    if right not in text:
        raise ValueError(f"{function.__name__}: {right!r} is not in it")
    space: dict[str, Any] = {**function.__globals__}
    exec(text.replace(right, wrong), space)
    return space[function.__name__]


def slips(function: Callable, *made: tuple[str, str, str, str]) -> tuple[list, tuple]:
    """Diagnoses for a check, and the wrong answers that must get them, of (right, wrong, fragment, diagnosis)."""
    found = [(slip(function, right, wrong), fragment, text) for right, wrong, fragment, text in made]
    return [(bad, text) for bad, _, text in found], tuple((bad, fragment) for bad, fragment, _ in found)
