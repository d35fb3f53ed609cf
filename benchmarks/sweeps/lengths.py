"""Lengths from one trunk against separate runs, with what the models can do (notebook 08)."""

from __future__ import annotations

from collections.abc import Sequence

from scalept_lab.config import TrainConfig, recommend
from scalept_lab.data.corpora import prepare
from scalept_lab.runs import RunRecord
from scalept_lab.train.loop import fit_model
from scalept_lab.train.questions import accuracy, questions, score
from scalept_lab.train.trunk import ended
from sweeps.jobs import Rounds, plain, sweep

WIDTHS, TOKENS = (16, 24, 32), (1.25e5, 2.5e5, 5e5, 1e6)
HERO = (48, 2e6)  # width and tokens
WARM = 0.1 * TOKENS[0]  # tokens of warm-up, in all runs
ASKED = 4000


@sweep(
    "width × tokens, each length by a decay that leaves one trunk, and by a run of its own; with two accuracies",
    minutes=20, seeds=range(5), metrics=("accuracy", "choice"),
)  # fmt: skip
def lengths(seeds: Sequence[int]) -> Rounds:
    """One trunk: the ends are recorded as the separate "wsd" runs that they equal to the last digit (tests/train/test_trunk)."""
    jobs = []
    for seed in seeds:
        for width in WIDTHS:
            longest = recommend(width, TOKENS[-1], seed=seed, warmup=WARM / TOKENS[-1], batch=4)
            jobs += [
                plain(run, able, experiment="lengths", arm="one trunk") for run in ended(longest, TOKENS)
            ]
            jobs += [
                plain(
                    longest.replace(tokens=round(tokens), warmup=0.1),
                    able,
                    experiment="lengths",
                    arm="separate",
                )
                for tokens in TOKENS
            ]
        width, tokens = HERO
        jobs.append(
            plain(recommend(width, tokens, seed=seed, batch=4), able, experiment="hero", arm="separate")
        )
    yield jobs


def able(config: TrainConfig) -> RunRecord:
    """A plain run, with the share of next tokens and of questions that it gets right."""
    model, record = fit_model(config, device="cpu")
    corpus = prepare(config.corpus)
    asked = questions(corpus.heldout, config.model.context, ASKED)
    found = {"accuracy": accuracy(model, corpus), "choice": score(model, asked)}  # type: ignore[arg-type]
    return record.model_copy(update={"metrics": {**record.metrics, **found}})
