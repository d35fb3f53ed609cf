"""What pre-training is worth on labelled pairs, for notebook 09: F1 by pairs, by pre-training, by shape; and forgetting.

    python benchmarks/record_transfer.py             # some 15 minutes on one core; resumes after a kill
    python benchmarks/record_transfer.py --record    # also writes data/records/transfer.jsonl and incremental.jsonl

`transfer`: starts (a shape, pre-trained on so many sequences; 0: from scratch) fine-tuned on subsets of the training pairs,
three seeds each: the seed draws the subset, the classifier and the order, and from scratch all weights as well. A start is
pre-trained once. Wrong sentences come from anywhere ("corpus"), in some runs from the same module ("module"), which is harder.

`incremental`: pre-training goes on with the texts of a new package and a share of old ones (replay). L is the
masked-language loss on held-out texts of the new package, and the metrics hold it for old and new, before and after.
"""

from __future__ import annotations

import argparse
import os
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from scalept_lab import machine, transfer
from scalept_lab.config import run_id
from scalept_lab.runs import RunRecord, Store, write_records
from scalept_lab.transfer import Shape, Start, continued, measure, provenance, sizes, task

SIZES, SEEDS = [64, 160, 400, 1000, 2400], [0, 1, 2]
SEQUENCES = [0, 10_000, 20_000, 60_000]
SHAPES = [Shape(2, 32), Shape(1, 64), Shape(2, 64)]
OF_SHAPES = 60_000  # sequences each shape is pre-trained on
REPLAY = [0.0, 0.25, 0.5]


def transfers(store: Store) -> list[RunRecord]:
    base, records = Shape(), []
    most = SEQUENCES[-1]
    grid = [(Start(base, n), "corpus", size) for size in SIZES for n in (most, 0)]
    grid += [(Start(base, n), "corpus", size) for n in SEQUENCES[1:-1] for size in (SIZES[0], SIZES[-1])]
    grid += [(Start(base, most), "module", SIZES[0])]
    grid += [(Start(shape, OF_SHAPES), "corpus", 400) for shape in SHAPES]
    for start, negatives, size in dict.fromkeys(grid):
        for seed in SEEDS:
            record = once(store, start, negatives, size, seed)
            records.append(record)
            found = record.metrics
            print(f"{start.shape.depth}x{start.shape.width} {start.sequences:>6} {negatives:<6} {size:>5} seed {seed}: "
                  f"accuracy {found['accuracy']:.3f} f1 {found['f1']:.3f} ({record.seconds:.0f} s)", flush=True)  # fmt: skip
    return records


def once(store: Store, start: Start, negatives: str, size: int, seed: int) -> RunRecord:
    id = transfer.run_id(start, task(negatives), size, seed)
    record = store.get(id)
    if record is None:
        record = measure(start, task(negatives), size, seed)
        assert record.id == id
        store.save(record)
    return record


def incremental(store: Store) -> list[RunRecord]:
    of, start, records = task(), Start(Shape(), OF_SHAPES), []
    for share, seed in product(REPLAY, SEEDS):
        config = {
            "kind": "incremental",
            "start": start.name,
            "replay": share,
            "seed": seed,
            "sequences": 3200,
            "tokenizer": "of the start",
        }
        id = run_id(config)
        record = store.get(id)
        if record is None:
            found = continued(start, of, share, config["sequences"], seed)
            N, total = sizes(start.shape)
            D = (start.sequences + config["sequences"]) * transfer.LENGTH
            record = RunRecord(
                id=id, config=config, N=N, N_total=total, D=D, C=6.0 * N * D, L=found["new"], metrics=found,
                seconds=0.0, peak_rss_bytes=machine.peak_rss_bytes(), provenance=provenance(of),
            )  # fmt: skip
            store.save(record)
        records.append(record)
        print(
            f"replay {share:.0%} seed {seed}:",
            {k: round(v, 3) for k, v in record.metrics.items()},
            flush=True,
        )
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--record", action="store_true", help="write the runs to data/records/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, make in (("transfer", transfers), ("incremental", incremental)):
        records = make(Store(options.out / name))
        if options.record:
            kept = [record.model_copy(update={"origin": "recorded"}) for record in records]
            write_records(kept, f"data/records/{name}.jsonl")


if __name__ == "__main__":
    main()
