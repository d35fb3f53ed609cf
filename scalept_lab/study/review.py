"""The questions to a plan, one for each thing that notebooks 01 to 12 taught. A plan that fails one is told what to change.

Memory and time are the planner's (`costs.planner`, with its ASSUMPTIONS), the loss is the judge's (`study.judge`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import exp
from typing import Any

from scalept_lab.costs import planner
from scalept_lab.costs.planner import Estimate
from scalept_lab.errors import InputError
from scalept_lab.laws import formulas
from scalept_lab.study.judge import judge_of
from scalept_lab.study.plan import Plan, bill, counted

WORTH = 0.1  # of a fresh token: below it, reading the text once more is not worth its compute
PASSES = 22  # over demonstrations up to which the recorded policies improved: 1,000 of them, 1,500 steps (data/records/vla.jsonl)


@dataclass(frozen=True)
class Finding:
    """One question to a plan. `advice` is empty where it is kept."""

    question: str
    ok: bool
    found: str
    advice: str = ""


# of a plan that can run at all
NEEDED = (
    "feeds all ranks",
    "fits in memory",
    "keeps the budget",
    "has this precision",
)


def check(plan: Plan) -> list[Finding]:
    """All questions to a plan, in order."""
    try:
        found: Estimate | None = counted(plan)
        ranks = Finding("feeds all ranks", True, f"{plan.layout.layout()} on {plan.case.gpus:,} GPUs")
    except InputError as error:
        found, ranks = None, Finding("feeds all ranks", False, str(error), nearest(plan))
    return [
        ranks,
        _memory(plan, found),
        _budget(plan, found),
        _precision(plan),
        _weights(plan),
        _batch(plan),
        _text(plan),
        _order(plan),
        _sealed(plan),
    ]


def _memory(plan: Plan, found: Estimate | None) -> Finding:
    question = "fits in memory"
    if found is None:
        return Finding(question, False, "cannot be told before the layout divides")
    told = f"{found.memory / 2**30:,.1f} of {found.limit / 2**30:.0f} GiB on the fullest GPU"
    return Finding(question, found.fits, told, "" if found.fits else nearest(plan))


def nearest(plan: Plan) -> str:
    """The layout with the fewest changes in which this model fits here, or by what factor none does, as one line."""
    precision = "mixed" if plan.precision == "fp8" else plan.precision
    try:
        tried = planner.plan(plan.sizes, plan.case.cluster(), plan.batch, precision)
    except InputError as error:
        return str(error)
    mine = plan.layout.layout()

    def changes(each: Estimate) -> int:
        return sum(
            getattr(mine, name) != getattr(each.layout, name) for name in type(plan.layout).model_fields
        )

    fitting = [each for each in tried if each.fits]
    if fitting:
        best = min(fitting, key=lambda each: (changes(each), each.seconds))
        return f"the nearest layout that fits is {best.layout}"
    least = min(tried, key=lambda each: each.memory)
    return (
        f"no layout of these GPUs holds this model: the smallest ({least.layout}) needs {_times(least.memory / least.limit)} "
        "times the memory of a GPU; take a smaller model"
    )


def _times(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 10 else f"{factor:.3g}"


def _budget(plan: Plan, found: Estimate | None) -> Finding:
    question = "keeps the budget"
    if found is None:
        return Finding(question, False, "cannot be told before the layout divides")
    cost = bill(plan)
    share = f"{cost['share']:.0%}" if cost["share"] < 10 else f"{_times(cost['share'])} times"
    told = f"{cost['gpu_hours']:,.0f} of {cost['limit_gpu_hours']:,.0f} GPU hours ({share})"
    if plan.case.served:
        told += f", {cost['serving_gpu_hours']:,.0f} of them for serving"
    if cost["share"] <= 1.001:  # whole steps
        return Finding(question, True, told)
    left = 1 - cost["serving_gpu_hours"] / cost["limit_gpu_hours"]
    if left <= 0:
        return Finding(
            question, False, told, "serving alone costs more than the budget; take a smaller model"
        )
    most = plan.tokens * left * cost["limit_gpu_hours"] / cost["training_gpu_hours"]
    return Finding(
        question, False, told, f"at this speed it pays for {most:.3g} tokens; take fewer, or a smaller model"
    )


def _precision(plan: Plan) -> Finding:
    question, card = "has this precision", plan.case.card
    if plan.precision not in card.peaks:
        return Finding(
            question, False, f"a {card.name} has no {plan.precision}", f"take one of {', '.join(card.peaks)}"
        )
    return Finding(question, True, f"{card.peaks[plan.precision] / 1e12:.0f} TFLOP/s in {plan.precision}")


def _weights(plan: Plan) -> Finding:
    question = "keeps small updates"
    if plan.precision == "bf16":
        return Finding(
            question,
            False,
            "weights in 16 bits alone lose updates below their last bit (notebook 04)",
            "take mixed",
        )
    return Finding(question, True, "weights have 32 bits")


def _batch(plan: Plan) -> Finding:
    question, size = "has a useful batch", plan.batch * plan.case.context
    told = f"{size:,} tokens a step, {plan.steps:,} steps"
    if size > plan.case.most_batch:
        most = plan.case.most_batch // plan.case.context
        return Finding(
            question,
            False,
            told,
            f"beyond {most:,} sequences a larger batch saves no steps (notebook 03); take fewer",
        )
    if plan.steps < 100:
        return Finding(
            question,
            False,
            told,
            "fewer than 100 steps hardly train; take a smaller batch or a smaller model",
        )
    return Finding(question, True, told)


def _text(plan: Plan) -> Finding:
    question, case = "has enough text", plan.case
    told = f"each of {min(case.unique, plan.tokens):.3g} tokens is read {plan.passes:.3g} times"
    if case.task == "robots":
        if plan.passes > PASSES:
            advice = f"recorded policies got no better somewhere beyond {PASSES} passes (notebook 10); read them less often"
            return Finding(question, False, told, advice)
        return Finding(question, True, f"{told}; the law has a term for the demonstrations, none for passes")
    R = formulas.LAWS["muennighoff"].params["R_D"]
    worth = exp(-(plan.passes - 1) / R)
    told += f"; the last is worth {worth:.0%} of a fresh one"
    if plan.passes > 1 and formulas.LAWS[plan.law].form != "data_constrained":
        advice = f"the law {plan.law!r} takes every token for a fresh one; choose N and D by muennighoff"
        return Finding(question, False, told, advice)
    if worth < WORTH:
        return Finding(
            question,
            False,
            told,
            "read it less often, or make the model smaller and find more text (notebook 01)",
        )
    return Finding(question, True, told)


def _order(plan: Plan) -> Finding:
    question, order = "says why in this order", plan.curriculum
    if len(order.why.split()) < 3:
        return Finding(
            question,
            False,
            f"{order.choice}, without a reason",
            "give curriculum.why a sentence (notebook 07)",
        )
    return Finding(question, True, f"{order.choice}: {order.why[:200]}")


def _sealed(plan: Plan) -> Finding:
    question = "is sealed with a prediction"
    if not plan.seal or plan.predicted is None or plan.low is None or plan.high is None:
        return Finding(
            question, False, "no prediction is sealed", "seal it: seal(plan), or scalept plan FILE --seal"
        )
    if plan.seal != plan.digest():
        return Finding(
            question, False, "the plan was changed after it was sealed", "seal it again, before it runs"
        )
    law = judge_of(plan.scenario)
    drawn = law.draws(plan.N, plan.tokens)
    inside = float(((plan.low <= drawn) & (drawn <= plan.high)).mean())
    told = f"{plan.predicted:.4f} ({plan.low:.4f} to {plan.high:.4f}), which holds {inside:.0%} of the law's draws"
    place = law.place(plan.N, plan.tokens / plan.case.context if plan.case.task == "robots" else plan.tokens)
    if place != formulas.INSIDE:
        told += f"; {place} of the law's runs"
    if inside < 0.5:
        return Finding(
            question,
            False,
            told,
            "the law expects another loss; widen the interval, or say in the reason why not",
        )
    return Finding(question, True, told)


def as_rows(findings: list[Finding]) -> list[dict[str, Any]]:
    return [asdict(each) for each in findings]
