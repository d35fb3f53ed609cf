"""A class's runs as one study: one law, how far learners differ from each other and from it, and who forecast best.

    pool = sl.pool("class")        # a folder of class files (`study.export`), of records, or the file of `scalept merge`
    print(pool)

A record that is wrong by itself is left out by `merging`. What is wrong only together, such as all losses of one learner a
little too low, is seen here: the law is fitted to all runs so that a minority moves it little, and each learner's offset is the
median distance of the learner's losses from it. An offset that chance does not explain is named. Nobody is left out for it:
that is for the teacher to decide (`without=`). A single run that cannot be of the law of the others is named, too, and it stays
among the runs, but not in the law.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri

from scalept_lab.errors import InputError
from scalept_lab.laws import contest
from scalept_lab.laws.fit import Law, fit_law
from scalept_lab.laws.forecasters import Call, Ledger, ledger
from scalept_lab.laws.odd import odd_runs, rest_of
from scalept_lab.laws.points import Points, check_points
from scalept_lab.learners import Prediction
from scalept_lab.runs import RunRecord
from scalept_lab.screen import padded
from scalept_lab.study import merging
from scalept_lab.study.merging import Gathered, Told

FEWEST = 3  # runs of a learner: an offset of fewer is not judged
LEVEL = 0.05  # how often an honest class may have anybody named; simulated classes of 300 have it in 8 of 100
SHOTS = "sealed shot"  # the question that all sealed predictions answer


@dataclass(frozen=True)
class Offset:
    """How far a learner's losses lie from the law of the class: the median, in % of the loss, and its 95 % interval.

    `stands_out`: by more than chance and the usual differences between learners explain.
    """

    learner: str
    runs: int
    percent: float
    low: float
    high: float
    stands_out: bool


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the loss, in %, each with how many runs it rests on; None where nothing can tell.

    same_run: one run (one seed) by several learners. seeds: runs of one learner that differ in their seed alone, or of the
    class where no learner has two. learners: offsets of learners beyond what chance gives.
    """

    same_run: float | None
    same_runs: int
    seeds: float | None
    seeded: int
    learners: float | None


@dataclass(frozen=True)
class Pool:
    """A class. `law` is None where the runs do not make one; `why` says so. `gathered` holds what was read and refused."""

    gathered: Gathered = field(repr=False)
    law: Law | None
    why: str
    offsets: list[Offset]
    spread: Spread
    ledger: Ledger
    notes: tuple[str, ...]

    @property
    def records(self) -> list[RunRecord]:
        """Each run once, `origin` classmate, with its learners in the provenance."""
        return [one.record() for one in self.gathered.accepted]

    @property
    def learners(self) -> list[str]:
        return _learners(self.gathered.told)

    @property
    def stand_out(self) -> list[str]:
        """Learners whose offset chance does not explain."""
        return [each.learner for each in self.offsets if each.stands_out]

    def as_json(self) -> dict[str, Any]:
        """For `scalept merge --json`, beside its counts."""
        law = self.law
        return {
            "learners": [vars(each) for each in self.offsets],
            "law": law.params if law else None,
            "interval95": {name: list(pair) for name, pair in law.interval95.items()} if law else None,
            "status": law.status if law else self.why,
            "spread": vars(self.spread),
            "forecasters": [vars(row) for row in self.ledger.rows],
            "best_forecasters": self.ledger.best,
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, most: int = 40) -> list[str]:
        """What `print` shows: of learners and forecasters at most `most`."""
        found = self.gathered
        lines = [
            f"{len(found.accepted):,} runs of {len(self.learners):,} learners, {found.duplicates:,} told more than "
            f"once, {len(found.rejected):,} records refused"
        ]
        if self.law:
            constants = ", ".join(f"{name} {value:.4g}" for name, value in self.law.params.items())
            lines += [f"law of the class: {constants} ({self.law.status})"]
        else:
            lines += [f"no law: {self.why}"]
        if self.offsets:
            lines += ["", "learner's losses against the law        runs  median        95 % interval"]
            for each in _outer(self.offsets, most):
                lines.append(
                    f"{padded(each.learner, 38)}  {each.runs:>4}  {each.percent:+.2f} %  {each.low:+.2f} to {each.high:+.2f}"
                    + ("  STANDS OUT" if each.stands_out else "")
                )
            if len(self.offsets) > most:
                lines.append(f"… and {len(self.offsets) - most} learners between these")
        lines += ["", *self._spreads()]
        if self.ledger.rows:
            lines += [
                "",
                "forecaster                            predictions  inside  sharpness  score  skill",
            ]
            for row in self.ledger.rows[:most]:
                lines.append(
                    f"{padded(row.learner, 38)}  {row.calls:>8}  {row.inside:>2} of {row.intervals:<3} {_two(row.sharpness):>7}  "
                    f"{_two(row.score):>6} {_two(row.skill):>6}  {row.verdict}"
                )
            if len(self.ledger.rows) > most:
                lines.append(f"… and {len(self.ledger.rows) - most} more")
            lines.append(self.ledger.sentence)
        return [*lines, *(["", *self.notes] if self.notes else [])]

    def _spreads(self) -> list[str]:
        s, lines = self.spread, []
        if s.same_run is not None:
            lines.append(
                f"the same run on several machines differs by {s.same_run:.2f} % ({s.same_runs:,} runs, standard deviation)"
            )
        if s.seeds is not None:
            lines.append(
                f"runs that differ in their seed alone differ by {s.seeds:.2f} % ({s.seeded:,} runs)"
            )
        if s.learners is not None:
            lines.append(f"learners differ by {s.learners:.2f} % beyond what chance gives")
        return lines or ["no run was made twice, so nothing tells how far seeds or machines differ"]


