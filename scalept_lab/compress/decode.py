"""Greedy decoding of our Transformer, with and without a cache of keys and values. The model itself is not changed.

Without a cache, each new token runs the model over the whole text again; with it, over one position, whose query meets the keys
and values kept from before. Shape suffixes as in `model.transformer`; P tokens of the prompt, C positions the cache has room for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scalept_lab.config import ModelConfig
from scalept_lab.errors import InputError
from scalept_lab.model.transformer import Attention, Transformer, device_of, norm, rotate


class Cache:
    """Keys and values of every block for `length` positions; `used` of them are filled."""

    def __init__(self, model: Transformer, batch: int, length: int):
        weight = model.embed.weight
        self.used = 0
        self.kv_2xBxHxCxK = []
        for block in model.blocks:
            layer: Attention = block.attention  # type: ignore[assignment]
            heads = layer.qkv.out_features // (3 * layer.head_dim)  # those that are here
            self.kv_2xBxHxCxK.append(weight.new_zeros(2, batch, heads, length, layer.head_dim))

    @property
    def bytes(self) -> int:
        return sum(kv.nbytes for kv in self.kv_2xBxHxCxK)


def cache_bytes(config: ModelConfig, batch: int, length: int, number_bytes: int = 4) -> int:
    """2 (keys and values) · depth · batch · length · width · bytes of a number."""
    return 2 * config.depth * batch * length * config.width * number_bytes


@torch.inference_mode()
def generate(model: Transformer, prompt_BxP: Tensor, new: int, cached: bool = True) -> Tensor:
    """The prompts and `new` tokens more for each, (B, P + new): always the most probable one.

    Raises: InputError if the model is no decoder, a prompt is empty, or the text would outgrow the model's context.
    """
    _check(model, prompt_BxP, new)
    B, P = prompt_BxP.shape
    tokens_BxL = torch.cat([prompt_BxP, prompt_BxP.new_zeros(B, new)], dim=1).to(device_of(model))
    cache = Cache(model, B, P + new) if cached else None
    for end in range(P, P + new):
        if cache is not None:
            logits_BxV = forward(model, tokens_BxL[:, cache.used : end], cache)[:, -1]
        else:
            logits_BxV = model(tokens_BxL[:, :end])[:, -1]
        tokens_BxL[:, end] = logits_BxV.argmax(-1)
    return tokens_BxL.to(prompt_BxP.device)


def forward(model: Transformer, tokens_BxL: Tensor, cache: Cache) -> Tensor:
    """`model(all tokens so far)` for the last L of them, (B, L, V): the others are in the cache, to which these are added."""
    start, end = cache.used, cache.used + tokens_BxL.shape[1]
    x_BxLxD = model.embed(tokens_BxL)
    rotary = None
    if model.config.positions == "learned":
        x_BxLxD = x_BxLxD + model.position.weight[start:end]
    else:
        rotary = model.cos[start:end], model.sin[start:end]
    for block, kv in zip(model.blocks, cache.kv_2xBxHxCxK, strict=True):
        x_BxLxD = x_BxLxD + _attend(block.attention, norm(x_BxLxD), rotary, kv, start, end)  # type: ignore[arg-type]
        x_BxLxD = x_BxLxD + block.mlp(norm(x_BxLxD))  # type: ignore[operator]
    cache.used = end
    return model.head(norm(x_BxLxD))


def _attend(
    layer: Attention, x_BxLxD: Tensor, rotary: tuple[Tensor, Tensor] | None, kv_2xBxHxCxK: Tensor, start: int, end: int
) -> Tensor:  # fmt: skip
    B, L, _ = x_BxLxD.shape
    qkv_BxLx3xHxK = layer.qkv(x_BxLxD).view(B, L, 3, -1, layer.head_dim)
    q_BxHxLxK, k_BxHxLxK, v_BxHxLxK = qkv_BxLx3xHxK.permute(2, 0, 3, 1, 4).unbind(0)
    if rotary is not None:
        q_BxHxLxK, k_BxHxLxK = rotate(q_BxHxLxK, *rotary), rotate(k_BxHxLxK, *rotary)
    kv_2xBxHxCxK[0, :, :, start:end] = k_BxHxLxK
    kv_2xBxHxCxK[1, :, :, start:end] = v_BxHxLxK
    k, v = kv_2xBxHxCxK[:, :, :, :end].unbind(0)
    mask = None  # one query, the last, may see everything
    if L > 1:
        mask = torch.ones(L, end, dtype=torch.bool, device=x_BxLxD.device).tril(start)
    mixed_BxHxLxK = F.scaled_dot_product_attention(q_BxHxLxK, k, v, attn_mask=mask)
    return layer.out(mixed_BxHxLxK.transpose(1, 2).reshape(B, L, -1))


def _check(model: Transformer, prompt_BxP: Tensor, new: int) -> None:
    if not model.config.causal:
        raise InputError(
            "model: expected a decoder (causal=True), got an encoder, whose past changes with every new token"
        )
    if prompt_BxP.ndim != 2 or 0 in prompt_BxP.shape:
        raise InputError(
            f"prompt: expected a batch of at least one token each, (B, P), got shape {tuple(prompt_BxP.shape)}"
        )
    if new < 0 or prompt_BxP.shape[1] + new > model.config.context:
        raise InputError(
            f"new: expected 0 to {model.config.context - prompt_BxP.shape[1]}, since the model's context is "
            f"{model.config.context} tokens and the prompt has {prompt_BxP.shape[1]}, got {new}"
        )
