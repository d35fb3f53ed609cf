"""The training loop: a config in, a run record out. Forward, backward, step: all of it is on this screen."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import torch
from torch import Tensor, nn

from scalept_lab import costs, machine, tokens
from scalept_lab.config import TrainConfig
from scalept_lab.data import Prepared, prepare
from scalept_lab.errors import InputError
from scalept_lab.models import Transformer, cross_entropy
from scalept_lab.optim import learning_rate, make_optimizer, set_rate
from scalept_lab.runs import RunRecord

CURVE_POINTS = 100  # how often the loss is read: reading it makes a GPU wait
DIVERGED = 1.5  # times the loss of a uniform guess
_SEEDED = threading.Lock()  # torch has one random state: runs in threads must not draw from it in turns

Progress = Callable[[int], None]  # called with the number of steps done


def train(
    config: TrainConfig, *, progress: Progress | None = None, corpus: Prepared | None = None
) -> RunRecord:
    """Train the model that `config` describes and score it on held-out text.

    A run whose loss is no longer a number, or far above a uniform guess, stops there and gives a record with the status
    "diverged": that, too, is a result. `corpus` overrides the corpus of the config (for data made on the fly).
    Raises: InputError if the corpus cannot be had or is too short.
    """
    return fit_model(config, progress=progress, corpus=corpus)[1]


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x_BxL: Tensor, y_BxL: Tensor, clip: float
) -> Tensor:
    """Forward, backward, step. Returns the loss of the batch (a scalar without its graph), still on the device."""
    loss = cross_entropy(model(x_BxL), y_BxL)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def fit_model(
    config: TrainConfig, *, progress: Progress | None = None, corpus: Prepared | None = None
) -> tuple[Transformer, RunRecord]:
    """`train`, with the trained model as well."""
    corpus = corpus or prepare(config.corpus)
    device = machine.device()
    _check(config, corpus)
    with _SEEDED:
        torch.manual_seed(config.seed)
        model = Transformer(config.model)
    model = model.to(device)
    optimizer = make_optimizer(model, config)
    stream = tokens.batches(
        corpus.train, batch=config.batch, context=config.model.context, steps=config.steps, seed=config.seed,
        unique_tokens=config.unique_tokens,
    )  # fmt: skip
    every = max(1, config.steps // CURVE_POINTS)
    limit = DIVERGED * math.log(config.model.vocab_size)
    curve: list[tuple[int, int, float]] = []
    total = torch.zeros((), device=device)
    diverged, counted, started = False, 0, time.perf_counter()

    for step, (x_BxL, y_BxL) in enumerate(stream):
        set_rate(optimizer, learning_rate(step, config))
        loss = train_step(model, optimizer, to(x_BxL, device), to(y_BxL, device), config.clip)

        total, counted = total + loss, counted + 1
        if counted == every or step + 1 == config.steps:
            mean = total.item() / counted
            diverged = not mean < limit  # also true for NaN
            if diverged:
                break
            curve.append((step + 1, (step + 1) * config.tokens_per_step, round(mean, 6)))
            total, counted = torch.zeros((), device=device), 0
            if progress:
                progress(step + 1)

    seconds = time.perf_counter() - started
    heldout = math.nan if diverged else evaluate(model, corpus, config.eval_windows)
    diverged = not heldout < limit
    return model, _record(config, corpus, curve, step + 1, None if diverged else heldout, seconds, device)


@torch.no_grad()
def evaluate(model: Transformer, corpus: Prepared, windows: int = 1024, chunk: int = 64) -> float:
    """Mean held-out loss in nats per token over fixed, evenly spaced windows: the same text for every model."""
    x_WxL, y_WxL = tokens.eval_windows(corpus.heldout, model.config.context, windows)
    device = model.head.weight.device
    losses = [
        cross_entropy(model(to(x, device)), to(y, device)).item() * len(x)
        for x, y in ((x_WxL[i : i + chunk], y_WxL[i : i + chunk]) for i in range(0, len(x_WxL), chunk))
    ]
    return sum(losses) / len(x_WxL)


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
    tokens.eval_windows(corpus.heldout, config.model.context, 1)


def to(array, device: str | torch.device) -> Tensor:
    return torch.from_numpy(array).to(device)


def _record(
    config: TrainConfig,
    corpus: Prepared,
    curve: list,
    steps: int,
    loss: float | None,
    seconds: float,
    device: str,
) -> RunRecord:
    shape = costs.shape(config.model)
    seen = steps * config.tokens_per_step
    return RunRecord(
        id=config.id(),
        config=config.model_dump(),
        N=shape.non_embedding,
        N_total=shape.total,
        D=seen,
        C=shape.flops_per_token() * seen,
        L=loss,
        curve=curve,
        metrics={
            "tokens_per_second": round(seen / seconds, 1),
            "flops_per_second": shape.flops_per_token() * seen / seconds,
        },
        seconds=seconds,
        peak_rss_bytes=machine.peak_rss_bytes(),
        status="ok" if loss is not None else "diverged",
        error=None if loss is not None else f"the loss left the range of a language model at step {steps}",
        provenance={
            **machine.provenance(),
            "device": device,
            "threads": torch.get_num_threads(),
            "world_size": 1,
            "dtype": config.dtype,
            "corpus_sha256": corpus.sha256,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
