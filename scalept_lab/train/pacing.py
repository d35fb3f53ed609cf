"""What a run reads at each step: the plain stream of batches, or one that its curriculum chooses.

The schedules are those of `curriculum`; here they meet the windows of a corpus. A batch depends on the step and the seed
alone, so a paced run is stopped and resumed like any other.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator

import numpy as np

from scalept_lab.checks import positive
from scalept_lab.config import TrainConfig
from scalept_lab.costs import counts
from scalept_lab.data import difficulty, tokens
from scalept_lab.errors import InputError
from scalept_lab.train import curriculum

Batches = Iterator[tuple[np.ndarray, np.ndarray]]
SHORTEST = 8  # tokens


def schedule(config: TrainConfig) -> curriculum.Schedule:
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


def check(config: TrainConfig, train: np.ndarray) -> None:
    """Whether the data give a batch to every step of a run, asked before anything is built. Raises: InputError if not."""
    if config.curriculum is None or config.curriculum.order == "length":
        _plain(config, train)
    else:
        _windows(config, train)
    if config.curriculum is not None:
        schedule(config)


def stream(config: TrainConfig, train: np.ndarray, start: int = 0, steps: int | None = None) -> Batches:
    """The batches (x_BxL, y_BxL) of a run, int64, from step `start` on, `steps` in all (by default those of the run).

    "length": the plain stream, each batch cut into shorter windows: the same tokens in the same steps.
    "easy", "hard", "random": drawn at random from the first share of the run's windows, ordered by the measure upwards,
    downwards, or shuffled; the share follows the schedule. "sorted": each window once, easiest first.
    Raises: InputError as `check` does, before the first batch.
    """
    check(config, train)
    plan, steps = config.curriculum, steps or config.steps
    if plan is None or plan.order == "length":
        plain = _plain(config, train, start, steps)
        return plain if plan is None else _cut(plain, config, start)
    return _paced(config, train, range(start, steps))


def _plain(config: TrainConfig, train: np.ndarray, start: int = 0, steps: int | None = None) -> Batches:
    return tokens.batches(
        train, batch=config.batch, context=config.model.context, steps=steps or config.steps, seed=config.seed,
        unique_tokens=config.unique_tokens, start=start,
    )  # fmt: skip


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
                raise InputError(
                    f"steps: expected at most {config.steps}, as sorted data are read once; take another order"
                )
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
    windows, wanted = tokens.window_count(train, length), _windows(config, train)
    chosen = np.random.default_rng([config.seed, 0]).permutation(windows)[:wanted]
    if plan.order == "random":
        return chosen
    text = np.asarray(train)
    pieces = [text[row * length : (row + 1) * length] for row in chosen]
    ranked = np.argsort(difficulty.scores(plan.measure, pieces, train), kind="stable")
    return chosen[ranked[::-1] if plan.order == "hard" else ranked]


def _windows(config: TrainConfig, train: np.ndarray) -> int:
    """How many windows the curriculum of a run orders."""
    plan, length = config.curriculum, config.model.context
    assert plan is not None
    all_steps = wanted = config.steps * config.batch
    if config.unique_tokens is not None:
        wanted = min(wanted, -(-config.unique_tokens // length))
    if wanted > (windows := tokens.window_count(train, length)):
        raise InputError(
            f"tokens: expected at most {windows * length:,} with a curriculum, got {wanted * length:,}; "
            "train on fewer, or take a larger corpus"
        )
    if plan.order == "sorted" and wanted < all_steps:
        raise InputError(
            f"unique_tokens: expected at least {all_steps * length:,}, as sorted data are read once, "
            f"got {config.unique_tokens:,}; leave it out, or take another order"
        )
    return wanted


def flops(config: TrainConfig, steps: int | None = None) -> float:
    """Training FLOPs of the first `steps` of a run (by default all): short windows have less attention to pay for."""
    steps = config.steps if steps is None else steps
    shape = counts.shape(config.model)
    if config.curriculum is None or config.curriculum.order != "length":
        return shape.flops_per_token() * steps * config.tokens_per_step
    lengths, total, step = schedule(config), 0.0, 0
    while step < steps:  # a stretch of one length after the other
        length = int(lengths(step))
        end = bisect.bisect_right(range(steps), length, lo=step, key=lengths)
        total += shape.flops_per_token(context=length) * (end - step) * config.tokens_per_step
        step = end
    return total


def at_flops(config: TrainConfig, budget: float) -> TrainConfig:
    """The run like `config` that costs `budget` FLOPs, to within one step.

    The schedule stretches with the run, so that a token's cost depends on how many there are. Yet each further step makes
    the whole run dearer: it moves the end of each length by one step at most. So the number of steps is found by halving.
    Raises: InputError if the budget does not pay for one step, or as `schedule` does.
    """
    budget = positive("flops", budget)
    shape, step = counts.shape(config.model), config.tokens_per_step

    def longer(steps: int) -> TrainConfig:
        return config.replace(tokens=steps * step)

    def cost(steps: int) -> float:
        return flops(longer(steps))

    if round(budget / cost(1) * step) < step:
        raise InputError(
            f"flops: expected at least {cost(1):.3g}, the cost of one step, got {budget:.3g}; ask for more"
        )
    if config.curriculum is None or config.curriculum.order != "length":
        return config.replace(tokens=round(budget / shape.flops_per_token()))
    shortest = shape.flops_per_token(context=schedule(config)(0)) * step
    steps = bisect.bisect_left(range(math.ceil(budget / shortest) + 1), budget, lo=1, key=cost)
    return min(longer(max(steps - 1, 1)), longer(steps), key=lambda run: abs(flops(run) - budget))
