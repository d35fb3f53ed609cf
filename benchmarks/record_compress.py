"""The recorded runs of notebook 11: quantization, pruning and distillation of three teachers, and latency by width.

python benchmarks/record_compress.py              # about ten minutes of one core; resumes after a kill
python benchmarks/record_compress.py --record     # also writes data/records/compress.jsonl

Each record is one variant of one teacher (three seeds): its config is the run's with a field `compress` that says what was done,
its metrics hold the teacher's loss (`base`) and the bytes. The teacher's own record of seed 0 carries the latencies as metrics
`latency METHOD WIDTH` (time of a forward pass of 8 × 64 tokens on one thread over that of fp32, median of the rounds), with `low`
and `high` quartiles, and `compile seconds WIDTH`, the first call of a compiled model. Models wider than the teacher
are untrained.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scalept_lab import affine, costs, machine
from scalept_lab.compress import teacher_config, trained, window_losses
from scalept_lab.config import ModelConfig, TrainConfig, run_id
from scalept_lab.data import Prepared, prepare
from scalept_lab.distill import fit_student
from scalept_lab.latency import against, forward_pass
from scalept_lab.models import Transformer
from scalept_lab.prune import fewer_heads, fewer_units, fine_tune, made_permanent, unstructured
from scalept_lab.quantize import METHODS, int8, rounded, saved_bytes
from scalept_lab.recipe import recommend
from scalept_lab.runs import RunRecord, Store, write_atomically, write_records

SEEDS = [0, 1, 2]
WIDTHS = [128, 256, 512]
FINE_TUNING = 50_000
STUDENT, STUDENT_TOKENS = 32, 200_000
Result = tuple[dict[str, Any], Callable[[], tuple[float, dict[str, float]]]]


def variants(teacher: Transformer, corpus: Prepared, seed: int) -> Iterator[Result]:
    """What is done to a teacher, and a function that does it and returns (loss, metrics)."""

    def scored(model: nn.Module, **metrics: float) -> tuple[float, dict[str, float]]:
        return float(window_losses(model, corpus).mean()), {"bytes": saved_bytes(model), **metrics}

    for granularity in affine.GRANULARITIES:
        for bits in range(affine.LOW, affine.HIGH + 1):

            def quantized(bits: int = bits, granularity: str = granularity) -> tuple[float, dict[str, float]]:
                model, stored = rounded(teacher, bits, granularity)
                return scored(model, bytes=stored)

            yield {"kind": "rounded", "bits": bits, "granularity": granularity}, quantized
    for method in METHODS:
        yield {"kind": "int8", "method": method}, lambda method=method: scored(int8(teacher, method))
    yield {"kind": "bf16"}, lambda: scored(copy.deepcopy(teacher).bfloat16())

    cuts = [("unstructured", unstructured, share) for share in (0.25, 0.5, 0.7, 0.8, 0.9, 0.95)]
    cuts += [("units", fewer_units, share) for share in (0.0, 0.25, 0.5, 0.75)]
    cuts += [("heads", fewer_heads, share) for share in (0.25, 0.5)]
    for kind, cut, share in cuts:
        for budget in (0, FINE_TUNING):
            if (share, budget) == (0.0, 0):
                continue  # the teacher itself

            def pruned(cut=cut, share=share, budget=budget) -> tuple[float, dict[str, float]]:
                model = cut(teacher, share)
                if budget:
                    fine_tune(model, corpus, budget, seed=100 + seed)
                made_permanent(model)
                return scored(model)

            yield {"kind": kind, "share": share, "fine_tuning": budget}, pruned

    arms = [(1.0, 0.0), (1.0, 0.5), (2.0, 0.5), (4.0, 0.5), (1.0, 1.0), (2.0, 1.0)]
    for temperature, weight, budget in [(*arm, STUDENT_TOKENS) for arm in arms] + [
        (1.0, 0.0, same_compute(teacher))
    ]:
        config = recommend(STUDENT, budget, seed=seed, eval_windows=256)

        def student(
            config: TrainConfig = config, temperature: float = temperature, weight: float = weight
        ) -> tuple[float, dict[str, float]]:
            model, run = fit_student(config, teacher, temperature=temperature, weight=weight, corpus=corpus)
            return scored(model, C=run.C)

        said = {"width": STUDENT, "tokens": budget, "temperature": temperature, "weight": weight}
        yield {"kind": "student", **said}, student


def same_compute(teacher: Transformer) -> int:
    """Tokens that a student alone could train on for the FLOPs of being taught: its own, and the teacher's forward passes."""
    own, watched = (costs.flops_per_token(c) for c in (ModelConfig.family(STUDENT), teacher.config))
    return round(STUDENT_TOKENS * (1 + watched / 3 / own))


def latencies() -> dict[str, float]:
    found: dict[str, float] = {}
    for width in WIDTHS:
        torch.manual_seed(0)
        model = Transformer(ModelConfig.family(width)).eval()
        nn.init.normal_(model.head.weight, std=0.05)
        x = torch.randint(256, (8, 64))
        made: dict[str, nn.Module] = {"fp32": model, "bf16": copy.deepcopy(model).bfloat16()}
        made |= {method: int8(model, method) for method in METHODS}
        made["sparse 90 %"] = made_permanent(unstructured(model, 0.9))
        made["half the units"] = fewer_units(model, 0.5)
        made["compiled"] = torch.compile(copy.deepcopy(model))
        started = time.perf_counter()
        with torch.inference_mode():
            made["compiled"](x)
        found[f"compile seconds {width}"] = time.perf_counter() - started
        for name, ratio in against({n: forward_pass(m, x) for n, m in made.items()}, "fp32", 11).items():
            found[f"latency {name} {width}"] = ratio.median
            found[f"latency {name} {width} low"], found[f"latency {name} {width} high"] = (
                ratio.low,
                ratio.high,
            )
            print(f"width {width:>4} {name:<15} {ratio}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/compress"))
    parser.add_argument("--record", action="store_true", help="write the runs to data/records/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus, store, records = prepare("python"), Store(options.out), []
    for seed in SEEDS:
        teacher, base = trained(teacher_config(seed), corpus)
        records.append(base)
        for what, make in variants(teacher, corpus, seed):
            values = {**base.config, "compress": what}
            name = run_id(values)
            record = store.get(name)
            if record is None:
                started = time.perf_counter()
                loss, metrics = make()
                changes = {"id": name, "config": values, "L": loss, "curve": [], "seconds": time.perf_counter() - started,
                           "metrics": {"base": base.L, **metrics},
                           "provenance": {**base.provenance, **machine.provenance()}}  # fmt: skip
                record = RunRecord.model_validate({**base.model_dump(), **changes})
                store.save(record)
            print(seed, what, f"{record.L:.4f} ({record.L - base.L:+.4f})", flush=True)
            records.append(record)
    timed = options.out / "latency" / "latencies.json"
    if not timed.is_file():
        write_atomically(timed, json.dumps(latencies()))
    found = json.loads(timed.read_text())
    records[0] = records[0].model_copy(update={"metrics": {**records[0].metrics, **found}})
    if options.record:
        kept = [record.model_copy(update={"origin": "recorded"}) for record in records]
        write_records(kept, "data/records/compress.jsonl")
        print(f"{len(kept)} runs in data/records/compress.jsonl")


if __name__ == "__main__":
    main()
