"""Many lengths from one trunk: a run at a constant rate, and for each length that is wanted a decay that leaves it.

With the schedule "wsd" (warm-up, stable, decay: Hu et al. 2024, MiniCPM, section 4) a short run and a long one are the same
until the short one decays, if they warm up over the same steps and read the same stream. So the trunk is trained once, and
each end costs its decay alone. What comes out are the runs that would have been trained one by one, to the last digit.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

from torch import nn

from scalept_lab.config import TrainConfig
from scalept_lab.data.corpora import Prepared
from scalept_lab.errors import InputError
from scalept_lab.model.optim import learning_rate, set_rate, warmup_steps
from scalept_lab.runs import RunRecord
from scalept_lab.train import pacing, placement
from scalept_lab.train.loop import check, check_corpus, evaluate, prepared
from scalept_lab.train.outcome import Watch, outcome
from scalept_lab.train.step import set_up, to, train_step


def ended(config: TrainConfig, tokens: Sequence[float]) -> list[TrainConfig]:
    """The runs of each length, shortest first, that share the trunk of `config`: its warm-up in steps, and the schedule "wsd".

    Raises: InputError for no length, for one that the warm-up fills, or for a config that another loop trains.
    """
    if not len(tokens):
        raise InputError("tokens: expected one length or more, got none")
    warm = warmup_steps(config)
    found = []
    for length in sorted(tokens):
        run = config.replace(tokens=round(length), schedule="wsd")
        if run.steps < 2 * warm:
            raise InputError(
                f"tokens: expected twice the warm-up of {warm * config.tokens_per_step:,} tokens at least, got {length:,.0f}"
            )
        found.append(run.replace(warmup=warm / run.steps))
    if config.parallel or config.curriculum or config.dtype != "float32":
        raise InputError("config: expected a plain run in float32 on one process; leave out the rest")
    return found


def leaves(config: TrainConfig) -> int:
    """The first step at a lower rate: where a "wsd" run leaves the trunk."""
    warm = warmup_steps(config)
    return next(step for step in range(warm, config.steps + 1) if learning_rate(step, config) < 1)


def ends(
    config: TrainConfig, tokens: Sequence[float], corpus: Prepared | None = None, device: str | None = None
) -> Iterator[tuple[nn.Module, RunRecord]]:
    """Each of the lengths `tokens`, shortest first: the model at its end, and the record of the run.

    `C` and `D` of a record are those of the whole run; the metric `own_flops` is what this end cost beyond the ends before
    it, so that the sum of `own_flops` is what was spent. `config` says the model and the recipe, and with its own `tokens` how
    long the warm-up is. Raises: InputError, as `ended` and `loop.train`, before anything trains.
    """
    runs = ended(config, tokens)
    check(runs[-1], device=device)
    device = device or placement.device_for(runs[-1])
    corpus = corpus or prepared(config.corpus)
    for run in runs:
        check_corpus(run, corpus)
    trunk = set_up(runs[-1], device)
    watch = Watch.of(runs[-1])
    stem = pacing.stream(runs[-1], corpus.train)
    for run in runs:
        before = watch.step
        watch.start()
        while watch.step < leaves(run) and not watch.diverged:
            set_rate(trunk.optimizer, learning_rate(watch.step, runs[-1]))
            x_BxL, y_BxL = next(stem)
            watch.note(trunk.step(to(x_BxL, device), to(y_BxL, device)))
        watch.stop()
        # together, so that the copied optimizer holds the copied parameters
        model, optimizer = copy.deepcopy((trunk.model, trunk.optimizer))
        own = Watch.of(run)
        own.go_on_from(watch.step, watch.state())
        own.diverged = watch.diverged
        own.start()
        for step, (x_BxL, y_BxL) in enumerate(pacing.stream(run, corpus.train, watch.step), watch.step):
            if own.diverged:
                break
            set_rate(optimizer, learning_rate(step, run))
            own.note(
                train_step(
                    model, optimizer, to(x_BxL, device), to(y_BxL, device), run.clip, parts=run.accumulate
                )
            )
        own.stop()
        loss = math.nan if own.diverged else evaluate(model, corpus, run.eval_windows)  # type: ignore[arg-type]
        spent = pacing.flops(run, own.step) - pacing.flops(run, before)
        yield model, outcome(run, corpus.sha256, own, loss, device=device, metrics={"own_flops": spent})
