"""The training loop: a config in, a run record out. Forward, backward, step: all of it is on this screen.

`Keep` leaves checkpoints on the way and goes on from the newest.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from scalept_lab import machine
from scalept_lab.config import Parallel, TrainConfig
from scalept_lab.costs import counts, footprint
from scalept_lab.data import tokens
from scalept_lab.data.corpora import Prepared, prepare
from scalept_lab.errors import InputError
from scalept_lab.model.activations import recompute
from scalept_lab.model.optim import learning_rate, make_optimizer, set_rate
from scalept_lab.model.precision import autocast
from scalept_lab.model.transformer import Transformer, cross_entropy
from scalept_lab.parallel import checkpoint, spread
from scalept_lab.parallel.pipeline import FULL_PRECISION, Pipeline
from scalept_lab.parallel.spread import ALONE, Ranks
from scalept_lab.runs import RunRecord
from scalept_lab.train import pacing
from scalept_lab.train.outcome import Watch, outcome

UNSCALED = torch.amp.GradScaler("cpu", enabled=False)  # passes everything through
_SEEDED = threading.Lock()  # torch has one random state: runs in threads must not draw from it in turns

Progress = Callable[[int], None]  # called with the number of steps done
# of a model on x, y: (to minimize, to watch)
Objective = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]


def next_token(model: nn.Module, x_BxL: Tensor, y_BxL: Tensor) -> tuple[Tensor, Tensor]:
    """The objective of a language model, in nats per token: what is minimized is also what is watched."""
    loss = cross_entropy(model(x_BxL), y_BxL)
    return loss, loss.detach()


def train(
    config: TrainConfig,
    *,
    progress: Progress | None = None,
    corpus: Prepared | None = None,
    keep: Keep | None = None,
) -> RunRecord:
    """Train the model that `config` describes and score it on held-out text.

    A run whose loss is no longer a number, or far above a uniform guess, stops there and gives a record with the status
    "diverged": that, too, is a result. `data.sources` overrides the corpus of the config (for data made on the fly). `keep` says
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


def fit_model(
    config: TrainConfig,
    *,
    progress: Progress | None = None,
    corpus: Prepared | None = None,
    keep: Keep | None = None,
    objective: Objective = next_token,
) -> tuple[nn.Module, RunRecord]:
    """`train`, with the trained model as well: of several ranks, what this one holds of it.

    Another `objective` than the next-token loss makes another run, which its config must say (`distillation`), or it would
    have the name of the plain one. Raises: InputError if it does not, and as `train`.
    """
    if objective is not next_token and config.distillation is None:
        raise InputError(
            "objective: expected the next-token loss of a plain run, got another; say it in config.distillation"
        )
    with spread.joined():
        device = machine.device()
        check(config, "distillation" if objective is not next_token else "")
        corpus = corpus or prepared(config.corpus)
        check_corpus(config, corpus)
        run = set_up(config, device, objective)
        watch = Watch.of(config, run.ranks.total)
        if keep:
            keep.resume(config, corpus, run.model, run.optimizer, watch)
        stream = pacing.stream(config, corpus.train, watch.step)

        watch.start()
        for step, (x_BxL, y_BxL) in enumerate(stream, watch.step):
            set_rate(run.optimizer, learning_rate(step, config))
            loss = run.step(to(x_BxL, device), to(y_BxL, device))
            if watch.note(loss):
                if watch.diverged:
                    break
                if progress and run.ranks.rank == 0:
                    progress(watch.step)
                if keep:
                    keep.save_if_due(config, corpus, run.model, run.optimizer, watch)
        watch.stop()

        heldout = math.nan
        if not watch.diverged:
            heldout = evaluate(run.whole(), corpus, config.eval_windows, ranks=run.evaluators)
        return run.model, outcome(config, corpus.sha256, watch, heldout, device=device)


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
        return copy.to(machine.device())

    @property
    def evaluators(self) -> Ranks:
        """How the ranks share the held-out text: stages, holding whole copies by then, as data-parallel ranks do."""
        ranks = self.ranks
        return ranks if ranks.stages == 1 else Ranks(ranks.rank, ranks.world, ranks.rank, data=ranks.world)


