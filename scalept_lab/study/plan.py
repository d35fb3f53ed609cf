"""A plan of a training run: a file to write, to seal, and to bill before anything is spent. `study.review` asks it questions."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

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
