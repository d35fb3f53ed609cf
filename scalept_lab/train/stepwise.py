"""Training one step at a time, by hand: stop, measure, branch, go on. The steps are those of the training loop.

`train` runs a config from its first step to its last. Here a run is a value that a notebook holds: its rate is chosen
step by step, so that a schedule can be cut short or a finished stretch continued in several ways.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from scalept_lab.checks import whole
from scalept_lab.config import TrainConfig
from scalept_lab.data import tokens
from scalept_lab.data.corpora import Prepared, prepare
from scalept_lab.errors import InputError
from scalept_lab.model.optim import learning_rate, make_optimizer, set_rate
from scalept_lab.model.transformer import Transformer, cross_entropy, device_of
from scalept_lab.train import pacing
from scalept_lab.train.loop import check, check_corpus, evaluate
from scalept_lab.train.outcome import Watch
from scalept_lab.train.placement import device_for
from scalept_lab.train.step import set_up, stepper, to

Batch = tuple[np.ndarray, np.ndarray]
ENDLESS = 10**9  # steps that a stream of batches may be asked for


@dataclass
class Run:
    """A model in training: what a checkpoint would hold, with the losses so far."""

    config: TrainConfig
    corpus: Prepared
    model: Transformer
    optimizer: torch.optim.Optimizer
    watch: Watch
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)  # of gradients before clipping, where they were watched

    @property
    def step(self) -> int:
        """Steps done."""
        return self.watch.step

    def copy(self, config: TrainConfig, model: Transformer, optimizer: torch.optim.Optimizer) -> Run:
        """This run's past with another model to go on with."""
        watch = copy.deepcopy(self.watch)
        return Run(config, self.corpus, model, optimizer, watch, [*self.losses], [*self.rates], [*self.norms])


def start(config: TrainConfig, corpus: Prepared | None = None) -> Run:
    """The model and optimizer of `config`, before the first step. Raises: InputError as `train` does."""
    check(config)
    corpus = corpus or prepare(config.corpus)
    check_corpus(config, corpus)
    made = set_up(config, device_for(config))
    return Run(config, corpus, made.whole(), made.optimizer, Watch.of(config))


def go_on(
    run: Run, rates: Iterable[float], watch: bool = False, batches: Iterable[Batch] | None = None
) -> Run:
    """Train one step for each of `rates`, fractions of the peak rate, on the batches that come next. Returns `run`.

    batches: other batches (x_BxL, y_BxL) than those of the run's own stream.

    A run whose loss has left the range of a model takes no more steps: `run.watch.diverged`.
    watch: also note the length of every gradient before it is clipped, at the price of computing it twice.
    Raises: InputError for a rate that is negative or no number.
    """
    device = device_of(run.model)
    step = stepper(run.model, run.optimizer, run.config, device.type)
    run.watch.start()
    for rate, (x_BxL, y_BxL) in zip(rates, _batches(run) if batches is None else batches, strict=False):
        if run.watch.diverged:
            break
        if not rate >= 0:
            raise InputError(f"rates: expected fractions of the peak rate, 0 or more, got {rate}")
        set_rate(run.optimizer, rate)
        x_BxL, y_BxL = to(x_BxL, device), to(y_BxL, device)
        if watch:
            run.norms.append(float(gradient(run.model, x_BxL, y_BxL).norm()))
        loss = step(x_BxL, y_BxL)
        run.watch.note(loss)
        run.losses.append(loss.item())
        run.rates.append(rate)
    run.watch.stop()
    return run


def branch(run: Run) -> Run:
    """A copy that can be trained on without touching the original: model, optimizer states, place in the data."""
    model = copy.deepcopy(run.model)
    optimizer = make_optimizer(model, run.config)
    optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
    return run.copy(run.config, model, optimizer)


def score(run: Run, windows: int | None = None) -> float:
    """Held-out loss in nats per token, as `train` measures it; NaN of a run that has diverged."""
    return (
        math.nan
        if run.watch.diverged
        else evaluate(run.model, run.corpus, windows or run.config.eval_windows)
    )


def schedule(config: TrainConfig, steps: int | None = None) -> list[float]:
    """The rates that `config` plans, as fractions of its peak, or the first `steps` of them."""
    return [learning_rate(step, config) for step in range(steps or config.steps)]


def gradient(model: Transformer, x_BxL: Tensor, y_BxL: Tensor) -> Tensor:
    """The gradient of the mean loss of a batch, all tensors in one vector. Leaves no gradient behind."""
    loss = cross_entropy(model(x_BxL), y_BxL)
    parts = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


def pieces(run: Run, size: int, count: int, seed: int = 0) -> np.ndarray:
    """The gradients (count, parameters) of `count` batches of `size` sequences, all at the weights as they are, in float64.

    They are what the ranks of a data-parallel run have before they average; the mean of all rows is the gradient of the
    large batch. The sequences depend on `seed` alone. Raises: InputError for a size or count below 1.
    """
    size, count = whole("size", size), whole("count", count)
    device, context = device_of(run.model), run.config.model.context
    stream = tokens.batches(run.corpus.train, batch=size, context=context, steps=count, seed=1_000_003 + seed)
    rows = [gradient(run.model, to(x, device), to(y, device)) for x, y in stream]
    return torch.stack(rows).cpu().double().numpy()


def _batches(run: Run):
    """The batches from where the run stands."""
    return pacing.stream(run.config, run.corpus.train, run.step, ENDLESS)


def smooth(values: Sequence[float], width: int = 25) -> np.ndarray:
    """A moving average, as long as `values`: at the ends, over as many as there are."""
    every, window = np.asarray(values, float), np.ones(width)
    return np.convolve(every, window, "same") / np.convolve(np.ones(len(every)), window, "same")
