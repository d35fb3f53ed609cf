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

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from scalept_lab.config import Delayed, TrainConfig
from scalept_lab.costs import counts
from scalept_lab.data.corpora import Prepared
from scalept_lab.errors import InputError
from scalept_lab.model.optim import learning_rate, make_optimizer, set_rate
from scalept_lab.model.transformer import Transformer, cross_entropy
from scalept_lab.parallel import spread
from scalept_lab.runs import RunRecord
from scalept_lab.train import pacing
from scalept_lab.train.loop import check, check_corpus, evaluate, prepared
from scalept_lab.train.outcome import Watch, outcome
from scalept_lab.train.placement import device_for
from scalept_lab.train.step import to

BYTES = 4  # of a parameter or gradient, in float32


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
        # a clone: parameters become views of it
        vector_to_parameters(vector_P.clone(), self.model.parameters())

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
    config = config.replace(delayed=plan)
    check(config, loop="delayed")
    for name in ("dtype", "accumulate", "recompute", "parallel"):
        plain = TrainConfig.model_fields[name].default
        if getattr(config, name) != plain:
            raise InputError(
                f"{name}: expected {plain!r} of delayed workers, got {getattr(config, name)!r}; leave it out"
            )
    corpus = corpus or prepared(config.corpus)
    check_corpus(config, corpus)
    device = device_for(config)
    workers = [_worker(index, config, device) for index in _workers_here(config, plan)]
    outer = Outer(workers[0].parameters_P, plan)
    watch = Watch.of(config, total=lambda losses_W: average(list(losses_W), plan.workers))
    meetings = 0

    watch.start()
    for step, (x_BxL, y_BxL) in enumerate(pacing.stream(config, corpus.train)):
        losses_W = torch.zeros(len(workers), device=device)
        for i, worker in enumerate(workers):
            x, y = (to(rows, device).tensor_split(plan.workers)[worker.index] for rows in (x_BxL, y_BxL))
            loss = cross_entropy(worker.model(x), y)
            loss.backward()
            losses_W[i] = loss.detach()
        if plan.method == "gradients":  # meet before the step
            mean_P = average([worker.gradient_P for worker in workers], plan.workers)
            for worker in workers:
                worker.gradient_P = mean_P
        for worker in workers:
            nn.utils.clip_grad_norm_(worker.model.parameters(), config.clip)
            set_rate(worker.optimizer, learning_rate(step, config))
            worker.optimizer.step()
            worker.optimizer.zero_grad()
        meet = (step + 1) % plan.every == 0 or step + 1 == config.steps
        if plan.method != "gradients" and meet:  # meet after the step
            mean_P = average([worker.parameters_P for worker in workers], plan.workers)
            agreed_P = outer.step(mean_P) if plan.method == "diloco" else mean_P
            for worker in workers:
                worker.parameters_P = agreed_P
        meetings += meet or plan.method == "gradients"
        watch.note(losses_W)
        if watch.diverged:
            break
    watch.stop()

    heldout = math.nan if watch.diverged else evaluate(workers[0].model, corpus, config.eval_windows)
    total = counts.shape(config.model).total
    sent = meetings * total * BYTES
    metrics = {"bytes": float(sent), "bytes_per_parameter": sent / total, "meetings": float(meetings)}
    return workers[0].model, outcome(config, corpus.sha256, watch, heldout, device=device, metrics=metrics)


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


def _worker(index: int, config: TrainConfig, device: str) -> Worker:
    torch.manual_seed(config.seed)  # all begin alike
    model = Transformer(config.model).to(device)
    return Worker(index, model, make_optimizer(model, config))


def _workers_here(config: TrainConfig, plan: Delayed) -> list[int]:
    if spread.many() and spread.world() != plan.workers:
        raise InputError(f"workers: expected {spread.world()}, one for each rank, got {plan.workers}")
    if config.batch % plan.workers:
        raise InputError(
            f"batch: {config.batch} sequences cannot be shared equally by {plan.workers} workers; "
            f"take a multiple of {plan.workers}"
        )
    return [spread.rank()] if spread.many() else list(range(plan.workers))
