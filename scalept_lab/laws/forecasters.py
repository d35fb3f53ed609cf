"""Who forecasts best: a class's predictions judged together, by calibration and sharpness, and not by luck.

Each prediction with an interval gets the interval score (`skill.interval_score`), divided by the median score that the class
got for the same question, so that easy and hard questions and all units count alike: 1 is what the class usually gets, less is
better. A learner's standing is how far the scores lie below the class's mean at the same questions, on average, with `PRIOR`
further predictions added that are just as good as the class's: two or three lucky guesses move it little.

Whether a standing is more than luck is asked of the scores themselves. If all learners forecast equally well, it does not
matter whose score is whose. So the scores of each question are dealt out again at random, many times, and a standing counts
where the best of a class dealt out at random is seldom as good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from scalept_lab.laws.skill import forecast_skill, interval_score

PRIOR = 10  # predictions as good as the class's that each learner is given
FEWEST = 8  # predictions with an interval: fewer are too few to tell
CAP = 10.0  # times the class's median score: one slip of the pen decides nothing
DEALS = 1000
LEVEL = 0.05  # how often a class of equals may be told that somebody stands out
BETTER, EQUAL, WORSE, FEW = "better than the class", "as the class", "worse than the class", "too few to tell"


@dataclass(frozen=True)
class Call:
    """One prediction: who, of what, the number and its 95 % interval (None: none was given), the result, and what naive rivals
    said. `question` is the same for all that may be compared; with `own_rivals` each call of it has rivals of its own."""

    learner: str
    question: str
    value: float
    low: float | None
    high: float | None
    measured: float
    rivals: Mapping[str, float] = field(default_factory=dict)
    own_rivals: bool = False


@dataclass(frozen=True)
class Row:
    """One learner. calls: predictions; intervals: those with an interval, `inside` of which held the result; sharpness: their
    median width over that of the class at the same question; score: mean of the scores over the class's median; standing: as
    above, positive is better; chance: how often the best (or worst) of a class of equals stands as far out; skill: the share of
    the naive rivals' error that was saved (None without rivals)."""

    learner: str
    calls: int
    intervals: int
    inside: int
    sharpness: float | None
    score: float | None
    standing: float
    chance: float
    skill: float | None
    verdict: str


@dataclass(frozen=True)
class Ledger:
    """The class's predictions, best first; those of whom too little is known come last. `best`: those who stand out."""

    rows: list[Row]

    @property
    def best(self) -> list[str]:
        return [row.learner for row in self.rows if row.verdict == BETTER]

    @property
    def sentence(self) -> str:
        """What may be said aloud."""
        ranked = [row for row in self.rows if row.verdict != FEW]
        if len(ranked) < 2:
            return (
                f"{len(ranked)} of {len(self.rows)} learners have {FEWEST} predictions with an interval that others "
                "answered as well: too few to compare"
            )
        if not self.best:
            return f"of {len(ranked)} learners nobody forecasts better than chance makes one of a class of equals look"
        if len(self.best) == 1:
            return f"{self.best[0]} forecasts better than the class, by more than luck"
        return f"{', '.join(self.best)} forecast better than the class, by more than luck; among them it cannot be told"


