"""The training loop: a config in, a run record out. The step itself (forward, backward, update) is in `step`.

`Keep` leaves checkpoints on the way and goes on from the newest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.optim import Optimizer

from scalept_lab import machine
from scalept_lab.config import Parallel, TrainConfig
from scalept_lab.data import tokens
from scalept_lab.data.corpora import Prepared, prepare
from scalept_lab.errors import InputError
from scalept_lab.model.optim import learning_rate, set_rate
from scalept_lab.model.transformer import Transformer, cross_entropy, device_of
from scalept_lab.parallel import spread
from scalept_lab.parallel.spread import ALONE, Ranks
from scalept_lab.runs import RunRecord
from scalept_lab.train import pacing, placement
from scalept_lab.train.outcome import Watch, outcome
from scalept_lab.train.step import Objective, next_token, set_up, to

if TYPE_CHECKING:
    from scalept_lab.parallel import checkpoint

Progress = Callable[[int], None]  # called with the number of steps done


def train(
    config: TrainConfig,
    *,
    progress: Progress | None = None,
    corpus: Prepared | None = None,
    keep: Keep | None = None,
    device: str | None = None,
) -> RunRecord:
    """Train the model that `config` describes and score it on held-out text.

    A run whose loss is no longer a number, or far above a uniform guess, stops there and gives a record with the status
    "diverged": that, too, is a result. `data.sources` overrides the corpus of the config (for data made on the fly). `keep` says
    where to leave checkpoints; a run that finds one there goes on from it. In a process group (under `torchrun`, or in
    `launch`) the ranks share the run as `config.parallel` says, and each returns the same record. `device`: "cpu", "cuda" or
    "mps"; left out, `placement.device_for` chooses.
    Raises: InputError if the corpus cannot be had or is too short, the ranks cannot share the run, or the device's memory does
    not hold it.
    """
    return fit_model(config, progress=progress, corpus=corpus, keep=keep, device=device)[1]


def fit_model(
    config: TrainConfig,
    *,
    progress: Progress | None = None,
    corpus: Prepared | None = None,
    keep: Keep | None = None,
    objective: Objective = next_token,
    device: str | None = None,
) -> tuple[nn.Module, RunRecord]:
    """`train`, with the trained model as well: of several ranks, what this one holds of it. It stays where it was trained.

    Another `objective` than the next-token loss makes another run, which its config must say (`distillation`), or it would
    have the name of the plain one. Raises: InputError if it does not, and as `train`.
    """
    if objective is not next_token and config.distillation is None:
        raise InputError(
            "objective: expected the next-token loss of a plain run, got another; say it in config.distillation"
        )
    with spread.joined():
        loop = "distillation" if objective is not next_token else ""
        check(config, loop, device)  # before a device is chosen, as that may build the model
        device = device or placement.device_for(config)
        corpus = corpus or prepared(config.corpus)
        check_corpus(config, corpus)
        run = set_up(config, device, objective)
        watch = Watch.of(config, run.ranks.total)
        if keep:
            keep.resume(config, corpus, run.model, run.optimizer, watch)
        stream = pacing.stream(config, corpus.train, watch.step)

        watch.start()
        with placement.memory_of(device, config):
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
            if keep:
                keep.finish()
            watch.stop()

            heldout = math.nan
            if not watch.diverged:
                heldout = evaluate(run.whole(), corpus, config.eval_windows, ranks=run.evaluators)
        return run.model, outcome(
            config, corpus.sha256, watch, heldout, device=device, **placement.why(config, device)
        )


SCORED = (
    2**27
)  # logits at a time: half a gigabyte, which small models with a large vocabulary reach long before a step does


@torch.no_grad()
def evaluate(
    model: Transformer, corpus: Prepared, windows: int = 1024, chunk: int = 64, ranks: Ranks = ALONE
) -> float:
    """Mean held-out loss in nats per token over fixed, evenly spaced windows: the same text for every model.

    Ranks that share the batch take chunks in turns, the same number each, since a sharded model is gathered by all of
    them together: where chunks run out, the last one is computed again and not counted.
    """
    x_WxL, y_WxL = tokens.eval_windows(corpus.heldout, model.config.context, windows)
    device = device_of(model)
    chunk = min(chunk, max(1, SCORED // (model.config.context * model.config.vocab_size)))
    starts = range(0, len(x_WxL), chunk)
    total = 0.0
    for turn in range(ranks.data_rank, -(-len(starts) // ranks.data) * ranks.data, ranks.data):
        start = starts[min(turn, len(starts) - 1)]
        x, y = x_WxL[start : start + chunk], y_WxL[start : start + chunk]
        loss = cross_entropy(model(to(x, device)), to(y, device)).item() * len(x)
        total += loss if turn < len(starts) else 0.0
    if ranks.world > 1:
        total = ranks.total(torch.tensor(total, dtype=torch.float64, device=device)).item()
    return total / len(x_WxL)


OTHER_LOOPS = {
    "distillation": "distill.fit_student", "growth": "growth.fit_grown", "delayed": "delayed.fit_delayed",
    "live": "live.fit_live",
}  # fmt: skip


def check(config: TrainConfig, loop: str = "", device: str | None = None) -> None:
    """What needs no text to be known, before anything is built. `loop`: the field whose loop asks ("growth", …);
    `device`: where it will be trained, if that is known.

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
    placement.check_memory(config, device or (spread.device() if spread.many() else machine.device()))


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


@dataclass
class Keep:
    """Where to leave checkpoints, and after how many steps at least (they are taken where the loss is read).

    `background`: training goes on while a checkpoint is written, and stands still for a copy of it in memory alone.
    The loss scale of float16 is not kept: it starts high again and comes down within a few skipped steps.
    """

    folder: str | Path
    every: int = 100
    background: bool = False
    saved: int = field(default=0, init=False)  # steps in the newest checkpoint
    _later: checkpoint.Background | None = field(default=None, init=False, repr=False)

    def resume(
        self, config: TrainConfig, corpus: Prepared, model: nn.Module, optimizer: Optimizer, watch: Watch
    ) -> None:
        """Load the newest whole checkpoint, if there is one, and let `watch` go on from there.

        Raises: InputError if it belongs to another run, or the text has changed since.
        """
        from scalept_lab.parallel import (
            checkpoint,
        )  # 50 MB of torch's, which a run that keeps nothing does without

        newest = checkpoint.newest_whole(self.folder)
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
            from scalept_lab.parallel import checkpoint

            extra = {**watch.state(), "corpus": corpus.sha256}
            if self.background and self._later is None:
                self._later = checkpoint.Background()
            save = self._later.save if self._later else checkpoint.save
            save(self.folder, watch.step, model, optimizer, self._name(config), extra)
            self.saved = watch.step

    def finish(self) -> None:
        """Wait for a checkpoint that is still being written. Raises: what went wrong while it was."""
        if self._later:
            self._later.wait()

    @staticmethod
    def _name(config: TrainConfig) -> str:
        """The run's id without its strategy: another one may go on from here."""
        return config.replace(parallel=None).id()
