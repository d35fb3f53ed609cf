"""What is kept of a learner, and where: answers checked, hints taken, guesses and what they came to.

The file is `learner.json` beside the studies (`folders.results()`). The course adds to it (`course.learner`), and a study's file
for the class (`study.exports`) takes it along.
"""

from __future__ import annotations

import functools
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from scalept_lab import folders, outside
from scalept_lab.errors import printable

SCHEMA = 1
NAME = "learner.json"
LARGEST_BYTES = 20_000_000  # of a file that is read; a course leaves some tens of thousands


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Work(_Part):
    """What became of one exercise."""

    right: bool = False
    tries: int = Field(0, ge=0)
    hints: int = Field(0, ge=0, le=3)
    solution_seen: bool = False


class Guess(_Part):
    """One guess: a number with an interval around it, or a choice."""

    value: float | str
    low: float | None = None
    high: float | None = None
    at: str
    after_result: bool = False


class Prediction(_Part):
    """All guesses for one question in their order, and the measurement once there is one. The first guess is scored."""

    guesses: list[Guess] = []
    measured: float | str | None = None
    rivals: dict[str, float] = {}

    @property
    def scored(self) -> Guess | None:
        """The guess that counts: the first that was made before the result was known."""
        if self.measured is None:
            return None
        return next((guess for guess in self.guesses if not guess.after_result), None)


class Learner(_Part):
    """Everything that is kept of one learner."""

    schema_version: int = SCHEMA
    exercises: dict[str, Work] = {}
    predictions: dict[str, Prediction] = {}


# --- the file -----------------------------------------------------------------------------------------------


def path() -> Path:
    """Where the learner's file is. It may not be there yet.

    Notebooks keep it beside their studies; from the folder above them (`scalept progress`) it is found as well.
    """
    usual = folders.results() / NAME
    beside = Path("notebooks", "results", NAME)
    named = os.environ.get("SCALEPT_RESULTS")
    return beside if not named and not usual.exists() and beside.is_file() else usual


def read(place: Path | None = None) -> Learner:
    """What is kept so far; an empty `Learner` if nothing is.

    A file that cannot be read is moved aside under another name, with one line that says so: nothing is lost.
    """
    place = place or path()
    try:
        if not os.path.lexists(place):
            return Learner()
        return parsed(outside.json_value(place, "a learner's progress", LARGEST_BYTES))
    except ValueError as error:  # InputError is one
        _set_aside(place, error)
        return Learner()


def parsed(raw: Any) -> Learner:
    """A learner of what a JSON file holds. Raises: ValueError (pydantic's ValidationError is one)."""
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA:
        raise ValueError(f"it is of version {version!r}, this is version {SCHEMA}")
    found = Learner.model_validate(raw)
    found.model_dump_json()  # what could not be written again, half of a letter, is not kept
    return found


def _set_aside(place: Path, error: Exception) -> None:
    reason = printable(str(error).removeprefix(f"{place}: "), 160)
    aside = place.with_name(f"{place.stem}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}{place.suffix}")
    try:
        os.replace(place, aside)
    except OSError:
        tell(f"{place} cannot be read ({reason}), nor moved: this session's progress is not kept")
        return
    tell(f"{place} cannot be read ({reason}): it is kept as {aside.name}, and a new file begins")


@functools.cache
def tell(line: str) -> None:
    """Say a line on stderr, once."""
    print(line, file=sys.stderr)
