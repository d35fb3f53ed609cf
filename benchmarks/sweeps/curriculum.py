"""Orders of data, sequence-length warm-up, growing models, stability at high rates, and schedules that drive a run (notebook 07).

Settings of length warm-up and of growth were chosen with the seeds 100 to 102, of which a search makes more settings; what is
compared are the seeds 0 to 4. Nothing was chosen for the orders of data and for stability.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from scalept_lab.config import Curriculum, Live, ModelConfig, TrainConfig, recommend, run_id
from scalept_lab.data import tokens
from scalept_lab.data.corpora import prepare
from scalept_lab.laws.noise import summary
from scalept_lab.model.transformer import Transformer, cross_entropy, device_of
from scalept_lab.runs import RunRecord
from scalept_lab.train import live, pacing, stepwise
from scalept_lab.train.curriculum import Adaptive, Mixture, Schedule, Stepwise
from scalept_lab.train.growth import fit_grown, grown
from scalept_lab.train.loop import evaluate, fit_model
from scalept_lab.train.outcome import outcome
from scalept_lab.train.step import to
from sweeps.jobs import Job, Rounds, fingerprint, plain, sweep
from sweeps.text import DOMAINS, domains

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


# --- short windows to the end, read both ways -------------------------------------------------------------------------


@sweep(
    "windows of 256, short first, and of 64 to the end, at equal FLOPs; the same held-out text read in windows of 256 and of 64",
    minutes=4, seeds=SEEDS, metrics=("read_256", "read_64"),
)  # fmt: skip
def windows(seeds: Sequence[int]) -> Rounds:
    jobs = []
    for seed in seeds:
        full = recommend(16, TOKENS, context=256, seed=seed)
        short = full.replace(model=full.model.replace(context=64), batch=16)
        for arm, config in (
            ("full length", full),
            ("short first", pacing.at_flops(full.replace(curriculum=CHOSEN), pacing.flops(full))),
            ("short to the end", pacing.at_flops(short, pacing.flops(full))),
        ):
            jobs.append(plain(config, read_both, experiment="windows", arm=arm))
    yield jobs


def read_both(config: TrainConfig) -> RunRecord:
    """Trained, and scored on one text that is read in windows of 256 and in windows of 64 tokens."""
    corpus = prepare(config.corpus)
    model, record = fit_model(config, corpus=corpus)
    x_WxL, y_WxL = (to(part, device_of(model)) for part in tokens.eval_windows(corpus.heldout, 256, 1024))
    reader = Transformer(config.model.replace(context=256)).to(device_of(model))
    reader.load_state_dict(model.state_dict())
    found = {}
    with torch.no_grad():
        for length in (256, 64):
            x, y = x_WxL.reshape(-1, length), y_WxL.reshape(-1, length)
            parts = [
                cross_entropy(reader(a), b).item() for a, b in zip(x.split(128), y.split(128), strict=True)
            ]
            found[f"read_{length}"] = float(np.mean(parts))
    return record.model_copy(update={"metrics": record.metrics | found})


# --- schedules that drive a run ---------------------------------------------------------------------------------------

LOOKS = Adaptive((0.25, 0.5, 0.75, 1.0), promote=0.58, demote=0.52, patience=2, deadline=700)
EVERY, NEVER = 25, 10**6  # steps between two evaluations


@sweep(
    "an adaptive share of the text, easiest first, that looks at the performance; its mean trajectory replayed; all text always",
    minutes=4, seeds=SEEDS,
)  # fmt: skip
def adaptive(seeds: Sequence[int]) -> Rounds:
    looked = yield [driven(seed, LOOKS, "adaptive") for seed in seeds]
    replay = Stepwise(LOOKS.levels, promotions(looked))
    yield [driven(seed, schedule, arm) for seed in seeds for schedule, arm in (
        (replay, "its mean trajectory, replayed"), (Stepwise((1.0,), ()), "all text throughout"))]  # fmt: skip


def promotions(looked: Sequence[RunRecord]) -> tuple[int, ...]:
    """The step from which each level but the first was reached, a mean over runs."""
    first = []
    for run in looked:
        told, steps = run.provenance["performance"], run.config["tokens"] // 256
        chosen = [LOOKS.levels.index(LOOKS(step, told[: step // EVERY])) for step in range(steps)]
        first.append([next(step for step, level in enumerate(chosen) if level >= k) for k in (1, 2, 3)])
    return tuple(round(step) for step in np.mean(first, 0))


def driven(seed: int, schedule: Schedule, arm: str) -> Job:
    """A run on levels of the Python text."""
    plan = recommend(16, TOKENS, seed=seed)
    config = plan.replace(live=Live(schedule=str(schedule), texts="levels", every=EVERY)).model_dump()
    return Job(config, partial(drive, config, plan, schedule), partial(fingerprint, "python"),
               {"experiment": "adaptive", "arm": arm})  # fmt: skip


def drive(config: dict[str, Any], plan: TrainConfig, schedule: Schedule) -> RunRecord:
    corpus = prepare("python")
    pools = live.levels(corpus, plan.model.context)
    _, record = live.fit_live(plan, schedule, pools, corpus, every=EVERY)
    return record.model_copy(update={"id": run_id(config), "config": config})


@sweep(
    "two sources: their mixture over time at equal tokens; the better one spread out, at the start, or while the rate decays; "
    "loss on held-out text of both",
    minutes=6, seeds=SEEDS, metrics=DOMAINS,
)  # fmt: skip
def moving(seeds: Sequence[int]) -> Rounds:
    """`networkx` is the source that comes early or late, or the small share of good text; L is the loss on it."""
    yield [job for seed in seeds for job in mixing(seed)]


def mixing(seed: int) -> Iterator[Job]:
    plan = recommend(16, TOKENS, seed=seed)
    steps, ends = plan.steps, round(0.2 * plan.steps)  # "wsd" decays over the last fifth
    last = steps - 1
    for arm, first, then in (
        ("constant", 0.5, 0.5),
        ("networkx early", 1.0, 0.0),
        ("networkx late", 0.0, 1.0),
    ):
        yield mixed(plan, Mixture(weights(first), weights(then), last), "mixture over time", arm)
    wsd, share = plan.replace(schedule="wsd"), ends / steps
    for arm, schedule in (
        ("spread out", Mixture(weights(share), weights(share), last)),
        ("at the end", Mixture(weights(0.0), weights(1.0), steps - ends, steps - ends - 1)),
        ("at the start", Mixture(weights(1.0), weights(0.0), ends, ends - 1)),
    ):
        yield mixed(wsd, schedule, "annealing", arm)


def weights(networkx: float) -> dict[str, float]:
    return dict(zip(DOMAINS, (networkx, 1 - networkx), strict=True))


def mixed(plan: TrainConfig, schedule: Mixture, experiment: str, arm: str) -> Job:
    config = plan.replace(
        live=Live(schedule=str(schedule), texts=" and ".join(DOMAINS), every=NEVER)
    ).model_dump()
    return Job(config, partial(mix, config, plan, schedule), partial(fingerprint, "python"),
               {"experiment": experiment, "arm": arm})  # fmt: skip


def mix(config: dict[str, Any], plan: TrainConfig, schedule: Mixture) -> RunRecord:
    train, heldout = domains()
    pools = live.sources({name: (train[name], heldout[name]) for name in DOMAINS}, plan.model.context)
    like = dataclasses.replace(prepare("python"), heldout=heldout[DOMAINS[0]])
    model, record = live.fit_live(plan, schedule, pools, like, every=NEVER)
    found: Mapping[str, float] = {
        name: evaluate(model, dataclasses.replace(like, heldout=heldout[name])) for name in DOMAINS
    }
    return record.model_copy(
        update={"id": run_id(config), "config": config, "metrics": record.metrics | found}
    )
