"""Curriculum schedules: pure functions `schedule(step, performance) -> choice` that say what to train on next.

`step` counts from 0. `performance` holds the evaluations made so far, oldest first, numbers of 0 or more; schedules that do
not look at it ignore it. A schedule keeps no state: asked twice, it answers the same, so a run can be stopped and resumed,
and a schedule can be drawn and tested without training anything. `ends()` is the step from which the target is chosen
for good, whatever the performance; `must_end` refuses a schedule that does not get there within a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from scalept_lab.checks import one_of, positive, whole
from scalept_lab.errors import InputError

Performance = Sequence[float]


class Schedule(Protocol):
    def __call__(self, step: int, performance: Performance = ()) -> Any: ...
    def ends(self) -> float: ...


@dataclass(frozen=True)
class Stepwise:
    """`levels` in turn: level i until step `until[i]` (exclusive), the last one, the target, from there on."""

    levels: tuple[Any, ...]
    until: tuple[int, ...]

    def __post_init__(self):
        _levels(self.levels)
        if len(self.until) != len(self.levels) - 1 or any(
            not a < b for a, b in zip((0, *self.until), self.until, strict=False)
        ):
            raise InputError(
                f"until: expected {len(self.levels) - 1} rising steps above 0, one for each level but the last, got {self.until}"
            )

    def __call__(self, step: int, performance: Performance = ()) -> Any:
        return self.levels[sum(_step(step) >= end for end in self.until)]

    def ends(self) -> float:
        return self.until[-1] if self.until else 0


@dataclass(frozen=True)
class Competence:
    """The share of the data, easiest first, that may be drawn: from `start` to 1 over `steps`.

    c(t) = min(1, (t·(1 − c₀^p)/T + c₀^p)^(1/p)) with p = `power`: 1 is the linear schedule, 2 the root schedule of
    Platanios et al. 2019, "Competence-based Curriculum Learning for Neural Machine Translation". The root adds new
    examples more slowly the more there are, so that each has about as much time in the draw before the next come.
    """

    steps: int
    start: float = 0.1
    power: float = 2.0

    def __post_init__(self):
        whole("steps", self.steps)
        positive("start", self.start, most=1, hint="it is a share of the data")
        positive("power", self.power, hint="1 is linear, 2 the root")

    def __call__(self, step: int, performance: Performance = ()) -> float:
        if _step(step) >= self.steps:  # not left to rounding
            return 1.0
        first = self.start**self.power
        return (step / self.steps * (1 - first) + first) ** (1 / self.power)

    def ends(self) -> float:
        return self.steps


def linear(steps: int, start: float = 0.1) -> Competence:
    return Competence(steps, start, 1.0)


def root(steps: int, start: float = 0.1) -> Competence:
    return Competence(steps, start, 2.0)


@dataclass(frozen=True)
class LengthWarmup:
    """The sequence length in tokens: from `start` to `end` over `steps`, in multiples of `multiple` (rounded down).

    Length at step t = start + (end − start)·min(t/T, 1), as in Li et al. 2022, "The Stability-Efficiency Dilemma". With
    `doubling`, only start, 2·start, 4·start, … and `end` are taken, each as soon as the line has reached it.
    """

    start: int
    end: int
    steps: int
    multiple: int = 8
    doubling: bool = False

    def __post_init__(self):
        whole("steps", self.steps)
        whole("multiple", self.multiple)
        if not 1 <= self.start <= self.end:
            raise InputError(f"start: expected a length from 1 to the end, {self.end}, got {self.start}")
        if self.start % self.multiple or self.end % self.multiple:
            raise InputError(
                f"start, end: expected multiples of {self.multiple}, got {self.start} and {self.end}"
            )

    def __call__(self, step: int, performance: Performance = ()) -> int:
        line = self.start + (self.end - self.start) * min(_step(step) / self.steps, 1.0)
        if self.doubling and line < self.end:
            return self.start * 2 ** int(math.log2(line / self.start))
        return int(line // self.multiple) * self.multiple

    def ends(self) -> float:
        return self.steps


@dataclass(frozen=True)
class Mixture:
    """Weights of the sources: `first` until step `begin`, then in a straight line to `last`, which step `end` reaches.

    Both name the same sources, and each sums to one. Equal `first` and `last` are a constant mixture.
    """

    first: Mapping[str, float]
    last: Mapping[str, float]
    end: int
    begin: int = 0

    def __post_init__(self):
        for name, weights in (("first", self.first), ("last", self.last)):
            values = list(weights.values())
            if (
                not values
                or not all(0 <= w <= 1 for w in values)
                or not math.isclose(sum(values), 1, abs_tol=1e-6)
            ):
                raise InputError(
                    f"{name}: expected weights of 0 or more that sum to 1, got {dict(weights)} (sum {sum(values):g})"
                )
        if set(self.first) != set(self.last):
            raise InputError(
                f"last: expected weights for {', '.join(sorted(self.first))}, got {', '.join(sorted(self.last))}"
            )
        if not 0 <= self.begin <= self.end < math.inf:
            raise InputError(f"end: expected a step from {self.begin} (begin) on, got {self.end}")

    def __call__(self, step: int, performance: Performance = ()) -> dict[str, float]:
        if _step(step) >= self.end:
            return dict(self.last)
        share = max(0.0, (step - self.begin) / (self.end - self.begin))
        return {name: w + share * (self.last[name] - w) for name, w in self.first.items()}

    def ends(self) -> float:
        return self.end


@dataclass(frozen=True)
class Adaptive:
    """d[t+1] = Schedule(d[t], performance[t]): up a level after `patience` evaluations in a row of at least `promote`,
    down a level after as many below `demote`.

    The gap between the two thresholds is the hysteresis: an evaluation inside it moves nothing and breaks both rows, so
    that noise does not send the level back and forth. From step `deadline` on the target, the last level, is chosen whatever
    the performance: without it, a model that never gets good enough never trains on what it is tested on.
    """

    levels: tuple[Any, ...]
    promote: float
    demote: float = 0.0
    patience: int = 1
    deadline: float = math.inf

    def __post_init__(self):
        _levels(self.levels)
        whole("patience", self.patience)
        _checked("promote, demote", (self.promote, self.demote))
        if not self.demote < self.promote:
            raise InputError(f"demote: expected a threshold below promote, {self.promote}, got {self.demote}")
        if not self.deadline >= 0:
            raise InputError(f"deadline: expected a step of 0 or more, got {self.deadline}")

    def __call__(self, step: int, performance: Performance = ()) -> Any:
        _checked("performance", performance)
        if _step(step) >= self.deadline:
            return self.levels[-1]
        level, row = 0, 0
        for value in performance:
            level, row = adapt(
                level, row, value, self.promote, self.demote, self.patience, len(self.levels) - 1
            )
        return self.levels[level]

    def ends(self) -> float:
        return self.deadline


def adapt(
    level: int, row: int, performance: float, promote: float, demote: float, patience: int, top: int
) -> tuple[int, int]:
    """One step of the recursion of `Adaptive`: the next level, from 0 to `top`, and the next row.

    row: how many evaluations in a row were good (positive) or bad (negative).
    """
    if performance >= promote:
        row = max(row, 0) + 1
    elif performance < demote:
        row = min(row, 0) - 1
    else:
        row = 0
    if abs(row) < patience:
        return level, row
    return min(max(level + (1 if row > 0 else -1), 0), top), 0


@dataclass(frozen=True)
class SelfPaced:
    """The largest loss (nats per token) of an example that may be trained on: `start`, times `growth` after every `every`
    steps, until it is at least `top`, where everything is let in (and the answer is infinity).

    Kumar et al. 2010, "Self-Paced Learning for Latent Variable Models": an example counts while its loss is below 1/K, and K
    is annealed. What is easy is judged by the model in training itself.
    """

    start: float
    growth: float
    every: int
    top: float

    def __post_init__(self):
        whole("every", self.every)
        positive("start", self.start, hint="it is a loss")
        positive("top", self.top, hint="it is a loss")
        if not 1 < self.growth < math.inf:
            raise InputError(
                f"growth: expected a factor above 1, so that the schedule ends, got {self.growth}"
            )

    def __call__(self, step: int, performance: Performance = ()) -> float:
        return math.inf if _step(step) >= self.ends() else self.start * self.growth ** (step // self.every)

    def ends(self) -> float:
        rounds = math.log(self.top / self.start) / math.log(self.growth)
        return self.every * max(0, math.ceil(rounds - 1e-9))


def must_end(schedule: Schedule, steps: int) -> None:
    """Refuse a schedule that has not come to its target for good by the last of `steps`. Raises: InputError."""
    if not schedule.ends() < steps:
        when = "never ends" if schedule.ends() == math.inf else f"ends at step {schedule.ends():,.0f}"
        mend = "give it a deadline" if isinstance(schedule, Adaptive) else "make it shorter"
        raise InputError(
            f"schedule: expected one that reaches its target within {steps:,} steps, got one that {when}; {mend}"
        )


def draw_source(weights: Mapping[str, float], rng: np.random.Generator) -> str:
    """The name of one source, drawn by its weight."""
    names = list(weights)
    return names[int(rng.choice(len(names), p=[weights[name] for name in names]))]


def level_index(levels: Sequence[Any], name: Any) -> int:
    """The place of a level. Raises: InputError naming those there are."""
    return list(levels).index(one_of("level", name, levels))


def _step(step: int) -> int:
    if not 0 <= step < math.inf:
        raise InputError(f"step: expected 0 or more, got {step}")
    return step


def _levels(levels: Sequence[Any]) -> None:
    if not levels or len(set(levels)) != len(levels):
        raise InputError(f"levels: expected different levels, easiest first, at least one, got {levels!r}")


def _checked(name: str, values: Performance) -> None:
    for value in values:
        positive(name, value, zero=True, hint="did the evaluation fail?")
