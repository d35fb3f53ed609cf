"""Training that a schedule drives: d[t+1] = Schedule(d[t], Performance[t]), the performance measured as the run goes.

A run chooses among *pools*: windows of one kind (a level of difficulty, a source), some to train on, some held out. What a
schedule of `curriculum` chooses says what a step draws:

    "easy"                       the pool of this name
    {"code": 0.3, "prose": 0.7}  each window from the pool that these weights draw
    0.25                         the first quarter of all windows, the pools in their order: easiest first
    64                           windows of all pools, cut into pieces of 64 tokens

A choice follows from the step and the evaluations before it, and a draw from the seed, the step and the choice. So a record
keeps the evaluations, `trajectory` finds all the rest again, and a killed run goes on where it was.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from scalept_lab.checks import shown, whole
from scalept_lab.config import Live, TrainConfig
from scalept_lab.costs import counts
from scalept_lab.data import difficulty, tokens
from scalept_lab.data.corpora import Prepared
from scalept_lab.errors import InputError
from scalept_lab.model.optim import learning_rate, set_rate
from scalept_lab.model.transformer import Transformer, device_of
from scalept_lab.parallel import spread
from scalept_lab.runs import RunRecord
from scalept_lab.train import curriculum, placement, stepwise
from scalept_lab.train.loop import Keep, check, evaluate
from scalept_lab.train.outcome import Watch, outcome
from scalept_lab.train.pacing import SHORTEST
from scalept_lab.train.step import set_up, to
from scalept_lab.train.stepwise import Run

Scheduler = Callable[[int, Sequence[float]], Any]  # a schedule of `curriculum`, or any function like one
MOST = 20_000  # windows that `levels` orders


@dataclass(frozen=True)
class Pool:
    """Windows of one kind, to draw from and to evaluate on: arrays (windows, context + 1) of tokens."""

    train: np.ndarray
    heldout: np.ndarray


Pools = Mapping[str, Pool]


def windows(stream: np.ndarray, context: int, most: int | None = None) -> np.ndarray:
    """A token stream as disjoint windows (windows, context + 1), each with the token after it; or `most`, evenly spaced.

    Raises: InputError for a stream that is too short for one.
    """
    x, y = tokens.eval_windows(stream, context, most or max(1, tokens.window_count(stream, context)))
    return np.concatenate([x, y[:, -1:]], 1).astype(stream.dtype)


def levels(corpus: Prepared, context: int, number: int = 4, measure: str = "loss") -> dict[str, Pool]:
    """Pools of equal size by difficulty, easiest first: "level 1" to "level <number>". Held-out windows go by the same bounds.

    Raises: InputError for an unknown measure, a text too short for a window, or a level without a window.
    """
    number = whole("number", number)
    train, heldout = (windows(stream, context, MOST) for stream in (corpus.train, corpus.heldout))
    hard, tested = (difficulty.scores(measure, list(part), corpus.train) for part in (train, heldout))
    train, heldout = train[np.argsort(hard, kind="stable")], heldout[np.argsort(tested, kind="stable")]
    bounds = np.sort(hard)[[len(hard) * k // number for k in range(1, number)]]
    ends = [0, *np.searchsorted(np.sort(tested), bounds), len(tested)]
    pools = {}
    for k in range(number):
        part = train[len(train) * k // number : len(train) * (k + 1) // number]
        pools[f"level {k + 1}"] = Pool(part, heldout[ends[k] : ends[k + 1]])
    _checked(pools, context)
    return pools


def sources(texts: Mapping[str, tuple[np.ndarray, np.ndarray]], context: int) -> dict[str, Pool]:
    """A pool for each source: name -> (training stream, held-out stream). Raises: InputError for a text without a window."""
    return {name: Pool(*(windows(stream, context) for stream in both)) for name, both in texts.items()}


def planned(
    config: TrainConfig, schedule: Scheduler, pools: Pools, every: int = 50, judged: int = 64
) -> TrainConfig:
    """The config of the run that `fit_live` trains, which names it. A schedule that is a function is named by it alone.

    Raises: InputError for a schedule that asks for what the pools do not hold, or never comes to its target.
    """
    _checked(pools, config.model.context)
    for choice in _foreseen(schedule):
        mixture(choice, pools, config.model.context)
    if hasattr(schedule, "ends"):
        curriculum.must_end(schedule, config.steps)  # type: ignore[arg-type]
    name = (
        _repr(schedule) if is_dataclass(schedule) else getattr(schedule, "__name__", type(schedule).__name__)
    )
    live = Live(
        schedule=name, texts=_fingerprint(pools), every=whole("every", every), judged=whole("judged", judged)
    )
    planned: TrainConfig = config.replace(live=live)
    return planned


def fit_live(
    config: TrainConfig, schedule: Scheduler, pools: Pools, corpus: Prepared, *, every: int = 50, judged: int = 64,
    keep: Keep | None = None, progress: Callable[[int], None] | None = None,
) -> tuple[Transformer, RunRecord]:  # fmt: skip
    """Train on what `schedule` chooses, and show it after every `every` steps how the model does on what it chose last.

    judged: held-out windows of an evaluation. `corpus`: whose held-out text scores the run at the end. `keep` as in `train`; it
    needs a schedule of `curriculum`, since a function does not say in its name what it does. The evaluations stand in
    the record's provenance, as `performance`.
    Raises: InputError as `planned` and `train` do, and for a choice that cannot be drawn, with its step.
    """
    check(config)
    if spread.world() > 1:
        raise InputError(f"live: expected one process, got {spread.world()}; start it without torchrun")
    if keep and not is_dataclass(schedule):
        raise InputError(
            "keep: expected a schedule of train.curriculum, whose fields name the run, got a function; leave keep out"
        )
    config = planned(config, schedule, pools, every, judged)
    device, context = placement.device_for(config), config.model.context
    run, watch = set_up(config, device), Watch.of(config)
    model = run.whole()
    if keep:
        keep.resume(config, corpus, model, run.optimizer, watch)
    told = watch.performance
    watch.start()
    for step in range(watch.step, config.steps):
        if len(told) < step // every:
            last = choose(schedule, step - 1, told, pools, context)
            told.append(round(performance(model, last, pools, judged), 6))
        choice = choose(schedule, step, told, pools, context)
        (x_BxL, y_BxL), _ = draw(choice, pools, config, step)
        set_rate(run.optimizer, learning_rate(step, config))
        loss = run.step(to(x_BxL, device), to(y_BxL, device))
        if watch.note(loss):
            if watch.diverged:
                break
            if progress:
                progress(watch.step)
            if keep:
                keep.save_if_due(config, corpus, model, run.optimizer, watch)
    if keep:
        keep.finish()
    watch.stop()
    done = trajectory(config, schedule, pools, told, watch.step)
    if not is_dataclass(schedule):  # what a function did is what makes it the run it is
        digest = hashlib.sha256(repr(done.choices).encode()).hexdigest()[:16]
        config = config.replace(live=config.live.replace(schedule=f"{config.live.schedule} {digest}"))  # type: ignore[union-attr]
    heldout = math.nan if watch.diverged else evaluate(model, corpus, config.eval_windows)
    record = outcome(
        config, corpus.sha256, watch, heldout, device=device, C=done.flops, performance=list(told)
    )
    return model, record


def go_on(run: Run, choice: Any, pools: Pools, steps: int) -> Run:
    """Train a run that one steps by hand for `steps` more, on what `choice` draws, at the rates of its config. Returns `run`.

    Raises: InputError for a choice that cannot be drawn.
    """
    mixture(choice, pools, run.config.model.context)
    ahead = range(run.step, min(run.step + whole("steps", steps, 0), run.config.steps))
    batches = (draw(choice, pools, run.config, step)[0] for step in ahead)
    return stepwise.go_on(run, [learning_rate(step, run.config) for step in ahead], batches=batches)


# --- what a choice means ----------------------------------------------------------------------------------------------


def choose(schedule: Scheduler, step: int, told: Sequence[float], pools: Pools, context: int) -> Any:
    """What the schedule chooses at a step. Raises: InputError, with the step, for what cannot be drawn."""
    choice = schedule(step, list(told))
    try:
        mixture(choice, pools, context)
    except InputError as error:
        raise InputError(f"schedule, step {step:,}: {error}") from None
    return choice


def mixture(choice: Any, pools: Pools, context: int) -> tuple[np.ndarray, float, int]:
    """A choice as (weight of each pool, share of all windows that is open, length of a window).

    Raises: InputError for an unknown pool, weights that are none, a share outside (0, 1], or a length that does not divide the
    context.
    """
    even = np.array([len(pool.train) for pool in pools.values()], float)
    even /= even.sum()
    if isinstance(choice, str):
        choice = {choice: 1.0}
    if isinstance(choice, Mapping):
        if unknown := sorted(set(choice) - set(pools)):
            raise InputError(
                f"choice: expected among {', '.join(pools)}, got {shown(unknown[0])}; name a pool that is there"
            )
        weights = np.array([choice.get(name, 0.0) for name in pools], float)
        if not ((weights >= 0).all() and math.isclose(weights.sum(), 1, abs_tol=1e-6)):
            raise InputError(
                f"choice: expected weights of 0 or more that sum to 1, got {shown(dict(choice))}"
            )
        return weights / weights.sum(), 1.0, context
    if isinstance(choice, Integral) and not isinstance(choice, bool):
        choice = int(choice)
        if not SHORTEST <= choice <= context or context % choice:
            raise InputError(
                f"choice: expected a length that divides the context, {SHORTEST} to {context} tokens, got {choice}; "
                "a share of the windows has a decimal point, as in 1.0"
            )
        return even, 1.0, choice
    if isinstance(choice, Real) and not isinstance(choice, bool) and 0 < float(choice) <= 1:
        return even, float(choice), context
    raise InputError(
        f"choice: expected a pool, weights, a share of the windows above 0 and up to 1.0, or a length, got {shown(choice)}"
    )


def draw(
    choice: Any, pools: Pools, config: TrainConfig, step: int
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """The batch (x_BxL, y_BxL) of a step, int64, and how many of its windows come from each pool.

    Raises: InputError as `mixture` does.
    """
    weights, share, length = mixture(choice, pools, config.model.context)
    rng = np.random.default_rng([config.seed, step])
    if share < 1:
        weights, stops = _open([len(pool.train) for pool in pools.values()], share)
    else:
        stops = np.array([len(pool.train) for pool in pools.values()])
    which = rng.choice(len(weights), config.batch, p=weights)
    rows = (rng.random(config.batch) * stops[which]).astype(int)
    stacks = [pool.train for pool in pools.values()]
    both = np.stack([stacks[k][row] for k, row in zip(which, rows, strict=True)]).astype(np.int64)
    cut = both[:, :-1].reshape(-1, length), both[:, 1:].reshape(-1, length)
    return cut, np.bincount(which, minlength=len(weights))


@torch.no_grad()
def performance(model: Transformer, choice: Any, pools: Pools, judged: int = 64) -> float:
    """How good the model is at what was chosen: the share of the way from a uniform guess to certainty, 1 − L/ln V, on held-out
    windows, evenly spaced in each pool; 0 for a model that knows less than nothing.

    Raises: InputError as `mixture` does.
    """
    weights, share, length = mixture(choice, pools, model.config.context)
    sizes = [len(pool.heldout) for pool in pools.values()]
    weights, stops = _open(sizes, share) if share < 1 else (weights, np.array(sizes))
    parts, counts_ = [], []
    for pool, weight, stop in zip(pools.values(), weights, stops, strict=True):
        n = min(int(stop), max(1, round(weight * judged))) if weight > 0 else 0
        parts.append(pool.heldout[np.linspace(0, stop - 1, n).round().astype(int)] if n else pool.heldout[:0])
        counts_.append(n)
    both = np.concatenate(parts).astype(np.int64)
    x, y = (
        to(np.ascontiguousarray(part).reshape(-1, length), device_of(model))
        for part in (both[:, :-1], both[:, 1:])
    )
    loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="none").view(len(both), -1).mean(1)
    each = torch.tensor(
        np.repeat(weights / np.maximum(counts_, 1), counts_), dtype=loss.dtype, device=loss.device
    )
    return max(0.0, 1 - float((loss * each).sum() / each.sum()) / math.log(model.config.vocab_size))


# --- what a run did ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trajectory:
    """What each step chose and drew. `drawn` (steps, pools) counts windows; `performance` was measured after every `every` steps;
    `flops` are those of the training, the evaluations not counted."""

    names: tuple[str, ...]
    every: int
    choices: list[Any]
    drawn: np.ndarray
    performance: list[float]
    flops: float


def trajectory(
    config: TrainConfig, schedule: Scheduler, pools: Pools, told: Sequence[float], steps: int | None = None
) -> Trajectory:
    """The run of a planned config once more, without a model: `told` are its evaluations, which its record keeps.

    Raises: InputError for a config without `live`, other pools than the run's, or as `choose` does.
    """
    if config.live is None:
        raise InputError("config: expected one of live.planned, got one without a live schedule")
    if config.live.texts != _fingerprint(pools):
        raise InputError("pools: expected those of the run, got others; make them as they were made then")
    every, shape = config.live.every, counts.shape(config.model)
    choices, drawn, flops = [], [], 0.0
    for step in range(config.steps if steps is None else steps):
        choice = choose(schedule, step, told[: step // every], pools, config.model.context)
        choices.append(choice)
        (x, _), counted = draw(choice, pools, config, step)
        drawn.append(counted)
        flops += shape.flops_per_token(context=x.shape[1]) * x.size
    return Trajectory(tuple(pools), every, choices, np.array(drawn), list(told), flops)


# --- small helpers ----------------------------------------------------------------------------------------------------


def _open(sizes: Sequence[int], share: float) -> tuple[np.ndarray, np.ndarray]:
    """Of pools in their order, the first `share` of all windows: the weight of each, and how many of its windows are open."""
    ends = np.cumsum(sizes)
    stops = np.clip(math.ceil(share * ends[-1]) - (ends - sizes), 0, sizes)
    return stops / stops.sum(), stops


def _checked(pools: Pools, context: int) -> None:
    if not pools:
        raise InputError("pools: expected at least one, got none")
    for name, pool in pools.items():
        for side, rows in (("train", pool.train), ("heldout", pool.heldout)):
            if rows.ndim != 2 or not len(rows) or rows.shape[1] != context + 1:
                raise InputError(
                    f"pools: expected windows of {context} + 1 tokens in {name} ({side}), got an array {rows.shape}; "
                    "cut it with live.windows"
                )


def _foreseen(schedule: Scheduler) -> list[Any]:
    """All that a schedule of `curriculum` may choose, as far as its fields say; of a function, what it chooses first."""
    return [*getattr(schedule, "levels", ()), schedule(0, [])]


def _repr(schedule: Any) -> str:
    values = ", ".join(f"{f.name}={getattr(schedule, f.name)!r}" for f in fields(schedule))
    return f"{type(schedule).__name__}({values})"


def _fingerprint(pools: Pools) -> str:
    digest = hashlib.sha256()
    for name, pool in pools.items():
        for rows in (pool.train, pool.heldout):
            digest.update(f"{name}\0{rows.shape}\0".encode())
            digest.update(np.ascontiguousarray(rows).tobytes())
    return digest.hexdigest()[:16]
