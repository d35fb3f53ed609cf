"""What pre-training is worth on labelled pairs: F1 by pairs, by pre-training, by shape; and forgetting (notebook 09)."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from scalept_lab.runs import RunRecord
from scalept_lab.train import outcome
from scalept_lab.transfer import calibration, disturb
from scalept_lab.transfer.bert import LENGTH, Shape, masked_loss
from scalept_lab.transfer.finetuning import FineTuning, evaluate, finetune
from scalept_lab.transfer.measure import (
    ALL,
    TESTS,
    Rank,
    Start,
    continued,
    described,
    held_out,
    load_pretraining,
    measure,
    prepared,
    pretrained,
    provenance,
    sizes,
    task,
)
from scalept_lab.transfer.pairs import subset
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


RANKS = (0, 1, 4, ALL)
RATES = {0: (3e-3, 3e-2), ALL: (2e-4, 5e-4)}
LOW_RANK_RATES = (1e-3, 5e-3)


@sweep(
    "which weights learn (the classifier's layer, low-rank factors, all) × labelled pairs, each at its best rate",
    minutes=8, metrics=("accuracy", "f1", "trained"), alone=True,
)  # fmt: skip
def adaptation(seeds: Sequence[int]) -> Rounds:
    """A rate for each way, chosen by accuracy on pairs of other modules than those trained on; then scored on test pairs.

    The last runs are a control: a linear probe on an encoder that was never trained.
    """
    tried = {
        (rank, rate, seed): adapted(MOST, rank, 400, rate, seed, split="choose")
        for rank in RANKS for rate in RATES.get(rank, LOW_RANK_RATES) for seed in seeds[:2]
    }  # fmt: skip
    found = {record.id: record for record in (yield list(tried.values()))}
    chosen = {
        rank: max(
            RATES.get(rank, LOW_RANK_RATES),
            key=lambda rate: sum(found[tried[rank, rate, seed].id].metrics["accuracy"] for seed in seeds[:2]),
        )
        for rank in RANKS
    }
    yield [
        *(adapted(MOST, rank, pairs, chosen[rank], seed)
          for pairs in (64, 400, 1000) for rank in RANKS for seed in seeds),
        *(adapted(Start(Shape(), 0), 0, 1000, chosen[0], seed) for seed in seeds),
    ]  # fmt: skip


def adapted(start: Start, rank: Rank, pairs: int, rate: float, seed: int, split: str = "test") -> Job:
    plan = FineTuning(lr=rate)
    config = described(start, "corpus", pairs, seed, plan, rank=rank, split=split)
    return Job(
        config, partial(adapt_one, start, rank, pairs, plan, seed, split), partial(fingerprint, "corpus")
    )


def adapt_one(start: Start, rank: Rank, pairs: int, plan: FineTuning, seed: int, split: str) -> RunRecord:
    of = task() if split == "test" else held_out(task())
    return measure(start, of, pairs, seed, plan, rank=rank)


SHAPES = (Shape(1, 88), Shape(2, 64), Shape(4, 44), Shape(2, 64, heads=1))


@sweep(
    "depth against width at nearly equal parameters, and heads at equal ones: what pre-training makes of each",
    minutes=4, metrics=("pair loss",), alone=True,
)  # fmt: skip
def structure(seeds: Sequence[int]) -> Rounds:
    """L is the masked-language loss on held-out texts. The metric is the loss of the pair task over the last steps. A seed draws
    the first weights and the order of what is read, the same for every shape."""
    yield [
        Job({"kind": "structure", "start": Start(shape, 8_000, seed).told}, partial(shaped, Start(shape, 8_000, seed)),
            partial(fingerprint, "corpus"))
        for shape in SHAPES for seed in seeds
    ]  # fmt: skip


def shaped(start: Start) -> RunRecord:
    began, of = time.perf_counter(), task()
    folder = pretrained(start, of)
    *_, (_, _, pair_loss) = json.loads((folder / "curve.json").read_text(encoding="utf-8"))["curve"]
    loss = masked_loss(load_pretraining(folder), of.tokenizer, of.heldout["old"])
    N, total = sizes(start.shape)
    D = start.sequences * LENGTH
    return outcome.record(
        {"kind": "structure", "start": start.told}, loss, N=N, N_total=total, D=D, C=6.0 * N * D,
        metrics={"pair loss": pair_loss}, seconds=time.perf_counter() - began, provenance=provenance(of),
    )  # fmt: skip


@sweep(
    "a fine-tuned classifier judged twice more: its probabilities before and after a temperature, its input disturbed",
    minutes=3, metrics=("error", "error, scaled", "clean", "own", "shared"), seeds=(0, 1, 2, 3, 4), alone=True,
)  # fmt: skip
def judged(seeds: Sequence[int]) -> Rounds:
    """1,000 pairs to train on, those of other modules to fit the temperature on, and the test pairs."""
    yield [
        Job({"kind": "judged", "start": MOST.name, "pairs": 1000, "seed": seed, "epochs": epochs},
            partial(judge_one, epochs, seed), partial(fingerprint, "corpus"))
        for epochs in (3, 12) for seed in seeds[: 5 if epochs == 3 else 3]
    ]  # fmt: skip


def judge_one(epochs: int, seed: int) -> RunRecord:
    began, of = time.perf_counter(), held_out(task())
    test = task().test.select(range(TESTS))
    model, tokenizer = prepared(MOST, of, seed)
    plan = FineTuning(seed=seed, epochs=epochs)
    choose = finetune(model, tokenizer, subset(of.train, 1000, seed), of.test, plan)
    found = evaluate(model, tokenizer, test)
    T, labels = calibration.temperature(choose.logits, of.test["label"]), np.array(test["label"])
    plain, scaled = (calibration.confidence(found.logits / by, labels) for by in (1.0, T))
    disturbed = {
        "clean": test, "prefixed": disturb.prefixed(test), "typos": disturb.misspell(test, seed=seed),
        **{which: disturb.rename(test, which, seed=seed) for which in disturb.WHICH},
    }  # fmt: skip
    metrics = {
        "temperature": T, "error": calibration.binned(*plain).error, "error, scaled": calibration.binned(*scaled).error,
        "chance": float(calibration.by_chance(plain[0]).mean()),
        "chance, scaled": float(calibration.by_chance(scaled[0]).mean()),
        "loss, scaled": calibration.loss(found.logits, labels, T),
        **{name: evaluate(model, tokenizer, pairs).accuracy for name, pairs in disturbed.items()},
    }  # fmt: skip
    N, total = sizes(MOST.shape)
    D = (MOST.sequences + plan.steps(1000) * plan.batch) * LENGTH
    return outcome.record(
        {"kind": "judged", "start": MOST.name, "pairs": 1000, "seed": seed, "epochs": epochs}, found.loss, N=N, N_total=total,
        D=D, C=6.0 * N * D, metrics=metrics, seconds=time.perf_counter() - began, provenance=provenance(of),
    )  # fmt: skip


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
