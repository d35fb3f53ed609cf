"""Quantization, pruning and distillation of three teachers (the seeds), and latency by width (notebook 11).

A record is a teacher or a variant of one: the teacher's config with a field `compress` that says what was done, and metrics
with the teacher's loss (`base`) and the bytes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from itertools import product
from typing import Any

import torch
from torch import nn

from scalept_lab import machine
from scalept_lab.compress.distill import fit_student
from scalept_lab.compress.prune import fewer_heads, fewer_units, fine_tune, made_permanent, unstructured
from scalept_lab.compress.quantize import METHODS, int8, rounded, saved_bytes
from scalept_lab.compress.variants import teacher_config, trained, window_losses
from scalept_lab.config import ModelConfig, TrainConfig, recommend, run_id
from scalept_lab.costs import counts, numbers
from scalept_lab.data.corpora import prepare
from scalept_lab.model.transformer import Transformer
from scalept_lab.runs import RunRecord
from scalept_lab.train.timing import against, forward_pass
from sweeps.jobs import Job, Rounds, plain, sweep

WIDTHS = (128, 256, 512)
FINE_TUNING = 50_000
STUDENT, STUDENT_TOKENS = 32, 200_000
CUTS = {
    "unstructured": (unstructured, (0.25, 0.5, 0.7, 0.8, 0.9, 0.95)),
    "units": (fewer_units, (0.0, 0.25, 0.5, 0.75)),
    "heads": (fewer_heads, (0.25, 0.5)),
}


def latencies(records: list[RunRecord]) -> list[RunRecord]:
    """Into the first record: `latency METHOD WIDTH`, the time of a forward pass of 8 × 64 tokens on one thread over that of
    fp32, median of the rounds, with `low` and `high` quartiles; and `compile seconds WIDTH`, the first call of a compiled model.

    Models are untrained.
    """
    found: dict[str, float] = {}
    for width in WIDTHS:
        torch.manual_seed(0)
        model = Transformer(ModelConfig.family(width)).eval()
        nn.init.normal_(model.head.weight, std=0.05)
        x = torch.randint(256, (8, 64))
        arms: dict[str, nn.Module] = {"fp32": model, "bf16": copy.deepcopy(model).bfloat16()}
        arms |= {method: int8(model, method) for method in METHODS}
        arms["sparse 90 %"] = made_permanent(unstructured(model, 0.9))
        arms["half the units"] = fewer_units(model, 0.5)
        arms["compiled"] = torch.compile(copy.deepcopy(model))
        started = time.perf_counter()
        with torch.inference_mode():
            arms["compiled"](x)
        found[f"compile seconds {width}"] = time.perf_counter() - started
        for name, ratio in against({n: forward_pass(m, x) for n, m in arms.items()}, "fp32", 11).items():
            print(f"width {width:>4} {name:<15} {ratio}", flush=True)
            said = f"latency {name} {width}"
            found |= {said: ratio.median, f"{said} low": ratio.low, f"{said} high": ratio.high}
    first = records[0].model_copy(update={"metrics": {**records[0].metrics, **found}})
    return [first, *records[1:]]


@sweep(
    "quantization, pruning with and without fine-tuning, and distillation of three models of width 128; latency by width",
    minutes=15, metrics=("base", "bytes"), timed=latencies,
)  # fmt: skip
def compress(seeds: Sequence[int]) -> Rounds:
    jobs = []
    for seed in seeds:
        ready = partial(taught, seed)
        teacher = plain(teacher_config(seed), teach)
        jobs += [Job(teacher.config, teacher.make, ready)]
        jobs += [Job(named(seed, what), partial(variant, seed, what), ready) for what in variants()]
    yield jobs


def variants() -> Iterator[dict[str, Any]]:
    """What is done to a teacher."""
    for granularity, bits in product(numbers.GRANULARITIES, range(numbers.LOW, numbers.HIGH + 1)):
        yield {"kind": "rounded", "bits": bits, "granularity": granularity}
    yield from ({"kind": "int8", "method": method} for method in METHODS)
    yield {"kind": "bf16"}
    for kind, (_, shares) in CUTS.items():
        for share, budget in product(shares, (0, FINE_TUNING)):
            if share or budget:  # else it is the teacher itself
                yield {"kind": kind, "share": share, "fine_tuning": budget}
    arms = [(1.0, 0.0), (1.0, 0.5), (2.0, 0.5), (4.0, 0.5), (1.0, 1.0), (2.0, 1.0)]
    for temperature, weight, tokens in [
        *((*arm, STUDENT_TOKENS) for arm in arms),
        (1.0, 0.0, same_compute()),
    ]:
        yield {
            "kind": "student",
            "width": STUDENT,
            "tokens": tokens,
            "temperature": temperature,
            "weight": weight,
        }


def same_compute() -> int:
    """Tokens that a student alone could train on for the FLOPs of being taught: its own, and the teacher's forward passes."""
    own, watched = (counts.flops_per_token(c) for c in (ModelConfig.family(STUDENT), teacher_config().model))
    return round(STUDENT_TOKENS * (1 + watched / 3 / own))


def variant(seed: int, what: dict[str, Any]) -> RunRecord:
    """Do it to the teacher of this seed, and measure."""
    corpus, (teacher, base) = prepare("python"), taught_by(seed)
    started, metrics = time.perf_counter(), {}
    match what:
        case {"kind": "rounded", "bits": bits, "granularity": granularity}:
            model, metrics["bytes"] = rounded(teacher, bits, granularity)
        case {"kind": "int8", "method": method}:
            model = int8(teacher, method)
        case {"kind": "bf16"}:
            model = copy.deepcopy(teacher).bfloat16()
        case {
            "kind": "student",
            "width": width,
            "tokens": tokens,
            "temperature": temperature,
            "weight": weight,
        }:
            config = recommend(width, tokens, seed=seed, eval_windows=256)
            model, run = fit_student(config, teacher, temperature=temperature, weight=weight, corpus=corpus)
            metrics["C"] = run.C
        case {"kind": kind, "share": share, "fine_tuning": budget}:
            model = CUTS[kind][0](teacher, share)
            if budget:
                fine_tune(model, corpus, budget, seed=100 + seed)
            made_permanent(model)
    loss, values = float(window_losses(model, corpus).mean()), named(seed, what)
    changes = {
        "id": run_id(values), "config": values, "L": loss, "curve": [], "seconds": time.perf_counter() - started,
        "metrics": {"base": base.L, "bytes": saved_bytes(model), **metrics},
        "provenance": {**base.provenance, **machine.provenance()},
    }  # fmt: skip
    return RunRecord.model_validate({**base.model_dump(), **changes})


def named(seed: int, what: dict[str, Any]) -> dict[str, Any]:
    return {**teacher_config(seed).model_dump(), "compress": what}


def teach(config: TrainConfig) -> RunRecord:
    return taught_by(config.seed)[1]


def taught(seed: int) -> str:
    """The text's fingerprint, with the teacher trained on it and kept: two workers would train it twice."""
    taught_by(seed)
    return prepare("python").sha256


@cache
def taught_by(seed: int) -> tuple[Transformer, RunRecord]:
    return trained(teacher_config(seed), prepare("python"))