def ledger(calls: Iterable[Call], seed: int = 0) -> Ledger:
    """Judge predictions. What is no number, or larger than any quantity, is left out, as is an interval with swapped ends."""
    calls = [call for call in calls if _finite(call.value, call.measured)]
    scored = [
        call for call in calls
        if call.low is not None and call.high is not None and _finite(call.low, call.high) and call.low <= call.high
    ]  # fmt: skip
    rivals = _usual_rivals(calls)
    of: dict[str, list[Call]] = {}
    for call in calls:
        of.setdefault(call.learner, []).append(call)
    learners, questions = sorted(of), sorted({call.question for call in scored})
    who, what = _numbers(scored, "learner", learners), _numbers(scored, "question", questions)
    low, high, found = (
        np.array([getattr(call, name) for call in scored], float) for name in ("low", "high", "measured")
    )
    score, width = interval_score(low, high, found), high - low
    shared = np.zeros(len(scored), bool)
    for q in range(len(questions)):
        at = what == q
        shared[at] = len(set(who[at])) > 1
        score[at] = np.minimum(_over_median(score[at]), CAP)
        width[at] = _over_median(width[at])
    compared, L = np.flatnonzero(shared), len(learners)
    standing, best, worst = _standings(score[compared], what[compared], who[compared], L, seed)
    count = np.bincount(who[compared], minlength=L)
    rows = []
    for i, name in enumerate(learners):
        mine = who == i
        above = float(np.mean(best >= standing[i] - 1e-12)) if len(best) else 1.0
        below = float(np.mean(worst <= standing[i] + 1e-12)) if len(worst) else 1.0
        verdict = (
            FEW if count[i] < FEWEST else BETTER if above <= LEVEL else WORSE if below <= LEVEL else EQUAL
        )
        rows.append(
            Row(
                name, len(of[name]), int(mine.sum()),
                int(((low <= found) & (found <= high))[mine].sum()),
                float(np.median(width[mine])) if mine.any() else None,
                float(score[mine & shared].mean()) if count[i] else None,
                float(standing[i]), min(above, below),
                _skill(of[name], rivals), verdict,
            )
        )  # fmt: skip
    return Ledger(sorted(rows, key=lambda row: (row.verdict == FEW, -row.standing, row.learner)))


def _standings(
    score: np.ndarray, what: np.ndarray, who: np.ndarray, learners: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(learners,) standings, and of each class dealt out at random the highest and the lowest of those who have enough.

    Scores (S,) with the question and the learner of each.
    """
    mean = np.bincount(what, score) / np.maximum(np.bincount(what), 1)
    gain = mean[what] - score
    count = np.bincount(who, minlength=learners)
    standing = np.bincount(who, gain, learners) / (count + PRIOR)
    enough = count >= FEWEST
    if not enough.any():
        return standing, np.empty(0), np.empty(0)
    rng = np.random.default_rng(seed)
    order = np.argsort(what, kind="stable")  # gains that lie together, question by question
    what, who, gain = what[order], who[order], gain[order]
    best, worst = np.empty(DEALS), np.empty(DEALS)
    for k in range(DEALS):
        dealt = gain[np.argsort(what + rng.random(len(gain)))]  # shuffled within each question
        among = np.bincount(who, dealt, learners)[enough] / (count[enough] + PRIOR)
        best[k], worst[k] = among.max(), among.min()
    return standing, best, worst


def _numbers(calls: list[Call], name: str, known: list[str]) -> np.ndarray:
    place = {each: i for i, each in enumerate(known)}
    return np.array([place[getattr(call, name)] for call in calls], int)


def _over_median(values: np.ndarray) -> np.ndarray:
    """Values over their median; where that is 0 (most forecasts exact), over the mean, and 1 where all are 0."""
    usual = float(np.median(values)) or float(values.mean())
    return values / usual if usual else np.ones_like(values)


def _skill(calls: list[Call], rivals: Mapping[str, Mapping[str, float]]) -> float | None:
    """`forecast_skill` against all naive rivals of all questions together, as far as the numbers are above zero."""
    rows = [
        (call.value, call.measured, said)
        for call in calls
        for said in rivals.get(call.question, call.rivals).values()
        if min(call.value, call.measured, said) > 0
    ]
    if not rows:
        return None
    value, measured, naive = zip(*rows, strict=True)
    return forecast_skill(value, measured, {"naive": naive})["naive"]


def _usual_rivals(calls: list[Call]) -> dict[str, dict[str, float]]:
    """Question -> what each naive rival said: the median over the learners' files, so that nobody chooses his own rivals."""
    said: dict[str, dict[str, list[float]]] = {}
    for call in calls:
        for name, value in call.rivals.items():
            if not call.own_rivals and _finite(value):
                said.setdefault(call.question, {}).setdefault(name, []).append(value)
    return {
        question: {name: median(values) for name, values in each.items()} for question, each in said.items()
    }


def _finite(*values: float) -> bool:
    """Numbers to reckon with: squares and sums of larger ones are infinite."""
    return all(isinstance(value, (int, float)) and abs(value) < 1e100 for value in values)
