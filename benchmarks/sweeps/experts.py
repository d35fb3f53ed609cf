"""Mixture of experts against dense models, and three ways to keep the load even (notebook 12)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import product

import torch

from scalept_lab.config import Experts, ModelConfig, TrainConfig, recommend
from scalept_lab.data import tokens
from scalept_lab.data.corpora import prepare
from scalept_lab.model.experts import loads
from scalept_lab.runs import RunRecord
from scalept_lab.train.loop import fit_model
from scalept_lab.train.timing import in_turns, step_function
from sweeps.jobs import Rounds, plain, sweep

TOKENS = 200_000
RATES = (0.005, 0.01, 0.02)
LONGER = 1.7  # a step of "experts" takes about as many times the processor seconds of one of "equal active"
# eight experts, half as large as the dense MLP, of which a token passes two
ARMS = {
    "equal active": ModelConfig.family(32),
    "experts": ModelConfig.family(32, mlp_ratio=2, experts=Experts()),
    "equal total": ModelConfig.family(56),
}
# also of equal total; the rate of a matrix follows the width alone, which does not suit an MLP of 16 times the width
WIDE = ModelConfig.family(32, mlp_ratio=16)
BALANCE = {
    "no balance": Experts(balance="none"),
    "bias": Experts(balance="bias", strength=0.001),
    "capacity 1": Experts(capacity=1.0),
}


def timed(records: list[RunRecord]) -> list[RunRecord]:
    """Steps of all arms in turns, in seconds of the processor: what a step takes over one of the smallest dense model, median."""
    steps = {arm: step_function(recommend(32, TOKENS, model=model), "cpu") for arm, model in ARMS.items()}
    seconds = in_turns(steps, rounds=51)
    base = seconds["equal active"]
    found = {
        arm: statistics.median(a / b for a, b in zip(own, base, strict=True)) for arm, own in seconds.items()
    }
    print({arm: round(ratio, 3) for arm, ratio in found.items()})
    return [
        run.model_copy(update={"metrics": {**run.metrics, "step_ratio": found[arm]}})
        if (arm := run.provenance["arm"]) in found
        else run
        for run in records
    ]


@sweep(
    "experts against dense models at equal active and equal total parameters, each at three learning rates, and at equal "
    "seconds; with three ways to balance",
    minutes=15,
    seeds=range(5),
    metrics=("largest load", "smallest load"),
    timed=timed,
)
def experts(seeds: Sequence[int]) -> Rounds:
    """The rate of each arm is chosen by its first two seeds. Balances are compared at the rate of the experts."""
    first = [
        plain(recommend(32, TOKENS, model=model, lr=rate, seed=seed), with_loads, experiment="rates", arm=arm)
        for (arm, model), rate, seed in product({"wide MLP": WIDE, **ARMS}.items(), RATES, seeds[:2])
    ]
    records = yield first
    best = {
        arm: min(RATES, key=lambda rate, arm=arm: sum(
            run.L or 99 for run in records if (run.provenance["arm"], run.config["lr"]) == (arm, rate)))
        for arm in ARMS
    }  # fmt: skip
    models = ARMS | {arm: ARMS["experts"].replace(experts=how.model_dump()) for arm, how in BALANCE.items()}
    second = [
        plain(
            recommend(32, TOKENS, model=model, lr=best.get(arm, best["experts"]), seed=seed),
            with_loads,
            experiment="arms",
            arm=arm,
        )
        for (arm, model), seed in product(models.items(), seeds)
    ]
    second += [
        plain(
            recommend(
                32, LONGER * TOKENS, model=ARMS["equal active"], lr=best["equal active"], batch=4, seed=seed
            ),
            with_loads,
            experiment="arms",
            arm="equal seconds",
        )
        for seed in seeds
    ]
    kept = {job.id for job in second}
    yield [job for job in first if job.id not in kept] + second


def with_loads(config: TrainConfig) -> RunRecord:
    """Train it, and say of a mixture how much of the held-out text its busiest and its idlest expert get, over the mean."""
    model, record = fit_model(config)
    if config.model.experts is None:
        return record
    x, _ = tokens.eval_windows(prepare(config.corpus).heldout, config.model.context, config.eval_windows)
    load = loads(model, torch.from_numpy(x))
    largest, smallest = load.amax(1).mean(), load.amin(1).mean()  # of each layer, their mean over layers
    return record.model_copy(
        update={
            "metrics": {**record.metrics, "largest load": float(largest), "smallest load": float(smallest)}
        }
    )
