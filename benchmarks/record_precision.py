"""fp32, bf16 and fp16 side by side, for notebook 04: loss and time of a step by width; and weights kept in 16 bits.

    python benchmarks/record_precision.py              # some 20 minutes on 2 cores; resumes after a kill
    python benchmarks/record_precision.py --record     # also writes data/records/precision.jsonl and weights.jsonl

`precision`: the same runs in each dtype (autocast; fp16 with loss scaling), three seeds. Afterwards the steps of all
dtypes are timed in turns on one thread, so that other load hits all alike; the median of the ratio to fp32 within a
round, and its quartiles, stand in the records of that width and dtype as metrics `speedup`, `speedup_low` and
`speedup_high`. fp16 is trained at small widths only: processors without 16-bit instructions for it are slow.

`weights`: autocast off, and the weights themselves in fp32, in bf16, or in bf16 with an fp32 master copy.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import torch

from scalept_lab import machine, tokens
from scalept_lab.config import TrainConfig, run_id
from scalept_lab.data import prepare
from scalept_lab.models import Transformer, cross_entropy
from scalept_lab.optim import learning_rate, make_optimizer, set_rate
from scalept_lab.outcome import Watch, outcome
from scalept_lab.precision import MasterWeights
from scalept_lab.recipe import recommend
from scalept_lab.runs import RunRecord, Store, write_records
from scalept_lab.sweep import run_all
from scalept_lab.throughput import instructions, speedups
from scalept_lab.train import evaluate

TOKENS, SEEDS = 100_000, [0, 1, 2]
WIDTHS = {"float32": [16, 32, 64, 128, 256], "bfloat16": [16, 32, 64, 128, 256], "float16": [16, 32, 64]}
TIMED = {"bfloat16": [16, 32, 64, 128, 256, 512], "float16": [16, 32, 64]}
LARGE, LARGE_TOKENS = 512, 12_800  # trained for 50 steps only: it is there for its time
RATES = [0.01, 0.003, 0.001]


def precision(store: Store) -> list[RunRecord]:
    configs = [
        recommend(width, TOKENS, dtype=dtype, seed=seed)
        for dtype, widths in WIDTHS.items()
        for width, seed in product(widths, SEEDS)
    ]
    configs += [recommend(LARGE, LARGE_TOKENS, dtype=dtype) for dtype in ("float32", "bfloat16")]
    records = run_all(configs, store)
    found: dict[tuple[int, str], dict[str, float]] = {}
    print("instructions:", instructions())
    for dtype, widths in TIMED.items():
        for row in speedups(widths, (dtype,), batch=4, rounds=11):
            found[int(row["width"]), dtype] = {
                "speedup": row[dtype], "speedup_low": row[f"{dtype} low"], "speedup_high": row[f"{dtype} high"],
                "step_seconds_float32": row["seconds"],
            }  # fmt: skip
            print(
                f"{dtype:<9} width {row['width']:>4}: {row[dtype]:.3f} times as fast as float32", flush=True
            )
    key = lambda run: (run.config["model"]["width"], run.config["dtype"])  # noqa: E731
    return [run.model_copy(update={"metrics": {**run.metrics, **found.get(key(run), {})}}) for run in records]


def weights(store: Store) -> list[RunRecord]:
    torch.set_num_threads(1)
    records = []
    for rate, kind, seed in product(RATES, ("float32", "master", "bfloat16"), SEEDS):
        config = recommend(32, TOKENS, lr=rate, seed=seed)
        values = {**config.model_dump(), "weights": kind}
        name = run_id(values)
        if (record := store.get(name)) is None:
            made = with_weights(config, kind)
            record = made.model_copy(update={"id": name, "config": values})
            store.save(record)
        print(f"rate {rate}, {kind:<9} seed {seed}: {record.L}", flush=True)
        records.append(record)
    return records


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
    return outcome(config, corpus.sha256, watch, heldout, device=device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--record", action="store_true", help="write the runs to data/records/")
    options = parser.parse_args()
    for name, make in (("weights", weights), ("precision", precision)):
        records = make(Store(options.out / name))
        print(f"{name}: {len(records)} runs")
        if options.record:
            kept = [record.model_copy(update={"origin": "recorded"}) for record in records]
            write_records(kept, f"data/records/{name}.jsonl")
    print("width  dtype      losses (seeds)            minus fp32   times as fast")
    base = {
        (r.config["model"]["width"], r.config["seed"]): r.L for r in records if r.config["dtype"] == "float32"
    }
    for width, dtype in sorted({(r.config["model"]["width"], r.config["dtype"]) for r in records}):
        runs = [r for r in records if (r.config["model"]["width"], r.config["dtype"]) == (width, dtype)]
        losses = [r.L for r in runs]
        if None in losses:
            print(f"{width:>5}  {dtype:<9}  {[r.status for r in runs]}")
            continue
        minus = sum(r.L - base[width, r.config["seed"]] for r in runs) / len(runs)
        fast = runs[0].metrics.get("speedup", 1.0)
        print(
            f"{width:>5}  {dtype:<9}  {' '.join(f'{x:.4f}' for x in losses):<24}  {minus:+.4f}      {fast:.3f}"
        )


if __name__ == "__main__":
    main()
