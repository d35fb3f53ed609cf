"""A class of 500, made up: 50 runs each from a planted law, one file in twenty malformed in ten ways, three of them lies.

    python benchmarks/classroom.py                        # makes, merges and judges it: the table, and the law against the
    planted python benchmarks/classroom.py --learners 40 --figure class.png

By hand, never in CI. What is planted is known, so the table can say what was found and what was not: `LAW`, the spread between
seeds (`SEED`), machines (`MACHINE`) and learners (`LEARNER`), one forecaster who is better than the class, and a lucky one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import scalept_lab as sl
from scalept_lab.config import ModelConfig, TrainConfig, run_id
from scalept_lab.costs import counts
from scalept_lab.runs import recorded
from scalept_lab.study import merging
from scalept_lab.study.pooling import Pool, pooled
from scalept_lab.study.predictions import Shot

LAW = {"E": 0.9, "A": 15.0, "B": 110.0, "alpha": 0.32, "beta": 0.41}
SEED, MACHINE, LEARNER = 0.004, 0.0002, 0.0005  # standard deviations of the logarithm of the loss
WIDTHS = (16, 24, 32, 48, 64)
TOKENS = tuple(round(x) for x in np.geomspace(1e5, 2e6, 10))
COMMON = 5  # runs that everybody makes, with seed 0
QUESTIONS = 12
GOOD, LUCKY = "陈伟", "lucky <b>Lou</b>"
NAMES = {0: GOOD, 1: LUCKY, 2: "../../x", 3: "Ana & Ben"}
TEXT = "ab" * 32
CREATED = "2030-01-02T03:04:05+00:00"


def loss(N: float, D: float) -> float:
    return LAW["E"] + LAW["A"] * N ** -LAW["alpha"] + LAW["B"] * D ** -LAW["beta"]


@dataclass
class Made:
    """A class on disk. `ways`: how a file is malformed -> its files. `liars`: the names that should stand out, or be
    refused."""

    folder: Path
    records: int = 0
    ways: dict[str, list[str]] = field(default_factory=dict)


# --- one honest learner -----------------------------------------------------------------------------------------------


class Maker:
    """Class files of made-up learners; the curve of a recorded run gives each record the size of a real one."""

    def __init__(self, runs: int, seed: int):
        self.runs, self.seed = runs, seed
        self.rng = np.random.default_rng(seed)
        self.curve = np.array(recorded("standard")[0].curve)
        self.configs = [
            TrainConfig(model=ModelConfig.family(width), tokens=tokens).model_dump()
            for tokens in TOKENS for width in WIDTHS
        ][:runs]  # fmt: skip
        self.hero = TrainConfig(model=ModelConfig.family(80), tokens=8_000_000).model_dump()
        self.truth = {f"{n:02d}.a": 10 ** self.rng.uniform(-1, 4) for n in range(1, QUESTIONS + 1)}
        self.common = [math.exp(SEED * x) for x in self.rng.standard_normal(COMMON)]
        self.shapes: dict[int, tuple[int, int, float]] = {}

    def lines(self, index: int, twice: float = 1.0) -> list[dict[str, Any]]:
        """The header and the records of one learner; `twice` times the tokens are claimed for each run."""
        rng = np.random.default_rng([self.seed, index])
        own = math.exp(LEARNER * rng.standard_normal())
        configs = [
            {**config, "seed": 0 if k < COMMON else index + 1} for k, config in enumerate(self.configs)
        ]
        records = []
        for k, config in enumerate(configs):
            luck = self.common[k] if k < COMMON else math.exp(SEED * rng.standard_normal())
            records.append(self.record(config, own * luck * math.exp(MACHINE * rng.standard_normal()), twice))
        hero = self.record({**self.hero, "seed": index + 1}, own * math.exp(SEED * rng.standard_normal()))
        header = {
            "class_file": 1, "study": "class", "learner": NAMES.get(index, f"learner {index:03d}"), "budget_flops": 6e12,
            "spent_flops": sum(record["C"] for record in records),
            "shots": [self.shot(hero, records, rng)], "exercises": self.exercises(rng), "predictions": self.guesses(index, rng),
        }  # fmt: skip
        return [header, *records, hero]

    def record(self, config: dict[str, Any], factor: float, twice: float = 1.0) -> dict[str, Any]:
        width = config["model"]["width"]
        if width not in self.shapes:
            shape = counts.shape(ModelConfig.family(width))
            self.shapes[width] = (shape.non_embedding, shape.total, shape.flops_per_token())
        N, total, flops = self.shapes[width]
        step = config["batch"] * config["model"]["context"]
        D = round(config["tokens"] / step) * step
        L = loss(N, D) * factor
        if twice != 1:
            config = {**config, "tokens": round(twice * config["tokens"])}
            D = round(config["tokens"] / step) * step
        return {
            "schema_version": 1, "id": run_id(config), "config": config, "N": N, "N_total": total, "D": D, "C": flops * D, "L": L,
            "curve": self.curve_of(factor), "metrics": {}, "seconds": D / 1e5, "peak_rss_bytes": 400_000_000,
            "status": "ok", "error": None, "provenance": {"corpus_sha256": TEXT, "created": CREATED}, "origin": "live",
        }  # fmt: skip

    def curve_of(self, factor: float) -> list[list[float]]:
        """The curve of a recorded run, with other digits in each record, so that files compress as real ones do."""
        noise = np.exp(0.05 * np.random.default_rng(int(factor * 1e12)).standard_normal(len(self.curve)))
        losses = np.round(self.curve[:, 2] * noise, 6)
        return [[int(s), int(t), float(x)] for (s, t, _), x in zip(self.curve, losses, strict=True)]

    def shot(
        self, hero: dict[str, Any], records: list[dict[str, Any]], rng: np.random.Generator
    ) -> dict[str, Any]:
        said = loss(hero["N"], hero["D"]) * math.exp(2 * SEED * rng.standard_normal())
        half = 1.96 * math.hypot(SEED, 2 * SEED)
        shot = Shot(
            config=hero["config"], flops=hero["C"], predicted=said, low=said * math.exp(-half), high=said * math.exp(half),
            law=LAW, status="converged", runs=[record["id"] for record in records], sealed_at="2030-01-02T03:00:00+00:00",
        )  # fmt: skip
        sealed = shot.model_copy(update={"seal": shot.digest()})
        return {"shot": sealed.model_dump(), "measured": hero["L"]}

    def guesses(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Calibrated guesses of a tenth of what is measured; GOOD knows it to a thirtieth, and LUCKY, who guesses three times,
        guesses those exactly."""
        found = {}
        for k, (id, truth) in enumerate(self.truth.items()):
            sigma = truth * (1 / 30 if index == 0 else 0.1)
            value = truth + sigma * rng.standard_normal()
            half = 1.96 * sigma
            if index == 1:
                if k >= 3:
                    break
                value, half = truth, 1e-3 * truth
            guess = {
                "value": value,
                "low": value - half,
                "high": value + half,
                "at": CREATED,
                "after_result": False,
            }
            found[id] = {"guesses": [guess], "measured": truth, "rivals": {"no change": 1.2 * truth}}
        return found

    def exercises(self, rng: np.random.Generator) -> dict[str, Any]:
        """Everybody solves the first of a notebook, a third the second, after many tries."""
        work = {}
        for n in range(4):
            work[f"{n:02d}.1"] = {"right": True, "tries": 1, "hints": 0, "solution_seen": False}
            hard = bool(rng.random() < 1 / 3)
            work[f"{n:02d}.2"] = {
                "right": hard,
                "tries": int(rng.integers(2, 9)),
                "hints": 2,
                "solution_seen": not hard,
            }
        return work


