"""How bad input is refused: one clear line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scalept_lab.errors import InputError


def one_line(call: Callable[[], object], *words: str) -> None:
    """`call` raises an InputError of one line that holds all of `words`."""
    with pytest.raises(InputError) as error:
        call()
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
