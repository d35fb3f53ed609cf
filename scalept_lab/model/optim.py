"""Optimizers and learning-rate schedules, as the training loop uses them: torch's, chosen by the config.

A schedule is a pure function of the step; the parameter groups decide how the rate depends on a tensor's shape.
The same rules written out from their formulas, to be read, are in `optimizers`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from scalept_lab.checks import unknown
from scalept_lab.config import TrainConfig
from scalept_lab.errors import InputError

BASE_WIDTH = 32  # a rate in a TrainConfig is the rate of a model of this width
DECAY = 0.2  # share of the steps over which "wsd" decays
MOMENTUM = 0.9  # of "momentum"; Muon has torch's default, 0.95


def warmup_steps(config: TrainConfig) -> int:
    """How many steps `config.warmup` of them are: at least one, unless none is asked for."""
    return max(1, round(config.warmup * config.steps)) if config.warmup else 0


def learning_rate(step: int, config: TrainConfig) -> float:
    """The rate at `step` (0-based) as a fraction of the peak, in (0, 1].

    Warm-up rises linearly over `warmup_steps`; then the rate decays so that it reaches zero exactly
    one step after the last: a schedule that ends early or late wastes the decay (Hoffmann et al. 2022, fig. A1).
    "wsd" (warm-up, stable, decay: Hu et al. 2024, MiniCPM, section 4) keeps the peak until the last fifth of the steps,
    and falls linearly there (they: over a tenth), so that one run can go on, or be ended at any length by a decay.
    """
    steps, warm = config.steps, warmup_steps(config)
    if step < warm:
        return (step + 1) / (warm + 1)
    progress = (step - warm) / max(1, steps - warm)
    if config.schedule == "linear":
        return 1 - progress
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if config.schedule == "wsd":
        return min(1.0, (steps - step) / max(1, min(round(DECAY * steps), steps - warm)))
    return 1.0


def param_groups(model: nn.Module, config: TrainConfig) -> list[dict]:
    """The model's tensors with their peak rates.

    Embeddings learn 10 times as fast as the matrices inside, the output layer 3 times: a row of the embedding moves only
    when its token occurs. The factors were found by trial at width 32, for AdamW. With Muon the matrices inside learn
    twice as fast as the config says: by trial at width 16, so that the same rate suits both. SGD and momentum are the
    textbook's here: one rate for all.

    `standard`: the same at every width. `mup` (maximal-update parametrisation, Yang et al. 2022, Tensor Programs V,
    table 3, Adam): matrices learn at lr · BASE_WIDTH / width, since one step moves an activation by a sum over `width`
    inputs; embeddings keep their rate, since each has one input. With SGD, whose steps are as small as its gradients,
    the same table gives embeddings lr · width / BASE_WIDTH and leaves matrices alone. So does Muon, which gives every
    step of a matrix the same spectral norm.
    """
    shrinks = BASE_WIDTH / config.model.width if config.parametrization == "mup" else 1.0
    by_optimizer = {
        "adamw": ((10.0, 1.0, 3.0), (1.0, shrinks, shrinks)),
        "muon": ((10.0, 2.0, 3.0), (1.0, 1.0, shrinks)),
    }
    factors, scales = by_optimizer.get(config.optimizer, ((1.0, 1.0, 1.0), (1 / shrinks, 1.0, shrinks)))
    embeddings = [p for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()]
    head = [p for name, p in model.named_parameters() if name.startswith("head.")]
    apart = {id(p) for p in embeddings + head}
    inside = [p for p in model.parameters() if id(p) not in apart]
    return [
        {"params": tensors, "lr": factor * config.lr * scale}
        for tensors, factor, scale in zip((embeddings, inside, head), factors, scales, strict=True)
    ]


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer that `config.optimizer` names, on the groups above; each group keeps its peak rate as "peak".

    "adamw"     AdamW, fused: below 30k parameters the loop over tensors costs as much as the model
    "sgd"       plain stochastic gradient descent
    "momentum"  SGD with momentum 0.9
    "muon"      Muon (Jordan et al. 2024) for the matrices inside the blocks, AdamW for everything else

    With "sgd" and "momentum", weight decay is torch's: added to the gradient. Raises: InputError for another name.
    """
    groups = param_groups(model, config)
    for group in groups:
        group["peak"] = group["lr"]
    decay: dict[str, Any] = {"weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, **decay)
    if config.optimizer == "momentum":
        return torch.optim.SGD(groups, momentum=MOMENTUM, **decay)
    adamw: dict[str, Any] = {**decay, "betas": (0.9, config.beta2), "fused": True}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, **adamw)
    if config.optimizer == "muon":
        embeddings, inside, head = groups
        matrices = [p for p in inside["params"] if p.ndim == 2]
        others = [p for p in inside["params"] if p.ndim != 2]
        rest = [embeddings, head, *([{**inside, "params": others}] if others else [])]
        muon = torch.optim.Muon([{**inside, "params": matrices}], **decay)
        return Pair(torch.optim.AdamW(rest, **adamw), muon)
    raise unknown("optimizer", config.optimizer, ("adamw", "sgd", "momentum", "muon"))


class Pair(torch.optim.Optimizer):
    """Two optimizers, each for its own tensors, that step, save and load as one.

    Groups and states are kept once, here, and both optimizers work on them: a rate set here is the rate of the next step.
    Parameters are numbered through both, so that what saves one optimizer saves these.
    """

    def __init__(self, first: torch.optim.Optimizer, second: torch.optim.Optimizer):
        self.both = (first, second)
        super().__init__([*first.param_groups, *second.param_groups], {})
        self._share()

    def _share(self) -> None:
        rest = self.param_groups
        for optimizer in self.both:
            mine, rest = rest[: len(optimizer.param_groups)], rest[len(optimizer.param_groups) :]
            optimizer.__setstate__({"state": self.state, "param_groups": mine})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Raises: InputError for a closure."""
        if closure is not None:
            raise InputError("closure: expected none, the loss is computed once for both optimizers")
        for optimizer in self.both:
            optimizer.step()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Takes the groups of the two, and raises: InputError for any more."""
        if len(self.param_groups) == sum(len(optimizer.param_groups) for optimizer in self.both):
            raise InputError(
                "param_group: expected none, since it is not said which optimizer steps it; make a new pair"
            )
        super().add_param_group(param_group)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "both": self.both}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Also where a state is loaded, which brings new groups and states."""
        super().__setstate__(state)
        self._share()

    def __repr__(self) -> str:
        return f"Pair({self.both[0]!r}, {self.both[1]!r})"


def set_rate(optimizer: torch.optim.Optimizer, fraction: float) -> None:
    """Set every group to `fraction` of its own peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * fraction
