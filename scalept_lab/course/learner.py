"""How far a learner has come: one file on disk, which every notebook adds to and a kernel restart does not lose.

What is kept and where stands in `learners`, since a study takes it along to the class; here it is changed and shown.
Writing is whole or not at all. Nothing that is open is written: a notebook that only runs leaves no trace.
"""

from __future__ import annotations

import contextlib
import html
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scalept_lab import folders
from scalept_lab.checks import one_of
from scalept_lab.errors import InputError
from scalept_lab.learners import Guess, Learner, Prediction, Work, path, read, tell
from scalept_lab.runs import write_atomically

PATIENCE = 5.0  # seconds to wait for another notebook that is writing


# --- the file -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def change() -> Iterator[Learner]:
    """The learner's file, read, to be changed in the block, and written whole at its end; one notebook at a time.

    Where it cannot be written, one line says so and the notebook goes on.
    """
    place = path()
    try:
        lock, mine = _alone(place)
    except InputError as error:
        tell(f"your progress is not kept: {error}")
        yield Learner()
        return
    try:
        kept = read(place)
        yield kept
        if (
            _holder(lock) != mine
        ):  # this process stood still for so long that another took over, and has written since
            raise InputError(f"{place} was changed by another notebook meanwhile; run the cell again")
        write_atomically(place, kept.model_dump_json(indent=1) + "\n")
    except InputError as error:
        tell(f"your progress is not kept: {error}")
    finally:
        if _holder(lock) == mine:
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)


def _alone(place: Path) -> tuple[Path, str]:
    """Make a file beside it that only one process can make; the file, and its holder. One that has had the same holder for more
    than PATIENCE was left by a process that is gone. Raises: InputError."""
    lock = place.with_name(f".{place.name}.lock")
    with folders.writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        seen, since = "", 0.0
        while True:
            try:
                os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
                return lock, _holder(lock)
            except FileExistsError:
                held = _holder(lock)
                if held != seen:
                    seen, since = held, time.monotonic()
                elif time.monotonic() - since > PATIENCE:
                    _break(lock, seen)
                time.sleep(0.02)


def _holder(lock: Path) -> str:
    """Whose it is; another word each time that it is taken."""
    try:
        about = lock.stat()
        return f"{about.st_ino} {about.st_mtime_ns}"
    except OSError:
        return ""  # gone just now


