"""The recorded sweep behind the optimizer sections of notebook 03: four optimizers, each at several learning rates.

python benchmarks/record_optimizers.py              # about 10 minutes of one core; resumes after a kill
python benchmarks/record_optimizers.py --record     # also writes data/records/optimizers.jsonl

AdamW and Muon at widths 16, 32 and 64 (does the best rate move with the width?), SGD and momentum at 32. More rates of
AdamW are in data/records/lr_transfer.jsonl, at the same tokens and batch.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from scalept_lab.config import TrainConfig
from scalept_lab.recipe import recommend
from scalept_lab.runs import Store, write_records
from scalept_lab.sweep import flops_of, run_all

TOKENS = 2e5
# (optimizer, widths, rates, seeds)
GRID = [
    ("muon", [16, 32], [0.0025, 0.005, 0.01, 0.02, 0.04], [0, 1]),
    ("muon", [64], [0.0025, 0.005, 0.01, 0.02, 0.04], [0]),
    ("muon", [16, 32, 64], [0.005, 0.01], [0, 1, 2]),
    ("adamw", [16, 32], [0.005, 0.01, 0.02], [0, 1, 2]),
    ("adamw", [64], [0.01], [0, 1, 2]),
    ("momentum", [32], [0.03, 0.1, 0.3, 1.0], [0, 1, 2]),
    ("sgd", [32], [0.3, 1.0, 3.0, 10.0], [0, 1, 2]),
]


def configs() -> list[TrainConfig]:
    made = [
        recommend(width, TOKENS, optimizer=optimizer, lr=rate, seed=seed)
        for optimizer, widths, rates, seeds in GRID
        for width, rate, seed in itertools.product(widths, rates, seeds)
    ]
    return list({config.id(): config for config in made}.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/optimizers"))
    parser.add_argument("--record", action="store_true", help="write the runs to data/records/")
    options = parser.parse_args()
    runs = configs()
    print(f"{len(runs)} runs, {sum(map(flops_of, runs)):.2g} FLOPs")
    records = run_all(runs, Store(options.out))
    for record in records:
        c = record.config
        print(c["optimizer"], c["model"]["width"], c["lr"], c["seed"], record.L or record.status)
    if options.record:
        kept = [record.model_copy(update={"origin": "recorded"}) for record in records]
        write_records(kept, "data/records/optimizers.jsonl")
        print(f"{len(kept)} runs in data/records/optimizers.jsonl")


if __name__ == "__main__":
    main()
