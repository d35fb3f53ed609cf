"""One word for one thing: the glossary decides, in English and in Chinese, and the notebooks' key terms and titles follow it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scalept_lab.course import here

ROOT = Path(__file__).parents[1]
TERM = re.compile(r"\s*(.+?) ([\u4e00-\u9fff][\u4e00-\u9fff–-]*)")
ROWS = [
    [part.strip() for part in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| English")
]
NAMED = [
    (re.sub(r" \(.*\)", "", row[0]).lower(), row[1]) for row in ROWS
]  # (of what) tells two meanings apart
GLOSSARY = {english: {chinese for name, chinese in NAMED if name == english} for english, _ in NAMED}
each = pytest.mark.parametrize("lesson", here.COURSE, ids=lambda lesson: lesson.number)


def markdown(lesson: here.Lesson) -> list[str]:
    cells = json.loads((ROOT / "notebooks" / lesson.file).read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


def key_terms(text: str) -> dict[str, str]:
    """English -> Chinese of the line, or the table, of key terms."""
    (line,) = re.findall(r"\*\*Key terms:?\*\*(.*?)(?:(?<!\*\*)\n\n|\Z|\. )", text, re.DOTALL)
    if "|" in line:
        rows = [row.split("|")[1:3] for row in line.strip().splitlines()[2:]]
        return {
            a.strip().lower(): b.strip()
            for e, c in rows
            for a, b in zip(e.split(","), c.split(","), strict=True)
        }
    pairs = [TERM.match(part) for part in line.replace("\n", " ").split(" · ")]
    assert all(pairs), line
    return {pair[1].lower(): pair[2] for pair in pairs if pair}


def test_the_glossary_is_a_table_in_order_with_one_row_for_each_term():
    assert len(ROWS) > 150 and all(len(row) == 4 and all(row) for row in ROWS)
    names = [row[0] for row in ROWS]
    assert len(set(map(str.lower, names))) == len(names)
    order = [re.sub(r"[^a-z ]", "", name.lower().replace("-", " ")) for name in names]
    assert order == sorted(order)
    numbers = {lesson.number for lesson in here.COURSE}
    assert {number for row in ROWS for number in row[3].split(", ")} <= numbers


def test_a_chinese_name_stands_for_one_thing():
    names: dict[str, set[str]] = {}
    for english, chinese in NAMED:
        names.setdefault(chinese, set()).add(english)
    assert {chinese: english for chinese, english in names.items() if len(english) > 1} == {}


@each
def test_key_terms_are_named_as_in_the_glossary(lesson):
    for english, chinese in key_terms("\n\n".join(markdown(lesson))).items():
        names = GLOSSARY.get(english, set())
        assert chinese in names, f"{english} {chinese}: the glossary has {names or 'no such term'}"


@each
def test_a_title_has_the_chinese_name_of_the_course(lesson):
    names = re.findall(r"[\u4e00-\u9fff][\u4e00-\u9fff-]*", markdown(lesson)[0])
    assert lesson.chinese in (names[0], "与".join(names)), f"{lesson.file}: {names}"


def test_another_name_is_seen():
    assert key_terms("**Key terms:** scaling law 规模定律 · token 词元\n\nmore") == {
        "scaling law": "规模定律",
        "token": "词元",
    }
    assert GLOSSARY["scaling law"] == {"规模定律"} != GLOSSARY["scaling"]
    assert key_terms(
        "**Key terms**\n\n| term | 中文 | here |\n|---|---|---|\n| a, b | 甲, 乙 | x |\n\nmore"
    ) == {
        "a": "甲",
        "b": "乙",
    }
