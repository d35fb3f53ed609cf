"""Make the runs of a recorded sweep again: `data/records/NAME.jsonl` is the sweep NAME.

    python benchmarks/record.py                            # which sweeps there are
    python benchmarks/record.py repetition                 # train what is missing, under results/repetition
    python benchmarks/record.py repetition --record        # and write data/records/repetition.jsonl
    python benchmarks/record.py curriculum --only length --seeds 100 101 102    # a part, other seeds: a search

A finished run is kept at once, so a killed sweep goes on where it was. A run that is there, of the same config and the same
text, is not trained again.
"""

from __future__ import annotations

import argparse
import concurrent.futures as futures
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: here and in the workers

import pandas as pd

from scalept_lab import machine
from scalept_lab.errors import InputError
from scalept_lab.processes import local_processes
from scalept_lab.runs import RunRecord, Store, data_folder, write_records
from sweeps import SWEEPS, Job, Sweep

LABELS = ("experiment", "arm")
FOLLOWS = (".first", ".heads")  # the seeds of worlds go with the seed, the heads with the width


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "name", nargs="?", choices=SWEEPS, metavar="NAME", help="one of those listed without a name"
    )
    parser.add_argument("--record", action="store_true", help="write data/records/NAME.jsonl")
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="where runs are kept, in a folder NAME"
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="other seeds than the recorded ones")
    parser.add_argument("--only", metavar="PART", help="only the runs of this experiment")
    parser.add_argument(
        "--workers", type=int, default=machine.cores(), help="processes (default: one per core)"
    )
    options = parser.parse_args(arguments)
    if options.name is None:
        print("\n".join(listed(name, sweep) for name, sweep in SWEEPS.items()))
        return
    if options.workers < 1:
        parser.error(f"--workers: expected at least 1, got {options.workers}")
    if options.record and (options.seeds or options.only):
        parser.error("--record writes the whole sweep; leave out --seeds and --only")
    try:
        sweep, store = SWEEPS[options.name], Store(options.out / options.name)
        records = made(sweep, store, options.seeds or sweep.seeds, options.only, options.workers)
        print(table(records, sweep.metrics))
        if options.record:
            path = data_folder() / "records" / f"{options.name}.jsonl"
            kept = sweep.timed(records) if sweep.timed else records
            write_records((record.model_copy(update={"origin": "recorded"}) for record in kept), path)
            print(f"{len(records)} runs in {path}")
    except (InputError, futures.BrokenExecutor) as error:
        sys.exit(f"record: {error}")


def listed(name: str, sweep: Sweep) -> str:
    path = data_folder() / "records" / f"{name}.jsonl"
    runs = len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0
    return f"{name:<13} {runs:>4} runs {sweep.minutes:>3} min  {sweep.varied}"


def made(
    sweep: Sweep, store: Store, seeds: Sequence[int], only: str | None = None, workers: int = 1
) -> list[RunRecord]:
    """The records of a sweep, each once, with their labels; what `store` does not hold yet is made now.

    Raises: InputError if no run belongs to the experiment `only`.
    """
    rounds, found, records = sweep.rounds(seeds), dict[str, RunRecord](), None
    with suppress(StopIteration):
        while True:
            jobs = part(rounds.send(records), only)
            make(jobs, store, 1 if sweep.alone else workers)
            records = [labelled(store, job) for job in jobs]
            found |= {record.id: record for record in records}
    return list(found.values())


def part(jobs: Sequence[Job], only: str | None) -> Sequence[Job]:
    known = {job.label["experiment"]: None for job in jobs if job.label}
    if only is not None and only not in known:
        raise InputError(f"--only: expected one of {', '.join(known) or 'no parts'}, got {only!r}")
    return [job for job in jobs if only in (None, job.label.get("experiment"))]


def make(jobs: Sequence[Job], store: Store, workers: int) -> None:
    """Make the runs that are missing, in worker processes with one thread each, and tell of each when it is done."""
    missing = {job.id: job for job in jobs if store.finished(job.id, job.ready()) is None}
    if not missing:
        return
    rows = {job.id: {**job.label, **flat(job.config)} for job in jobs}
    names, folder = varied(rows.values()), str(store.folder.resolve())
    with local_processes(min(workers, len(missing))) as pool:
        # the last first: they are the longest as a rule, and no core should wait for one at the end
        waiting = [pool.submit(make_one, job, folder) for job in reversed(missing.values())]
        for count, future in enumerate(futures.as_completed(waiting), 1):
            record = future.result()
            said = ", ".join(f"{name} {rows[record.id][name]}" for name in names if name in rows[record.id])
            loss = record.status if record.L is None else f"{record.L:.4f}"
            print(f"{count} of {len(missing)}: {said}: {loss} ({record.seconds:.0f} s)", flush=True)


def make_one(job: Job, folder: str) -> RunRecord:
    record = job.make()
    if record.id != job.id:
        raise RuntimeError(f"expected a record of {job.id} {job.config}, got {record.id} {record.config}")
    Store(folder).save(record)
    return record


def labelled(store: Store, job: Job) -> RunRecord:
    record = store.get(job.id)
    assert record is not None
    return record.model_copy(update={"provenance": {**record.provenance, **job.label}})


def table(records: Sequence[RunRecord], metrics: Sequence[str] = ()) -> str:
    """A row for each setting: the mean over its seeds of the loss and of `metrics`, and the spread of the loss."""
    rows = [
        {name: run.provenance[name] for name in LABELS if name in run.provenance} | flat(run.config)
        for run in records
    ]
    losses = [run.L for run in records]
    found = {"L": losses, "sd": losses} | {
        name: [run.metrics.get(name) for run in records] for name in metrics
    }
    names = [name for name in varied(rows) if not name.endswith("seed")]
    if not names:  # one setting
        rows, names = [row | {"setting": "one"} for row in rows], ["setting"]
    groups = pd.DataFrame(rows, columns=names).assign(**found).groupby(names, sort=False, dropna=False)
    means = groups.agg({name: "std" if name == "sd" else "mean" for name in found}).round(4)
    return means.assign(runs=groups.size()).reset_index().to_string(index=False, na_rep="")


def varied(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The labels, if there are any, and the fields that differ between runs (of one arm), but for those that only follow."""
    frame = pd.DataFrame(rows)
    labels = [name for name in LABELS if name in frame]
    count = (frame.groupby(labels) if labels else frame).nunique(dropna=False)
    differ = (count.max() if labels else count) > 1
    return labels + [name for name in differ[differ].index if not name.endswith(FOLLOWS)]


def flat(values: Any, at: str = "") -> dict[str, Any]:
    """Nested fields by their path.

    >>> flat({"model": {"width": 8}, "seeds": [0, 1]})
    {'model.width': 8, 'seeds.0': 0, 'seeds.1': 1}
    """
    if not isinstance(values, (Mapping, list, tuple)):
        return {at: values}
    items = values.items() if isinstance(values, Mapping) else enumerate(values)
    return {
        path: leaf for name, value in items for path, leaf in flat(value, f"{at}.{name}".strip(".")).items()
    }


if __name__ == "__main__":
    main()
