"""A fair comparison of ways to train, and how sure a handful of runs makes us of it.

Arms run at equal tokens or equal FLOPs, with the same seeds, scored on the same held-out text; what would make a comparison
unfair is refused rather than averaged over. An interval stands around a share of successes, or around the difference of two
arms, paired by seed. Reads run records; trains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from scalept_lab.checks import one_of, unknown
from scalept_lab.errors import InputError
from scalept_lab.runs import RunRecord

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
    share, z = successes / trials, float(ndtri(0.5 + level / 2))
    wide = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / wide
    half = z / wide * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    return Interval(
        share, 0.0 if successes == 0 else middle - half, 1.0 if successes == trials else middle + half
    )


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
    half = float(stdtrit(len(a) - 1, 0.5 + level / 2) * difference.std(ddof=1) / math.sqrt(len(a)))
    mean = float(difference.mean())
    return Interval(mean, mean - half, mean + half)


FEWEST = 5  # seeds
SLACK = 0.01  # relative: budgets are met to within a step


@dataclass(frozen=True)
class Arm:
    """One row: the mean held-out loss, the paired difference to the baseline (None for itself), tokens and FLOPs in its units."""

    name: str
    seeds: int
    loss: float
    difference: Interval | None
    tokens: float
    flops: float


def compare(
    arms: Mapping[str, Sequence[RunRecord]],
    baseline: str,
    equal: str,
    fewest: int = FEWEST,
    metric: str | None = None,
) -> list[Arm]:
    """Each arm against the baseline, seed by seed: mean difference of held-out losses (nats per token), 95 % interval.

    equal: "tokens" or "flops", what every arm must have spent alike. metric: in place of L, a loss among the metrics, which
    one text gave to all arms, whatever their windows.
    Raises: InputError for an unknown baseline, fewer seeds than `fewest`, other seeds than the baseline's, a diverged run,
    another corpus, another evaluation, or unequal spending.
    """
    one_of("equal", equal, ("tokens", "flops"))
    one_of("baseline", baseline, arms)
    base = _by_seed(baseline, arms[baseline])
    if len(base) < fewest:
        raise InputError(
            f"{baseline}: expected {fewest} seeds or more, got {len(base)}; a few seeds show only luck"
        )
    table = []
    for name, records in arms.items():
        mine = _by_seed(name, records)
        if set(mine) != set(base):
            raise InputError(f"{name}: expected the baseline's seeds {sorted(base)}, got {sorted(mine)}")
        pairs = [(mine[seed], base[seed]) for seed in sorted(base)]
        for record, other in pairs:
            _same_test(name, record, other, windows=metric is None)
        tokens = float(np.mean([record.D / other.D for record, other in pairs]))
        flops = float(np.mean([record.C / other.C for record, other in pairs]))
        spent = tokens if equal == "tokens" else flops
        if abs(spent - 1) > SLACK:
            raise InputError(
                f"{name}: expected the baseline's {equal} within 1 %, got {spent:.3f} times as many"
            )
        losses, others = ([_loss(pair[i], metric) for pair in pairs] for i in (0, 1))
        difference = None if name == baseline else paired(losses, others)  # type: ignore[arg-type]
        table.append(Arm(name, len(pairs), float(np.mean(losses)), difference, tokens, flops))  # type: ignore[arg-type]
    return table


def labelled(
    records: Iterable[RunRecord], experiment: str, seeds: Iterable[int] = range(100)
) -> dict[str, list[RunRecord]]:
    """The runs of a recorded experiment by arm, as the script that made them labelled them, of `seeds` only.

    Seeds from 100 on were used in a search; what is compared should be others. Raises: InputError for an unknown experiment.
    """
    records, wanted = list(records), set(seeds)
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        if record.provenance.get("experiment") == experiment and record.config["seed"] in wanted:
            found.setdefault(record.provenance["arm"], []).append(record)
    if not found:
        known = sorted({str(record.provenance.get("experiment")) for record in records})
        raise unknown("experiment", experiment, known, "it needs runs with these seeds")
    return found


def as_text(table: Sequence[Arm]) -> str:
    """The table to print: the difference is negative where the arm is better than the baseline."""
    width = max(len(arm.name) for arm in table)
    lines = [f"{'arm':<{width}}  loss   tokens  FLOPs  difference to the baseline (95 %)"]
    for arm in table:
        shown = "baseline" if arm.difference is None else str(arm.difference)
        lines.append(f"{arm.name:<{width}}  {arm.loss:.3f}  {arm.tokens:5.2f}  {arm.flops:5.2f}  {shown}")
    return "\n".join(lines)


def _by_seed(name: str, records: Sequence[RunRecord]) -> dict[int, RunRecord]:
    found = {int(record.config["seed"]): record for record in records}
    if not records or len(found) != len(records):
        raise InputError(
            f"{name}: expected one run for each seed, got {len(records)} runs of {len(found)} seeds"
        )
    for record in records:
        if not record.ok:
            raise InputError(
                f"{name}: expected finished runs, got one that {record.status} (seed {record.config['seed']})"
            )
    return found


def _loss(record: RunRecord, metric: str | None) -> float | None:
    return record.L if metric is None else record.metrics[one_of("metric", metric, record.metrics)]


def _same_test(name: str, record: RunRecord, other: RunRecord, windows: bool = True) -> None:
    """The same held-out text in the same windows, or two losses that say nothing about each other."""
    for what in ("corpus", "eval_windows"):
        mine, theirs = record.config.get(what), other.config.get(what)
        if mine != theirs:
            raise InputError(f"{name}: expected the baseline's {what}, {theirs}, got {mine}")
    mine, theirs = (r.config["model"]["context"] for r in (record, other))
    if windows and mine != theirs:
        raise InputError(f"{name}: expected windows of {theirs} tokens, as the baseline has, got {mine}")
    if record.corpus != other.corpus:
        raise InputError(f"{name}: expected the baseline's corpus, got one with another fingerprint")
