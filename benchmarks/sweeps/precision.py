"""fp32, bf16 and fp16 side by side (notebook 04): loss and time of a step by width; and weights kept in 16 bits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product

import torch

from scalept_lab import machine
from scalept_lab.config import TrainConfig, recommend, run_id
from scalept_lab.data import tokens
from scalept_lab.data.corpora import prepare
from scalept_lab.model.optim import learning_rate, make_optimizer, set_rate
from scalept_lab.model.precision import MasterWeights
from scalept_lab.model.transformer import Transformer, cross_entropy
from scalept_lab.runs import RunRecord
from scalept_lab.train.loop import evaluate
from scalept_lab.train.outcome import Watch, outcome
from scalept_lab.train.timing import instructions, speedups
from sweeps.jobs import Job, Rounds, fingerprint, plain, sweep

TOKENS = 100_000
# fp16 at small widths only: processors without 16-bit instructions for it are slow
WIDTHS = {"float32": (16, 32, 64, 128, 256), "bfloat16": (16, 32, 64, 128, 256), "float16": (16, 32, 64)}
LARGE, LARGE_TOKENS = 512, 12_800  # trained for 50 steps only: it is there for its time


def timed(records: list[RunRecord]) -> list[RunRecord]:
    """The steps of all dtypes in turns on one thread, so that other load hits all alike.

    The median of the ratio to fp32 within a round, and its quartiles, stand in the records of that width and dtype.
    """
    print("instructions:", instructions())
    found: dict[tuple[int, str], dict[str, float]] = {}
    for dtype, widths in (("bfloat16", (*WIDTHS["bfloat16"], LARGE)), ("float16", WIDTHS["float16"])):
        for row in speedups(widths, (dtype,), batch=4, rounds=11):
            print(
                f"{dtype:<9} width {row['width']:>4}: {row[dtype]:.3f} times as fast as float32", flush=True
            )
            found[int(row["width"]), dtype] = {
                "speedup": row[dtype], "speedup_low": row[f"{dtype} low"], "speedup_high": row[f"{dtype} high"],
                "step_seconds_float32": row["seconds"],
            }  # fmt: skip
    places = [(run.config["model"]["width"], run.config["dtype"]) for run in records]
    return [
        run.model_copy(update={"metrics": {**run.metrics, **found.get(place, {})}})
        for run, place in zip(records, places, strict=True)
    ]


@sweep(
    "dtype (autocast in bf16 and fp16 against fp32) × width; with the speed of a step",
    minutes=20,
    timed=timed,
)
def precision(seeds: Sequence[int]) -> Rounds:
    configs = [
        recommend(width, TOKENS, dtype=dtype, seed=seed)
        for dtype, widths in WIDTHS.items()
        for width, seed in product(widths, seeds)
    ]
    configs += [recommend(LARGE, LARGE_TOKENS, dtype=dtype) for dtype in ("float32", "bfloat16")]
    yield [plain(config) for config in configs]


@sweep("weights kept in fp32, in bf16, and in bf16 with a master copy, at three learning rates", minutes=2)
def weights(seeds: Sequence[int]) -> Rounds:
    jobs = []
    for rate, kind, seed in product((0.01, 0.003, 0.001), ("float32", "master", "bfloat16"), seeds):
        config = recommend(32, TOKENS, lr=rate, seed=seed)
        values = {**config.model_dump(), "weights": kind}
        jobs.append(Job(values, partial(with_weights, config, kind), partial(fingerprint, config.corpus)))
    yield jobs


def with_weights(config: TrainConfig, kind: str) -> RunRecord:
    """Train without autocast, the weights kept as `kind` says, and score the true weights in fp32."""
    corpus, device = prepare(config.corpus), machine.device()
    torch.manual_seed(config.seed)
    model = Transformer(config.model).to(device)
    if kind == "bfloat16":
        model = model.to(torch.bfloat16)
    both = MasterWeights(model) if kind == "master" else None
    low = both.low if both else model
    optimizer = make_optimizer(model, config)
    stream = tokens.batches(
        corpus.train, batch=config.batch, context=config.model.context, steps=config.steps, seed=config.seed
    )
    watch = Watch.of(config)
    watch.start()
    for step, (x, y) in enumerate(stream):
        set_rate(optimizer, learning_rate(step, config))
        logits = low(torch.from_numpy(x).to(device)).float()
        loss = cross_entropy(logits, torch.from_numpy(y).to(device))
        loss.backward()
        if both:
            both.pull()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad()
        if both:
            both.push()
        watch.note(loss.detach())
    watch.stop()
    heldout = evaluate(model.float(), corpus, config.eval_windows)
    values = {**config.model_dump(), "weights": kind}
    record = outcome(config, corpus.sha256, watch, heldout, device=device)
    return record.model_copy(update={"id": run_id(values), "config": values})
