"""The small model and text that the broken runs share: one place for what is the same in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from scalept_lab.config import ModelConfig
from scalept_lab.data import tokens
from scalept_lab.data.corpora import prepare
from scalept_lab.model.transformer import Transformer, cross_entropy, device_of
from scalept_lab.train.step import to

CONTEXT, STEPS, RATE = 32, 60, 5e-3
TINY = ModelConfig(width=32, depth=2, heads=2, context=CONTEXT)
STEP, LOSS = "step", "loss (nats per token)"  # names of axes


@cache
def text() -> tuple[np.ndarray, np.ndarray]:
    """The beginnings of the two streams of the corpus "python", which all cases share."""
    corpus = prepare("python")
    return np.array(corpus.train[:2_000_000]), np.array(corpus.heldout[:100_000])


def windows_of(stream: np.ndarray, count: int, seed: int, context: int = CONTEXT) -> np.ndarray:
    """`count` windows (count, context + 1) from all over a stream, drawn by the seed."""
    starts = np.random.default_rng(seed).permutation(tokens.window_count(stream, context))[:count] * context
    return stream[starts[:, None] + np.arange(context + 1)].astype(np.int64)


def model_of(config: ModelConfig = TINY, seed: int = 0) -> Transformer:
    """A new model, its weights drawn by the seed."""
    torch.manual_seed(seed)
    return Transformer(config)


def loss_of(model: nn.Module, rows: np.ndarray) -> Tensor:
    """The loss of a model on windows (count, context + 1), in nats per token, where the model lives."""
    rows_BxL = to(rows, device_of(model))
    return cross_entropy(model(rows_BxL[:, :-1]), rows_BxL[:, 1:])


@torch.no_grad()
def score(model: nn.Module, rows: np.ndarray) -> float:
    """The same as a number, without a graph."""
    return float(loss_of(model, rows))


def smooth(values: Sequence[float], size: int) -> tuple[list[int], list[float]]:
    """Means of `size` values, each at its last step."""
    means = np.array(values[: len(values) // size * size]).reshape(-1, size).mean(1)
    return [size * (i + 1) for i in range(len(means))], means.tolist()
