"""A plan of a training run: a file to write, to seal and to have checked before anything is spent.

The checks ask what notebooks 01 to 12 taught, one question each. A plan that fails one is told what to change. Memory and time
are the planner's (`costs.planner`, with its ASSUMPTIONS), the loss is the judge's (`study.judge`).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from math import exp
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from scalept_lab import outside
from scalept_lab.config import Frozen, parse
from scalept_lab.costs import layouts, planner
from scalept_lab.costs.layouts import Layout, Model
from scalept_lab.costs.planner import Estimate
from scalept_lab.errors import InputError
from scalept_lab.laws import formulas
from scalept_lab.runs import write_atomically
from scalept_lab.study.judge import judge_of
from scalept_lab.study.scenarios import DECODING, OVERHEAD, SCENARIOS, Scenario, scenario

WORTH = 0.1  # of a fresh token: below it, reading the text once more is not worth its compute
PASSES = 22  # over demonstrations up to which the recorded policies improved: 1,000 of them, 1,500 steps (data/records/vla.jsonl)
EXPECTED = "a plan as `scalept plan --scenario NAME --out FILE` writes it"
ASSUMPTIONS = (
    *planner.ASSUMPTIONS,
    "FP8 is counted with the memory and the speed of 16 bits: what it gains depends on the layers that stay in 16 bits.",
    f"Serving a token takes a third of the FLOPs of training on it, at {DECODING:.0%} of the peak.",
    "The price of a GPU and hour holds whether it computes or waits.",
)


class Sizes(Frozen):
    """The transformer; its context and vocabulary are the scenario's."""

    width: int = Field(ge=8, le=131_072)
    depth: int = Field(ge=1, le=1024)
    heads: int = Field(ge=1, le=1024)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Sizes:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}; change one")
        return self


class Spread(Frozen):
    """How the run lies on the GPUs; tensor parallelism comes with sequence parallelism."""

    data: int = Field(1, ge=1, le=10**6)
    tensor: int = Field(1, ge=1, le=10**6)
    pipeline: int = Field(1, ge=1, le=10**6)
    zero: int = Field(0, ge=0, le=3)
    micro_batch: int = Field(1, ge=1, le=10**6)
    recompute: Literal["none", "selective", "full"] = "none"
    interleave: int = Field(1, ge=1, le=1024)

    def layout(self) -> Layout:
        return Layout(**self.model_dump(), sequence=self.tensor > 1)


class Order(Frozen):
    """What is read first, and why (notebook 07)."""

    choice: Literal["none", "length", "easy", "mixture"] = "none"
    why: str = Field("", max_length=2000)


class Plan(Frozen):
    """A run to be. tokens: seen in training, repetitions counted. batch: sequences of a step.

    law: the published one by which N and D were chosen; what judges the plan is `study.judge`. predicted, low, high: the loss
    expected and its 95 % interval, in nats per token (robots: per action); `seal` is a hash of all the rest, so that a prediction
    cannot follow its result.
    """

    scenario: str = Field(max_length=100)
    model: Sizes
    tokens: float = Field(gt=0, le=1e18)
    batch: int = Field(ge=1, le=10**9)
    layout: Spread
    precision: Literal["mixed", "mixed-fp32-grads", "bf16", "fp32", "fp8"] = "mixed"
    curriculum: Order = Order()
    law: str = Field("muennighoff", max_length=100)
    predicted: float | None = Field(None, gt=0)
    low: float | None = Field(None, gt=0)
    high: float | None = Field(None, gt=0)
    seal: str = Field("", max_length=64)

    @field_validator("scenario")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in SCENARIOS:
            raise ValueError(f"expected one of {', '.join(SCENARIOS)}")
        return name

    @field_validator("law")
    @classmethod
    def _published(cls, name: str) -> str:
        if name not in formulas.LAWS:
            raise ValueError(f"expected one of {', '.join(formulas.LAWS)}")
        return name

    @property
    def case(self) -> Scenario:
        return scenario(self.scenario)

    @property
    def sizes(self) -> Model:
        """The model as the planner takes it, with the scenario's context and vocabulary."""
        case = self.case
        return layouts.model(
            {**self.model.model_dump(), "context": case.context, "vocab_size": case.vocabulary}
        )

    @property
    def N(self) -> int:
        return self.sizes.shape.non_embedding

    @property
    def passes(self) -> float:
        """How often each token at hand is read."""
        return self.tokens / min(self.tokens, self.case.unique)

    @property
    def steps(self) -> int:
        return max(1, round(self.tokens / (self.batch * self.case.context)))

    def digest(self) -> str:
        """The hash to seal with."""
        text = self.model_copy(update={"seal": ""}).model_dump_json()
        return hashlib.sha256(text.encode()).hexdigest()

    def save(self, path: str | Path) -> Path:
        path = Path(path)
        write_atomically(path, self.model_dump_json(indent=1) + "\n")
        return path


