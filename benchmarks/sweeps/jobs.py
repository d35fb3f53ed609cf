"""What a sweep gives to `record.py`: rounds of jobs, a job being the config of a run and the function that makes its record."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from scalept_lab.config import TrainConfig, run_id
from scalept_lab.data.corpora import prepare
from scalept_lab.runs import RunRecord
from scalept_lab.train.loop import train

Rounds = Generator["list[Job]", list[RunRecord], None]
"""Yields jobs and is sent their records, once or more often: later jobs may be chosen by earlier results."""


@dataclass(frozen=True)
class Job:
    """`config`: the whole config, whose hash names the run. `make` gives its record, in another process.

    `ready` is called before, here: it builds what `make` needs and returns the fingerprint of the text ("" if there is none).
    `label`: the experiment and the arm that a run belongs to.
    """

    config: Mapping[str, Any]
    make: Callable[[], RunRecord]
    ready: Callable[[], str]
    label: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return run_id(self.config)


@dataclass(frozen=True)
class Sweep:
    """`varied` in a line; `minutes` that it takes on two cores, about; `metrics` to show beside the loss.

    `alone`: one run at a time. `timed` adds to all records what was measured afterwards, when they are written.
    """

    varied: str
    minutes: int
    rounds: Callable[[Sequence[int]], Rounds]
    seeds: Sequence[int] = (0, 1, 2)
    metrics: tuple[str, ...] = ()
    alone: bool = False
    timed: Callable[[list[RunRecord]], list[RunRecord]] | None = None


SWEEPS: dict[str, Sweep] = {}


def sweep(varied: str, minutes: int, **more: Any) -> Callable:
    """Makes a function from seeds to rounds a sweep, under its own name."""

    def enter(rounds: Callable[[Sequence[int]], Rounds]) -> Callable[[Sequence[int]], Rounds]:
        SWEEPS[rounds.__name__] = Sweep(varied, minutes, rounds, **more)
        return rounds

    return enter


def plain(config: TrainConfig, make: Callable[[TrainConfig], RunRecord] = train, **label: str) -> Job:
    """A run that its `TrainConfig` says all of."""
    return Job(config.model_dump(), partial(make, config), partial(fingerprint, config.corpus), label)


def fingerprint(corpus: str) -> str:
    return prepare(corpus).sha256
