"""What docs/instructor.md names is there: sections, exercises, commands, and minutes that add up."""

from __future__ import annotations

import json
import re
from pathlib import Path

from scalept_lab.course import here
from scalept_lab.course.exercises import notebook_exercises

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "instructor.md").read_text(encoding="utf-8")


def sections() -> dict[tuple[str, str], str]:
    """(notebook, number of the section) -> the address of its heading, as docs/ names it."""
    found = {}
    for lesson in here.COURSE:
        notebook = json.loads((ROOT / "notebooks" / lesson.file).read_text(encoding="utf-8"))
        for heading in here.headings(notebook):
            if number := re.match(r"(\d+)(?:\.| ·) ", heading):
                found[lesson.number, number[1]] = f"../notebooks/{lesson.file}#{here.anchor(heading)}"
    return found


def test_every_section_that_is_named_exists_and_is_linked():
    """The links stand at the end of the page; a heading that changed its words or its number needs a look at the text."""
    links = re.compile(r"^\[(\d\d) §(\d+)\]: (\S+)$", re.MULTILINE)
    linked = {(book, number): to for book, number, to in links.findall(TEXT)}
    named = set(re.findall(r"\[(\d\d) §(\d+)\]", links.sub("", TEXT)))
    there = sections()
    wanted = {key: there.get(key) for key in named}
    assert linked == wanted, "\n".join(
        f"[{book} §{number}]: {to}"
        for (book, number), to in sorted(wanted.items())
        if linked.get((book, number)) != to
    )
    assert not re.search(r"section \d+ of notebook", TEXT), "write [07 §6], which is checked"


def test_every_exercise_that_is_named_exists():
    named = set(re.findall(r"\b\d\d\.\d+\b", TEXT))
    asked = {exercise.id for lesson in here.COURSE for exercise in notebook_exercises(lesson.number)}
    assert len(named) > 10 and named <= asked, named - asked


def test_no_row_stands_twice():
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("|---")]
    first = [line.split("|")[1].strip() for line in rows]
    slips = first[first.index("what you see") :]
    assert len(set(slips)) == len(slips), [one for one in slips if slips.count(one) > 1]


def test_the_minutes_of_a_short_course_add_up():
    for title, minutes in (("### 90 minutes", 90), ("### Half a day", 240)):
        part = TEXT[TEXT.index(title) :].partition("\n### ")[0]
        assert sum(map(int, re.findall(r"^\| (\d+) \|", part, re.MULTILINE))) == minutes
