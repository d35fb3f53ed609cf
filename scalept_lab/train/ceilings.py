"""The two ceilings of this machine, and how fast each operation of a training step really is (theory: `costs.roofline`).

On the CPU all on one thread and by the processor's own clock; on a GPU it waits for each operation to be done.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from scalept_lab import machine
from scalept_lab.config import ModelConfig
from scalept_lab.costs.roofline import Operation, operations
from scalept_lab.model.transformer import Transformer, norm
from scalept_lab.train.timing import in_turns, timed

NUMBERS = 2**24  # of each array of the triad: 64 MB, more than a cache holds


@dataclass(frozen=True)
class Measured:
    """An operation, and the seconds that it took in each round."""

    operation: Operation
    seconds: list[float]

    @property
    def flops_per_second(self) -> float:
        return self.operation.flops / statistics.median(self.seconds)


def bandwidth(rounds: int = 5, device: str | None = None) -> float:
    """Bytes a second between memory and processor: a = b + 3c over long arrays, two read and one written (STREAM's triad).

    A processor that reads what it is about to overwrite moves a third more; that is not counted. Raises: InputError.
    """
    device = device or machine.device()
    a, b, c = (torch.ones(NUMBERS, device=device) for _ in range(3))
    seconds = in_turns({"triad": timed(lambda: torch.add(b, c, alpha=3, out=a))}, rounds)["triad"]
    return 3 * 4 * NUMBERS / min(seconds)


def measured(
    model: ModelConfig, batch: int, rounds: int = 5, device: str | None = None
) -> dict[str, Measured]:
    """Each operation of `costs.roofline.operations` on random numbers, in turns; by name. Raises: InputError."""
    device = device or machine.device()
    arms = {name: timed(work) for name, work in _work(model, batch, device).items()}
    with torch.no_grad():
        seconds = in_turns(arms, rounds)
    return {op.name: Measured(op, seconds[op.name]) for op in operations(model, batch)}


def _work(model: ModelConfig, batch: int, device: str) -> dict[str, Callable[[], object]]:
    L, D, H = model.context, model.width, model.heads
    hidden, G = model.mlp_ratio * D, model.kv_heads or H

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device)

    x_TxD, wide_TxF, other_TxD = random(batch * L, D), random(batch * L, hidden), random(batch * L, D)
    qkv, up, down = random(D, D + 2 * model.kv_width), random(D, hidden), random(hidden, D)
    q, k, v = (random(batch, heads, L, D // H) for heads in (H, G, G))
    every_k, every_v = (x.repeat_interleave(H // G, dim=1) for x in (k, v))
    scores = random(batch, H, L, L)
    network = Transformer(model).to(device)
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    return {
        "queries, keys, values": lambda: x_TxD @ qkv,
        "MLP up": lambda: x_TxD @ up,
        "MLP down": lambda: wide_TxF @ down,
        "attention, fused": lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=G < H),
        "attention, stored": lambda: (q @ every_k.mT).softmax(-1) @ every_v,
        "softmax": lambda: scores.softmax(-1),
        "layer norm": lambda: norm(x_TxD),
        "GELU": lambda: F.gelu(wide_TxF, approximate="tanh"),
        "residual sum": lambda: x_TxD + other_TxD,
        "AdamW": optimizer.step,
    }
