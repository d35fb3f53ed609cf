"""Low-rank adaptation (Hu et al. 2022, §4.1): train a thin product beside a frozen matrix, and add it in at the end.

A matrix W with d_out rows and d_in columns gets a neighbour B A of rank r, A with r rows, B with r columns:

    y = W x + (alpha / r) B A x

W is frozen; A starts at random and B at zero, so that the adapted model starts as the model it adapts. The factors hold
r (d_in + d_out) numbers in place of d_in d_out, and `merge` writes W + (alpha / r) B A: the model costs what it did before.
Beside it stands the cheapest way of all, a linear probe: only the classifier's own layer learns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from scalept_lab.checks import positive, whole
from scalept_lab.errors import InputError

TARGETS = ("query", "value")  # the matrices that the paper adapts (§4.2)
HEAD = "classifier"


class LowRank(nn.Module):
    """A frozen linear layer with a trained product of rank `rank` beside it, scaled by alpha / rank.

    Raises: InputError for a rank that is no whole number from 1 to the smaller side of the matrix, and an alpha below 0.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        out_features, in_features = linear.weight.shape
        rank = whole("rank", rank, most=min(in_features, out_features), hint="a larger one adds nothing")
        self.scale = positive("alpha", alpha) / rank
        self.linear = linear.requires_grad_(False)
        self.down = nn.Parameter(linear.weight.new_empty(rank, in_features).normal_(std=in_features**-0.5))
        self.up = nn.Parameter(linear.weight.new_zeros(out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.scale * (x @ self.down.T) @ self.up.T

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """One plain linear layer that does the same."""
        made = nn.Linear(self.linear.in_features, self.linear.out_features, self.linear.bias is not None)
        made = made.to(self.linear.weight)  # its device and type
        made.load_state_dict(self.linear.state_dict())
        made.weight += self.scale * self.up @ self.down
        return made


def adapt(
    model: nn.Module,
    rank: int,
    alpha: float | None = None,
    targets: Iterable[str] = TARGETS,
    layer: Callable[[nn.Linear, int, float], nn.Module] = LowRank,
) -> nn.Module:
    """Freeze a classifier in place, but for its own layer, and put `layer(linear, rank, alpha)` for each linear layer that has
    one of the names `targets`. alpha: twice the rank unless given. The factors are drawn by torch's generator.

    Raises: InputError if no linear layer has such a name, for a rank above the width, and for a model that is adapted already.
    """
    if any(hasattr(module, "merged") for module in model.modules()):
        raise InputError("model: expected one without low-rank factors, got an adapted one; merge() it first")
    wanted = tuple(targets)
    found = [(parent, name) for parent, name, child in _children(model)
             if name in wanted and isinstance(child, nn.Linear)]  # fmt: skip
    if not found:
        names = sorted({name for _, name, child in _children(model) if isinstance(child, nn.Linear)})
        raise InputError(
            f"targets: expected names among {', '.join(names)}, got {', '.join(wanted) or 'none'}"
        )
    made = [
        layer(getattr(parent, name), rank, 2.0 * rank if alpha is None else alpha) for parent, name in found
    ]
    probe(model)
    for (parent, name), new in zip(found, made, strict=True):
        for factor in new.parameters(recurse=False):
            factor.requires_grad_(True)
        setattr(parent, name, new)
    return model


def probe(model: nn.Module) -> nn.Module:
    """Freeze all of a classifier in place but its own layer: what fine-tuning then trains is a linear probe.

    Raises: InputError if it has no layer of that name.
    """
    head = getattr(model, HEAD, None)
    if head is None:
        raise InputError(f"model: expected a classifier with a layer {HEAD!r}, got {type(model).__name__}")
    model.requires_grad_(False)
    head.requires_grad_(True)
    return model


def merge(model: nn.Module) -> nn.Module:
    """Write the factors into the matrices beside them, in place: the same function, with plain linear layers again."""
    for parent, name, child in list(_children(model)):
        if hasattr(child, "merged"):
            setattr(parent, name, child.merged())
    return model


def trainable(model: nn.Module) -> int:
    """How many numbers training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _children(model: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    for parent in model.modules():
        for name, child in parent.named_children():
            yield parent, name, child
