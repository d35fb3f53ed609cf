"""What text is worth (notebook 01): larger runs to forecast, mixtures of two sources, filters at equal tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np

from scalept_lab import data
from scalept_lab.config import recommend, run_id
from scalept_lab.data import clean, documents, quality, tokens
from scalept_lab.data.corpora import prepare
from scalept_lab.runs import RunRecord
from scalept_lab.train.loop import evaluate, fit_model
from sweeps.jobs import Job, Rounds, fingerprint, plain, sweep

WIDTH, TOKENS = 24, 120_000
POOL = ("mpmath", "networkx", "pygments")
DOMAINS = ("networkx", "pygments")
SHARES = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 7 / 8, 15 / 16, 1.0)
ARMS = ("raw", "rules", "classifier", "sources", "half rejected", "rejected")

Streams = dict[str, np.ndarray]


@sweep("twice and four times the largest run that notebook 01 fits its law to", minutes=4)
def larger(seeds: Sequence[int]) -> Rounds:
    yield [
        plain(recommend(WIDTH, total, batch=4, seed=seed)) for total, seed in product((9.6e5, 1.92e6), seeds)
    ]


@sweep(
    "share of one of two sources, at equal tokens; loss on held-out text of both", minutes=3, metrics=DOMAINS
)
def mixture(seeds: Sequence[int]) -> Rounds:
    """`share` of the training tokens are of networkx, the others of pygments; L is the loss on networkx."""
    yield [job("mixture", seed, share=share) for share, seed in product(SHARES, seeds)]


@sweep(
    "what a filter leaves of a raw pool, at equal tokens; loss on two held-out texts",
    minutes=3, seeds=(0, 1, 2, 3, 4, 5), metrics=("kept", "trusted"),
)  # fmt: skip
def filters(seeds: Sequence[int]) -> Rounds:
    """L is the loss on held-out text that the rules keep; `trusted` that on the kind of text the classifier was shown."""
    yield [job("filters", seed, arm=arm) for arm, seed in product(ARMS, seeds)]


def job(kind: str, seed: int, **varied: Any) -> Job:
    model = recommend(WIDTH, TOKENS, seed=seed)
    config = {"kind": kind, **varied, "seed": seed, "train": model.model_dump()}
    return Job(config, partial(made, config), partial(fingerprint, "python"))


def made(config: dict[str, Any]) -> RunRecord:
    """One run on the text that `config` describes, scored on each of the held-out texts."""
    seed, like = config["seed"], prepare("python")
    n = TOKENS + 65  # one window more: targets are shifted by a token
    if config["kind"] == "mixture":
        streams, tests = domains()
        first = round(config["share"] * n)
        parts = [(streams["networkx"], first), (streams["pygments"], n - first)]
    else:
        streams, tests = pools()
        bad = {"half rejected": n // 2}.get(config["arm"], 0)
        arm = "rules" if bad else config["arm"]
        parts = [(streams[arm], n - bad), (streams["rejected"], bad)]
    train = np.concatenate([tokens.scattered(stream, part, seed) for stream, part in parts])
    heldout = next(iter(tests.values()))
    model, record = fit_model(
        recommend(WIDTH, TOKENS, seed=seed), corpus=dataclasses.replace(like, train=train, heldout=heldout)
    )
    found = {name: evaluate(model, dataclasses.replace(like, heldout=test)) for name, test in tests.items()}
    return record.model_copy(
        update={"id": run_id(config), "config": config, "metrics": record.metrics | found}
    )


@cache
def domains() -> tuple[Streams, Streams]:
    """Training and held-out streams of the two sources, cleaned together with the third as in notebook 01."""
    kept, _ = clean.clean(data.collect(POOL), progress=False)
    sides = documents.split(kept["text"], kept["path"])
    parts = [kept.iloc[side] for side in sides]
    train, heldout = (
        {name: packed(part["text"][part["package"] == name]) for name in DOMAINS} for part in parts
    )
    return train, heldout


@cache
def pools() -> tuple[Streams, Streams]:
    """What each filter leaves of the pool's training side, and the two held-out texts.

    `classifier`: the half of the bytes that looks most like sympy. `sources`: what one may choose by name, all but pygments.
    """
    raw, trusted = data.collect(POOL), data.collect(["sympy"])
    kept, report = clean.clean(raw, progress=False)
    gone = {removed["path"] for removed in report.removed}
    pool = raw.iloc[documents.split(raw["text"], raw["path"])[0]]
    good, test = (trusted["text"].iloc[side] for side in documents.split(trusted["text"], trusted["path"]))
    good = good.iloc[np.random.default_rng(0).permutation(len(good))[:400]]
    scores = quality.likeness(quality.hashed(list(good)), quality.hashed(list(pool["text"])))
    train, test_rows = documents.split(kept["text"], kept["path"])
    streams = {
        "raw": packed(pool["text"]),
        "rules": packed(kept["text"].iloc[train]),
        "classifier": packed(pool["text"].iloc[quality.best(scores, pool["bytes"].to_numpy())]),
        "sources": packed(pool["text"][pool["package"] != "pygments"]),
        "rejected": packed(pool["text"][pool["path"].isin(gone)]),
    }
    return streams, {"kept": packed(kept["text"].iloc[test_rows]), "trusted": packed(test)}


def packed(texts: Sequence[str]) -> np.ndarray:
    return tokens.pack(list(texts), data.ByteTokenizer())