def packed(lines: list[dict[str, Any]]) -> bytes:
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    return gzip.compress(text.encode(), 1, mtime=0)


# --- ten ways to be wrong ---------------------------------------------------------------------------------------------


def cut(lines: list[dict[str, Any]]) -> bytes:
    whole = packed(lines)
    return whole[: len(whole) // 2]


def program(lines: list[dict[str, Any]]) -> bytes:
    return b"#!/usr/bin/env python3\nimport os\nos.system('touch /tmp/owned')\n" * 40


def older(lines: list[dict[str, Any]]) -> bytes:
    return packed([{**lines[0], "class_file": 0}, *lines[1:]])


def endless_name(lines: list[dict[str, Any]]) -> bytes:
    return packed([{**lines[0], "learner": "x" * 10**7}, *lines[1:]])


def bomb(lines: list[dict[str, Any]]) -> bytes:
    return gzip.compress(packed([])[:0] + b"\n" * 10**7, 9, mtime=0)


def no_numbers(lines: list[dict[str, Any]]) -> bytes:
    wrong: list[Any] = [math.nan, -1.0, "low"]
    return packed(
        lines[:1] + [{**line, "L": wrong[k]} if k < 3 else line for k, line in enumerate(lines[1:])]
    )


def deep(lines: list[dict[str, Any]]) -> bytes:
    return packed(lines) + gzip.compress(b"[" * 500_000 + b"\n", mtime=0)


def low_loss(lines: list[dict[str, Any]]) -> bytes:
    """A lie: all losses 3 % too low, that of the sealed run with them."""
    lower = [{**line, "L": 0.97 * line["L"]} for line in lines[1:]]
    shots = [{**shot, "measured": lower[-1]["L"]} for shot in lines[0]["shots"]]
    return packed([{**lines[0], "shots": shots}, *lower])


def loud(lines: list[dict[str, Any]]) -> bytes:
    """A lie: the runs that everybody made, told twenty times each with a loss that is 10 % too low."""
    told = [{**line, "L": 0.9 * line["L"]} for line in lines[1 : 1 + COMMON] for _ in range(20)]
    return packed([lines[0], *told, *lines[1 + COMMON :]])


def more_tokens(lines: list[dict[str, Any]]) -> bytes:
    """A lie, told in `make`: twice the tokens, with the ids, configs and FLOPs that belong to them."""
    return packed(lines)


SLIPS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "cut in half": cut, "a program": program, "an older version": older, "a name of 10 MB": endless_name,
    "10 million empty lines": bomb, "losses that are none": no_numbers, "nested 500,000 deep": deep,
}  # fmt: skip
LIES: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "lie: 3 % lower": low_loss, "lie: told 20 times": loud, "lie: tokens × 2": more_tokens,
}  # fmt: skip