def read_plan(path: str | Path) -> Plan:
    """A plan from its file. Raises: InputError, in one line, for what is none."""
    found = outside.json_object(path, EXPECTED, most=10**6)
    try:
        return parse(Plan, found)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def seal(plan: Plan) -> Plan:
    """The plan with its prediction sealed; what of it is still open, the judge's law fills in. Raises: InputError."""
    law = judge_of(plan.scenario)
    low, high = law.interval(plan.N, plan.tokens)
    given = {"predicted": law.loss(plan.N, plan.tokens), "low": low, "high": high}
    filled = plan.replace(
        **{key: value for key, value in given.items() if getattr(plan, key) is None}, seal=""
    )
    assert filled.predicted is not None and filled.low is not None and filled.high is not None
    if not filled.low <= filled.predicted <= filled.high:
        raise InputError(
            f"prediction: expected low ≤ predicted ≤ high, got {filled.low:g}, {filled.predicted:g}, {filled.high:g}; "
            "put them in order"
        )
    return filled.replace(seal=filled.digest())


# --- time, energy, money


def counted(plan: Plan) -> Estimate:
    """Memory and time of a step of this plan, by the planner. Raises: InputError if the layout does not divide."""
    card = plan.case.card
    known = plan.precision if plan.precision in card.peaks else "mixed"
    return planner.estimate(
        plan.sizes,
        plan.layout.layout(),
        plan.case.cluster(known),
        plan.batch,
        "mixed" if known == "fp8" else known,
    )


def step_seconds(plan: Plan, found: Estimate) -> float:
    """Seconds of a step: what the planner says, or what data loading allows, whichever is longer."""
    return max(found.seconds, plan.batch * plan.case.context / (plan.case.feed * plan.case.gpus))


def bill(plan: Plan) -> dict[str, float]:
    """What the plan takes: hours of the cluster, GPU hours, kWh and dollars, of training, of serving and in all.

    `share` is that of the budget; `limit_gpu_hours` the budget. See ASSUMPTIONS and the scenario's `facts`.
    Raises: InputError if the layout does not divide.
    """
    case = plan.case
    seconds = step_seconds(plan, counted(plan))
    training = seconds * plan.steps / 3600 * case.gpus
    serving = served_gpu_hours(plan)
    total = training + serving
    return {
        "steps": plan.steps, "step_seconds": seconds, "hours": training / case.gpus, "training_gpu_hours": training,
        "serving_gpu_hours": serving, "gpu_hours": total, "limit_gpu_hours": case.gpu_hours, "share": total / case.gpu_hours,
        "kwh": total * case.card.watts * OVERHEAD / 1000, "dollars": total * case.card.price,
    }  # fmt: skip


def served_gpu_hours(plan: Plan) -> float:
    """GPU hours of all tokens to be served: two FLOPs a parameter for each, at the share of the peak that decoding reaches."""
    flops = plan.sizes.shape.flops_per_token() / 3 * plan.case.served
    return flops / (DECODING * plan.case.card.peaks["mixed"]) / 3600


# --- the checks


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


def runs(plan: Plan) -> bool:
    """Whether the plan can run at all: a wish for more may stay open, a score needs no less."""
    return all(each.ok for each in check(plan) if each.question in NEEDED)


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
