"""How success in BabyAI worlds grows with demonstrations and with parameters, for notebook 10.

    python benchmarks/record_vla.py             # about 40 minutes on two cores; resumes after a kill
    python benchmarks/record_vla.py --record    # also writes data/records/vla.jsonl

Every run imitates the bot on GoToLocalS8N4 for 500 steps of 128 examples, so that runs of one size cost the same whatever
their data, and is scored on 250 held-out demonstrations and in 512 held-out worlds. A seed has its own demonstrations.
"""

from __future__ import annotations

import argparse
import concurrent.futures as futures
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from scalept_lab.cloning import CloneConfig, Source, clone, score
from scalept_lab.demos import demonstrations
from scalept_lab.processes import become_worker, context
from scalept_lab.runs import RunRecord, Store, write_records
from scalept_lab.vla import PolicyConfig

EPISODES = [25, 50, 100, 200, 400, 1000, 2000, 5000]
WIDTHS = [4, 8, 12, 16, 24, 32, 64]
GRID = [(width, episodes) for width in (8, 32) for episodes in (100, 400, 1000, 5000)]
SEEDS = [0, 1, 2]
WIDTH, MANY = 16, 2000  # of the other sweep
WORLDS = 512
APART = 10_000  # seeds of worlds between the demonstrations of two runs


def config(width: int, episodes: int, seed: int) -> CloneConfig:
    source = Source(episodes=episodes, first=seed * APART)
    return CloneConfig(policy=PolicyConfig.family(width), sources=(source,), seed=seed)


def configs() -> list[CloneConfig]:
    pairs = [(WIDTH, n) for n in EPISODES] + [(w, MANY) for w in WIDTHS] + GRID
    return [config(*pair, seed) for pair in dict.fromkeys(pairs) for seed in SEEDS]


def run(config: CloneConfig, folder: str) -> RunRecord:
    store = Store(folder)
    if (record := store.get(config.id())) is None:
        record = score(*clone(config), episodes=WORLDS)[1]
        store.save(record)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/vla"))
    parser.add_argument("--record", action="store_true", help="write the runs to data/records/")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for seed in SEEDS:  # made here, in parallel and with a bar, not in every worker
        demonstrations(Source().level, max(EPISODES), seed * APART)
    records = []
    with futures.ProcessPoolExecutor(options.workers, context(), become_worker) as pool:
        for record in pool.map(run, configs(), [str(options.out)] * len(configs())):
            records.append(record)
            found, of = record.metrics, record.config
            print(
                f"width {of['policy']['width']:>3} N {record.N:>7,} demonstrations {of['sources'][0]['episodes']:>5} "
                f"seed {of['seed']}: L {record.L:.3f} accuracy {found['accuracy']:.3f} success {found['success']:.3f} "
                f"({record.seconds:.0f} s)",
                flush=True,
            )
    if options.record:
        kept = [record.model_copy(update={"origin": "recorded"}) for record in records]
        write_records(kept, "data/records/vla.jsonl")


if __name__ == "__main__":
    main()
