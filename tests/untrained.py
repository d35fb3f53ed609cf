"""A small model with random weights, and tokens for it: enough wherever nothing has to be learned."""

from __future__ import annotations

import torch
from torch import nn

from scalept_lab.config import ModelConfig
from scalept_lab.model.transformer import Transformer

SMALL = ModelConfig(width=32, depth=2, heads=4, context=48)


def model(config: ModelConfig = SMALL, seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    made = Transformer(config)
    nn.init.normal_(made.head.weight, std=0.2)
    return made.eval()


def tokens(batch: int = 2, length: int = 16) -> torch.Tensor:
    return torch.randint(256, (batch, length), generator=torch.Generator().manual_seed(1))
