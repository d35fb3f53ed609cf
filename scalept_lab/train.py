"""The training loop: a config in, a run record out. Forward, backward, step: all of it is on this screen."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scalept_lab import distributed, group, machine, pacing, tokens
from scalept_lab.activations import recompute
from scalept_lab.config import Parallel, TrainConfig
from scalept_lab.data import Prepared, prepare
from scalept_lab.distributed import ALONE, Ranks
from scalept_lab.errors import InputError
from scalept_lab.models import Transformer, cross_entropy
from scalept_lab.optim import learning_rate, make_optimizer, set_rate
from scalept_lab.outcome import outcome
from scalept_lab.pipeline import FULL_PRECISION, Pipeline
from scalept_lab.precision import autocast
from scalept_lab.resume import Keep
from scalept_lab.runs import RunRecord

CURVE_POINTS = 100  # how often the loss is read: reading it makes a GPU wait
DIVERGED = 1.5  # times the loss of a uniform guess
UNSCALED = torch.amp.GradScaler("cpu", enabled=False)  # passes everything through
_SEEDED = threading.Lock()  # torch has one random state: runs in threads must not draw from it in turns

Progress = Callable[[int], None]  # called with the number of steps done


def train(
    config: TrainConfig,
    *,
    progress: Progress | None = None,
    corpus: Prepared | None = None,
    keep: Keep | None = None,
) -> RunRecord:
    """Train the model that `config` describes and score it on held-out text.

    A run whose loss is no longer a number, or far above a uniform guess, stops there and gives a record with the status
    "diverged": that, too, is a result. `corpus` overrides the corpus of the config (for data made on the fly). `keep` says
    where to leave checkpoints; a run that finds one there goes on from it. In a process group (under `torchrun`, or in
    `launch`) the ranks share the run as `config.parallel` says, and each returns the same record.
    Raises: InputError if the corpus cannot be had or is too short, or the ranks cannot share the run.
    """
    return fit_model(config, progress=progress, corpus=corpus, keep=keep)[1]


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
            part = cross_entropy(model(x_part), y_part) * (y_part.numel() / whole)
        scaler.scale(
            part * ranks.data
        ).backward()  # times ranks: what comes next is a mean over them, not a sum
        loss += part.detach()
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


def fit_model(
    config: TrainConfig,
    *,
    progress: Progress | None = None,
    corpus: Prepared | None = None,
    keep: Keep | None = None,
) -> tuple[nn.Module, RunRecord]:
    """`train`, with the trained model as well: of several ranks, what this one holds of it."""
    with group.joined():
        corpus = corpus or prepared(config.corpus)
        device = machine.device()
        _check(config, corpus)
        run = set_up(config, device)
        first, curve = keep.resume(run) if keep else (0, [])
        stream = pacing.stream(config, corpus.train, first)
        every = max(1, config.steps // CURVE_POINTS)
        limit = DIVERGED * math.log(config.model.vocab_size)
        total = torch.zeros((), device=device)
        diverged, counted, started = False, 0, time.perf_counter()

        step = first - 1
        for step, (x_BxL, y_BxL) in enumerate(stream, first):
            set_rate(run.optimizer, learning_rate(step, config))
            loss = run.step(to(x_BxL, device), to(y_BxL, device))

            total, counted = total + loss, counted + 1
            if counted == every or step + 1 == config.steps:
                mean = run.ranks.total(total).item() / counted
                diverged = not mean < limit  # also true for NaN
                if diverged:
                    break
                curve.append((step + 1, (step + 1) * config.tokens_per_step, round(mean, 6)))
                total, counted = torch.zeros((), device=device), 0
                if progress and run.ranks.rank == 0:
                    progress(step + 1)
                if keep:
                    keep.save_if_due(run, step + 1, curve)

        seconds = time.perf_counter() - started
        heldout = (
            math.nan if diverged else evaluate(run.whole(), corpus, config.eval_windows, ranks=run.evaluators)
        )
        diverged = not heldout < limit
        record = outcome(
            config, corpus.sha256, curve, step + 1, None if diverged else heldout, seconds,
            steps_here=step + 1 - first, device=device,
        )  # fmt: skip
        return run.model, record


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
        copy.load_state_dict(distributed.full_parameters(self.model, self.ranks))
        return copy.to(machine.device())

    @property
    def evaluators(self) -> Ranks:
        """How the ranks share the held-out text: stages, holding whole copies by then, as data-parallel ranks do."""
        ranks = self.ranks
        return ranks if ranks.stages == 1 else Ranks(ranks.rank, ranks.world, ranks.rank, data=ranks.world)


def set_up(config: TrainConfig, device: str) -> Run:
    """Build the model of a run and its optimizer, spread over the ranks of the process group if there is one."""
    parallel = config.parallel or Parallel()
    distributed.check(config, group.world())
    with _SEEDED:  # the same model on every rank
        torch.manual_seed(config.seed)
        model = Transformer(config.model)
    model = model.to(device)
    if config.recompute:
        recompute(model)
    cast = autocast(config.dtype, device) if config.dtype != "float32" else FULL_PRECISION
    if group.world() > 1 and parallel.strategy == "pipeline":
        pipe = Pipeline(model, parallel, cast, device)
        optimizer = make_optimizer(pipe.module, config)
        return Run(
            pipe.module,
            optimizer,
            partial(pipeline_step, pipe, optimizer, clip=config.clip),
            pipe.ranks,
            config,
        )
    call, ranks = distributed.spread(model, parallel)
    optimizer = make_optimizer(model, config)
    if ranks.world > 1 and parallel.strategy == "zero1":
        optimizer = distributed.sharded_optimizer(optimizer)
    scaler = torch.amp.GradScaler(device) if config.dtype == "float16" else UNSCALED
    step = partial(
        train_step,
        call,
        optimizer,
        clip=config.clip,
        parts=config.accumulate,
        cast=cast,
        scaler=scaler,
        ranks=ranks,
    )
    return Run(model, optimizer, step, ranks, config)


@torch.no_grad()
def evaluate(
    model: Transformer, corpus: Prepared, windows: int = 1024, chunk: int = 64, ranks: Ranks = ALONE
) -> float:
    """Mean held-out loss in nats per token over fixed, evenly spaced windows: the same text for every model.

    Ranks that share the batch take chunks in turns, the same number each, since a sharded model is gathered by all of
    them together: where chunks run out, the last one is computed again and not counted.
    """
    x_WxL, y_WxL = tokens.eval_windows(corpus.heldout, model.config.context, windows)
    device = model.head.weight.device
    starts = range(0, len(x_WxL), chunk)
    total = 0.0
    for turn in range(ranks.data_rank, -(-len(starts) // ranks.data) * ranks.data, ranks.data):
        start = starts[min(turn, len(starts) - 1)]
        x, y = x_WxL[start : start + chunk], y_WxL[start : start + chunk]
        loss = cross_entropy(model(to(x, device)), to(y, device)).item() * len(x)
        total += loss if turn < len(starts) else 0.0
    return ranks.total(torch.tensor(total, dtype=torch.float64, device=device)).item() / len(x_WxL)


def seconds_per_step(config: TrainConfig, steps: int = 4) -> float:
    """What one step of this run takes on one thread of this machine (as in a sweep) or on its GPU, by timing a few."""
    device = machine.device()
    model = Transformer(config.model).to(device)
    optimizer = make_optimizer(model, config)
    x_BxL = torch.randint(config.model.vocab_size, (config.batch, config.model.context), device=device)
    times, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(steps + 1):
            started = time.perf_counter()
            train_step(model, optimizer, x_BxL, x_BxL, config.clip).item()
            times.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return sorted(times[1:])[steps // 2]


def _check(config: TrainConfig, corpus: Prepared) -> None:
    """Before the first step, what would otherwise fail in the middle or at the end. Raises: InputError."""
    if corpus.vocab_size > config.model.vocab_size:
        raise InputError(
            f"vocab_size: expected at least {corpus.vocab_size}, the tokens of corpus {corpus.name}, "
            f"got {config.model.vocab_size}"
        )
    pacing.check(config, corpus.train)
    tokens.eval_windows(corpus.heldout, config.model.context, 1)


def prepared(name: str) -> Prepared:
    """The corpus, built by one rank if it has to be."""
    if group.rank() > 0:
        dist.barrier()
    corpus = prepare(name)
    if group.world() > 1 and group.rank() == 0:
        dist.barrier()
    return corpus


def to(array, device: str | torch.device) -> Tensor:
    return torch.from_numpy(array).to(device)