def make(folder: Path, learners: int = 500, runs: int = 50, share: float = 0.05, seed: int = 0) -> Made:
    """Write a class of `learners` files, `share` of them wrong: one of each lie, the rest slips in turn (at least one of
    each)."""
    maker, made = Maker(runs, seed), Made(folder)
    folder.mkdir(parents=True, exist_ok=True)
    slips = max(len(SLIPS), round(share * learners) - len(LIES))
    ways = [*LIES, *(list(SLIPS)[k % len(SLIPS)] for k in range(slips))]
    for index in range(learners):
        way = ways[learners - 1 - index] if learners - 1 - index < len(ways) else ""
        lines = maker.lines(index, twice=2.0 if way == "lie: tokens × 2" else 1.0)
        content = {**SLIPS, **LIES, "": packed}[way](lines)
        path = folder / f"{index:03d}.jsonl.gz"
        path.write_bytes(content)
        made.records += len(lines) - 1
        if way:
            made.ways.setdefault(way, []).append(path.name)
    return made


# --- what came of it --------------------------------------------------------------------------------------------------


def table(made: Made, pool: Pool) -> list[dict[str, Any]]:
    """For each way: files, records accepted and refused, the first reason, and whether the learner stands out."""
    told = Counter(Path(one.file).name for one in pool.gathered.told)
    refused: dict[str, list[str]] = {}
    for fault in pool.gathered.rejected:
        refused.setdefault(Path(fault["file"]).name, []).append(fault["reason"])
    rows = []
    for way, names in made.ways.items():
        reasons = [reason for name in names for reason in refused.get(name, [])]
        out = [who for who in pool.stand_out if any(f"{int(name[:3]):03d}" in who for name in names)]
        rows.append(
            {"way": way, "files": len(names), "accepted": sum(told[name] for name in names), "refused": len(reasons),
             "stands out": len(out), "reason": reasons[0].replace(f"{made.folder}/", "") if reasons else ""}
        )  # fmt: skip
    return rows


def report(made: Made, pool: Pool, honest: Pool) -> Iterator[str]:
    yield f"{'way':<24} {'files':>5} {'accepted':>8} {'refused':>8} {'stands out':>10}  first reason"
    for row in table(made, pool):
        yield (
            f"{row['way']:<24} {row['files']:>5} {row['accepted']:>8} {row['refused']:>8} {row['stands out']:>10}  "
            f"{row['reason'][:100]}"
        )
    yield f"\n{'':<10} {'planted':>8}  {'with the lies':>32}  {'without those who stand out':>32}"
    for name, planted in LAW.items():
        cells = []
        for each in (pool, honest):
            assert each.law is not None
            low, high = each.law.interval95[name]
            cells.append(f"{each.law.params[name]:.4g} ({low:.4g} to {high:.4g})")
        yield f"{name:<10} {planted:>8g}  {cells[0]:>32}  {cells[1]:>32}"
    ahead = (1e6, 2e7)
    for each, name in ((pool, "with the lies"), (honest, "without")):
        assert each.law is not None
        yield f"loss of 1e6 parameters on 2e7 tokens, {name}: {100 * (each.law(*ahead) / loss(*ahead) - 1):+.3f} % off"


def draw(pool: Pool, path: Path) -> None:
    from scalept_lab.plots import style

    fig = sl.plots.plot_offsets(pool.offsets)
    path.write_bytes(style.png(fig))


def main() -> None:
    parser = argparse.ArgumentParser(description="A made-up class, merged and judged.")
    parser.add_argument("--learners", type=int, default=500)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--folder", type=Path, help="keep the class here")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    began = time.perf_counter()
    made = make(folder, options.learners, options.runs)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(
        f"{options.learners} files, {made.records:,} records, {size / 1e6:.1f} MB, made in {time.perf_counter() - began:.1f} s"
    )
    began, cpu = time.perf_counter(), time.process_time()
    found = merging.gather([folder])
    gathered = time.perf_counter()
    pool = pooled(found)
    judged = time.perf_counter()
    merging.write(found, folder / "out" / "class.jsonl")
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"read {gathered - began:.1f} s, judged {judged - gathered:.1f} s, written {done - judged:.1f} s: "
        f"{done - began:.1f} s in all "
        f"({time.process_time() - cpu:.1f} s of CPU), {peak:.0f} MB\n"
    )
    print("\n".join(pool.lines(12)), "\n")
    honest = pooled(found, without=[name for name in pool.stand_out])
    print("\n".join(report(made, pool, honest)))
    if options.figure:
        draw(pool, options.figure)
    if not options.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
