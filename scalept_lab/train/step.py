"""One training step: forward, backward, step. What every loop of the kit takes, and what it needs to be set up.

`set_up` builds a run's model and optimizer on a device, spread over ranks if there are several; `Run.step` trains them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from scalept_lab.config import Parallel, TrainConfig
from scalept_lab.model.activations import recompute
from scalept_lab.model.experts import auxiliary_loss
from scalept_lab.model.optim import make_optimizer
from scalept_lab.model.precision import autocast, compiled, use_tf32
from scalept_lab.model.transformer import Transformer, cross_entropy, device_of
from scalept_lab.parallel import spread
from scalept_lab.parallel.pipeline import FULL_PRECISION, Pipeline
from scalept_lab.parallel.spread import ALONE, Ranks

UNSCALED = torch.amp.GradScaler("cpu", enabled=False)  # passes everything through
_SEEDED = threading.Lock()  # torch has one random state: runs in threads must not draw from it in turns

# of a model on x, y: (to minimize, to watch)
Objective = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]


def next_token(model: nn.Module, x_BxL: Tensor, y_BxL: Tensor) -> tuple[Tensor, Tensor]:
    """The objective of a language model, in nats per token: what is minimized is also what is watched."""
    loss = cross_entropy(model(x_BxL), y_BxL)
    return loss, loss.detach()


def balanced(objective: Objective) -> Objective:
    """The objective with the balance losses of the model's experts added to what is minimized, not to what is watched."""

    def with_balance(model: nn.Module, x_BxL: Tensor, y_BxL: Tensor) -> tuple[Tensor, Tensor]:
        loss, watched = objective(model, x_BxL, y_BxL)
        return loss + auxiliary_loss(model), watched

    return with_balance


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    x_BxL: Tensor,
    y_BxL: Tensor,
    clip: float,
    *,
    parts: int = 1,
    cast: AbstractContextManager = FULL_PRECISION,
    scaler: torch.amp.GradScaler = UNSCALED,
    ranks: Ranks = ALONE,
    objective: Objective = next_token,
) -> Tensor:
    """Forward, backward, step. Returns this rank's part of the batch's mean loss (a scalar without graph, on the device).

    The batch may be computed in `parts`, one after the other, and shared by `ranks`: each part counts by its tokens, so
    that the gradient is that of the mean over the whole batch, to rounding.
    """
    whole, loss = y_BxL.numel(), torch.zeros((), device=y_BxL.device)
    x_parts, y_parts = (ranks.share(rows).tensor_split(parts) for rows in (x_BxL, y_BxL))
    for i, (x_part, y_part) in enumerate(zip(x_parts, y_parts, strict=True)):
        ranks.average_now(i + 1 == parts)
        with cast:
            part, watched = objective(model, x_part, y_part)
        share = y_part.numel() / whole
        # times ranks: what comes next is a mean over them, not a sum
        scaler.scale(part * (share * ranks.data)).backward()
        loss += watched * share
    scaler.unscale_(optimizer)
    ranks.clip(model.parameters(), clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    return loss


def pipeline_step(
    pipe: Pipeline, optimizer: torch.optim.Optimizer, x_BxL: Tensor, y_BxL: Tensor, clip: float
) -> Tensor:
    """The same for a pipeline, whose schedule runs forward and backward passes of its micro-batches in turns."""
    loss = pipe.forward_backward(x_BxL, y_BxL)
    pipe.ranks.clip(pipe.module.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad()
    return loss


@dataclass
class Run:
    """What the loop needs: this rank's part of the model, its optimizer, and the step that trains it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: Callable[[Tensor, Tensor], Tensor]
    ranks: Ranks
    config: TrainConfig

    def whole(self) -> Transformer:
        """A model to call with the whole batch: itself, or for a stage of a pipeline a copy of all stages."""
        if self.ranks.stages == 1:
            return self.model  # type: ignore[return-value]
        copy = Transformer(self.config.model)
        copy.load_state_dict(spread.full_parameters(self.model, self.ranks))
        return copy.to(device_of(self.model))

    @property
    def evaluators(self) -> Ranks:
        """How the ranks share the held-out text: stages, holding whole copies by then, as data-parallel ranks do."""
        ranks = self.ranks
        return ranks if ranks.stages == 1 else Ranks(ranks.rank, ranks.world, ranks.rank, data=ranks.world)


def set_up(config: TrainConfig, device: str, objective: Objective = next_token) -> Run:
    """Build the model of a run and its optimizer, spread over the ranks of the process group if there is one."""
    parallel = config.parallel or Parallel()
    if config.model.experts:
        objective = balanced(objective)
    if device == "cuda":
        use_tf32()
    with _SEEDED:  # the same model on every rank
        torch.manual_seed(config.seed)
        model = Transformer(config.model)
    model = model.to(device)
    if config.recompute:
        recompute(model)
    if spread.world() > 1 and parallel.strategy == "pipeline":
        pipe = Pipeline(model, parallel, cast(config, device), device)
        optimizer = make_optimizer(pipe.module, config)
        step = partial(pipeline_step, pipe, optimizer, clip=config.clip)
        return Run(pipe.module, optimizer, step, pipe.ranks, config)
    call, ranks = spread.spread(model, parallel)
    if config.compile:
        call = compiled(call, device)
    optimizer = make_optimizer(model, config)
    if ranks.world > 1 and parallel.strategy == "zero1":
        optimizer = spread.sharded_optimizer(optimizer)
    return Run(model, optimizer, stepper(call, optimizer, config, device, ranks, objective), ranks, config)


def stepper(
    call: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig, device: str, ranks: Ranks = ALONE,
    objective: Objective = next_token,
) -> Callable[[Tensor, Tensor], Tensor]:  # fmt: skip
    """`train_step` as a run of `config` takes it: its precision, the parts of its batch, its clipping."""
    scaler = torch.amp.GradScaler(device) if config.dtype == "float16" else UNSCALED
    return partial(
        train_step, call, optimizer, clip=config.clip, parts=config.accumulate, cast=cast(config, device),
        scaler=scaler, ranks=ranks, objective=objective,
    )  # fmt: skip


def cast(config: TrainConfig, device: str) -> AbstractContextManager:
    return autocast(config.dtype, device) if config.dtype != "float32" else FULL_PRECISION


def to(array: np.ndarray, device: str | torch.device) -> Tensor:
    """An array as a tensor on a device. Nothing waits for the copy: a GPU does it while Python goes on."""
    tensor = torch.from_numpy(array)
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
