"""What to learn first, and from what, in BabyAI worlds: grounding, stages, unseen objects, pixels. For notebook 10.

    python benchmarks/record_vla_stages.py             # about 40 minutes on two cores; resumes after a kill
    python benchmarks/record_vla_stages.py --record    # also writes data/records/vla_stages.jsonl

All arms of an experiment take the same steps with the same batch, and the same learning rates: constant, then falling in the
last fifth, so that no stage is favoured by its place before that. Settings were tried on seeds 100 to 102; these are 0 to 4.

grounding   the target GoToLocalS8N4 with few demonstrations, alone or with pointing at the named object in 1,000 worlds
stages      the target PutNextLocalS5N3: alone, as a mixture, in stages, or in stages adaptively
unseen      three colour-object pairs that no demonstration names
pixels      pictures of 56 x 56 in patches of 8 (a cell each) or 14 (cut across cells), and symbols; 1,000 steps
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import recording

from scalept_lab import pixels
from scalept_lab.cloning import CloneConfig, Source, act_in, clone, score
from scalept_lab.curriculum import Adaptive, Mixture, Schedule, Stepwise
from scalept_lab.rollouts import worlds
from scalept_lab.runs import RunRecord, Store
from scalept_lab.vla import PolicyConfig

WIDTH, STEPS, WORLDS, SEEDS, APART = 16, 500, 512, [0, 1, 2, 3, 4], 10_000
LEVEL, EASY, MULTI = "GoToLocalS8N4", "GoToLocalS6N3", "PutNextLocalS5N3"
FEW = [25, 100, 400]
UNSEEN = ("red ball", "blue key", "green box")
Run = tuple[str, str, CloneConfig, Schedule | None]  # experiment, arm, config, schedule


def constant(weights: dict[str, float]) -> Mixture:
    return Mixture(weights, weights, 0)


def grounding() -> list[Run]:
    point, act = f"point {LEVEL}", f"act {LEVEL}"
    arms: dict[str, Schedule | None] = {
        "alone": None,
        "first": Stepwise((point, act), (300,)),
        "beside": constant({point: 0.6, act: 0.4}),
    }
    found: list[Run] = []
    for episodes in FEW:
        for seed in SEEDS:
            first = seed * APART
            sources = (
                Source(level=LEVEL, task="point", first=first),
                Source(level=LEVEL, episodes=episodes, first=first),
            )
            found += [("grounding", arm, config(sources, seed), schedule) for arm, schedule in arms.items()]
    return found


def stages() -> list[Run]:
    point, easy, target = f"point {MULTI}", f"act {EASY}", f"act {MULTI}"
    order = (point, easy, target)
    arms: dict[str, Schedule | None] = {
        "target alone": None,
        "mixture": constant({point: 0.2, easy: 0.2, target: 0.6}),
        "stages": Stepwise(order, (STEPS // 5, 2 * STEPS // 5)),
        "adaptive": Adaptive(order, promote=0.85, demote=0.5, patience=2, deadline=STEPS // 2),
    }
    found: list[Run] = []
    for seed in SEEDS:
        first = seed * APART
        sources = (
            Source(level=MULTI, task="point", first=first),
            Source(level=EASY, first=first),
            Source(level=MULTI, first=first),
        )
        found += [("stages", arm, config(sources, seed), schedule) for arm, schedule in arms.items()]
    return found


def unseen() -> list[Run]:
    found: list[Run] = []
    for seed in SEEDS[:3]:
        for arm, without in (("all named", ()), ("three never named", UNSEEN)):
            sources = (Source(level=LEVEL, episodes=2000, first=seed * APART, without=without),)
            found.append(("unseen", arm, config(sources, seed), None))
    return found


def pictures() -> list[Run]:
    found: list[Run] = []
    for seed in SEEDS[:3]:
        sources = (Source(level=LEVEL, episodes=1000, first=seed * APART),)
        found.append(("pixels", "symbols", config(sources, seed, 2 * STEPS), None))
        for patch in (8, 14):
            shape = config(sources, seed, 2 * STEPS, view="pixels", patch=patch)
            found.append(("pixels", f"patches of {patch}", shape, None))
    return found


def config(sources: tuple[Source, ...], seed: int, steps: int = STEPS, **shape) -> CloneConfig:
    return CloneConfig(policy=PolicyConfig.family(WIDTH, **shape), sources=sources, steps=steps, seed=seed)


def make(run: Run, folder: str) -> RunRecord:
    experiment, arm, config, schedule = run
    config, store = config.paced(schedule), Store(folder)
    if (record := store.get(config.id())) is None:
        seen = config.policy.view == "pixels"
        policy, record = clone(config, schedule, view=pixels.render_steps if seen else None)
        record = score(policy, record, episodes=WORLDS, see=pixels.view if seen else None)[1]
        if experiment == "unseen":
            rate = act_in(policy, LEVEL, worlds(LEVEL, WORLDS, UNSEEN)).rate
            record = record.model_copy(
                update={"metrics": record.metrics | {"success on the three": rate.mean}}
            )
        store.save(record)
    return record.model_copy(
        update={"provenance": record.provenance | {"experiment": experiment, "arm": arm}}
    )


def line(record: RunRecord) -> str:
    found, of = record.metrics, record.config | record.provenance
    return (
        f"{of['experiment']:<10} {of['arm']:<22} {of['sources'][-1]['episodes']:>5} seed {of['seed']}: "
        f"L {record.L:.3f} success {found['success']:.3f} {found.get('success on the three', '')}"
    )


if __name__ == "__main__":
    needed = [
        (level, episodes, seed * APART)
        for seed in SEEDS
        for level, episodes in ((LEVEL, 2000), (EASY, 1000), (MULTI, 1000))
    ]
    runs = [*grounding(), *stages(), *unseen(), *pictures()]
    recording.record("vla_stages", __doc__, needed, runs, make, line)
