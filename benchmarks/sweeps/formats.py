"""What the matrix products of a training step read (notebook 04): fp32, FP8, MXFP8, MXFP4, NVFP4, and what mends four bits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import torch

from scalept_lab import machine
from scalept_lab.config import TrainConfig, recommend, run_id
from scalept_lab.data import tokens
from scalept_lab.data.corpora import prepare
from scalept_lab.model.blocks import Recipe, emulate
from scalept_lab.model.optim import learning_rate, make_optimizer, set_rate
from scalept_lab.model.transformer import Transformer
from scalept_lab.runs import RunRecord
from scalept_lab.train.loop import evaluate
from scalept_lab.train.outcome import Watch, outcome
from scalept_lab.train.step import train_step
from sweeps.jobs import Job, Rounds, fingerprint, sweep

TOKENS, WIDTH = 64_000, 64
ARMS: tuple[dict[str, Any], ...] = (
    {"format": "fp32"},
    *({"format": name} for name in ("fp8_bare", "fp8", "fp8_tiles", "mxfp8", "mxfp4", "nvfp4")),
    *({"format": name, "stochastic": True} for name in ("mxfp4", "nvfp4")),
    {"format": "nvfp4", "stochastic": True, "hadamard": True},
    *({"format": name, "head": True} for name in ("mxfp4", "nvfp4")),
    *({"format": name, "stochastic": True, "head": True} for name in ("mxfp4", "mxfp4_up", "nvfp4")),
)


@sweep(
    "what matrix products read: fp32, FP8, MXFP8, MXFP4, NVFP4, rounded to nearest and by chance; and what mends four bits",
    minutes=25, seeds=(2, 3, 4), metrics=("L_fp32",),
)  # fmt: skip
def formats(seeds: Sequence[int]) -> Rounds:
    jobs = []
    for seed, arm in product(seeds, ARMS):
        config = recommend(WIDTH, TOKENS, seed=seed)
        jobs.append(
            Job(named(config, arm), partial(with_products, config, arm), partial(fingerprint, config.corpus))
        )
    yield jobs


def named(config: TrainConfig, arm: dict[str, Any]) -> dict[str, Any]:
    recipe = {"stochastic": False, "hadamard": False, "keep": 0, **arm}
    return {**config.model_dump(), "products": recipe}


def with_products(config: TrainConfig, arm: dict[str, Any]) -> RunRecord:
    """Train with the products of the blocks emulated (with "head" that of the output layer, too), and score the model as it was
    trained; `L_fp32` is the loss of the same weights with products in fp32."""
    corpus, device = prepare(config.corpus), machine.device()
    torch.manual_seed(config.seed)
    model, plain = Transformer(config.model).to(device), Transformer(config.model).to(device)
    recipe = {name: value for name, value in arm.items() if name != "head"}
    if arm["format"] != "fp32":
        emulate(model, Recipe(**recipe), head=arm.get("head", False))
    optimizer = make_optimizer(model, config)
    stream = tokens.batches(
        corpus.train, batch=config.batch, context=config.model.context, steps=config.steps, seed=config.seed
    )
    watch = Watch.of(config)
    watch.start()
    for step, (x, y) in enumerate(stream):
        set_rate(optimizer, learning_rate(step, config))
        x_BxL, y_BxL = (torch.from_numpy(part).to(device) for part in (x, y))
        if watch.note(train_step(model, optimizer, x_BxL, y_BxL, config.clip)) and watch.diverged:
            break
    watch.stop()
    heldout = evaluate(model, corpus, config.eval_windows)
    plain.load_state_dict(model.state_dict())
    metrics = {"L_fp32": evaluate(plain, corpus, config.eval_windows)}
    values = named(config, arm)
    record = outcome(config, corpus.sha256, watch, heldout, device=device, metrics=metrics)
    return record.model_copy(update={"id": run_id(values), "config": values})
