"""What a plan is measured against: what a beginner would do with the same budget, and the best that a search finds.

A loss alone says little. Skill says which part of the way from the naive plan to the best one a plan has gone:
1 − (plan − best)/(naive − best). The share of draws says how sure that is: under how many of the constants that the law may have
the plan beats the naive one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from math import log
from typing import Any

import numpy as np

from scalept_lab.costs import planner
from scalept_lab.errors import InputError
from scalept_lab.study.judge import judge_of
from scalept_lab.study.plan import Plan, Sizes, Spread, counted, served_gpu_hours, step_seconds
from scalept_lab.study.review import NEEDED, check
from scalept_lab.study.scenarios import Scenario, scenario

WIDTHS = (
    32, 48, 64, 96, *range(128, 2049, 128), *range(2560, 8193, 512), *range(9216, 24577, 1024),
)  # fmt: skip


def sized(width: int) -> Sizes:
    """The model of this width in the family of all rivals: heads of 128 channels, a block for each 128, at least two."""
    return Sizes(width=width, depth=max(2, width // 128), heads=max(1, width // 128))


def filled(plan: Plan) -> Plan | None:
    """The plan with as many tokens as its budget pays for, or None where serving leaves nothing."""
    left = plan.case.gpu_hours - served_gpu_hours(plan)
    steps = int(left * 3600 / plan.case.gpus / step_seconds(plan, counted(plan))) if left > 0 else 0
    return plan.replace(tokens=float(steps * plan.batch * plan.case.context)) if steps > 0 else None


def _draft(case: Scenario, width: int, layout: Spread) -> Plan:
    batch = case.most_batch // case.context
    order = {"choice": "none", "why": "text in the order in which it comes"}
    return Plan(
        scenario=case.name, model=sized(width), tokens=1e6, batch=batch, layout=layout, curriculum=order
    )


def naive(name: str) -> Plan:
    """A beginner's plan for a scenario, which can run and keeps the budget. Raises: InputError for an unknown scenario.

    "20 tokens per parameter": the size at which the whole budget pays for about so many, whatever the text and whatever is
    to be served, in the fastest layout of ZeRO-3. "the largest model that fits": on one server, split by tensor parallelism (or,
    where there is one server, on one GPU), copied over the rest, with everything recomputed and the tokens that are left.
    What such a model serves comes out of the same budget.
    """
    return _naive(scenario(name).name)


@lru_cache
def _naive(name: str) -> Plan:
    case = scenario(name)
    if case.habit == "20 tokens per parameter":
        tried = [plan for width in WIDTHS if (plan := fastest(case, width, "ZeRO-3")) is not None]
        return min(tried, key=lambda plan: abs(log(plan.tokens / plan.N / 20)))
    split = case.node if case.gpus > case.node else 1
    layout = Spread(data=case.gpus // split, tensor=split, recompute="full")
    for width in reversed(WIDTHS):
        draft = _draft(case, width, layout)
        if draft.sizes.heads % split == 0 and counted(draft).fits and (plan := filled(draft)) is not None:
            return plan
    # a scenario's own fault, which a test would show
    raise AssertionError(f"{name}: no model of the family fits")


def best(name: str) -> Plan:
    """The lowest loss that a search finds: sizes of the family, the fastest layout of each that fits, tokens for all the budget.

    It walks from a size at 20 tokens per parameter to smaller and larger ones for as long as the loss falls (two steps beyond).
    """
    return _best(scenario(name).name)


@lru_cache
def _best(name: str) -> Plan:
    case, law = scenario(name), judge_of(name)
    found: dict[int, tuple[float, Plan] | None] = {}

    def at(i: int) -> float:
        if i not in found:
            plan = fastest(case, WIDTHS[i]) if 0 <= i < len(WIDTHS) else None
            found[i] = None if plan is None else (law.loss(plan.N, plan.tokens), plan)
        reached = found[i]
        return float("inf") if reached is None else reached[0]

    start = WIDTHS.index(naive(name).model.width)
    lowest = start
    for way in (-1, 1):
        i = lowest
        while min(at(i + way), at(i + 2 * way)) < at(i):
            i += way
        lowest = min((k for k in found), key=at)
    reached = found[lowest]
    assert reached is not None
    return reached[1]


def fastest(case: Scenario, width: int, only: str | None = None) -> Plan | None:
    """The plan of this width in the fastest layout that fits (`only`: of this kind), with all the budget's tokens, or None."""
    draft = _draft(case, width, Spread())
    try:
        tried = planner.plan(draft.sizes, case.cluster(), draft.batch, only=only)
    except InputError:
        return None
    if not tried[0].fits:
        return None
    kept = {name: getattr(tried[0].layout, name) for name in Spread.model_fields}
    return filled(draft.replace(layout=kept))


@dataclass(frozen=True)
class Standing:
    """A plan against its rivals, losses in nats. `share`: of the law's draws, in how many it beats the naive plan."""

    loss: float
    naive: float
    best: float
    regret: float
    skill: float
    share: float
    low: float  # 95 % of the draws of naive − plan
    high: float
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def score(plan: Plan) -> Standing:
    """The plan's standing. Raises: InputError for a plan that cannot run: it would have a loss that nobody can pay for."""
    wrong = [each for each in check(plan) if each.question in NEEDED and not each.ok]
    if wrong:
        raise InputError(
            f"plan: expected one that can run, got one that fails {wrong[0].question!r} ({wrong[0].found}); mend it first"
        )
    law, rival, top = judge_of(plan.scenario), naive(plan.scenario), best(plan.scenario)
    mine, theirs, lowest = (law.loss(each.N, each.tokens) for each in (plan, rival, top))
    gain = law.draws(rival.N, rival.tokens) - law.draws(plan.N, plan.tokens)
    low, high = (float(v) for v in np.quantile(gain, (0.025, 0.975)))
    share = float((gain > 0).mean())
    room = theirs - lowest
    skill = 1 - (mine - lowest) / room if room > 0 else 1.0 if mine <= lowest else 0.0
    if low > 0:
        verdict = "better than the naive plan"
    elif high < 0:
        verdict = "worse than the naive plan"
    else:
        verdict = "not told apart from the naive plan"
    return Standing(mine, theirs, lowest, mine - lowest, skill, share, low, high, verdict)
