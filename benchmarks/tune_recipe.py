"""The measurements behind `scalept_lab.recipe`: rate, batch and schedule at four sizes along the compute frontier.

python benchmarks/tune_recipe.py                 # about 5 minutes on 2 cores; cached in results/recipe
python benchmarks/tune_recipe.py --record        # also writes data/records/recipe.jsonl
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scalept_lab.runs import Store, write_records
from scalept_lab.sweep import at_flops, run_all

PLACES = [(16, 1e10), (24, 1e11), (40, 3.16e11), (40, 1e12)]  # (width, FLOPs)
RATES = [0.005, 0.01, 0.02]
BATCHES = [4, 8, 16]
SCHEDULES = [
    {"schedule": "cosine"},
    {"schedule": "constant"},
    {"warmup": 0.02},
    {"warmup": 0.2},
    {"seed": 1},
    {"seed": 2},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/recipe"))
    parser.add_argument("--record", action="store_true", help="write the runs to data/records/recipe.jsonl")
    options = parser.parse_args()

    grid = {
        (width, flops, batch, rate): at_flops(width, flops, batch=batch, lr=rate)
        for width, flops in PLACES
        for batch in BATCHES
        for rate in RATES
    }
    others = {
        (width, flops, str(change)): at_flops(width, flops, **change)
        for width, flops in PLACES[:3]
        for change in [{}, *SCHEDULES]
    }
    store = Store(options.out)
    run_all({config.id(): config for config in [*grid.values(), *others.values()]}.values(), store)
    found = {key: store.get(config.id()) for key, config in {**grid, **others}.items()}
    loss = {key: f"{r.L:.4f}" if r and r.L is not None else "  --  " for key, r in found.items()}

    print(
        f"{'width':>5} {'FLOPs':>8} {'batch':>5}   loss at rate " + "  ".join(f"{rate:>6}" for rate in RATES)
    )
    for width, flops in PLACES:
        for batch in BATCHES:
            row = "  ".join(loss[width, flops, batch, rate] for rate in RATES)
            print(f"{width:>5} {flops:>8.3g} {batch:>5}                {row}")
    print("\nthe recommended recipe with one change")
    for width, flops in PLACES[:3]:
        for change in [{}, *SCHEDULES]:
            print(f"{width:>5} {flops:>8.3g}   {loss[width, flops, str(change)]}   {change or 'as it is'}")
    if options.record:
        kept = {r.id: r.model_copy(update={"origin": "recorded"}) for r in found.values() if r}
        write_records(kept.values(), "data/records/recipe.jsonl")
        print(f"{len(kept)} runs in data/records/recipe.jsonl")


if __name__ == "__main__":
    main()
