"""Laws put to the test (notebook 08): the study of `make run` for five seeds, and a language whose entropy rate is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from scalept_lab.config import TrainConfig, parse, recommend
from scalept_lab.data.corpora import prepare
from scalept_lab.data.language import Language
from scalept_lab.laws.fit import fit_records
from scalept_lab.study.standard import DEFAULT_BUDGET, FIT_FROM, HERO_FACTOR, standard_sweep
from scalept_lab.study.study import best_recipe
from sweeps.jobs import Rounds, plain, sweep

RESAMPLES = 1000  # for the intervals


@sweep("the study of `make run`, heroes included", minutes=35, seeds=range(5))
def standard(seeds: Sequence[int]) -> Rounds:
    """Must hold: the measured loss inside the 95 % interval and within 2 % of the prediction for at least 4 of 5 seeds."""
    good = 0
    for seed in seeds:
        records = yield [plain(config) for config in standard_sweep(DEFAULT_BUDGET, seed)]
        fitted = [record for record in records if record.ok and record.C >= FIT_FROM]
        law = fit_records(fitted, bootstrap=RESAMPLES)
        like = parse(TrainConfig, records[0].config)
        [hero] = yield [plain(best_recipe(law, HERO_FACTOR * max(record.C for record in records), like))]
        foretold = law.predict(hero.N, hero.D)
        inside, error = foretold.low <= hero.L <= foretold.high, 100 * (hero.L / foretold.loss - 1)
        good += inside and abs(error) <= 2
        print(f"seed {seed}: {law.status}, predicted {foretold.loss:.4f} ({foretold.low:.4f} to {foretold.high:.4f}), "
              f"measured {hero.L:.4f}, {error:+.2f} %, {'inside' if inside else 'OUTSIDE'}")  # fmt: skip
    print(f"inside the interval and within 2 %: {good} of {len(seeds)}")


@sweep("width × tokens on four generated languages of known entropy (the seeds)", minutes=14, seeds=range(4))
def known_entropy(seeds: Sequence[int]) -> Rounds:
    """Does E find the truth? Must hold: the floor lies in E's 95 % interval, and E within 3 % of it.

    The floor is the entropy of the language over windows as the models see them: 64 letters, the first ones without what
    came before.
    """
    yield from entropy_study("language/{}", seeds)


@sweep(
    "the same on four deep languages, whose floor lies 10 % below the best run", minutes=14, seeds=range(4)
)
def deep_entropy(seeds: Sequence[int]) -> Rounds:
    """Does E find a floor that no run comes near? Compare it with the lowest loss measured."""
    yield from entropy_study("language/deep/{}", seeds)


def entropy_study(corpora: str, seeds: Sequence[int]) -> Rounds:
    for seed in seeds:
        corpus = corpora.format(seed)
        fields = {"corpus": corpus, "vocab_size": prepare(corpus).vocab_size}
        grid = product((16, 24, 32, 48), (1.25e5, 2.5e5, 5e5, 1e6, 2e6))
        records = yield [plain(recommend(width, tokens, **fields)) for width, tokens in grid]
        law, floor = fit_records(records, bootstrap=RESAMPLES), Language.named(corpus).window_entropy(64)
        E, (low, high) = law.params["E"], law.interval95["E"]
        lowest = min(record.L for record in records if record.L is not None)
        print(f"{corpus}: floor {floor:.4f}, lowest loss {lowest:.4f}, {law.status}, E {E:.4f}")
        print(
            f"  ({low:.4f} to {high:.4f}), {100 * (E / floor - 1):+.2f} %, {'covered' if low <= floor <= high else 'NOT covered'}"
        )
