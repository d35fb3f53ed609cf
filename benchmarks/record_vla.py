"""How success in BabyAI worlds grows with demonstrations and with parameters, for notebook 10.

    python benchmarks/record_vla.py             # about 40 minutes on two cores; resumes after a kill
    python benchmarks/record_vla.py --record    # also writes data/records/vla.jsonl

Every run imitates the bot on GoToLocalS8N4 for 500 steps of 128 examples, so that runs of one size cost the same whatever
their data, and is scored on 250 held-out demonstrations and in 512 held-out worlds. A seed has its own demonstrations.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import recording

from scalept_lab.cloning import CloneConfig, Source, clone, score
from scalept_lab.runs import RunRecord, Store
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


def line(record: RunRecord) -> str:
    found, of = record.metrics, record.config
    return (
        f"width {of['policy']['width']:>3} N {record.N:>7,} demonstrations {of['sources'][0]['episodes']:>5} "
        f"seed {of['seed']}: L {record.L:.3f} accuracy {found['accuracy']:.3f} success {found['success']:.3f}"
    )


if __name__ == "__main__":
    needed = [(Source().level, max(EPISODES), seed * APART) for seed in SEEDS]
    recording.record("vla", __doc__, needed, configs(), run, line)