def pool(
    folder: str | Path | Iterable[str | Path], without: Iterable[str] = (), bootstrap: int = 400
) -> Pool:
    """Gather a class: a folder of class files or records, a merged file, or several of them.

    without: learners whose runs and predictions are left out, by the names that `print(pool)` shows.
    bootstrap: refits behind the law's intervals.
    Raises: InputError where there is no record to accept, or a name in `without` is no learner's.
    """
    folders = [folder] if isinstance(folder, (str, Path)) else list(folder)
    return pooled(merging.gather(folders), without, bootstrap)


def pooled(found: Gathered, without: Iterable[str] = (), bootstrap: int = 400) -> Pool:
    """The same for what is gathered already."""
    found = _left_out(found, list(without))
    notes = [*found.notes]
    done = [one for one in found.accepted if one.status == "ok"]
    law, why, fitted = None, "", [one for one in done if one.plain]
    if len(fitted) < len(done):
        notes.append(
            f"{len(done) - len(fitted):,} of {len(done):,} runs stay out of the law, since each is no plain training of one model"
        )
    texts = Counter(one.corpus for one in fitted)
    if len(texts) > 1:
        corpus, most = texts.most_common(1)[0]
        notes.append(
            f"{len(fitted) - most:,} of {len(fitted):,} runs were trained on other text than most, and losses on two texts do "
            "not compare: they are not in the law"
        )
        fitted = [one for one in fitted if one.corpus == corpus]
    try:
        N, D, L, C = (
            np.array([getattr(one, name) for one in fitted], float) for name in ("N", "D", "loss", "C")
        )
        points = check_points(N, D, L, C=C)
        strange = odd_runs(points, "chinchilla")
        notes += [f"{_of(fitted[each.row])}: {each.why}; it is not in the law" for each in strange]
        rest = rest_of(points, strange)
        law = fit_law(rest.N, rest.D, rest.L, C=rest.C, bootstrap=bootstrap)
    except InputError as error:
        why = str(error)
    ids = {one.id for one in fitted}
    told = [one for one in found.told if one.id in ids and one.loss is not None and one.status == "ok"]
    offsets, between = _offsets(law, told) if law else ([], None)
    calls, doubts = _calls(found)
    return Pool(found, law, why, offsets, _spread(told, between), ledger(calls), tuple(notes + doubts))


def _of(one: Told) -> str:
    """A run and whose it is."""
    more = f" and {len(one.learners) - 1} more" if len(one.learners) > 1 else ""
    return f"run {one.id} of {one.learners[0]}{more} ({one.file}:{one.line})"


def _left_out(found: Gathered, without: list[str]) -> Gathered:
    names = _learners(found.told)
    if wrong := [name for name in without if name not in names]:
        raise InputError(
            f"without: expected names of learners in the pool, got {wrong[0]!r}; print(pool) shows them"
        )
    return merging.leave_out(found, set(without)) if without else found


def _learners(told: Iterable[Told]) -> list[str]:
    return sorted({name for one in told for name in one.learners})


# --- offsets and spread


def _offsets(law: Law, told: list[Told]) -> tuple[list[Offset], float | None]:
    """Each learner's offset, and the standard deviation of offsets beyond chance, in %."""
    N, D, L = (np.array([getattr(one, name) for one in told], float) for name in ("N", "D", "loss"))
    off = 100 * np.log(L / law(N, D))
    rows: dict[str, list[int]] = defaultdict(list)
    for i, one in enumerate(told):
        for name in one.learners:
            rows[name].append(i)
    middle = {name: float(np.median(off[at])) for name, at in rows.items()}
    within = np.concatenate([off[at] - middle[name] for name, at in rows.items() if len(at) > 1] or [off])
    sigma = _scale(within) * math.sqrt(len(within) / max(1, len(within) - len(rows)))
    # the standard error of a median of n normal values is that of their mean, times the root of π/2
    error = {name: sigma * math.sqrt(math.pi / 2 / len(at)) for name, at in rows.items()}
    judged = [name for name, at in rows.items() if len(at) >= FEWEST]
    between = None
    if len(judged) >= 3:
        spread = _scale(np.array([middle[name] for name in judged]), centre=True)
        between = math.sqrt(max(0.0, spread**2 - float(np.median([error[name] ** 2 for name in judged]))))
    usual = float(np.median([middle[name] for name in judged])) if judged else 0.0
    far = float(ndtri(1 - LEVEL / 2 / max(1, len(judged))))
    found = []
    for name, at in rows.items():
        out = between is not None and len(at) >= FEWEST
        out = out and abs(middle[name] - usual) > far * math.hypot(error[name], between or 0.0)
        half = 1.96 * error[name]
        found.append(Offset(name, len(at), middle[name], middle[name] - half, middle[name] + half, out))
    return sorted(found, key=lambda each: (each.percent, each.learner)), between


