"""The recipe of a run: batch, rate and schedule as functions of width and tokens, chosen by measurement.

`benchmarks/record.py recipe` made the runs that chose these numbers; their records are in `data/records/recipe.jsonl`.
"""

from __future__ import annotations

from typing import Any

from scalept_lab.checks import positive
from scalept_lab.config import ModelConfig, TrainConfig, parse
from scalept_lab.errors import InputError


def recommend(
    width: int, tokens: float, *, context: int = 64, vocab_size: int = 256, **changes: Any
) -> TrainConfig:
    """The `TrainConfig` for a family member of `width` on `tokens` tokens; `changes` override single fields.

    Raises: InputError if the width is not one of the family or the tokens do not fill a step.
    """
    model = changes.pop("model", None) or ModelConfig.family(width, context=context, vocab_size=vocab_size)
    tokens = positive("tokens", tokens)
    fields = {"model": model, "tokens": round(tokens), "batch": batch(tokens), "lr": rate(tokens), **changes}
    if fields["tokens"] < fields["batch"] * model.context:
        raise InputError(
            f"tokens: expected at least one step of {fields['batch']} × {model.context}, got {tokens:g}; ask for more"
        )
    return parse(TrainConfig, fields)


def batch(tokens: float) -> int:
    """Sequences per step. Few tokens need many small steps; from 1.5 million on, 8 sequences did better than 4."""
    return 4 if tokens < 1.5e6 else 8


def rate(tokens: float) -> float:
    """Peak learning rate (per tensor: see `optim.param_groups`). The same at every size: that is what `mup` is for."""
    return 0.01
