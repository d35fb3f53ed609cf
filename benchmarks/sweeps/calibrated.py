"""Rounding to nearest against GPTQ and AWQ, and 2:4 pruning, of three teachers (the seeds): notebook 11.

A record is a variant of a teacher, as in `compress`; the metric `error` is the standard error of its gap over the held-out
windows, paired with the teacher's. `calibration` says what the method was given: "text", "identity" or "shuffled" (the channels
of the text's H in another order): the nulls.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from scalept_lab import machine
from scalept_lab.compress import gptq, quantize
from scalept_lab.compress.prune import sparse_bytes, two_of_four, unstructured
from scalept_lab.compress.variants import calibration, window_losses
from scalept_lab.config import run_id
from scalept_lab.data.corpora import prepare
from scalept_lab.runs import RunRecord
from sweeps.compress import named, taught, taught_by
from sweeps.jobs import Job, Rounds, sweep


@sweep("rounding to nearest against GPTQ and AWQ, 2:4 pruning, with real, shuffled and no activations; three models of width 128",
       minutes=4, metrics=("base", "bytes", "error"))  # fmt: skip
def calibrated(seeds: Sequence[int]) -> Rounds:
    yield [
        Job(named(seed, what), partial(variant, seed, what), partial(taught, seed))
        for seed in seeds
        for what in variants()
    ]


def variants() -> Iterator[dict[str, Any]]:
    for bits in (4, 3):
        for granularity in ("channel", "group"):
            grid = {"bits": bits, "granularity": granularity}
            yield {"kind": "nearest", **grid}
            for kind, source in (
                ("gptq", "text"),
                ("gptq", "shuffled"),
                ("awq", "text"),
                ("awq", "shuffled"),
            ):
                yield {"kind": kind, **grid, "calibration": source}
    yield {"kind": "gptq", "bits": 3, "granularity": "group", "calibration": "identity"}
    yield {"kind": "half the weights"}
    yield {"kind": "2:4"}
    yield from ({"kind": "2:4", "calibration": source} for source in ("text", "shuffled", "identity"))


def variant(seed: int, what: dict[str, Any]) -> RunRecord:
    corpus, (teacher, base) = prepare("python"), taught_by(seed)
    started = time.perf_counter()
    H = seen(seed, what["calibration"]) if "calibration" in what else None
    match what:
        case {"kind": "nearest", "bits": bits, "granularity": granularity}:
            model, stored = quantize.rounded(teacher, bits, granularity)
        case {"kind": "gptq" | "awq" as kind, "bits": bits, "granularity": granularity}:
            model, stored = getattr(gptq, kind)(teacher, H, bits, granularity)
        case {"kind": kind}:
            model = two_of_four(teacher, H) if kind == "2:4" else unstructured(teacher, 0.5)
            stored = sparse_bytes(model)
    lost_W, values = window_losses(model, corpus) - window_losses(teacher, corpus), named(seed, what)
    error = float(lost_W.std() / len(lost_W) ** 0.5)
    changes = {
        "id": run_id(values), "config": values, "L": base.L + float(lost_W.mean()), "curve": [],
        "seconds": time.perf_counter() - started, "metrics": {"base": base.L, "bytes": stored, "error": error},
        "provenance": {**base.provenance, **machine.provenance()},
    }  # fmt: skip
    return RunRecord.model_validate({**base.model_dump(), **changes})


@cache
def seen(seed: int, source: str) -> dict[str, Tensor]:
    """H of every layer, by what it is made of."""
    found = gptq.hessians(taught_by(seed)[0], calibration(prepare("python")))
    chance = torch.Generator().manual_seed(seed)
    made = {}
    for name, H_IxI in found.items():
        order = torch.randperm(len(H_IxI), generator=chance)
        made[name] = {
            "text": H_IxI,
            "shuffled": H_IxI[order][:, order],
            "identity": torch.eye(len(H_IxI), dtype=H_IxI.dtype),
        }[source]
    return made
