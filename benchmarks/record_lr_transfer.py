"""The two recorded sweeps of notebook 02: which learning rate transfers across widths, and width against depth.

python benchmarks/record_lr_transfer.py              # 5e12 FLOPs, a few minutes on 2 cores; resumes after a kill
python benchmarks/record_lr_transfer.py --record     # also writes data/records/{lr_transfer,shape}.jsonl
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.recipe import recommend
from scalept_lab.runs import Store, write_records
from scalept_lab.sweep import flops_of, run_all

TOKENS = 2e5
WIDTHS = [8, 16, 32, 64]
RATES = [0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08]
SHAPES = [(64, 1), (32, 4), (16, 16)]  # width, depth: each has 12 · depth · width² = 49,152 parameters
SEEDS = [0, 1, 2]


def lr_transfer() -> list[TrainConfig]:
    return [
        recommend(width, TOKENS, lr=rate, parametrization=how, seed=seed)
        for width in WIDTHS
        for how in ("mup", "standard")
        for rate in RATES
        for seed in ([0] if width == WIDTHS[-1] else [0, 1])
    ]


def shape() -> list[TrainConfig]:
    models = [ModelConfig.family(width, context=64, depth=depth) for width, depth in SHAPES]
    return [recommend(model.width, TOKENS, model=model, seed=seed) for model in models for seed in SEEDS]


SWEEPS = {"lr_transfer": lr_transfer, "shape": shape}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--only", choices=list(SWEEPS))
    parser.add_argument("--record", action="store_true", help="write the runs to data/records/")
    options = parser.parse_args()
    for name, configs_of in SWEEPS.items():
        if options.only not in (None, name):
            continue
        configs = configs_of()
        print(f"{name}: {len(configs)} runs, {sum(map(flops_of, configs)):.2g} FLOPs")
        records = run_all(configs, Store(options.out / name))
        for record in records:
            model, loss = record.config["model"], f"{record.L:.4f}" if record.L else record.status
            print(model["width"], model["depth"], record.config["parametrization"], record.config["lr"],
                  record.config["seed"], loss)  # fmt: skip
        if options.record:
            kept = [record.model_copy(update={"origin": "recorded"}) for record in records]
            write_records(kept, f"data/records/{name}.jsonl")
            print(f"{len(kept)} runs in data/records/{name}.jsonl")


if __name__ == "__main__":
    main()
