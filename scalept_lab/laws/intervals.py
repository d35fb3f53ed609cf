"""How sure a handful of runs makes us: a share of successes, and a difference between arms that share their seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from scalept_lab.errors import InputError

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with the interval around it. Prints as `+0.021 (-0.004 to +0.046)`."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def wilson(successes: int, trials: int, level: float = LEVEL) -> Interval:
    """The share of successes and Wilson's score interval for it (Wilson 1927): honest near 0 and 1, where
    share ± 2 standard errors leaves [0, 1] or shrinks to nothing.

    Raises: InputError for no trials, or a number of successes that is negative or above the trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise InputError(
            f"wilson: expected 0 ≤ successes ≤ trials with at least one trial, got {successes} of {trials}"
        )
    found = stats.binomtest(int(successes), int(trials)).proportion_ci(level, method="wilson")
    return Interval(successes / trials, float(found.low), float(found.high))


def paired(arm: Sequence[float], baseline: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean of arm − baseline, seed by seed, with Student's t interval.

    What a seed does to both arms alike (the draw of the data, the first weights) cancels in the difference, so that few
    seeds say more than in two separate intervals. Both sequences are in the order of the same seeds.
    Raises: InputError for fewer than two pairs, unequal lengths, or values that are no numbers.
    """
    a, b = np.asarray(arm, float), np.asarray(baseline, float)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise InputError(
            f"paired: expected two or more seeds, the same in both arms, got {a.size} and {b.size}"
        )
    if not np.isfinite([a, b]).all():
        raise InputError("paired: expected a number for every seed, got one that is none; did a run diverge?")
    difference = a - b
    half = float(stats.t.ppf(0.5 + level / 2, len(a) - 1) * difference.std(ddof=1) / math.sqrt(len(a)))
    mean = float(difference.mean())
    return Interval(mean, mean - half, mean + half)
