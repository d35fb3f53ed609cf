"""The recorded sweep of notebook 06: plain data parallel, larger batches, local SGD and DiLoCo, each with its own rates.

python benchmarks/record_delayed.py              # ten minutes on 2 cores; resumes after a kill
python benchmarks/record_delayed.py --record     # also writes data/records/delayed.jsonl

Four workers in one process (`delayed` says why that is the same). Rates are chosen with seed 7; what is compared are the
seeds 0, 1 and 2 of the chosen ones, and of one rate that all methods share.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from concurrent import futures
from pathlib import Path

from scalept_lab.config import TrainConfig
from scalept_lab.data import prepare
from scalept_lab.delayed import Delayed, fit_delayed
from scalept_lab.processes import local_processes
from scalept_lab.recipe import recommend
from scalept_lab.runs import RunRecord, Store, write_records

WIDTH, TOKENS, WORKERS, BATCH = 32, 2**18, 4, 16
EVERY = [4, 16, 64]  # H; with DDP, the same bytes are a batch 4, 16 or 64 times as large
RATES = [0.0025, 0.005, 0.01, 0.02, 0.04, 0.08]
# rate and momentum of DiLoCo; the first is the paper's
OUTER = [(0.7, 0.9), (0.3, 0.9), (0.7, 0.5), (1.0, 0.3)]
OUTER_RATES = RATES[:5]  # an outer momentum multiplies what the workers move
SHARED = 0.08  # the rate of the trap
TUNING, SEEDS = 7, [0, 1, 2]
Run = tuple[TrainConfig, Delayed]


def methods() -> dict[str, list[tuple[int, Delayed]]]:
    """Name -> the settings tried for it: batch and plan."""
    found = {
        f"gradients {batch}": [(batch, Delayed(workers=WORKERS))]
        for batch in (BATCH, *(BATCH * h for h in EVERY[:2]))
    }
    for h in EVERY:
        found[f"local {h}"] = [(BATCH, Delayed(method="local", workers=WORKERS, every=h))]
        found[f"diloco {h}"] = [
            (BATCH, Delayed(method="diloco", workers=WORKERS, every=h, outer_lr=lr, outer_momentum=momentum))
            for lr, momentum in OUTER
        ]
    return found


def run(batch: int, plan: Delayed, rate: float, seed: int) -> Run:
    return recommend(WIDTH, TOKENS, batch=batch, lr=rate, seed=seed), plan


def name(config: TrainConfig, plan: Delayed) -> str:
    return config.replace(delayed=plan).id()


def train_and_save(config: TrainConfig, plan: Delayed, folder: str) -> None:
    Store(folder).save(fit_delayed(config, plan)[1])


def run_all(runs: Iterable[Run], store: Store) -> list[RunRecord]:
    runs = list(runs)
    todo = [(config, plan) for config, plan in runs if store.get(name(config, plan)) is None]
    with local_processes(2) as pool:
        waiting = [
            pool.submit(train_and_save, config, plan, str(store.folder.resolve())) for config, plan in todo
        ]
        for count, future in enumerate(futures.as_completed(waiting), 1):
            future.result()
            print(f"\r{count} of {len(todo)} runs", end="", flush=True)
    print()
    return [record for config, plan in runs if (record := store.get(name(config, plan))) is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--record", action="store_true", help="write the runs to data/records/")
    options = parser.parse_args()
    prepare("python")
    store, kept = Store(options.out / "delayed"), []
    tried = {
        name: [
            run(batch, plan, rate, TUNING)
            for batch, plan in settings
            for rate in (OUTER_RATES if plan.method == "diloco" else RATES)
        ]
        for name, settings in methods().items()
    }
    kept += run_all([one for runs in tried.values() for one in runs], store)
    chosen: list[Run] = []
    for name, runs in tried.items():
        best = min(runs, key=lambda one: store.get(name(*one)).L or 99)  # type: ignore[union-attr]
        config, plan = best
        print(f"{name}: rate {config.lr}, outer {plan.outer_lr} {plan.outer_momentum}, "
              f"loss {store.get(name(config, plan)).L:.3f}")  # type: ignore[union-attr]  # fmt: skip
        chosen += [run(config.batch, plan, config.lr, seed) for seed in SEEDS]
        if config.batch == BATCH and plan.method != "diloco":
            chosen += [run(BATCH, plan, SHARED, seed) for seed in SEEDS]
    unique = {name(config, plan): (config, plan) for config, plan in chosen}
    kept += run_all(unique.values(), store)
    for record in kept[-len(unique) :]:
        plan = record.config["delayed"]
        loss = f"{record.L:.4f}" if record.L else record.status
        print(plan["method"], plan["every"], record.config["batch"], record.config["lr"], record.config["seed"],
              record.metrics["bytes_per_parameter"], loss)  # fmt: skip
    if options.record:
        records = [record.model_copy(update={"origin": "recorded"}) for record in kept]
        write_records(records, "data/records/delayed.jsonl")
        print(f"{len(records)} runs in data/records/delayed.jsonl")


if __name__ == "__main__":
    main()
