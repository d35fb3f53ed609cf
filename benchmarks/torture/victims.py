"""The processes that are killed: each works, and says in a file what it has finished.

python -m benchmarks.torture.victims NAME ARGUMENTS
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def said(log: Path, word: object) -> None:
    """One line that survives the writer: it is with the kernel before the next step begins."""
    number = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(number, f"{word}\n".encode())
    os.close(number)


def records(folder: str, log: str, seed: str) -> None:
    """Saves run records for ever."""
    from benchmarks.torture.stage import run_of
    from scalept_lab.runs import RunRecord, Store

    store = Store(folder)
    for number in range(10**6):
        run = run_of("made-up", 4096, seed=int(seed) * 10**6 + number)
        made = RunRecord(id=run.id(), config=run.model_dump(), N=1, N_total=1, D=1, C=1.0, L=2.0, seconds=0, peak_rss_bytes=1,
                         provenance={"corpus_sha256": "ab" * 32, "note": "x" * (number % 7 * 3000)})  # fmt: skip
        store.save(made)
        said(Path(log), made.id)


def guesses(log: str, letters: str) -> None:
    """Keeps one guess after the other in the learner's file."""
    from scalept_lab.course import learner

    for number in range(10**6):
        with learner.change() as kept:
            kept.predictions[f"08.{letters}-{number}"] = learner.Prediction(
                guesses=[learner.Guess(value=float(number), at=learner.now())]
            )
        said(Path(log), f"08.{letters}-{number}")


def sweep(folder: str, corpus: str, runs: str) -> None:
    """A study's sweep, which takes all of its budget."""
    from benchmarks.torture.stage import run_of
    from scalept_lab.study.study import Study
    from scalept_lab.study.sweep import Sweep

    configs = [run_of(corpus, 8_000 + 512 * seed, seed=seed) for seed in range(int(runs))]
    whole = Sweep(configs=configs)
    Study("mine", budget_flops=whole.flops, folder=folder).run(whole)  # nothing to spare


def launched(log: str) -> None:
    """Ranks that work together, again and again."""
    from scalept_lab.parallel.launcher import launch

    for number in range(10**6):
        launch(_together, 2, 0.5)
        said(Path(log), number)


def _together(seconds: float) -> float:
    import torch
    import torch.distributed as dist

    x = torch.ones(100)
    for _ in range(round(200 * seconds)):  # of each rank as many: they must meet
        dist.all_reduce(x)
        x /= dist.get_world_size()
        time.sleep(0.005)
    return x.mean().item()


def once(log: str) -> None:
    """One launch, and one sweep's workers."""
    from scalept_lab.errors import InputError
    from scalept_lab.parallel.launcher import RankError, launch
    from scalept_lab.processes import local_processes

    try:
        launch(_together, 2, 0.2)
        with local_processes(2) as pool:
            list(pool.map(abs, range(20)))
    except (InputError, RankError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    said(Path(log), "done")


if __name__ == "__main__":
    try:
        globals()[sys.argv[1]](*sys.argv[2:])
    except KeyboardInterrupt:  # as the command line
        sys.exit(130)