def _scale(values: np.ndarray, centre: bool = False) -> float:
    """The standard deviation of a normal with this median distance from 0, or from the median: a few wild ones do not count."""
    return 1.4826 * float(np.median(np.abs(values - (np.median(values) if centre else 0.0))))


def _spread(told: list[Told], between: float | None) -> Spread:
    runs: dict[str, dict[str, float]] = defaultdict(dict)  # run -> learner -> log loss
    settings: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for one in told:
        assert one.loss is not None
        for name in one.learners[:1]:
            runs[one.id].setdefault(name, math.log(one.loss))
            settings[one.settings][name].setdefault(one.id, math.log(one.loss))
    same = [list(each.values()) for each in runs.values() if len(each) > 1]
    seeds = [list(ids.values()) for whose in settings.values() for ids in whose.values() if len(ids) > 1]
    if not seeds:  # the class shared the seeds out
        by_run = [
            {id: loss for ids in whose.values() for id, loss in ids.items()} for whose in settings.values()
        ]
        seeds = [list(ids.values()) for ids in by_run if len(ids) > 1]
    return Spread(_within(same), sum(map(len, same)), _within(seeds), sum(map(len, seeds)), between)


def _within(groups: list[list[float]]) -> float | None:
    """The standard deviation within groups of logarithms, in %, from the median difference of neighbours: a few wild ones do not
    count."""
    steps = [abs(a - b) for group in groups for a, b in itertools.pairwise(group)]
    # a difference of two normal values has √2 times their standard deviation
    return 100 * _scale(np.array(steps)) / math.sqrt(2) if steps else None


# --- predictions


def _calls(found: Gathered) -> tuple[list[Call], list[str]]:
    """The learners' predictions: sealed shots whose hero is among the accepted runs, and guesses of the notebooks."""
    runs = {(one.learners[0], one.id): one for one in found.told}
    calls, doubts = [], []
    for learner, file in found.class_files.items():
        for called in file.shots:
            shot, hero = called.shot, runs.get((learner, called.shot.id))
            if called.measured is None:
                continue
            doubt = (
                "its seal is broken" if shot.digest() != shot.seal
                else "its run is not among those accepted" if hero is None or hero.loss is None
                else "its score is not the loss of its run" if called.measured != hero.loss
                else "its run began before it was sealed" if 0 < len(hero.created) and hero.created < shot.sealed_at
                else ""
            )  # fmt: skip
            if doubt:
                doubts.append(f"{learner}: the prediction of run {shot.id} does not count: {doubt}")
                continue
            assert hero is not None and hero.loss is not None
            calls.append(
                Call(learner, SHOTS, shot.predicted, shot.low, shot.high, hero.loss, _rivals(learner, shot, hero, runs), True)
            )  # fmt: skip
        calls += guesses(learner, file.predictions)
    return calls, doubts


def _rivals(learner: str, shot: Any, hero: Told, runs: dict[tuple[str, str], Told]) -> dict[str, float]:
    """What needs no law: the lowest loss of the sweep, and a straight line through its best runs."""
    seen = [one for run in shot.runs if (one := runs.get((learner, run))) and one.loss is not None]
    if not seen:
        return {}
    N, D, L = (np.array([getattr(one, name) for one in seen], float) for name in ("N", "D", "loss"))
    ahead = Points(np.array([float(hero.N)]), np.array([float(hero.D)]), np.array([hero.loss], float))
    ways = {"no change": contest.no_change, "straight line": contest.straight_line}
    return {name: float(way(Points(N, D, L), ahead)[0][0]) for name, way in ways.items()}


def guesses(learner: str, predictions: Mapping[str, Prediction]) -> list[Call]:
    """What a learner guessed in the notebooks (`predict`), where it is a number that has been scored."""
    calls = []
    for id, asked in predictions.items():
        guess = asked.scored
        if (
            guess is not None
            and not isinstance(guess.value, str)
            and not isinstance(asked.measured, (str, type(None)))
        ):
            calls.append(Call(learner, id, guess.value, guess.low, guess.high, asked.measured, asked.rivals))
    return calls


def _outer(offsets: list[Offset], most: int) -> list[Offset]:
    """The first and the last of a long list: those far from the law."""
    return offsets if len(offsets) <= most else offsets[: most // 2] + offsets[-(most - most // 2) :]


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
