"""How far a class is: one table for the teacher, from the files that learners hand in.

    scalept progress --class FOLDER

A learner hands in the progress file (`scalept progress --out anna.json`, named after its file) or the class file of a study
(`study.export(learner="Anna")`, which holds the progress as well). Nothing but exercises of this kit is counted.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalept_lab import outside, runs
from scalept_lab.course import learner
from scalept_lab.course.exercises import notebook_exercises, notebook_numbers
from scalept_lab.course.learner import Row
from scalept_lab.errors import InputError, printable
from scalept_lab.laws.forecasters import ledger
from scalept_lab.learners import Learner, parsed
from scalept_lab.screen import columns, padded
from scalept_lab.study import exports
from scalept_lab.study.pooling import guesses

STUCK = 5  # exercises that are named
SHOWN = 60  # learners in a table


@dataclass(frozen=True)
class Exercise:
    """What a class made of one exercise. tried: learners who answered, took a hint or looked at the solution; solved: those of
    them who were right; tries: answers of all; solutions: learners who looked at the solution."""

    id: str
    tried: int
    solved: int
    tries: int
    hints: int
    solutions: int

    def __str__(self) -> str:
        return (
            f"{self.id}: {self.tried - self.solved} of {self.tried} who tried have not solved it "
            f"({self.tries} tries, {self.hints} hints, {self.solutions} looked at the solution)"
        )


class ClassProgress:
    """Learner by notebook. Shows as HTML in a notebook and as text elsewhere.

    `learners`: name -> one `Row` for each notebook; `exercises`: what the class made of each that anybody tried; `rejected`: list
    of {file, reason}; `notes`: sentences on files that claim the same name; `ledger`: who guesses best (`laws.forecasters`).
    """

    def __init__(self, kept: dict[str, Learner], rejected: list[dict[str, str]], notes: Sequence[str] = ()):
        numbers = notebook_numbers()
        self.learners: dict[str, list[Row]] = {
            name: learner.rows(each, numbers) for name, each in kept.items()
        }
        self.exercises = [found for number in numbers for found in _exercises(number, kept.values())]
        self.rejected, self.notes = rejected, list(notes)
        self.ledger = ledger(
            [call for name, each in kept.items() for call in guesses(name, each.predictions)]
        )

    @property
    def stuck(self) -> list[Exercise]:
        """Where most learners are stuck: tried and not solved, then most tries."""
        open_ones = [each for each in self.exercises if each.solved < each.tried]
        return sorted(open_ones, key=lambda each: (each.solved - each.tried, -each.tries, each.id))[:STUCK]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("right", "exercises", "hints", "solutions", "predictions")
        return {
            "learners": {
                name: {row.notebook: {key: getattr(row, key) for key in names} for row in table}
                for name, table in self.learners.items()
            },
            "best_forecasters": self.ledger.best,
            "stuck": [vars(each) for each in self.stuck],
            "rejected": self.rejected,
            "notes": self.notes,
        }

    def _begun(self) -> list[str]:
        """Notebooks that anybody has begun: the others would be columns of zeros."""
        every = [row for table in self.learners.values() for row in table]
        begun = {row.notebook for row in every if row.right or row.hints or row.predictions or row.solutions}
        return [number for number in notebook_numbers() if number in begun]

    def _cells(self) -> tuple[list[str], list[tuple[str, list[Row], list[int]]]]:
        """Notebooks begun, and for each learner the rows of these and the sums of right, hints, solutions, predictions."""
        begun = self._begun()
        table = []
        for name, rows in self.learners.items():
            mine = [row for row in rows if row.notebook in begun]
            sums = [
                sum(getattr(row, key) for row in rows)
                for key in ("right", "hints", "solutions", "predictions")
            ]
            table.append((name, mine, sums))
        return begun, table

    def __repr__(self) -> str:
        begun, table = self._cells()
        width = min(30, max([7, *(columns(name) for name, _, _ in table)]))
        lines = [
            "  ".join([padded("learner", width), *(f"{number:>5}" for number in begun)])
            + "  right  hints  solutions  predictions"
        ]
        for name, rows, (right, hints, solutions, predictions) in table[:SHOWN]:
            cells = [f"{row.right:>2}/{row.exercises:<2}" for row in rows]
            lines.append(
                "  ".join([padded(name, width), *cells])
                + f"  {right:>5}  {hints:>5}  {solutions:>9}  {predictions:>11}"
            )
        if len(table) > SHOWN:
            lines.append(f"… and {len(table) - SHOWN} more learners (--json has all)")
        return "\n".join([*lines, *self._remarks()])

    def _remarks(self) -> list[str]:
        lines = ["", "where the class is stuck:", *(f"  {each}" for each in self.stuck)] if self.stuck else []
        if self.ledger.rows:
            lines += ["", f"guesses: {self.ledger.sentence}"]
        lines += self.notes
        return lines + [
            printable(f"left out: {each['file']}: {each['reason']}", 1000) for each in self.rejected
        ]

    def _repr_html_(self) -> str:
        begun, table = self._cells()
        names = ["learner", *begun, "right", "hints", "solutions seen", "predictions scored"]
        head = "".join(
            f'<th scope="col" style="text-align:{"right" if k else "left"}">{name}</th>'
            for k, name in enumerate(names)
        )
        body = ""
        for name, rows, sums in table[:SHOWN]:
            cells = "".join(
                # white to green by the share that is right; the number says the same
                f'<td style="text-align:right;background:rgba(27,127,59,{0.5 * row.right / max(1, row.exercises):.2f})">'
                f"{row.right}/{row.exercises}</td>"
                for row in rows
            )
            cells += "".join(f'<td style="text-align:right">{value}</td>' for value in sums)
            body += (
                f'<tr><th scope="row" style="text-align:left"><bdi>{html.escape(name)}</bdi></th>{cells}</tr>'
            )
        tail = "".join(f"<p>{html.escape(line)}</p>" for line in self._remarks() if line)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{tail}"


def class_progress(folder: str | Path) -> ClassProgress:
    """Read a folder of progress files and class files, or one file.

    A file that is neither is named and left out. Two files of one name are told and kept apart, unless they say the same.
    Raises: InputError where there is no folder, or none of its files shows a learner's progress.
    """
    place = Path(folder)
    found: list[tuple[Path, str, Learner]] = []
    rejected = []
    for file in runs.files(place):
        try:
            found.append((file, *_read(file)))
        except InputError as error:
            rejected.append(
                {
                    "file": str(file),
                    "reason": str(error).removeprefix(f"{file}:1: ").removeprefix(f"{file}: "),
                }
            )
    if not found:
        first = (
            f"{rejected[0]['file']}: {rejected[0]['reason']}"
            if rejected
            else "no .json, .jsonl or .jsonl.gz file"
        )
        raise InputError(
            f"{place}: expected files of `scalept progress --out NAME.json` or of study.export(), got none ({first})"
        )
    apart = [
        (file, name, kept) for i, (file, name, kept) in enumerate(found)
        if not any(name == other and kept == theirs for _, other, theirs in found[:i])
    ]  # fmt: skip
    often = Counter(name for _, name, _ in apart)
    notes = [
        f"{count} files are those of {name}: they differ, and are kept apart"
        for name, count in often.items()
        if count > 1
    ]
    learners = {
        name if often[name] == 1 else f"{name} ({printable(file.name)})": kept for file, name, kept in apart
    }
    return ClassProgress(learners, rejected, notes)


def _read(file: Path) -> tuple[str, Learner]:
    """A learner's name and progress. Raises: InputError for any other file."""
    if file.suffix == ".json":
        raw = outside.json_object(file, "a progress file")
        if "config" in raw:
            raise InputError("expected a progress file, got a run record; `scalept merge` reads those")
        try:
            return printable(file.stem), parsed(raw)
        except ValueError as error:
            reason = " ".join(str(error).split())[:100]
            raise InputError(f"expected a progress file of this kit, got another one ({reason})") from None
    header = exports.header(file)
    if header is None:
        raise InputError(
            "expected a learner's class file, got run records alone; `scalept merge` reads those"
        )
    return header.learner, Learner(exercises=header.exercises, predictions=header.predictions)


def _exercises(number: str, kept: Iterable[Learner]) -> list[Exercise]:
    found = []
    for exercise in notebook_exercises(number):
        work = [each.exercises[exercise.id] for each in kept if exercise.id in each.exercises]
        if work:
            found.append(
                Exercise(
                    exercise.id, len(work), sum(done.right for done in work), sum(done.tries for done in work),
                    sum(done.hints for done in work), sum(done.solution_seen for done in work),
                )
            )  # fmt: skip
    return found
