"""What pre-training is worth on labelled pairs: F1 by pairs, by pre-training, by shape; and forgetting (notebook 09)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

from scalept_lab.runs import RunRecord
from scalept_lab.train import outcome
from scalept_lab.transfer.bert import LENGTH, Shape
from scalept_lab.transfer.measure import Start, continued, described, measure, provenance, sizes, task
from sweeps.jobs import Job, Rounds, sweep

PAIRS = (64, 160, 400, 1000, 2400)
MOST = Start(Shape(), 60_000)


@sweep(
    "F1 on sentence pairs: labelled pairs × pre-training × shape × kind of wrong pairs",
    minutes=15, metrics=("accuracy", "f1"), alone=True,
)  # fmt: skip
def transfer(seeds: Sequence[int]) -> Rounds:
    """Starts (a shape, pre-trained on so many sequences; 0: from scratch) fine-tuned on subsets of the training pairs.

    The seed draws the subset, the classifier and the order, and from scratch all weights as well. A start is pre-trained once,
    so one run is made at a time. Wrong sentences come from anywhere ("corpus"), in some runs from the same module ("module"),
    which is harder.
    """
    grid = [(start, "corpus", pairs) for pairs in PAIRS for start in (MOST, Start(Shape(), 0))]
    few, many = PAIRS[0], PAIRS[-1]
    grid += [(Start(Shape(), n), "corpus", pairs) for n in (10_000, 20_000) for pairs in (few, many)]
    grid += [(MOST, "module", few)]
    grid += [(Start(Shape(*of), MOST.sequences), "corpus", 400) for of in ((2, 32), (1, 64), (2, 64))]
    yield [
        Job(described(*run, seed), partial(fine_tuned, *run, seed), partial(fingerprint, negatives))
        for run in dict.fromkeys(grid)
        for _, negatives, _ in [run]
        for seed in seeds
    ]


def fine_tuned(start: Start, negatives: str, pairs: int, seed: int) -> RunRecord:
    return measure(start, task(negatives), pairs, seed)


@sweep(
    "share of old text (replay) while pre-training goes on with a new package",
    minutes=2, metrics=("old before", "old", "new before", "new"), alone=True,
)  # fmt: skip
def incremental(seeds: Sequence[int]) -> Rounds:
    """L is the masked-language loss on held-out texts of the new package; the metrics hold it for old and new."""
    jobs = []
    for share, seed in product((0.0, 0.25, 0.5), seeds):
        config = {
            "kind": "incremental", "start": MOST.name, "replay": share, "seed": seed, "sequences": 3200,
            "tokenizer": "of the start",
        }  # fmt: skip
        jobs.append(Job(config, partial(gone_on, config), partial(fingerprint, "corpus")))
    yield jobs


def gone_on(config: dict[str, Any]) -> RunRecord:
    started, of = time.perf_counter(), task()
    found = continued(MOST, of, config["replay"], config["sequences"], config["seed"])
    N, total = sizes(MOST.shape)
    D = (MOST.sequences + config["sequences"]) * LENGTH
    return outcome.record(
        config, found["new"], N=N, N_total=total, D=D, C=6.0 * N * D, metrics=found,
        seconds=time.perf_counter() - started, provenance=provenance(of),
    )  # fmt: skip


def fingerprint(negatives: str) -> str:
    return task(negatives).sha256
