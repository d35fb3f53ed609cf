"""The same short run by every parallel strategy, and alone: what tests of spreading, of the ledger and of trials share."""

from __future__ import annotations

from functools import cache

import pytest

from scalept_lab.config import ModelConfig, Parallel, TrainConfig
from scalept_lab.train.trials import Trial, trial, trial_each

STEPS = 8
# A batch of 5 divides into nothing.
ROTARY = ModelConfig(width=32, depth=4, heads=4, context=32)
STRATEGIES = {
    "ddp": {}, "zero1": {}, "zero2": {}, "fsdp": {}, "hsdp": {"shard": 2}, "tensor": {}, "sequence": {}, "fsdp_tensor": {},
    "gpipe": {"strategy": "pipeline", "schedule": "gpipe", "microbatches": 2},
    "1f1b": {"strategy": "pipeline", "schedule": "1f1b", "microbatches": 4},
    "interleaved": {"strategy": "pipeline", "schedule": "interleaved", "microbatches": 4},
}  # fmt: skip


def parallel(name: str) -> Parallel:
    return Parallel(**{"strategy": name, **STRATEGIES[name]})


def config(corpus: str, model: ModelConfig = ROTARY, batch: int = 5, **changes) -> TrainConfig:
    tokens = STEPS * batch * model.context
    return TrainConfig(model=model, corpus=corpus, batch=batch, tokens=tokens, clip=0.5, **changes)


@cache
def alone(given: TrainConfig) -> Trial:
    return trial(given, 1, STEPS)


def spread_over(ranks: int, name: str, given: TrainConfig, steps: int = STEPS) -> Trial:
    """`trial` of `given` by a strategy, or a skipped test where the ranks are too many for it."""
    if (name, ranks) == ("interleaved", 4):
        pytest.skip("8 stages of 4 blocks: refused")
    data = ("ddp", "zero1", "zero2", "fsdp", "hsdp")
    some = (
        data if name in data else tuple(other for other in STRATEGIES if other not in (*data, "interleaved"))
    )
    return _together(ranks, (name,) if name == "interleaved" else some, given, steps)[name]


@cache
def _together(ranks: int, names: tuple[str, ...], given: TrainConfig, steps: int) -> dict[str, Trial]:
    """Several strategies in one process group, one after the other: to start one takes longer than the steps."""
    return trial_each({name: given.replace(parallel=parallel(name)) for name in names}, ranks, steps, 300.0)
