"""How sure and how fast the bot and a policy are, on one core: success, demonstrations and rollouts a second.

python benchmarks/bench_babyai.py               # some 3 minutes
python benchmarks/bench_babyai.py --seeds 100
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from scalept_lab.laws.compare import wilson
from scalept_lab.vla import worlds
from scalept_lab.vla.cloning import CloneConfig, act_in, clone
from scalept_lab.vla.demos import TEST

LEVELS = [
    "GoToObj", "GoToRedBall", "GoToLocalS5N2", "GoToLocalS6N3", "GoToLocalS8N4", "GoToLocal", "GoToLocalS12N4", "GoToDoor",
    "GoToObjDoor", "ActionObjDoor", "OpenDoor", "PickupLoc", "PutNextLocalS5N3", "PutNextLocal", "UnlockLocal", "GoToSeqS5R2",
    "SynthLoc", "GoTo",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for level in LEVELS:
        env, started = worlds.make(level), time.process_time()
        found = [worlds.demonstrate(level, TEST + seed, env) for seed in range(options.seeds)]
        seconds = time.process_time() - started
        rate = wilson(sum(episode.success for episode in found), len(found))
        steps = np.array([len(episode) for episode in found])
        words = max(len(worlds.encode(episode.mission)) for episode in found)
        print(
            f"{level:<18} success {rate.mean:.3f} ({rate.low:.3f} to {rate.high:.3f}), {len(found) / seconds:4.0f} a second, "
            f"steps {steps.mean():5.1f} (at most {steps.max()}), words at most {words}",
            flush=True,
        )
    policy, record = clone(CloneConfig())
    print(
        f"policy of {record.N_total:,} parameters: {record.seconds:.1f} s for {record.config['steps']} steps"
    )
    started = time.process_time()
    done = act_in(policy, "GoToLocalS8N4", options.seeds)
    print(f"rollouts: {options.seeds / (time.process_time() - started):.0f} a second, success {done.rate}")


if __name__ == "__main__":
    main()
