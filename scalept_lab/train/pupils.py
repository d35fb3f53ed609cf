"""Planted learners: a made-up pupil whose best curriculum is known, to try a schedule on before a model is trained with it.

A pupil has one number, its skill s, in levels of difficulty. A round at level d adds speed · exp(−((d − s − ½)/0.6)²/2): it
learns fastest from what lies half a level above it, and almost nothing from what is far below or far above. An evaluation at
level d finds p = 1/(1 + exp(−2 (s − d))): one half where the level is just mastered. Some pupils forget in mid-course, some
are judged with noise. No text, no model: everything is a pure function of the pupil and the levels chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scalept_lab.checks import shown
from scalept_lab.errors import InputError

TOP, ROUNDS = 8, 80  # the hardest level, and how many rounds there are
AHEAD, REACH = 0.5, 0.6  # levels: where one learns fastest, and how far from there one still learns


@dataclass(frozen=True)
class Pupil:
    """`speed`: levels gained in a round at best. `forgets`: the round before which two levels are lost, or None. `noise`: of an
    evaluation, drawn once and for all."""

    name: str = "steady"
    speed: float = 0.12
    start: float = 0.0
    forgets: int | None = None
    noise: float = 0.0

    def after(self, skill: float, level: int, turn: int) -> float:
        """The skill after round `turn`, spent at `level`."""
        if turn == self.forgets:
            skill = max(0.0, skill - 2.0)
        return skill + self.speed * math.exp(-(((level - skill - AHEAD) / REACH) ** 2) / 2)

    def shows(self, skill: float, level: int, turn: int) -> float:
        """What an evaluation at `level` finds after round `turn`, from 0 to 1."""
        found = 1 / (1 + math.exp(-2 * (skill - level)))
        return min(1.0, max(0.0, found + self.noise * float(np.random.default_rng(turn).standard_normal())))


@dataclass(frozen=True)
class Course:
    """What a pupil did: the level of each round, its skill after it, and what the evaluation found."""

    levels: list[int]
    skill: list[float]
    performance: list[float]


def teach(pupil: Pupil, schedule: Callable[[int, Sequence[float]], int], rounds: int = ROUNDS) -> Course:
    """The course of a pupil whose levels `schedule(round, performance so far)` chooses.

    Raises: InputError for a level that is no whole number from 0 to TOP.
    """
    skill, course = pupil.start, Course([], [], [])
    for turn in range(rounds):
        level = schedule(turn, list(course.performance))
        if isinstance(level, bool) or not isinstance(level, (int, np.integer)) or not 0 <= level <= TOP:
            raise InputError(
                f"schedule: expected a whole level from 0 to {TOP} in round {turn}, got {shown(level)}"
            )
        skill = pupil.after(skill, int(level), turn)
        course.levels.append(int(level))
        course.skill.append(skill)
        course.performance.append(pupil.shows(skill, int(level), turn))
    return course


def best(pupil: Pupil, rounds: int = ROUNDS) -> Course:
    """The course that ends with the highest skill of all, by somebody who sees the skill itself.

    More skill before a round never leaves less after it, as long as `speed` is below 0.9. So the best course takes
    in each round the level that leaves most (a test tries all courses of a short one).
    """
    skill, course = pupil.start, Course([], [], [])
    for turn in range(rounds):
        level = max(range(TOP + 1), key=lambda level: pupil.after(skill, level, turn))
        skill = pupil.after(skill, level, turn)
        course.levels.append(level)
        course.skill.append(skill)
        course.performance.append(pupil.shows(skill, level, turn))
    return course


def linear(turn: int, performance: Sequence[float] = ()) -> int:
    """The fixed schedule: from level 0 to the hardest in a straight line, whoever the pupil is."""
    return min(TOP, turn * (TOP + 1) // ROUNDS)


def hardest(turn: int, performance: Sequence[float] = ()) -> int:
    """What one is tested on, from the start."""
    return TOP
