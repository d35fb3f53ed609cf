"""The map of the course: all notebooks in order, and where the learner is."""

from __future__ import annotations

import re

import pytest

from scalept_lab.course import here, learner, overview
from scalept_lab.course.exercises import notebook_exercises


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def solve(number: str, count: int | None = None) -> None:
    with learner.change() as kept:
        for exercise in notebook_exercises(number)[:count]:
            kept.exercises[exercise.id] = learner.Work(right=True, tries=1)


def test_a_beginner_starts_at_00_and_sees_the_whole_course_in_order():
    course = overview.course_map()
    shown = course._repr_html_()
    assert re.findall(r'<a href="([^"]+)">', shown) == [lesson.file for lesson in here.COURSE]
    assert (
        course.here == "00" and shown.count("go&nbsp;on&nbsp;here") == 1 and repr(course).startswith("→ 00 ")
    )
    asked = sum(len(notebook_exercises(lesson.number)) for lesson in here.COURSE)
    assert f"0 of {asked} exercises right, predictions scored: 0." in repr(course)


def test_what_is_right_and_predicted_is_counted_in_its_row():
    solve("02", 3)
    with learner.change() as kept:
        guess = learner.Guess(value=2.0, at=learner.now())
        kept.predictions["02.a"] = learner.Prediction(guesses=[guess], measured=2.1)
    line = next(line for line in repr(overview.course_map()).splitlines() if " 02 " in line[:5])
    asked = len(notebook_exercises("02"))
    assert f"3 of {asked} exercises right, predictions scored: 1, after 00" in line
    assert f"width:{100 * 3 / asked:.0f}%" in overview.course_map()._repr_html_()


def test_one_goes_on_where_one_has_begun_then_with_the_first_that_is_open():
    solve("02", 1)
    assert overview.course_map().here == "02", "begun, though 00 and 01 are open"
    solve("02")
    assert overview.course_map().here == "00"
    for lesson in here.COURSE:
        solve(lesson.number)
    assert overview.course_map().here is None and "go&nbsp;on" not in overview.course_map()._repr_html_()


def test_a_name_is_text_and_no_markup(monkeypatch):
    lesson = here.Lesson("00_x.ipynb", "<b>start</b>", "<i>", 5, "<script>", ())
    monkeypatch.setattr(overview, "COURSE", (lesson,))
    shown = overview.course_map()._repr_html_()
    assert "<script>" not in shown and "<i>" not in shown and "&lt;b&gt;start" in shown
