"""Greedy decoding of our Transformer, with and without a cache of keys and values. The model itself is not changed.

Without a cache, each new token runs the model over the whole text again; with it, over one position, whose query meets the keys
and values kept from before. Shape suffixes as in `model.transformer`; P tokens of the prompt, C positions the cache has room for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalept_lab.config import ModelConfig
from scalept_lab.errors import InputError
from scalept_lab.model.transformer import Attention, Transformer, device_of, norm, rotate

Table = tuple[Tensor, Tensor]  # cos and sin, (C, K) each: the rotations of all positions


class Cache:
    """Keys and values of every block for `length` positions; `used` of them are filled. Fewer are forgotten by setting it."""

    def __init__(self, model: Transformer, batch: int, length: int):
        self.used = 0
        self.keys_values: list[tuple[Tensor, Tensor]] = []
        device, dtype = device_of(model), next((p.dtype for p in model.parameters()), torch.float32)
        for block in model.blocks:
            layer: Attention = block.attention  # type: ignore[assignment]
            heads = layer.qkv.out_features // layer.head_dim // (layer.shared_by + 2)  # those that are here
            shape = (batch, heads, length, layer.head_dim)
            k, v = (torch.zeros(shape, device=device, dtype=dtype) for _ in range(2))
            self.keys_values.append((k, v))

    @property
    def bytes(self) -> int:
        return sum(k.nbytes + v.nbytes for k, v in self.keys_values)


def cache_bytes(config: ModelConfig, batch: int, length: int, number_bytes: int = 4) -> int:
    """2 (keys and values) · depth · batch · length · heads of keys and values · head size · bytes of a number."""
    return 2 * config.depth * batch * length * config.kv_width * number_bytes


def attend(
    q_BxHxLxK: Tensor,
    k_BxGxLxK: Tensor,
    v_BxGxLxK: Tensor,
    keys_BxGxCxK: Tensor,
    values_BxGxCxK: Tensor,
    used: int,
    table: Table | None = None,
) -> Tensor:
    """Attention of L new positions over themselves and the `used` ones before, whose keys and values the cache holds.

    The new ones are put into the cache, in place, and each position sees all up to its own: (B, H, L, K). With a `table`,
    queries and keys are turned first, as suits their positions `used`, `used` + 1, …
    """
    L, end = q_BxHxLxK.shape[2], used + q_BxHxLxK.shape[2]
    if table is not None:
        here = table[0][used:end], table[1][used:end]
        q_BxHxLxK, k_BxGxLxK = rotate(q_BxHxLxK, *here), rotate(k_BxGxLxK, *here)
    keys_BxGxCxK[:, :, used:end] = k_BxGxLxK
    values_BxGxCxK[:, :, used:end] = v_BxGxLxK
    mask = None  # one query, the last, may see everything
    if L > 1:
        mask = torch.ones(L, end, dtype=torch.bool, device=q_BxHxLxK.device).tril(used)
    keys, values = keys_BxGxCxK[:, :, :end], values_BxGxCxK[:, :, :end]
    shared = keys.shape[1] < q_BxHxLxK.shape[1]
    return F.scaled_dot_product_attention(q_BxHxLxK, keys, values, attn_mask=mask, enable_gqa=shared)


@torch.inference_mode()
def generate(
    model: Transformer, prompt_BxP: Tensor, new: int, cached: bool = True, attend: Callable[..., Tensor] = attend
) -> Tensor:  # fmt: skip
    """The prompts and `new` tokens more for each, (B, P + new): always the most probable one.

    Takes our Transformer as it is, pruned, in 16 bits, or quantized by `quantize.int8`. `attend` is what attends over the cache.
    Raises: InputError if the model is no decoder, a prompt is empty, or the text would outgrow the model's context.
    """
    check(model, prompt_BxP, new)
    B, P = prompt_BxP.shape
    tokens_BxL = torch.cat([prompt_BxP, prompt_BxP.new_zeros(B, new)], dim=1).to(device_of(model))
    cache = Cache(model, B, P + new) if cached else None
    for end in range(P, P + new):
        if cache is not None:
            logits_BxV = forward(model, tokens_BxL[:, cache.used : end], cache, attend)[:, -1]
        else:
            logits_BxV = model(tokens_BxL[:, :end].contiguous())[:, -1]
        tokens_BxL[:, end] = logits_BxV.argmax(-1)
    return tokens_BxL.to(prompt_BxP.device)


def forward(
    model: Transformer, tokens_BxL: Tensor, cache: Cache, attend: Callable[..., Tensor] = attend
) -> Tensor:
    """`model(all tokens so far)` for the last L of them, (B, L, V): the others are in the cache, to which these are added."""
    start, end = cache.used, cache.used + tokens_BxL.shape[1]
    x_BxLxD = model.embed(tokens_BxL.contiguous())  # what the built-in int8 table asks for
    table = None
    if model.config.positions == "learned":
        x_BxLxD = x_BxLxD + model.position(torch.arange(start, end, device=x_BxLxD.device))
    else:
        table = model.cos, model.sin
    for block, kept in zip(model.blocks, cache.keys_values, strict=True):
        layer: Attention = block.attention  # type: ignore[assignment]
        new = layer.projected(norm(x_BxLxD), None)
        x_BxLxD = x_BxLxD + layer.joined(attend(*new, *kept, start, table))
        x_BxLxD = x_BxLxD + block.mlp(norm(x_BxLxD))  # type: ignore[operator]
    cache.used = end
    return model.head(norm(x_BxLxD))


def check(model: nn.Module, prompt_BxP: Tensor, new: int) -> None:
    """Raises: InputError, in one line, for what cannot be decoded."""
    config: ModelConfig = model.config  # type: ignore[assignment]
    if not config.causal:
        raise InputError(
            "model: expected a decoder (causal=True), got an encoder, whose past changes with every new token"
        )
    if prompt_BxP.ndim != 2 or 0 in prompt_BxP.shape:
        raise InputError(
            f"prompt: expected a batch of at least one token each, (B, P), got shape {tuple(prompt_BxP.shape)}"
        )
    if new < 0 or prompt_BxP.shape[1] + new > config.context:
        raise InputError(
            f"new: expected 0 to {config.context - prompt_BxP.shape[1]}, since the model's context is "
            f"{config.context} tokens and the prompt has {prompt_BxP.shape[1]}, got {new}"
        )
