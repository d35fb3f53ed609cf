"""Optimizers and learning-rate schedules.

A schedule is a pure function of the step; the parameter groups decide how the rate depends on a tensor's shape.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from scalept_lab.config import TrainConfig

BASE_WIDTH = 32  # a rate in a TrainConfig is the rate of a model of this width


def learning_rate(step: int, config: TrainConfig) -> float:
    """The rate at `step` (0-based) as a fraction of the peak, in (0, 1].

    Warm-up rises linearly over `config.warmup` of the steps; then the rate decays so that it reaches zero exactly
    one step after the last: a schedule that ends early or late wastes the decay (Hoffmann et al. 2022, fig. A1).
    """
    steps = config.steps
    warmup_steps = max(1, round(config.warmup * steps))
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    if config.schedule == "linear":
        return 1 - progress
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1.0


def param_groups(model: nn.Module, config: TrainConfig) -> list[dict]:
    """The model's tensors with their peak rates.

    Embeddings learn 10 times as fast as the matrices inside, the output layer 3 times: a row of the embedding moves only
    when its token occurs. The factors were found by trial at width 32.

    `standard`: the same at every width. `mup` (maximal-update parametrisation, Yang et al. 2022, Tensor Programs V,
    table 3, Adam): matrices learn at lr · BASE_WIDTH / width, since one step moves an activation by a sum over `width`
    inputs; embeddings keep their rate, since each has one input.
    """
    scale = BASE_WIDTH / config.model.width if config.parametrization == "mup" else 1.0
    embeddings = [p for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()]
    head = [p for name, p in model.named_parameters() if name.startswith("head.")]
    apart = {id(p) for p in embeddings + head}
    inside = [p for p in model.parameters() if id(p) not in apart]
    return [
        {"params": embeddings, "lr": 10 * config.lr},
        {"params": inside, "lr": config.lr * scale},
        {"params": head, "lr": 3 * config.lr * scale},
    ]


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW on the groups above. Fused: below 30k parameters the loop over tensors costs as much as the model."""
    groups = param_groups(model, config)
    for group in groups:
        group["peak"] = group["lr"]
    betas = (0.9, config.beta2)
    return torch.optim.AdamW(groups, betas=betas, weight_decay=config.weight_decay, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, fraction: float) -> None:
    """Set every group to `fraction` of its own peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * fraction
