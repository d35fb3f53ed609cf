"""What the scripts that record policies share: their command line, runs in parallel, and where the records go."""

from __future__ import annotations

import argparse
import concurrent.futures as futures
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from scalept_lab.demos import demonstrations
from scalept_lab.processes import become_worker, context
from scalept_lab.runs import RunRecord, write_records


def record(
    name: str, doc: str, needed: Iterable[tuple[str, int, int]], runs: list[Any],
    make: Callable[..., RunRecord], line: Callable[[RunRecord], str],
) -> None:  # fmt: skip
    """Make each of `runs` with `make(run, folder=…)`, print a `line` for it, and with --record write data/records/NAME.jsonl.

    `needed`: (level, episodes, first seed) of the demonstrations, made here, in parallel and with a bar, not in every worker.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results") / name)
    parser.add_argument("--record", action="store_true", help="write the runs to data/records/")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for level, episodes, first in needed:
        demonstrations(level, episodes, first)
    records = []
    with futures.ProcessPoolExecutor(options.workers, context(), become_worker) as pool:
        for found in pool.map(partial(make, folder=str(options.out)), runs):
            records.append(found)
            print(f"{line(found)} ({found.seconds:.0f} s)", flush=True)
    if options.record:
        kept = [found.model_copy(update={"origin": "recorded"}) for found in records]
        write_records(kept, f"data/records/{name}.jsonl")
