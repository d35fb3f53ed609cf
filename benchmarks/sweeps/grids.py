"""Plain runs on grids: the recipe (notebook 00), data (01), learning rate and shape (02), batch size and optimizers (03)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from scalept_lab.config import ModelConfig, recommend
from scalept_lab.study.sweep import at_flops
from sweeps.jobs import Rounds, plain, sweep

TOKENS = 2e5


@sweep("learning rate, batch, schedule and warm-up at four sizes along the compute frontier", minutes=8)
def recipe(seeds: Sequence[int]) -> Rounds:
    """The measurements behind `scalept_lab.config`: rate by batch, and the recommended recipe with one change."""
    places = [(16, 1e10), (24, 1e11), (40, 3.16e11), (40, 1e12)]  # (width, FLOPs)
    changes: list[dict] = [
        {"schedule": "cosine"},
        {"schedule": "constant"},
        {"warmup": 0.02},
        {"warmup": 0.2},
    ]
    grid = [
        at_flops(width, flops, seed=seeds[0], batch=batch, lr=rate)
        for (width, flops), batch, rate in product(places, (4, 8, 16), (0.005, 0.01, 0.02))
    ]
    others = [
        at_flops(width, flops, **{"seed": seeds[0], **change})
        for width, flops in places[:3]
        for change in [{}, *changes, *({"seed": seed} for seed in seeds[1:])]
    ]
    yield [plain(config) for config in [*grid, *others]]


@sweep("passes over 30,000 tokens against fresh text", minutes=3)
def repetition(seeds: Sequence[int]) -> Rounds:
    """Each total once from 30,000 tokens, once from fresh text. One epoch is both: it is run as repeated, too."""
    yield [
        plain(recommend(24, 30_000 * epochs, unique_tokens=unique, batch=4, seed=seed))
        for epochs, unique, seed in product((1, 2, 4, 8, 16), (30_000, None), seeds)
    ]


@sweep("learning rate × width, standard parametrization and µP", minutes=10)
def lr_transfer(seeds: Sequence[int]) -> Rounds:
    rates = (0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
    yield [
        plain(recommend(width, TOKENS, lr=rate, parametrization=how, seed=seed))
        for width, how, rate, seed in product((8, 16, 32, 64), ("mup", "standard"), rates, seeds)
    ]


@sweep("width at equal tokens, from 8 to 128", minutes=8, seeds=range(5))
def size(seeds: Sequence[int]) -> Rounds:
    """Does a law through the small sizes forecast the large ones better than the last value, or a straight line?"""
    yield [
        plain(recommend(width, 2 * TOKENS, seed=seed))
        for width, seed in product((8, 16, 24, 32, 48, 64, 96, 128), seeds)
    ]


@sweep("width against depth at equal parameters, each at four learning rates", minutes=6, seeds=range(5))
def shape(seeds: Sequence[int]) -> Rounds:
    """Each shape has 12 · depth · width² = 49,152 parameters. µP corrects the rate for width, not for depth: hence the rates."""
    models = [ModelConfig.family(width, depth=depth) for width, depth in ((64, 1), (32, 4), (16, 16))]
    yield [
        plain(recommend(model.width, TOKENS, model=model, lr=rate, seed=seed))
        for model, rate, seed in product(models, (0.0025, 0.005, 0.01, 0.02), seeds)
    ]


@sweep("batch size from 1 to 128 sequences × four learning rates each, at a constant rate", minutes=16)
def batch_size(seeds: Sequence[int]) -> Rounds:
    """Steps to a loss, by batch size and learning rate.

    The rate stays constant after a short warm-up, so that the loss along a run says when it reached a target, whatever the
    length of the run. Every run is long enough to pass the loss 2.3 at a good rate: by a first trial that takes about 3,000
    sequences and 120 steps, whichever is more. No token is seen twice.
    """
    rates = {  # four for each batch size, around the square root of the batch
        (1, 2): (0.00125, 0.0025, 0.005, 0.01),
        (4, 8): (0.0025, 0.005, 0.01, 0.02),
        (16, 32): (0.005, 0.01, 0.02, 0.04),
        (64, 128): (0.01, 0.02, 0.04, 0.08),
    }
    yield [
        plain(recommend(16, tokens, batch=batch, lr=rate, seed=seed, schedule="constant", warmup=0.02))
        for batches in rates
        for batch, rate, seed in product(batches, rates[batches], seeds)
        for tokens in [round(1.6 * 64 * (3000 + 120 * batch))]
    ]


@sweep("SGD, momentum, AdamW and Muon × learning rate; AdamW and Muon at three widths", minutes=26)
def optimizers(seeds: Sequence[int]) -> Rounds:
    """Does the best rate move with the width? More rates of AdamW are in `lr_transfer`, at the same tokens and batch."""
    muon = (0.0025, 0.005, 0.01, 0.02, 0.04)
    grid = [  # optimizer, widths, rates, seeds
        ("muon", (16, 32), muon, seeds[:2]),
        ("muon", (64,), muon, seeds[:1]),
        ("muon", (16, 32, 64), (0.005, 0.01), seeds),
        ("muon", (64,), (0.0025,), seeds),
        ("adamw", (16, 32), (0.005, 0.01, 0.02), seeds),
        ("adamw", (64,), (0.01,), seeds),
        ("momentum", (32,), (0.03, 0.1, 0.3, 1.0), seeds),
        ("sgd", (32,), (0.3, 1.0, 3.0, 10.0), seeds),
    ]
    yield [
        plain(recommend(width, TOKENS, optimizer=optimizer, lr=rate, seed=seed))
        for optimizer, widths, rates, some in grid
        for width, rate, seed in product(widths, rates, some)
    ]


@sweep("four schedules × five peak rates at equal steps", minutes=3, seeds=range(5))
def schedules(seeds: Sequence[int]) -> Rounds:
    """400 steps of 8 sequences at width 16. What a decay gains depends on the peak it falls from: hence the rates."""
    yield [
        plain(recommend(16, 400 * 8 * 64, batch=8, lr=rate, schedule=name, warmup=0.05, seed=seed))
        for name, rate, seed in product(
            ("cosine", "linear", "wsd", "constant"), (0.0025, 0.005, 0.01, 0.02, 0.04), seeds
        )
    ]


@sweep("AdamW and Muon at five rates each; AdamW on up to twice the tokens", minutes=10, seeds=range(5))
def equal_time(seeds: Sequence[int]) -> Rounds:
    """A Muon step takes longer. What would AdamW reach in the same time: on more tokens, with a schedule that ends there?"""
    tried = [
        recommend(32, TOKENS, optimizer=name, lr=rate, seed=seed)
        for name, rate, seed in product(("adamw", "muon"), (0.0025, 0.005, 0.01, 0.02, 0.04), seeds)
    ]
    longer = [
        recommend(32, times * TOKENS, batch=4, lr=rate, seed=seed)
        for times, rate, seed in product((1.5, 2), (0.005, 0.01, 0.02), seeds)
    ]
    yield [plain(config) for config in [*tried, *longer]]
