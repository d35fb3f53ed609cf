"""The recorded sweep behind the batch-size section of notebook 03: steps to a loss, by batch size and learning rate.

python benchmarks/record_batch_size.py              # about 11 minutes of one core; resumes after a kill
python benchmarks/record_batch_size.py --record     # also writes data/records/batch_size.jsonl

The rate stays constant after a short warm-up, so that the loss along a run says when it reached a target, whatever the
length of the run. Every run is long enough to pass the loss 2.3 at a good rate, and no token is seen twice.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scalept_lab.config import TrainConfig
from scalept_lab.recipe import recommend
from scalept_lab.runs import Store, write_records
from scalept_lab.sweep import flops_of, run_all

WIDTH = 16
RATES = {  # four for each batch size, around the square root of the batch
    (1, 2): [0.00125, 0.0025, 0.005, 0.01],
    (4, 8): [0.0025, 0.005, 0.01, 0.02],
    (16, 32): [0.005, 0.01, 0.02, 0.04],
    (64, 128): [0.01, 0.02, 0.04, 0.08],
}
SEEDS = [0, 1, 2]


def tokens(batch: int) -> int:
    """Long enough: by a first trial the loss 2.3 takes about 3,000 sequences and 120 steps, whichever is more."""
    return round(1.6 * 64 * (3000 + 120 * batch))


def configs() -> list[TrainConfig]:
    recipe = {"schedule": "constant", "warmup": 0.02}
    return [
        recommend(WIDTH, tokens(batch), batch=batch, lr=rate, seed=seed, **recipe)
        for batches, rates in RATES.items()
        for batch in batches
        for rate in rates
        for seed in SEEDS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/batch_size"))
    parser.add_argument("--record", action="store_true", help="write the runs to data/records/")
    options = parser.parse_args()
    runs = configs()
    print(f"{len(runs)} runs, {sum(map(flops_of, runs)):.2g} FLOPs")
    records = run_all(runs, Store(options.out))
    for record in records:
        print(record.config["batch"], record.config["lr"], record.config["seed"], record.L or record.status)
    if options.record:
        kept = [record.model_copy(update={"origin": "recorded"}) for record in records]
        write_records(kept, "data/records/batch_size.jsonl")
        print(f"{len(kept)} runs in data/records/batch_size.jsonl")


if __name__ == "__main__":
    main()
