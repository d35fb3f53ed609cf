"""Orders of data, sequence-length warm-up, growing models, stability at high rates (notebook 07).

Settings of length warm-up and of growth were chosen with the seeds 100 to 102, of which a search makes more settings; what is
compared are the seeds 0 to 4. Nothing was chosen for the orders of data and for stability.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scalept_lab.config import Curriculum, ModelConfig, TrainConfig, recommend
from scalept_lab.laws.noise import summary
from scalept_lab.runs import RunRecord
from scalept_lab.train import pacing, stepwise
from scalept_lab.train.growth import fit_grown, grown
from scalept_lab.train.outcome import outcome
from sweeps.jobs import Job, Rounds, plain, sweep

SEEDS, SEARCH_FROM = range(5), 100
TOKENS = 250_000
CHOSEN = Curriculum(start=1 / 32, until=0.8)
LENGTHS = [Curriculum(start=start, until=until) for start in (1 / 32, 1 / 8) for until in (0.4, 0.8)]


@sweep(
    "order of the windows, at a decaying and at a constant rate; length of the windows at equal tokens and at equal FLOPs",
    minutes=7, seeds=SEEDS,
)  # fmt: skip
def curriculum(seeds: Sequence[int]) -> Rounds:
    yield [job for seed in seeds for job in orders(seed)] + [job for seed in seeds for job in lengths(seed)]


def orders(seed: int) -> Iterator[Job]:
    plans = {
        "plain: each window once": None,
        "easy first, by compression": Curriculum(order="easy", measure="compression"),
        "easy first, by rarity": Curriculum(order="easy", measure="rarity"),
        "easy first, by bigram loss": Curriculum(order="easy"),
        "hard first, by bigram loss": Curriculum(order="hard"),
        "random order, same pacing": Curriculum(order="random"),
        "all windows, drawn with repeats": Curriculum(order="random", start=1.0),
        "sorted: easiest to hardest, once": Curriculum(order="sorted"),
    }
    for arm, plan in plans.items():
        config = recommend(16, TOKENS, seed=seed, curriculum=plan)
        yield plain(config, experiment="order", arm=arm)
        if plan is None or (plan.order in ("easy", "sorted") and plan.measure == "loss"):
            constant = config.replace(schedule="constant")
            yield plain(constant, experiment="order at a constant rate", arm=arm)


def lengths(seed: int) -> Iterator[Job]:
    full = recommend(16, TOKENS, context=256, seed=seed)
    yield plain(full, experiment="length", arm="full length")
    for plan in LENGTHS if seed >= SEARCH_FROM else [CHOSEN]:
        warm = full.replace(curriculum=plan)
        name = f"from {round(256 * plan.start)} tokens, until {plan.until:.0%}"
        yield plain(warm, experiment="length", arm=f"{name}, equal tokens")
        yield plain(
            pacing.at_flops(warm, pacing.flops(full)), experiment="length", arm=f"{name}, equal FLOPs"
        )


@sweep(
    "a model grown in depth or in width against the large one from the start and the small one to the end, at equal FLOPs",
    minutes=10, seeds=SEEDS,
)  # fmt: skip
def growth(seeds: Sequence[int]) -> Rounds:
    yield [job for seed in seeds for job in growing(seed)]


def growing(seed: int) -> Iterator[Job]:
    small = recommend(16, 1e6, seed=seed)
    # name, model, FLOPs, shares of them before growing (the last was chosen), ways, FLOPs for the large model to catch up
    experiments = [
        ("deeper", small.model.replace(depth=4), 8e10, (0.15, 0.3), ("zero", "stack"), (1.25,)),
        ("wider", ModelConfig.family(32), 1.2e11, (0.3, 0.15), ("copy",), ()),
    ]
    for name, model, flops, shares, ways, catch_up in experiments:
        yield plain(grown(small, model, flops, 0.0), grow, experiment=name, arm="large from the start")
        yield plain(pacing.at_flops(small, flops), experiment=name, arm="small to the end")
        for more in catch_up:
            config = grown(small, model, more * flops, 0.0)
            yield plain(config, grow, experiment=f"{name}, more FLOPs", arm=f"{more:g} times")
        for share in shares if seed >= SEARCH_FROM else shares[-1:]:
            for how in ways:
                config = grown(small, model, flops, share, how)
                yield plain(config, grow, experiment=name, arm=f"grown after {share:.0%} ({how})")


def grow(config: TrainConfig) -> RunRecord:
    return fit_grown(config)[1]


@sweep(
    "two learning rates, with and without length warm-up; with spikes and gradient norms",
    minutes=3, seeds=SEEDS, metrics=("spikes", "largest_ratio", "norm_p99"),
)  # fmt: skip
def stability(seeds: Sequence[int]) -> Rounds:
    jobs = []
    for seed in seeds:
        for rate in (0.01, 0.08):
            full = recommend(16, TOKENS, context=256, seed=seed, lr=rate)
            for arm, config in (("full length", full), ("length warm-up", full.replace(curriculum=CHOSEN))):
                jobs.append(plain(config, watched, experiment=f"rate {rate}", arm=arm))
    yield jobs


def watched(config: TrainConfig) -> RunRecord:
    """Trained step by step, with the gradient norm of every step; its summary goes into the metrics."""
    run = stepwise.go_on(stepwise.start(config), stepwise.schedule(config), watch=True)
    record = outcome(config, run.corpus.sha256, run.watch, stepwise.score(run))
    return record.model_copy(update={"metrics": summary(run.losses, run.norms)})
