"""A plan scaled down to this machine, trained beside the naive plan's miniature: equal FLOPs, several seeds, paired.

What stays is the shape of the plan: its tokens per parameter. The text at hand shrinks as the tokens do, so that it is read as
often. What goes is the compute, by ten decades and more. So a miniature shows that the recipe trains, what repetition does and
how far seeds scatter. It does not show which plan is better at full size where the best number of tokens per parameter moves
with compute; `Miniature.agrees` compares its ranking with the judge's, and a disagreement is a finding, not a fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import log
from pathlib import Path

from scalept_lab import folders
from scalept_lab.config import HEAD_DIM, ModelConfig, TrainConfig, recommend
from scalept_lab.costs.counts import shape
from scalept_lab.errors import InputError
from scalept_lab.laws.compare import Interval, paired
from scalept_lab.runs import Store
from scalept_lab.study.judge import judge_of
from scalept_lab.study.plan import Plan
from scalept_lab.study.rivals import naive
from scalept_lab.study.sweep import run_all
from scalept_lab.train import pacing

FLOPS = 2e10  # of one run
# width, depth and mlp_ratio: sizes close together
SHAPES = tuple(product((8, 16, 24, 32, 40, 48), (2, 3, 4), range(2, 8)))


@dataclass(frozen=True)
class Miniature:
    """Two plans in small. losses: held-out, nats per token (bytes here), one for each seed; gain: naive − plan, 95 % interval."""

    plan: TrainConfig
    naive: TrainConfig
    losses: tuple[float, ...]
    naive_losses: tuple[float, ...]
    gain: Interval
    law_gain: float  # naive − plan by the judge, at full size

    @property
    def verdict(self) -> str:
        """What the miniature says of the two, by the interval of the paired difference."""
        if self.gain.low > 0:
            return "the plan's miniature is better"
        return (
            "the naive plan's miniature is better"
            if self.gain.high < 0
            else "the miniatures are not told apart"
        )

    @property
    def agrees(self) -> bool | None:
        """Whether the miniatures rank the two plans as the law does at full size; None where they are not told apart."""
        return None if self.gain.low <= 0 <= self.gain.high else (self.gain.mean > 0) == (self.law_gain > 0)


def small(plan: Plan, flops: float = FLOPS, seed: int = 0, unique: int | None = None) -> TrainConfig:
    """The run of `flops` with the plan's tokens per parameter, as nearly as small models allow.

    unique: different tokens at hand; by default so many that they are read as often as in the plan.
    Raises: InputError for a plan of robots or of serving: their trade is not one of tokens per parameter alone.
    """
    if plan.case.task != "text":
        raise InputError(
            f"miniature: expected a plan for text, got one of the scenario {plan.scenario!r}, which the law alone judges here"
        )
    wanted = plan.tokens / plan.N
    tried = [_run(*sizes, flops, seed) for sizes in SHAPES]
    best = min(tried, key=lambda run: abs(log(run.tokens / shape(run.model).non_embedding / wanted)))
    unique = unique or round(best.tokens * plan.case.unique / plan.tokens)
    return best.replace(unique_tokens=max(best.tokens_per_step, unique)) if unique < best.tokens else best


def _run(width: int, depth: int, ratio: int, flops: float, seed: int) -> TrainConfig:
    model = ModelConfig(width=width, depth=depth, heads=width // HEAD_DIM, mlp_ratio=ratio)
    return pacing.at_flops(recommend(width, 1e6, model=model, seed=seed, eval_windows=256, batch=4), flops)


def beside_naive(
    plan: Plan, seeds: Sequence[int] = (0, 1, 2), flops: float = FLOPS, folder: str | Path | None = None, progress: bool = False
) -> Miniature:  # fmt: skip
    """Train both miniatures, each with every seed (at least 3), and compare them. Finished runs are kept in `folder`.

    Raises: InputError as `small`, for fewer seeds, and where a run diverged.
    """
    if len(set(seeds)) < 3:
        raise InputError(
            f"seeds: expected at least 3 different ones, got {len(set(seeds))}; a difference needs its interval"
        )
    rival = naive(plan.scenario)
    first = small(plan, flops)
    # one supply for both
    unique = first.unique_tokens or round(first.tokens * plan.case.unique / plan.tokens)
    arms = [[small(each, flops, seed, unique) for seed in seeds] for each in (plan, rival)]
    if arms[0] == arms[1]:
        raise InputError(
            "miniature: the plan has the tokens per parameter and the passes of the naive plan; nothing is to compare"
        )
    store = Store(folder or folders.results() / "miniatures")
    records = run_all([run for arm in arms for run in arm], store, progress=progress)
    losses = [record.L for record in records]
    if len(losses) < 2 * len(seeds) or None in losses:
        raise InputError("miniature: a run diverged or failed; choose other seeds")
    mine, theirs = (
        tuple(float(L or 0) for L in part) for part in (losses[: len(seeds)], losses[len(seeds) :])
    )
    law = judge_of(plan.scenario)
    gain = law.loss(rival.N, rival.tokens) - law.loss(plan.N, plan.tokens)
    return Miniature(arms[0][0], arms[1][0], mine, theirs, paired(theirs, mine), gain)
