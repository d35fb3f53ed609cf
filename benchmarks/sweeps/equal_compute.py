"""Every compressed model beside the control of equal training compute, three seeds: notebook 11.

The budget is a teacher's training and an eighth more (what fine-tuning it for 50,000 tokens costs). An arm spends it whole, from
its own first step, or on a teacher and then on what is made of it. The arms "alone, after" have only the eighth: what the budget
of fine-tuning buys without a teacher. A record's metrics have the loss and the bytes of its model as it is stored: in fp32 (zeros
left out), in 8 bits rounded to nearest, in 4 and 3 by GPTQ.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from scalept_lab import machine
from scalept_lab.compress import gptq, quantize
from scalept_lab.compress.distill import fit_student
from scalept_lab.compress.prune import (
    fewer_units,
    fine_tune,
    made_permanent,
    sparse_bytes,
    two_of_four,
    unstructured,
)
from scalept_lab.compress.variants import calibration, teacher_config, trained, window_losses
from scalept_lab.config import ModelConfig, TrainConfig, recommend, run_id
from scalept_lab.costs import counts
from scalept_lab.data.corpora import prepare
from scalept_lab.model.transformer import Transformer
from scalept_lab.runs import RunRecord
from sweeps.compress import named, taught, taught_by
from sweeps.jobs import Job, Rounds, sweep

TUNING = 50_000  # tokens of the full model
HALF = ModelConfig.family(128, mlp_ratio=2)
SHAPES = {"full": ModelConfig.family(128), "half the units": HALF, "width 64": ModelConfig.family(64),
          "width 32": ModelConfig.family(32)}  # fmt: skip
TUNED: dict[str, Callable[[Transformer], Transformer]] = {
    "full, tuned": copy.deepcopy,
    "half the units, tuned": partial(fewer_units, share=0.5),
    "80 % zeros, tuned": partial(unstructured, sparsity=0.8),
    "2:4, tuned": lambda model: two_of_four(model, gptq.hessians(model, calibration(prepare("python")))),
}


def flops(shape: ModelConfig) -> float:
    return counts.flops_per_token(shape)


def extra() -> float:
    """FLOPs of fine-tuning."""
    return TUNING * flops(SHAPES["full"])


def whole() -> float:
    """FLOPs of a teacher and fine-tuning."""
    return teacher_config().tokens * flops(SHAPES["full"]) + extra()


def alone(shape: ModelConfig, budget: float, seed: int) -> TrainConfig:
    return recommend(shape.width, budget / flops(shape), model=shape, seed=seed, eval_windows=256)


@sweep("pruned and distilled models beside models trained alone for the same FLOPs (a teacher's included), in 32 to 3 bits",
       minutes=15, metrics=("bytes", "4 bits", "3 bits"))  # fmt: skip
def equal_compute(seeds: Sequence[int]) -> Rounds:
    # the teacher, tuned, is the full model of this budget
    after = [f"{name}, alone, after" for name in ("half the units", "width 32")]
    arms = ["width 32", *after, "width 32, taught", *TUNED, "half the units", "width 64"]
    yield [
        Job(named(seed, what), partial(arm, seed, what["arm"]), partial(taught, seed))
        for what in ({"kind": "equal compute", "arm": name} for name in arms)
        for seed in (seeds if what["arm"] != "width 32" else seeds[:1])  # five million tokens: once
    ]  # fmt: skip


def arm(seed: int, name: str) -> RunRecord:
    corpus, (teacher, base) = prepare("python"), taught_by(seed)
    started, before = time.perf_counter(), base.C
    if name in SHAPES:
        before = 0.0
        model, run = trained(alone(SHAPES[name], whole(), seed), corpus)
        spent = run.C
    elif name in TUNED:
        model = TUNED[name](teacher)
        tokens = extra() / flops(HALF if "units" in name else SHAPES["full"])
        made_permanent(fine_tune(model, corpus, tokens, seed=100 + seed))
        spent = extra()
    elif name == "width 32, taught":
        student = SHAPES["width 32"]
        tokens = extra() / (
            flops(student) + flops(SHAPES["full"]) / 3
        )  # the teacher's forward passes are a third of training
        model, run = fit_student(
            recommend(32, tokens, seed=seed, eval_windows=256), teacher, weight=1.0, corpus=corpus
        )
        spent = run.C
    else:
        before = 0.0
        model, run = trained(alone(SHAPES[name.split(",")[0]], extra(), seed), corpus)
        spent = run.C
    found, values = served(model, corpus, name), named(seed, {"kind": "equal compute", "arm": name})
    changes = {
        "id": run_id(values), "config": values, "C": before + spent, "L": found.pop("fp32"), "curve": [],
        "seconds": time.perf_counter() - started, "metrics": {"base": base.L, **found},
        "provenance": {**base.provenance, **machine.provenance()},
    }  # fmt: skip
    return RunRecord.model_validate({**base.model_dump(), **changes})


def served(model: Transformer, corpus: Any, name: str) -> dict[str, float]:
    """Loss of the model as it is stored, and the bytes: `fp32` and `bytes`, `4 bits` and `4 bits bytes`, …"""
    found = {"fp32": model, "8 bits": None, "4 bits": None, "3 bits": None}
    stored = {"": sparse_bytes(model) if zeros(model) else sum(p.nbytes for p in model.parameters())}
    if zeros(model) or name.endswith("after"):  # on a grid, zeros would take bits like all others
        return {"fp32": loss(model, corpus), "bytes": stored[""]}
    H = gptq.hessians(model, calibration(corpus))
    found["8 bits"], stored["8 bits "] = quantize.rounded(model, 8)
    for bits in (4, 3):
        found[f"{bits} bits"], stored[f"{bits} bits "] = gptq.gptq(model, H, bits, "group")
    return {name: loss(made, corpus) for name, made in found.items()} | {
        f"{name}bytes": size for name, size in stored.items()
    }


def zeros(model: Transformer) -> bool:
    weight = model.blocks[0].mlp.up.weight  # type: ignore[union-attr]
    return float((weight == 0).float().mean()) > 0.1  # type: ignore[union-attr]


def loss(model: Transformer, corpus: Any) -> float:
    return float(window_losses(model, corpus).mean())
