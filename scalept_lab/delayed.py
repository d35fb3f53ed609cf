"""Delayed synchronisation: workers that train apart and meet every H steps. Local SGD and DiLoCo, in one visible loop.

    gradients   the mean of the workers' gradients, at every step: plain data parallel training, the yardstick
    local       H steps apart, then the mean of the workers' parameters (Stich 2019, "Local SGD Converges Fast and
                Communicates Little", algorithm 1)
    diloco      H steps of AdamW apart, then one step of an outer optimizer, SGD with Nesterov momentum, whose gradient is
                how far the workers have moved on average (Douillard et al. 2023, DiLoCo, algorithm 1)

With real ranks (inside `launch`, or under torchrun) each process is one worker. In one process all workers train in turn,
which gives the same numbers, sends nothing, and says what would have been sent: sweeps are made that way.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from scalept_lab import costs, pacing
from scalept_lab.config import TrainConfig
from scalept_lab.data import Prepared, prepare
from scalept_lab.errors import InputError
from scalept_lab.models import Transformer, cross_entropy
from scalept_lab.optim import learning_rate, make_optimizer, set_rate
from scalept_lab.outcome import outcome
from scalept_lab.runs import RunRecord
from scalept_lab.train import DIVERGED, evaluate, to

POINTS = 100  # of a curve
BYTES = 4  # of a parameter or gradient, in float32


class Delayed(BaseModel):
    """How `workers` train together: what is averaged, and after how many steps (`every`, H)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["gradients", "local", "diloco"] = "gradients"
    workers: int = Field(4, ge=1)
    every: int = Field(1, ge=1)
    outer_lr: float = Field(0.7, gt=0)  # of diloco: 0.7 and 0.9 are the paper's
    outer_momentum: float = Field(0.9, ge=0, lt=1)

    def id(self, config: TrainConfig) -> str:
        """Sixteen hexadecimal digits: of the run and of how it is shared."""
        text = json.dumps([config.id(), self.model_dump()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Worker:
    """A model and an optimizer of its own. The moments of Adam are never sent: each worker keeps its own."""

    index: int
    model: Transformer
    optimizer: torch.optim.Optimizer

    @property
    def parameters_P(self) -> Tensor:
        return parameters_to_vector(self.model.parameters()).detach()

    @parameters_P.setter
    def parameters_P(self, vector_P: Tensor) -> None:
        vector_to_parameters(
            vector_P.clone(), self.model.parameters()
        )  # a clone: parameters become views of it

    @property
    def gradient_P(self) -> Tensor:
        return torch.cat([p.grad.flatten() for p in self.model.parameters()])  # type: ignore[union-attr]

    @gradient_P.setter
    def gradient_P(self, vector_P: Tensor) -> None:
        sizes = [p.numel() for p in self.model.parameters()]
        for parameter, part in zip(self.model.parameters(), vector_P.split(sizes), strict=True):
            parameter.grad = part.view_as(parameter).clone()


def fit_delayed(
    config: TrainConfig, plan: Delayed, corpus: Prepared | None = None
) -> tuple[Transformer, RunRecord]:
    """Train with `plan.workers` workers, who share each step's batch. Returns the model they agree on, and its record.

    `metrics` has "bytes", what each worker gives to all-reduces in the whole run (the payload; a ring sends
    2·(workers − 1)/workers of it), "bytes_per_parameter", and "meetings". A run that diverges gives a record that says so.
    Raises: InputError if the ranks, or the batch, do not suit the workers.
    """
    corpus = corpus or prepare(config.corpus)
    workers = [_worker(index, config) for index in _workers_here(config, plan)]
    outer = Outer(workers[0].parameters_P, plan)
    stream = pacing.stream(config, corpus.train)
    curve: list[tuple[int, int, float]] = []
    meetings, losses_W, counted, started = 0, torch.zeros(len(workers)), 0, time.perf_counter()
    limit, diverged = DIVERGED * math.log(config.model.vocab_size), False

    for step, (x_BxL, y_BxL) in enumerate(stream):
        for i, worker in enumerate(workers):
            x, y = (to(rows, "cpu").tensor_split(plan.workers)[worker.index] for rows in (x_BxL, y_BxL))
            loss = cross_entropy(worker.model(x), y)
            loss.backward()
            losses_W[i] += loss.detach()
        if plan.method == "gradients":  # meet before the step
            mean_P = average([worker.gradient_P for worker in workers], plan.workers)
            for worker in workers:
                worker.gradient_P = mean_P
        for worker in workers:
            nn.utils.clip_grad_norm_(worker.model.parameters(), config.clip)
            set_rate(worker.optimizer, learning_rate(step, config))
            worker.optimizer.step()
            worker.optimizer.zero_grad()
        last = step + 1 == config.steps
        meet = (step + 1) % plan.every == 0 or last
        if plan.method != "gradients" and meet:  # meet after the step
            mean_P = average([worker.parameters_P for worker in workers], plan.workers)
            agreed_P = outer.step(mean_P) if plan.method == "diloco" else mean_P
            for worker in workers:
                worker.parameters_P = agreed_P
        meetings += meet or plan.method == "gradients"

        counted += 1
        if counted == max(1, config.steps // POINTS) or last:
            mean = average(list(losses_W), plan.workers).item() / counted
            diverged = not mean < limit  # also true for NaN
            curve.append((step + 1, (step + 1) * config.tokens_per_step, round(min(mean, 1e9), 6)))
            losses_W, counted = torch.zeros(len(workers)), 0
            if diverged:
                break

    seconds = time.perf_counter() - started
    heldout = math.nan if diverged else evaluate(workers[0].model, corpus, config.eval_windows)
    return workers[0].model, _record(
        config, plan, corpus, curve, meetings, heldout if heldout < limit else None, seconds
    )


def average(vectors: list[Tensor], workers: int) -> Tensor:
    """The mean over all workers, of whom those in this process give their `vectors`; the rest comes by an all-reduce."""
    total = torch.stack(vectors).sum(0)
    if len(vectors) < workers:
        dist.all_reduce(total)
    return total / workers


class Outer:
    """DiLoCo's outer optimizer: torch's SGD with Nesterov momentum, on a copy of the parameters all workers began with.

    Its gradient is θ − mean(θ_w), so that with rate 1 and no momentum the step is the mean: that is local SGD.
    """

    def __init__(self, parameters_P: Tensor, plan: Delayed):
        self.parameters_P = nn.Parameter(parameters_P.clone())
        nesterov = plan.outer_momentum > 0
        self.optimizer = torch.optim.SGD(
            [self.parameters_P], lr=plan.outer_lr, momentum=plan.outer_momentum, nesterov=nesterov
        )

    def step(self, mean_P: Tensor) -> Tensor:
        self.parameters_P.grad = self.parameters_P.detach() - mean_P
        self.optimizer.step()
        return self.parameters_P.detach()


def payload(plan: Delayed, parameters: int, steps: int) -> int:
    """Bytes that each worker gives to all-reduces in `steps` steps: a vector of `parameters` 32-bit numbers a meeting."""
    meetings = steps if plan.method == "gradients" else math.ceil(steps / plan.every)
    return meetings * parameters * BYTES


def _worker(index: int, config: TrainConfig) -> Worker:
    torch.manual_seed(config.seed)  # all begin alike
    model = Transformer(config.model)
    return Worker(index, model, make_optimizer(model, config))


def _workers_here(config: TrainConfig, plan: Delayed) -> list[int]:
    many = dist.is_available() and dist.is_initialized()
    if many and dist.get_world_size() != plan.workers:
        raise InputError(f"workers: expected {dist.get_world_size()}, one for each rank, got {plan.workers}")
    if config.batch % plan.workers:
        raise InputError(
            f"batch: {config.batch} sequences cannot be shared equally by {plan.workers} workers; "
            f"take a multiple of {plan.workers}"
        )
    return [dist.get_rank()] if many else list(range(plan.workers))


def _record(
    config: TrainConfig, plan: Delayed, corpus: Prepared, curve: list, meetings: int, loss: float | None, seconds: float
) -> RunRecord:  # fmt: skip
    total = costs.shape(config.model).total
    sent = meetings * total * BYTES
    record = outcome(config, corpus.sha256, curve, curve[-1][0], loss, seconds)
    return record.model_copy(update={
        "id": plan.id(config), "config": {**config.model_dump(), "delayed": plan.model_dump()},
        "metrics": {"bytes": float(sent), "bytes_per_parameter": sent / total, "meetings": float(meetings)},
    })  # fmt: skip
