"""The recorded sweep of notebook 01: the same few tokens read again and again, against as many fresh ones.

python benchmarks/record_repetition.py              # 9e11 FLOPs, a minute on 2 cores; resumes after a kill
python benchmarks/record_repetition.py --record     # also writes data/records/repetition.jsonl
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scalept_lab.config import TrainConfig
from scalept_lab.recipe import recommend
from scalept_lab.runs import Store, write_records
from scalept_lab.sweep import flops_of, run_all

WIDTH, BATCH = 24, 4
UNIQUE = 30_000
EPOCHS = [1, 2, 4, 8, 16]
SEEDS = [0, 1, 2]


def repetition() -> list[TrainConfig]:
    """Each total once from `UNIQUE` tokens, once from fresh text. One epoch is both: it is run as repeated, too."""
    return [
        recommend(WIDTH, UNIQUE * epochs, unique_tokens=unique, batch=BATCH, seed=seed)
        for epochs in EPOCHS
        for unique in (UNIQUE, None)
        for seed in SEEDS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--record", action="store_true", help="write the runs to data/records/")
    options = parser.parse_args()
    configs = repetition()
    print(f"repetition: {len(configs)} runs, {sum(map(flops_of, configs)):.2g} FLOPs")
    records = run_all(configs, Store(options.out / "repetition"))
    for record in records:
        loss = f"{record.L:.4f}" if record.L else record.status
        print(record.D, record.config["unique_tokens"], record.config["seed"], loss)
    if options.record:
        kept = [record.model_copy(update={"origin": "recorded"}) for record in records]
        write_records(kept, "data/records/repetition.jsonl")
        print(f"{len(kept)} runs in data/records/repetition.jsonl")


if __name__ == "__main__":
    main()