def _break(lock: Path, holder: str) -> None:
    """Take a lock away from a holder that is gone. Of several that try, one gets the file; should it be another's by now, that
    one gets it back."""
    aside = lock.with_name(f"{lock.name}.{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        os.rename(lock, aside)
        if _holder(aside) != holder:
            os.link(aside, lock)
        aside.unlink()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# --- what is shown ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One notebook: exercises right of all, hints taken, predictions scored, minutes of exercises still open, solutions seen."""

    notebook: str
    right: int
    exercises: int
    hints: int
    predictions: int
    inside: int
    intervals: int
    minutes_left: int
    solutions: int = 0


class Progress:
    """A table of how far you are: one row for each notebook. Shows as HTML in a notebook and as text elsewhere.

    `rows`: list of `Row`; `calibration`: (results inside their interval, intervals); `mean_error`: of the numbers
    predicted, as a share of what was measured, or None.
    """

    def __init__(self, rows: list[Row], mean_error: float | None):
        self.rows, self.mean_error = rows, mean_error
        self.calibration = (sum(row.inside for row in rows), sum(row.intervals for row in rows))

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `notebooks` (number -> counts) and `predictions` over all of them."""
        names = ("right", "exercises", "hints", "predictions", "minutes_left")
        table = {
            row.notebook: {name: getattr(row, name) for name in names} | {"open": row.exercises - row.right}
            for row in self.rows
        }
        inside, intervals = self.calibration
        scores = {
            "scored": sum(row.predictions for row in self.rows),
            "mean_error": self.mean_error,
            "intervals": intervals,
            "inside": inside,
        }
        return {"notebooks": table, "predictions": scores}

    def __repr__(self) -> str:
        lines = ["notebook  right  open  hints  predictions  minutes left"]
        for row in self.rows:
            lines.append(
                f"{row.notebook:<8}  {row.right:>5}  {row.exercises - row.right:>4}  {row.hints:>5}  "
                f"{row.predictions:>11}  {row.minutes_left:>12}"
            )
        return "\n".join([*lines, *self._scores()])

    def _scores(self) -> list[str]:
        inside, intervals = self.calibration
        lines = []
        if self.mean_error is not None:
            lines.append(f"your predictions miss by {100 * self.mean_error:.1f} % on average")
        if intervals:
            lines.append(f"{inside} of {intervals} results lie inside the interval that you gave")
        return lines

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th style="text-align:right">{name}</th>'
            for name in ("notebook", "exercises right", "", "hints", "predictions scored", "minutes left")
        )
        body = ""
        for row in self.rows:
            share = row.right / max(1, row.exercises)
            bar = (
                '<div style="background:#8884;border-radius:4px;width:8em;height:8px"><div style="background:#1B7F3B;'
                f'border-radius:4px;width:{100 * share:.0f}%;height:8px"></div></div>'
            )
            cells = (
                row.notebook,
                f"{row.right} of {row.exercises}",
                bar,
                row.hints,
                row.predictions,
                row.minutes_left,
            )
            body += "<tr>" + "".join(f'<td style="text-align:right">{cell}</td>' for cell in cells) + "</tr>"
        tail = "".join(f"<p>{html.escape(line)}</p>" for line in self._scores())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{tail}"


def progress(notebook: str | None = None) -> Progress:
    """How far you are, in one notebook ("01") or, without an argument, in all of them.

    Raises: InputError for a notebook that is not there.
    """
    from scalept_lab.course.exercises import notebook_numbers

    numbers = notebook_numbers()
    if notebook is not None:
        one_of("notebook", notebook, numbers)
        numbers = [notebook]
    kept = read()
    return Progress(rows(kept, numbers), _mean_error(kept, numbers))


def rows(kept: Learner, numbers: Iterable[str]) -> list[Row]:
    """A row for each notebook of `numbers`."""
    from scalept_lab.course.exercises import notebook_exercises

    found = []
    for number in numbers:
        asked = notebook_exercises(number)
        work = {exercise.id: kept.exercises.get(exercise.id, Work()) for exercise in asked}
        scored = [
            (guess, prediction)
            for id, prediction in kept.predictions.items()
            if id.startswith(f"{number}.") and (guess := prediction.scored)
        ]
        inside = [_inside(guess, prediction) for guess, prediction in scored if guess.low is not None]
        found.append(
            Row(
                number,
                sum(done.right for done in work.values()),
                len(asked),
                sum(done.hints for done in work.values()),
                len(scored),
                sum(inside),
                len(inside),
                sum(exercise.minutes for exercise in asked if not work[exercise.id].right),
                sum(done.solution_seen for done in work.values()),
            )
        )
    return found


def export(place: str | Path) -> Path:
    """Copy the learner's file to `place`, for a teacher or another machine. Raises: InputError if nothing is kept yet,
    or `place` cannot be written."""
    if not path().is_file():
        raise InputError(f"progress: nothing is kept yet in {path()}; check an exercise first")
    place = Path(place)
    write_atomically(place, read().model_dump_json(indent=1) + "\n")
    return place


def _inside(guess: Guess, found: Prediction) -> bool:
    low = -float("inf") if guess.low is None else guess.low
    high = float("inf") if guess.high is None else guess.high
    return isinstance(found.measured, float) and low <= found.measured <= high


def _mean_error(learner: Learner, numbers: list[str]) -> float | None:
    errors = [
        abs(guess.value / found.measured - 1)
        for id, found in learner.predictions.items()
        if id.partition(".")[0] in numbers and (guess := found.scored)
        if isinstance(guess.value, float) and isinstance(found.measured, float) and found.measured
    ]
    return sum(errors) / len(errors) if errors else None
