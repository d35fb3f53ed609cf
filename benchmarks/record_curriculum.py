"""The recorded runs of notebook 07: orders of data, sequence-length warm-up, growing models, stability at high rates.

python benchmarks/record_curriculum.py --seeds 100 101 102   # the search: settings of length warm-up and of growth
python benchmarks/record_curriculum.py                       # the seeds 0 to 4, a quarter of an hour; resumes after a kill
python benchmarks/record_curriculum.py --record              # also writes data/records/{curriculum,growth,stability}.jsonl

What was chosen with the seeds 100 to 102 is compared on the seeds 0 to 4. Nothing was chosen for the orders of data and for
stability. Each record is labelled with its experiment and its arm.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

from scalept_lab import pacing, stability, stepwise
from scalept_lab.config import Curriculum, ModelConfig, TrainConfig
from scalept_lab.data import prepare
from scalept_lab.growth import fit_grown, grown
from scalept_lab.outcome import outcome
from scalept_lab.processes import local_processes
from scalept_lab.recipe import recommend
from scalept_lab.runs import RunRecord, Store, write_records
from scalept_lab.train import train

SEEDS, SEARCH_FROM = range(5), 100
TOKENS = 250_000
LENGTHS = [(1 / 32, 0.4), (1 / 32, 0.8), (1 / 8, 0.4), (1 / 8, 0.8)]  # start, until
CHOSEN = (1 / 32, 0.8)
DEEPER, WIDER = 8e10, 1.2e11  # FLOPs of the experiments on growth
SHARES = {"deeper": [0.15, 0.3], "wider": [0.3, 0.15]}  # of them spent before growing; the last was chosen
MORE = {"deeper": [1.25], "wider": []}
RATES = [0.01, 0.08]


@dataclass(frozen=True)
class Job:
    file: str
    experiment: str
    arm: str
    config: TrainConfig

    def run(self) -> RunRecord:
        if self.config.growth:
            return fit_grown(self.config)[1]
        return watched(self.config) if self.file == "stability" else train(self.config)


def watched(config: TrainConfig) -> RunRecord:
    """Trained step by step, with the gradient norm of every step; its summary goes into the metrics."""
    run = stepwise.go_on(stepwise.start(config), stepwise.schedule(config), watch=True)
    record = outcome(config, run.corpus.sha256, run.watch, stepwise.score(run))
    return record.model_copy(update={"metrics": stability.summary(run.losses, run.norms)})


def orders(seeds: Sequence[int]) -> Iterable[Job]:
    plans = {
        "plain: each window once": None,
        "easy first, by compression": Curriculum(order="easy", measure="compression"),
        "easy first, by rarity": Curriculum(order="easy", measure="rarity"),
        "easy first, by bigram loss": Curriculum(order="easy"),
        "hard first, by bigram loss": Curriculum(order="hard"),
        "random order, same pacing": Curriculum(order="random"),
        "all windows, drawn with repeats": Curriculum(order="random", start=1.0),
        "sorted: easiest to hardest, once": Curriculum(order="sorted"),
    }
    for seed in seeds:
        for arm, plan in plans.items():
            config = recommend(16, TOKENS, seed=seed, curriculum=plan)
            yield Job("curriculum", "order", arm, config)
            if plan is None or (plan.order in ("easy", "sorted") and plan.measure == "loss"):
                yield Job("curriculum", "order at a constant rate", arm, config.replace(schedule="constant"))


def lengths(seeds: Sequence[int]) -> Iterable[Job]:
    for seed in seeds:
        full = recommend(16, TOKENS, context=256, seed=seed)
        yield Job("curriculum", "length", "full length", full)
        for start, until in LENGTHS if seed >= SEARCH_FROM else [CHOSEN]:
            warm = full.replace(curriculum=Curriculum(start=start, until=until))
            name = f"from {round(256 * start)} tokens, until {until:.0%}"
            yield Job("curriculum", "length", f"{name}, equal tokens", warm)
            yield Job(
                "curriculum", "length", f"{name}, equal FLOPs", pacing.at_flops(warm, pacing.flops(full))
            )


def growing(seeds: Sequence[int]) -> Iterable[Job]:
    for seed in seeds:
        small = recommend(16, 1e6, seed=seed)
        wide, deep = ModelConfig.family(32), small.model.replace(depth=4)
        for name, model, flops, ways in (
            ("deeper", deep, DEEPER, ("zero", "stack")),
            ("wider", wide, WIDER, ("copy",)),
        ):
            yield Job("growth", name, "large from the start", grown(small, model, flops, 0.0))
            yield Job("growth", name, "small to the end", pacing.at_flops(small, flops))
            for more in MORE[name]:  # how much the large model needs to catch up
                plan = grown(small, model, more * flops, 0.0)
                yield Job("growth", f"{name}, more FLOPs", f"{more:g} times", plan)
            for share in SHARES[name] if seed >= SEARCH_FROM else SHARES[name][-1:]:
                for how in ways:
                    arm = f"grown after {share:.0%} ({how})"
                    yield Job("growth", name, arm, grown(small, model, flops, share, how))


def high_rates(seeds: Sequence[int]) -> Iterable[Job]:
    for seed in seeds:
        for rate in RATES:
            full = recommend(16, TOKENS, context=256, seed=seed, lr=rate)
            start, until = CHOSEN
            warm = full.replace(curriculum=Curriculum(start=start, until=until))
            for arm, config in (("full length", full), ("length warm-up", warm)):
                yield Job("stability", f"rate {rate}", arm, config)


PARTS: dict[str, Callable[[Sequence[int]], Iterable[Job]]] = {
    "order": orders, "length": lengths, "stability": high_rates, "growth": growing,
}  # fmt: skip


def train_and_save(job: Job, folder: str) -> None:
    Store(folder).save(job.run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--only", choices=list(PARTS), help="train one part, write nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--record", action="store_true", help="write the runs to data/records/")
    options = parser.parse_args()
    prepare("python")
    store = Store(options.out / "curriculum")
    jobs = [
        job for name, part in PARTS.items() if options.only in (None, name) for job in part(options.seeds)
    ]
    todo = {job.config.id(): job for job in jobs if store.get(job.config.id()) is None}
    with local_processes(2) as pool:
        waiting = [pool.submit(train_and_save, job, str(store.folder.resolve())) for job in todo.values()]
        for count, future in enumerate(futures.as_completed(waiting), 1):
            future.result()
            print(f"\r{count} of {len(todo)} runs", end="", flush=True)
    print()
    if not options.record or options.only:
        return
    for file in sorted({job.file for job in jobs}):
        records = []
        for job in jobs:
            record = store.get(job.config.id())
            if job.file == file and record is not None:
                label = {"experiment": job.experiment, "arm": job.arm}
                records.append(record.model_copy(update={
                    "origin": "recorded", "provenance": {**record.provenance, **label},
                }))  # fmt: skip
        write_records(records, f"data/records/{file}.jsonl")
        print(f"{len(records)} runs in data/records/{file}.jsonl")


if __name__ == "__main__":
    main()
