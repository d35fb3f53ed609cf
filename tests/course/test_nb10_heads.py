"""The builds on action heads: what their oracles say of right and of wrong answers."""

from __future__ import annotations

import pytest
import torch

from scalept_lab.course.answers import UNANSWERED
from scalept_lab.course.sets import nb10_heads

EACH = [pytest.param(exercise, id=exercise.id) for exercise in nb10_heads.EXERCISES]
FREQUENCIES, FLOW, EULER, _ = nb10_heads.EXERCISES


def test_numbers_follow_each_other():
    first = nb10_heads.FIRST
    assert [exercise.id for exercise in nb10_heads.EXERCISES] == [f"10.{first + i}" for i in range(4)]


@pytest.mark.parametrize("exercise", EACH)
def test_the_kits_own_piece_is_right(exercise):
    assert exercise.own is None or exercise.check(exercise.own()).ok


@pytest.mark.parametrize("exercise", [FREQUENCIES, FLOW, EULER])
def test_a_skeleton_is_not_an_answer(exercise):
    space: dict = {}
    exec(exercise.skeleton, space)
    name = next(name for name in space if not name.startswith("__"))
    assert exercise.check(space[name]) == UNANSWERED


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (lambda steps, keep, scale: 3, "two functions"),
        (lambda steps, keep, scale: (lambda chunk: chunk, lambda number: 1 / 0), "ZeroDivisionError"),
    ],
)
def test_what_is_no_code_is_told_in_a_line(bad, told):
    verdict = FREQUENCIES.check(bad)
    assert not verdict.ok and told in verdict.message and "\n" not in verdict.message


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (lambda velocity, chunk, generator=None: chunk.mean(), "asked once"),
        (lambda velocity, chunk, generator=None: velocity(chunk[:2], chunk[:, 0]).mean(), "the shape of the chunks"),
        (lambda velocity, chunk, generator=None: velocity(chunk, torch.rand(len(chunk)) ** 2).mean(), "drawn evenly"),
        (lambda velocity, chunk, generator=None: velocity(chunk, chunk[:, 0] * 0).mean(), "the same time"),
    ],
)  # fmt: skip
def test_how_a_velocity_is_asked(bad, told):
    verdict = FLOW.check(bad)
    assert not verdict.ok and told in verdict.message
