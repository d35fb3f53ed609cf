"""Plain data parallel training, larger batches, local SGD and DiLoCo, each with its own rates (notebook 06)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter

from scalept_lab.config import Delayed, TrainConfig, recommend
from scalept_lab.runs import RunRecord
from scalept_lab.train.delayed import fit_delayed
from sweeps.jobs import Job, Rounds, plain, sweep

WIDTH, TOKENS, WORKERS, BATCH = 32, 2**18, 4, 16
EVERY = (4, 16, 64)  # H; with DDP, the same bytes are a batch 4, 16 or 64 times as large
RATES = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
# rate and momentum of DiLoCo; the first is the paper's
OUTER = ((0.7, 0.9), (0.3, 0.9), (0.7, 0.5), (1.0, 0.3))
SHARED = 0.08  # the rate of the trap
TUNING = 7  # the seed that rates are chosen with


@sweep(
    "data parallel training with three batches, local SGD and DiLoCo at H = 4, 16, 64 × learning rates (and outer settings): "
    "one seed to choose, six to compare", minutes=35, seeds=range(6), metrics=("bytes_per_parameter",),
)  # fmt: skip
def delayed(seeds: Sequence[int]) -> Rounds:
    """Four workers in one process (`scalept_lab.train.delayed` says why that is the same).

    What is compared are other seeds than those of the choice: of the chosen rates, and of one rate that all methods share.
    """
    tried = methods()
    records = iter((yield [job(*setting, TUNING) for settings in tried.values() for setting in settings]))
    chosen = []
    for name, settings in tried.items():
        losses = [next(records).L or math.inf for _ in settings]
        loss, (batch, plan, rate) = min(zip(losses, settings, strict=True), key=itemgetter(0))
        print(f"{name}: rate {rate}, outer {plan.outer_lr} {plan.outer_momentum}, loss {loss:.3f}")
        chosen += [job(batch, plan, rate, seed) for seed in seeds]
        if batch == BATCH and plan.method != "diloco":
            chosen += [job(batch, plan, SHARED, seed) for seed in seeds]
    yield chosen


def methods() -> dict[str, list[tuple[int, Delayed, float]]]:
    """Name -> the settings tried for it: batch, plan and learning rate."""
    found: dict[str, list[tuple[int, Delayed, float]]] = {}
    for batch in (BATCH, *(BATCH * h for h in EVERY[:2])):
        found[f"gradients {batch}"] = [(batch, Delayed(workers=WORKERS), rate) for rate in RATES]
    for h in EVERY:
        local = Delayed(method="local", workers=WORKERS, every=h)
        found[f"local {h}"] = [(BATCH, local, rate) for rate in RATES]
        outer = [
            local.replace(method="diloco", outer_lr=lr, outer_momentum=momentum) for lr, momentum in OUTER
        ]
        # without the highest rate: an outer momentum multiplies what the workers move
        found[f"diloco {h}"] = [(BATCH, plan, rate) for plan in outer for rate in RATES[:-1]]
    return found


def job(batch: int, plan: Delayed, rate: float, seed: int) -> Job:
    return plain(recommend(WIDTH, TOKENS, batch=batch, lr=rate, seed=seed, delayed=plan), fit)


def fit(config: TrainConfig) -> RunRecord:
    assert config.delayed is not None
    return fit_delayed(config, config.delayed)[1]
