"""What a training step of our Transformer keeps in memory, predicted from its shape. Arithmetic only, no torch.

Convention: a tensor counts with the whole storage that keeping it keeps, and each storage counts once. Parameters and
tables that the model owns are not activations. `activations` measures by the same convention.
"""

from __future__ import annotations

from typing import Any

from scalept_lab.checks import one_of, whole
from scalept_lab.config import TrainConfig
from scalept_lab.costs import counts

WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes of an activation that a matrix product reads
STATES = {"adamw": 8, "muon": 8, "momentum": 4, "sgd": 0}  # bytes of optimizer per parameter, in 32 bits


def activations(model: Any, batch: int, dtype: str = "float32", recompute: bool = False) -> dict[str, int]:
    """Bytes that a forward pass of `batch` sequences leaves for the backward pass, by what they are.

    `model` is a ModelConfig. Per token and block, with w bytes for what a matrix product reads and 4 for the residual
    stream, which autocast leaves in 32 bits, D the width, F = mlp_ratio · D and H heads:

        2·4·D        inputs of the two norms            2·w·D        their outputs
        3·w·D        queries, keys, values in one piece, kept whole because the values lie in it
        2·w·D        queries and keys after the rotation (not with learned positions)
        w·D + 4·H    attention's result, and the logarithm of each softmax's sum
        2·w·F        the MLP before and after its GELU

    Where heads share keys and values (G < H kv_heads), these are kept spread out to all heads, 2·w·D in place of the rotated keys
    and the values; with learned positions the piece, of (1 + 2·G/H)·w·D, is kept beside them for the queries in it.

    That is 72·D in 32 bits and 40·D under 16-bit autocast; the 34·D of Korthikanti et al. 2022 (eq. 1, without the
    attention matrices) count dropout masks and no rotation, and keep the residual stream in 16 bits.

    `recompute` keeps one input per block, 4·D, and the rest is computed again (activation checkpointing).
    Raises: InputError for a batch that is no whole number, or an unknown dtype.
    """
    w, tokens, D = WIDTH[one_of("dtype", dtype, WIDTH)], whole("batch", batch) * model.context, model.width
    V, H, blocks = model.vocab_size, model.heads, 0 if recompute else model.depth
    looked_up = 8 * model.context if model.positions == "learned" else 0  # ids of positions
    weights = 0  # autocast's 16-bit copies of the matrices, which the backward pass reads
    if w < 4:
        weights = w * (blocks * _matrices(model) + V * D)
    pieces = (
        6.0 if model.positions == "rotary" else 4.0
    )  # of D numbers: the piece, rotated queries and keys, the result
    if model.kv_width < D:
        pieces = 4.0 if model.positions == "rotary" else 4.0 + 2 * model.kv_width / D
    return {
        "inputs of blocks": 4 * tokens * D * model.depth,
        "norms": tokens * (blocks * (4 * D + 2 * w * D + 16)),
        "attention": tokens * blocks * (round(pieces * w * D) + 4 * H),
        "MLP": tokens * blocks * 2 * w * model.mlp_ratio * D,
        "output": tokens * ((4 + w) * D + 8 + 4 * V + 16)
        + 4
        + looked_up,  # last norm, log-probabilities in 32 bits, two token ids
        "copies of weights": weights,
    }


def _matrices(model: Any) -> int:
    """Weights of a block."""
    return 2 * model.width * ((1 + model.mlp_ratio) * model.width + model.kv_width)


def states(model: Any, optimizer: str = "adamw") -> dict[str, int]:
    """Bytes of parameters, gradients and optimizer with 32-bit weights, as autocast has them.

    AdamW also keeps a 4-byte counter for each tensor, which is not counted. Muon keeps one number for each weight of a
    matrix inside the blocks, and AdamW's two for the rest. Raises: InputError.
    """
    each = STATES[one_of("optimizer", optimizer, STATES)]
    total = counts.count_params(model)["total"]
    inside = model.depth * _matrices(model) if optimizer == "muon" else 0
    return {
        "parameters": 4 * total,
        "gradients": 4 * total,
        "optimizer": each * total - 4 * inside,
    }


def footprint(config: TrainConfig) -> dict[str, int]:
    """Bytes of one training run, at the moment between forward and backward pass: states, activations, total.

    With `accumulate`, only one part of the batch has its activations in memory at a time.
    """
    part = -(-config.batch // config.accumulate)  # the largest part
    kept = sum(activations(config.model, part, config.dtype, config.recompute).values())
    parts = {**states(config.model, config.optimizer), "activations": kept}
    return {**parts, "total": sum(parts.values())}
