"""A small transformer that reads like the paper: decoder (GPT) or encoder, with rotary or learned positions.

Shape suffixes: B sequences, L positions, D width, H heads, G heads of keys and values, K head size, F hidden units of the MLP,
V vocabulary.
The model knows nothing of devices, optimizers, precision or processes: those wrap it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalept_lab.config import ModelConfig
from scalept_lab.model.experts import MoE

ROTARY_BASE = 100.0  # wavelengths from 6 to a few hundred tokens, as suits a context of 64


class Transformer(nn.Module):
    """Tokens (B, L) in, logits (B, L, V) out.

    Pre-norm blocks (Xiong et al. 2020), layer norm without gain or bias, no biases anywhere, untied output layer.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        if config.positions == "learned":
            self.position = nn.Embedding(config.context, config.width)
        else:
            cos_LxK, sin_LxK = rotary_table(config.context, config.width // config.heads)
            self.register_buffer("cos", cos_LxK, persistent=False)
            self.register_buffer("sin", sin_LxK, persistent=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.apply(_init)
        for name, weight in self.named_parameters():  # 2·depth branches add up in the residual stream:
            if name.endswith(
                ("attention.out.weight", "mlp.down.weight", "mlp.down")
            ):  # Radford et al. 2019, §2.3
                weight.data.div_(math.sqrt(2 * config.depth))
        # the first prediction is uniform: the loss starts at log(vocab_size)
        nn.init.zeros_(self.head.weight)

    def forward(self, tokens_BxL: Tensor) -> Tensor:
        x_BxLxD, rotary = self.embedded(tokens_BxL), self.rotary(tokens_BxL.shape[1])
        for block in self.blocks:
            x_BxLxD = block(x_BxLxD, rotary)
        return self.head(norm(x_BxLxD))

    def embedded(self, tokens_BxL: Tensor) -> Tensor:
        x_BxLxD = self.embed(tokens_BxL)
        if self.config.positions == "learned":
            here_L = torch.arange(tokens_BxL.shape[1], device=tokens_BxL.device)
            x_BxLxD = x_BxLxD + self.position(here_L)  # a lookup, which a quantized table has as well
        return x_BxLxD

    def rotary(self, length: int) -> tuple[Tensor, Tensor] | None:
        """cos and sin for attention over `length` positions; None where positions are learned."""
        return None if self.config.positions == "learned" else (self.cos[:length], self.sin[:length])


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.attention = Attention(config)
        self.mlp: MLP | MoE = MoE(config) if config.experts else MLP(config)

    def forward(self, x_BxLxD: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        x_BxLxD = x_BxLxD + self.attention(norm(x_BxLxD), rotary)
        return x_BxLxD + self.mlp(norm(x_BxLxD))


class Attention(nn.Module):
    """softmax(Q Kᵀ / √K) V over H heads (Vaswani et al. 2017, eq. 1); H/G heads may share their keys and values."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.head_dim, self.causal = config.width // config.heads, config.causal
        self.shared_by = config.width // config.kv_width  # queries' heads for one of keys and values
        self.qkv = nn.Linear(config.width, config.width + 2 * config.kv_width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x_BxLxD: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        q_BxHxLxK, k_BxHxLxK, v_BxHxLxK = self.projected(x_BxLxD, rotary)
        if self.shared_by > 1:
            k_BxHxLxK = k_BxHxLxK.repeat_interleave(self.shared_by, dim=1)
            v_BxHxLxK = v_BxHxLxK.repeat_interleave(self.shared_by, dim=1)
        return self.joined(self.mix(q_BxHxLxK, k_BxHxLxK, v_BxHxLxK))

    def projected(
        self, x_BxLxD: Tensor, rotary: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, L, K), keys and values (B, G, L, K), of the heads that are here; the first two turned."""
        B, L, _ = x_BxLxD.shape
        heads_BxLxRxK = self.qkv(x_BxLxD).view(B, L, -1, self.head_dim)  # R = H + 2 G
        G = heads_BxLxRxK.shape[2] // (self.shared_by + 2)
        q_BxHxLxK, k_BxGxLxK, v_BxGxLxK = heads_BxLxRxK.transpose(1, 2).split([self.shared_by * G, G, G], 1)
        if rotary is not None:
            q_BxHxLxK, k_BxGxLxK = rotate(q_BxHxLxK, *rotary), rotate(k_BxGxLxK, *rotary)
        return q_BxHxLxK, k_BxGxLxK, v_BxGxLxK

    def joined(self, mixed_BxHxLxK: Tensor) -> Tensor:
        """The heads side by side, through the output matrix: (B, L, D)."""
        return self.out(mixed_BxHxLxK.transpose(1, 2).flatten(2))

    def mix(self, q_BxHxLxK: Tensor, k_BxHxLxK: Tensor, v_BxHxLxK: Tensor) -> Tensor:
        """What each position takes from the others: the one place where positions meet."""
        return F.scaled_dot_product_attention(q_BxHxLxK, k_BxHxLxK, v_BxHxLxK, is_causal=self.causal)


class MLP(nn.Module):
    """One hidden layer with GELU."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.up = nn.Linear(config.width, config.mlp_ratio * config.width, bias=False)
        self.down = nn.Linear(config.mlp_ratio * config.width, config.width, bias=False)

    def forward(self, x_BxLxD: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x_BxLxD), approximate="tanh"))


def device_of(model: nn.Module) -> torch.device:
    """Where a model lives: whoever makes tensors for it asks here. One that torch has quantized has no parameters any more,
    and runs on the CPU alone."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def norm(x_BxLxD: Tensor) -> Tensor:
    return F.layer_norm(x_BxLxD, x_BxLxD.shape[-1:])


def rotary_table(length: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """cos and sin of position × frequency, each (L, K), the two halves of K alike (Su et al. 2021, eq. 34)."""
    frequency_k = ROTARY_BASE ** (-torch.arange(0, head_dim, 2).float() / head_dim)
    angle_Lxk = torch.arange(length).float()[:, None] * frequency_k
    angle_LxK = torch.cat([angle_Lxk, angle_Lxk], dim=-1)
    return angle_LxK.cos(), angle_LxK.sin()


def rotate(x_BxHxLxK: Tensor, cos_LxK: Tensor, sin_LxK: Tensor) -> Tensor:
    """Turn each pair of channels by an angle that grows with position: dot products then see only distance."""
    first, second = x_BxHxLxK.chunk(2, dim=-1)
    return x_BxHxLxK * cos_LxK + torch.cat([-second, first], dim=-1) * sin_LxK


def cross_entropy(logits_BxLxV: Tensor, targets_BxL: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats per token."""
    return F.cross_entropy(logits_BxLxV.flatten(0, 1), targets_BxL.flatten())


def _init(module: nn.Module) -> None:
    """Variance 1/fan_in for matrices, 1 for embeddings: activations of order one at every width."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features))
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=1.0)
