"""Run records from a planted law: what a study would leave behind, made in milliseconds.

The law and its noise are known, so a test can say what a figure or a fit must find.
"""

from __future__ import annotations

import math

import numpy as np

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.costs import counts
from scalept_lab.laws import formulas
from scalept_lab.runs import RunRecord

PLANTED = {"E": 0.9, "A": 15.0, "B": 110.0, "alpha": 0.32, "beta": 0.41}
SLICES = {1e10: (16, 32), 3e10: (16, 32, 48), 1e11: (16, 32, 48), 3e11: (16, 32, 48, 64), 1e12: (32, 48, 64)}
PROVENANCE = {
    "commit": "0123abc",
    "versions": {"scalept-lab": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
    "machine": "Linux x86_64, Planted CPU, 2 cores",
    "device": "cpu",
    "threads": 1,
    "corpus_sha256": "ab" * 32,
    "created": "2030-01-02T03:04:05+00:00",
}


def planted_loss(N: float, D: float) -> float:
    p = PLANTED
    return p["E"] + p["A"] * N ** -p["alpha"] + p["B"] * D ** -p["beta"]


def config(width: int = 32, tokens: float = 5e5, **changes) -> TrainConfig:
    return TrainConfig(model=ModelConfig.family(width), tokens=round(tokens), **changes)


def config_at(width: int, flops: float, **changes) -> TrainConfig:
    """The run of this width that costs `flops`, to within one step."""
    return config(width, flops / counts.flops_per_token(ModelConfig.family(width)), **changes)


def record(run: TrainConfig, noise: float = 0.003, status: str = "ok", **changes) -> RunRecord:
    """The record of a run under the planted law; `noise`: standard deviation of log loss, the same for the same run."""
    shape = counts.shape(run.model)
    rng = np.random.default_rng([run.model.width, run.tokens, run.seed])
    D = run.steps * run.tokens_per_step
    if status != "ok":
        D = max(run.tokens_per_step, D // 3)
    loss = planted_loss(shape.non_embedding, D) * math.exp(noise * rng.standard_normal())
    steps = np.unique(np.linspace(0, D // run.tokens_per_step, 41)[1:].astype(int))
    curve = [
        (int(step), int(step) * run.tokens_per_step,
         float(planted_loss(shape.non_embedding, 0.8 * step * run.tokens_per_step + 2000) * rng.normal(1, 0.02)))
        for step in steps
    ]  # fmt: skip
    fields = {
        "id": run.id(), "config": run.model_dump(), "N": shape.non_embedding, "N_total": shape.total, "D": D,
        "C": shape.flops_per_token() * D, "L": loss if status == "ok" else None, "curve": curve,
        "metrics": {"tokens_per_second": 1e5}, "seconds": D / 1e5, "peak_rss_bytes": 400_000_000, "status": status,
        "error": None if status == "ok" else "the loss left the range of a language model",
        "provenance": dict(PROVENANCE),
    }  # fmt: skip
    return RunRecord(**{**fields, **changes})


def isoflop_records(noise: float = 0.003, seed: int = 0) -> list[RunRecord]:
    """Five slices of equal compute, 15 runs, two decades of compute."""
    return [record(config_at(width, C, seed=seed), noise) for C, widths in SLICES.items() for width in widths]


def grid_records(noise: float = 0.003, seeds: int = 1) -> list[RunRecord]:
    """Four widths by four token counts (and seeds)."""
    return [
        record(config(width, tokens, seed=seed), noise)
        for width in (16, 32, 48, 64)
        for tokens in (2.5e5, 5e5, 1e6, 2e6)
        for seed in range(seeds)
    ]


def points(records: list[RunRecord]) -> dict[str, np.ndarray]:
    """N, D, L of the finished runs: the arguments of `fit_law`."""
    done = [run for run in records if run.ok]
    return {name: np.array([getattr(run, name) for run in done], float) for name in "NDL"}


def study(folder, name: str = "planted", hero: bool = True, lost: bool = True):
    """A `Study` on disk as `make run` leaves it: runs, one of them diverged, a sealed prediction, and its hero."""
    from scalept_lab.laws.fit import fit_law
    from scalept_lab.study.predictions import Shot
    from scalept_lab.study.study import Study

    made = Study(name, budget_flops=6e12, folder=folder)
    made._write_budget()
    runs = isoflop_records()
    for run in runs:
        made.store.save(run)
    if lost:
        made.store.save(record(config(64, 1e6, lr=0.5), status="diverged"))
    law = fit_law(**points(runs), bootstrap=200)
    best = config_at(64, 5 * max(run.C for run in runs))
    shape = counts.shape(best.model)
    tokens = best.steps * best.tokens_per_step
    forecast = law.predict(shape.non_embedding, tokens)
    shot = Shot(
        config=best, flops=shape.flops_per_token() * tokens,
        predicted=forecast.loss, low=forecast.low, high=forecast.high,
        law=law.params, status=law.status, runs=[run.id for run in runs], sealed_at="2030-01-02T03:10:00+00:00",
    )  # fmt: skip
    shot = shot.model_copy(update={"seal": shot.digest()})
    path = made.folder / "shots" / f"{shot.id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(shot.model_dump_json())
    if hero:
        made.heroes.save(record(best))
    return made


# --- points of a known law: N, D and L as arrays, the last with normal noise in its logarithm


def published(P=240, noise=0.01, seed=0):
    """Points like those of Hoffmann et al. 2022, from Besiroglu's law."""
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(7.6, 10.2, P), 10 ** rng.uniform(9, 11.7, P)
    return N, D, formulas.LAWS["besiroglu"](N, D) * np.exp(noise * rng.standard_normal(P))


def small(seed=0, noise=0.01):
    """Fifteen runs, as few as a study has."""
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(1e4, 1.5e5, 5), np.geomspace(2.5e5, 2.5e6, 3)))
    L = 1 + 30 / N**0.4 + 60 / D**0.35
    return N, D, L * np.exp(noise * np.random.default_rng(seed).standard_normal(15))


def repeated(noise=0.003):
    """N, D, L, unique tokens and the constants of 120 runs that read up to 40 times."""
    rng = np.random.default_rng(5)
    N, D, _ = published(120)
    U = D / rng.choice([1, 2, 4, 10, 40], 120)
    law = {"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.353, "beta": 0.353, "R_D": 15.4}
    L = formulas.loss("data_constrained", law, N, D, U)
    return N, D, L * np.exp(noise * rng.standard_normal(120)), U, law


def as_csv(N, D, L) -> str:
    """The file that `scalept fit` reads."""
    rows = [f"{n:.6g},{d:.6g},{loss:.6g}\n" for n, d, loss in zip(N, D, L, strict=True)]
    return "params,tokens,loss\n" + "".join(rows)
