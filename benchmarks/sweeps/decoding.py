"""Heads that share keys and values against heads with their own, and against a narrower model with as small a cache (nb 11)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scalept_lab.config import ModelConfig, TrainConfig, recommend
from scalept_lab.costs import counts
from sweeps.jobs import Rounds, plain, sweep

WIDTH, TOKENS, SHARED = 32, 200_000, (2, 1)


@sweep("4, 2 or 1 heads of keys and values at equal tokens and at equal FLOPs; width 16 with its own, at both",
       minutes=4, seeds=range(5))  # fmt: skip
def grouped(seeds: Sequence[int]) -> Rounds:
    yield [plain(config, experiment="grouped", arm=arm) for seed in seeds for arm, config in arms(seed)]


def arms(seed: int) -> Iterator[tuple[str, TrainConfig]]:
    def config(model: ModelConfig, tokens: float) -> TrainConfig:
        return recommend(model.width, tokens, model=model, seed=seed)

    full = ModelConfig.family(WIDTH)
    flops = TOKENS * counts.flops_per_token(full)
    yield "4 heads", config(full, TOKENS)
    for heads in SHARED:
        shared = ModelConfig.family(WIDTH, kv_heads=heads)
        yield f"{heads} shared", config(shared, TOKENS)
        yield f"{heads} shared, equal FLOPs", config(shared, flops / counts.flops_per_token(shared))
    narrow = ModelConfig.family(WIDTH // 2)  # its cache is that of 2 shared heads
    yield "narrow", config(narrow, TOKENS)
    yield "narrow, equal FLOPs", config(narrow, flops / counts.flops_per_token(narrow))
