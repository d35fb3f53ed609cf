"""The same short run by every parallel strategy, and alone: what tests of spreading, of the ledger and of trials share."""

from __future__ import annotations

from functools import cache

from scalept_lab.config import ModelConfig, Parallel, TrainConfig
from scalept_lab.train.trials import Trial, trial

STEPS = 8
# A batch of 5 divides into nothing.
ROTARY = ModelConfig(width=32, depth=4, heads=4, context=32)
STRATEGIES = {
    "ddp": {}, "zero1": {}, "zero2": {}, "fsdp": {}, "tensor": {}, "sequence": {}, "fsdp_tensor": {},
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
