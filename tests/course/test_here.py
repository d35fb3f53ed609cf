"""The lines at the top of a notebook, and the places that name the same notebooks and minutes."""

from __future__ import annotations

import re
from pathlib import Path

from scalept_lab.course import here

ROOT = Path(__file__).parents[2]


def test_lines():
    text = here.lines("01", ["1 · Collect 收集: where text comes from", "Notes (and `code`)"])
    assert f"notebook 01 of {len(here.COURSE) - 1}, data scaling 数据扩展, about " in text
    assert (
        "← [00 start here](00_start_here.ipynb)" in text
        and "[02 model scaling](02_model_scaling.ipynb) →" in text
    )
    assert "[1 · Collect 收集](#1-·-Collect-收集:-where-text-comes-from)" in text
    assert "(#Notes-%28and-code%29)" in text
    assert "←" not in here.lines("00", [])


def test_refresh_leaves_other_notebooks_alone():
    other = {"cells": [{"id": "a", "cell_type": "markdown", "source": "x"}]}
    assert here.refresh(other)["cells"][0]["source"] == "x"
    mine = {"cells": [{"id": "nb02-here", "cell_type": "markdown", "source": ""},
                      {"id": "b", "cell_type": "markdown", "source": ["## One\n", "text\n", "## Two"]}]}  # fmt: skip
    assert "[One](#One) · [Two](#Two)" in here.refresh(mine)["cells"][0]["source"]


def test_the_instructors_minutes_are_those_of_the_notebooks():
    table = (ROOT / "docs" / "instructor.md").read_text(encoding="utf-8")
    told = {
        number: int(minutes)
        for number, minutes in re.findall(r"^\| (\d\d) [^|]+\| (\d+)", table, re.MULTILINE)
    }
    assert told == {lesson.number: lesson.minutes for lesson in here.COURSE}


def test_the_notebooks_openings_say_the_same_minutes():
    for lesson in here.COURSE:
        text = (ROOT / "notebooks" / lesson.file).read_text(encoding="utf-8")
        (minutes,) = re.findall(r"Time:\*\* (?:about )?(\d+) minutes", text)
        assert int(minutes) == lesson.minutes, lesson.file
