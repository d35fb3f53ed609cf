"""What a run reads at each step: the plain stream of batches, or one that its curriculum chooses.

The schedules are those of `curriculum`; here they meet the windows of a corpus. A batch depends on the step and the seed
alone, so a paced run is stopped and resumed like any other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from scalept_lab import costs, curriculum, difficulty, tokens
from scalept_lab.config import TrainConfig
from scalept_lab.errors import InputError

Batches = Iterator[tuple[np.ndarray, np.ndarray]]
SHORTEST = 8  # tokens


def schedule(config: TrainConfig) -> curriculum.Competence | curriculum.LengthWarmup:
    """The schedule that the curriculum of a run describes. Raises: InputError if it has none, or it does not end in time."""
    plan = config.curriculum
    if plan is None:
        raise InputError("curriculum: expected a config with one, got None")
    steps = max(1, round(plan.until * config.steps))
    if plan.order != "length":
        return curriculum.Competence(steps, plan.start, plan.power)
    full = config.model.context
    start = max(SHORTEST, round(plan.start * full))
    if full % start or (full // start).bit_count() != 1:
        raise InputError(
            f"start: expected context over a power of two, {SHORTEST} tokens or more, got {start} of {full}"
        )
    return curriculum.LengthWarmup(start, full, steps, multiple=SHORTEST, doubling=True)


def stream(config: TrainConfig, train: np.ndarray, start: int = 0, steps: int | None = None) -> Batches:
    """The batches (x_BxL, y_BxL) of a run, int64, from step `start` on, `steps` in all (by default those of the run).

    "length": the plain stream, each batch cut into shorter windows: the same tokens in the same steps.
    "easy", "hard", "random": drawn at random from the first share of the run's windows, ordered by the measure upwards,
    downwards, or shuffled; the share follows the schedule. "sorted": each window once, easiest first.
    Raises: InputError as `tokens.batches` does.
    """
    plan, length, steps = config.curriculum, config.model.context, steps or config.steps
    if plan is None or plan.order == "length":
        plain = tokens.batches(
            train, batch=config.batch, context=length, steps=steps, seed=config.seed,
            unique_tokens=config.unique_tokens, start=start,
        )  # fmt: skip
        return plain if plan is None else _cut(plain, config, start)
    return _paced(config, train, range(start, steps))


def _cut(plain: Batches, config: TrainConfig, start: int) -> Batches:
    lengths = schedule(config)
    for step, (x_BxL, y_BxL) in enumerate(plain, start):
        length = int(lengths(step))
        yield x_BxL.reshape(-1, length), y_BxL.reshape(-1, length)


def _paced(config: TrainConfig, train: np.ndarray, steps: range) -> Batches:
    plan, length = config.curriculum, config.model.context
    assert plan is not None
    ordered = order(config, train)
    share = schedule(config)
    for step in steps:
        if plan.order == "sorted":
            rows = ordered[step * config.batch : (step + 1) * config.batch]
            if not len(rows):
                return
        else:
            open_ = max(config.batch, math.ceil(share(step) * len(ordered)))
            rows = np.random.default_rng([config.seed, step]).choice(ordered[:open_], config.batch)
        index = rows[:, None] * length + np.arange(length + 1)
        both = np.asarray(train)[index].astype(np.int64)
        yield both[:, :-1], both[:, 1:]


def order(config: TrainConfig, train: np.ndarray) -> np.ndarray:
    """The numbers of the windows of a run in the order of its curriculum: those that plain training would read."""
    plan, length = config.curriculum, config.model.context
    assert plan is not None
    windows = tokens.window_count(train, length)
    wanted = config.steps * config.batch
    if config.unique_tokens is not None:
        wanted = min(wanted, -(-config.unique_tokens // length))
    if wanted > windows:
        raise InputError(
            f"tokens: expected at most {windows * length:,} with a curriculum, got {wanted * length:,}"
        )
    chosen = np.random.default_rng([config.seed, 0]).permutation(windows)[:wanted]
    if plan.order == "random":
        return chosen
    text = np.asarray(train)
    pieces = [text[row * length : (row + 1) * length] for row in chosen]
    ranked = np.argsort(difficulty.scores(plan.measure, pieces, train), kind="stable")
    return chosen[ranked[::-1] if plan.order == "hard" else ranked]


def flops(config: TrainConfig, steps: int | None = None) -> float:
    """Training FLOPs of the first `steps` of a run (by default all): short windows have less attention to pay for."""
    steps = config.steps if steps is None else steps
    shape = costs.shape(config.model)
    if config.curriculum is None or config.curriculum.order != "length":
        return shape.flops_per_token() * steps * config.tokens_per_step
    lengths = schedule(config)
    runs = itertools.groupby(lengths(step) for step in range(steps))
    return sum(
        shape.flops_per_token(context=int(at)) * len(list(same)) * config.tokens_per_step for at, same in runs
    )


def at_flops(config: TrainConfig, budget: float) -> TrainConfig:
    """The run with as many tokens as cost `budget` FLOPs under its curriculum, to within about a step."""
    # what a token costs depends a little on how many there are: the schedule stretches with the run
    for _ in range(4):
        config = config.replace(tokens=round(config.tokens * budget / flops(config)))
    return config
