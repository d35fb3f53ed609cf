"""The map of the course: every notebook with its minutes, what it builds on, and how far the learner is."""

from __future__ import annotations

import html
from dataclasses import dataclass

from scalept_lab.course.here import COURSE, Lesson
from scalept_lab.course.learner import Progress, Row, progress


@dataclass(frozen=True)
class Map:
    """The course in its order with a learner's progress. Shows as HTML in a notebook and as text elsewhere.

    `here` is the number of the notebook to go on with: the last one begun and not finished, else the first one with an
    exercise open; None when all is right.
    """

    progress: Progress

    @property
    def rows(self) -> list[tuple[Lesson, Row]]:
        """Each notebook of the course that has exercises, and how far the learner is in it."""
        done = {row.notebook: row for row in self.progress.rows}
        return [(lesson, done[lesson.number]) for lesson in COURSE if lesson.number in done]

    @property
    def here(self) -> str | None:
        unfinished = [(lesson.number, row) for lesson, row in self.rows if row.right < row.exercises]
        begun = [number for number, row in unfinished if row.right or row.hints or row.predictions]
        return begun[-1] if begun else unfinished[0][0] if unfinished else None

    def _sum(self) -> str:
        rows = self.progress.rows
        right, asked = sum(row.right for row in rows), sum(row.exercises for row in rows)
        return (
            f"{right} of {asked} exercises right, predictions scored: {sum(row.predictions for row in rows)}. "
            f"The whole course takes about {sum(lesson.minutes for lesson, _ in self.rows) / 60:.0f} hours."
        )

    def __repr__(self) -> str:
        lines = []
        for lesson, row in self.rows:
            lines.append(
                f"{'→' if lesson.number == self.here else ' '} {lesson.number} {lesson.title} {lesson.chinese}: "
                f"{lesson.minutes} minutes, {row.right} of {row.exercises} exercises right, "
                f"predictions scored: {row.predictions}"
                + (f", after {', '.join(lesson.needs)}" if lesson.needs else "")
            )
        return "\n".join([*lines, self._sum()])

    def _repr_html_(self) -> str:
        body = ""
        for lesson, row in self.rows:
            name = f'<a href="{html.escape(lesson.file)}">{lesson.number} {html.escape(lesson.title)}</a>'
            name += f" {html.escape(lesson.chinese)}"
            if lesson.number == self.here:
                name = f"<b>{name} ←&nbsp;go&nbsp;on&nbsp;here</b>"
            if lesson.needs:
                name += f" <small>after {' and '.join(lesson.needs)}</small>"
            share = 100 * row.right / max(1, row.exercises)
            bar = (
                f'<div style="background:#8884;border-radius:4px;height:6px"><div style="background:#1B7F3B;'
                f'border-radius:4px;height:6px;width:{share:.0f}%"></div></div>'
            )
            body += (
                f'<tr><td style="text-align:left;white-space:normal">{name}<br><small>{html.escape(lesson.gives)}'
                f"</small></td>{_number(lesson.minutes)}{_number(f'{row.right} of {row.exercises}{bar}')}"
                f"{_number(row.predictions)}</tr>"
            )
        head = "".join(_number(name, "th") for name in ("minutes", "exercises right", "predictions scored"))
        return (
            f'<table><thead><tr><th style="text-align:left">notebook, and what you will do</th>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table><p>{self._sum()}</p>"
        )


def _number(content: object, kind: str = "td") -> str:
    return f'<{kind} style="text-align:right">{content}</{kind}>'


def course_map() -> Map:
    """The course as a map with your progress on it: `Map`."""
    return Map(progress())