def set_up(config: TrainConfig, device: str, objective: Objective = next_token) -> Run:
    """Build the model of a run and its optimizer, spread over the ranks of the process group if there is one."""
    parallel = config.parallel or Parallel()
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
    run = set_up(config, device)
    x_BxL = torch.randint(config.model.vocab_size, (config.batch, config.model.context), device=device)
    times, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(steps + 1):
            started = time.perf_counter()
            run.step(x_BxL, x_BxL).item()
            times.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return sorted(times[1:])[steps // 2]


OTHER_LOOPS = {
    "distillation": "distill.fit_student", "growth": "growth.fit_grown", "delayed": "delayed.fit_delayed"
}  # fmt: skip


def check(config: TrainConfig, loop: str = "") -> None:
    """What needs no text to be known, before anything is built. `loop`: the field whose loop asks ("growth", …).

    Raises: InputError if this loop does not do what the config asks for, the ranks cannot share the run, or the machine
    cannot hold it.
    """
    for name, home in OTHER_LOOPS.items():
        if name != loop and getattr(config, name) is not None:
            raise InputError(
                f"{name}: expected none in this loop, got {getattr(config, name)!r}; {home} trains such a run"
            )
    if not config.model.causal:
        raise InputError(
            "model.causal: expected true, got false: an encoder sees the token that it should predict, so its next-token loss "
            "says nothing; bert.pretrain trains encoders"
        )
    spread.check(config, spread.world())
    if config.distillation and spread.world() > 1 and (config.parallel or Parallel()).strategy == "pipeline":
        raise InputError(
            "parallel.strategy: a pipeline knows the next-token loss alone, got another; take ddp or fsdp"
        )
    need, have = _least_bytes(config), machine.device_memory_bytes()
    if need > have:
        raise InputError(
            f"model: expected a run that fits into the {have / 1e9:,.1f} GB of this machine, got one of {need / 1e9:,.1f} GB "
            f"({counts.shape(config.model).total:,} parameters, batch {config.batch:,}); take a smaller model or batch"
        )


def _least_bytes(config: TrainConfig) -> float:
    """What a run takes at least: alone its whole footprint; each of several ranks builds the whole model before it shards it."""
    return (
        4 * counts.shape(config.model).total if spread.world() > 1 else footprint.footprint(config)["total"]
    )


def check_corpus(config: TrainConfig, corpus: Prepared) -> None:
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
    return spread.first(lambda: prepare(name))


def to(array, device: str | torch.device) -> Tensor:
    return torch.from_numpy(array).to(device)


@dataclass
class Keep:
    """Where to leave checkpoints, and after how many steps at least (they are taken where the loss is read).

    The loss scale of float16 is not kept: it starts high again and comes down within a few skipped steps.
    """

    folder: str | Path
    every: int = 100
    saved: int = field(default=0, init=False)  # steps in the newest checkpoint

    def resume(
        self, config: TrainConfig, corpus: Prepared, model: nn.Module, optimizer: Optimizer, watch: Watch
    ) -> None:
        """Load the newest checkpoint, if there is one, and let `watch` go on from there.

        Raises: InputError if it belongs to another run, or the text has changed since.
        """
        newest = checkpoint.latest(self.folder)
        if newest is None:
            return
        then = checkpoint.peek(newest).get("corpus", corpus.sha256)
        if then != corpus.sha256:
            raise InputError(
                f"{newest}: trained on other text: fingerprint {then[:12]}, corpus {corpus.name} has {corpus.sha256[:12]} now; "
                "put the text back, or give another folder to begin anew"
            )
        found = checkpoint.load(newest, model, optimizer, self._name(config))
        self.saved = found["step"]
        watch.go_on_from(self.saved, found)

    def save_if_due(
        self, config: TrainConfig, corpus: Prepared, model: nn.Module, optimizer: Optimizer, watch: Watch
    ) -> None:
        if watch.step - self.saved >= self.every or watch.step == config.steps:
            extra = {**watch.state(), "corpus": corpus.sha256}
            checkpoint.save(self.folder, watch.step, model, optimizer, self._name(config), extra)
            self.saved = watch.step

    @staticmethod
    def _name(config: TrainConfig) -> str:
        """The run's id without its strategy: another one may go on from here."""
        return config.replace(parallel=None).id()
