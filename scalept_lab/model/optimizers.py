"""Optimizers written out from their formulas, to be read beside torch's, which train the models of this course.

Each class keeps a list of tensors and, for each, what it remembers between steps. `step()` reads every tensor's `.grad`
and moves the tensor in place; `ByHand` hands both to a function that does so. In the formulas: θ a tensor, g its gradient,
η the rate, λ the weight decay, t the step counted from 1. `tests/model/test_optimizers.py` holds each against its counterpart
in `torch.optim` over 100 steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scalept_lab.checks import positive
from scalept_lab.errors import InputError

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # a, b, c of Jordan et al. 2024


class Optimizer:
    """What all of them share: tensors, a rate, a weight decay. Raises: InputError for a rate that is not positive.

    The rate stands in `param_groups`, as in torch's optimizers, so that a schedule can set it (`optim.set_rate`).
    """

    def __init__(self, tensors: Iterable[Tensor], lr: float, weight_decay: float = 0.0):
        self.tensors = list(tensors)
        if not self.tensors:
            raise InputError("tensors: expected at least one tensor to train, got none")
        self.param_groups: list[dict[str, Any]] = [
            {"params": self.tensors, "lr": positive("lr", lr), "peak": lr}
        ]
        self.weight_decay = positive("weight_decay", weight_decay, zero=True)
        self.t = 0

    @property
    def lr(self) -> float:
        return self.param_groups[0]["lr"]

    @torch.no_grad()
    def step(self) -> None:
        self.t += 1
        for i, theta in enumerate(self.tensors):
            if theta.grad is not None:
                self.move(i, theta, theta.grad)

    def zero_grad(self) -> None:
        for theta in self.tensors:
            theta.grad = None

    def zeros(self) -> list[Tensor]:
        """A zero for every number of every tensor: the memory an optimizer costs."""
        return [torch.zeros_like(theta) for theta in self.tensors]

    def move(self, i: int, theta: Tensor, g: Tensor) -> None:
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent: θ ← θ − η·(g + λθ). It remembers nothing."""

    def move(self, i: int, theta: Tensor, g: Tensor) -> None:
        theta -= self.lr * (g + self.weight_decay * theta)


class Momentum(Optimizer):
    """SGD with a velocity, as torch writes it: u ← μu + (g + λθ); θ ← θ − ηu.

    With `nesterov`, θ moves by μu + g, the velocity as it would be one step on (Sutskever et al. 2013, section 2).
    A gradient that stays the same ends up moving θ by η·g/(1 − μ) per step: ten times as far at μ = 0.9.
    """

    def __init__(
        self,
        tensors: Iterable[Tensor],
        lr: float,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        super().__init__(tensors, lr, weight_decay)
        self.momentum, self.nesterov = fraction("momentum", momentum), nesterov
        self.velocity = self.zeros()

    def move(self, i: int, theta: Tensor, g: Tensor) -> None:
        g = g + self.weight_decay * theta
        u = self.velocity[i]
        u.mul_(self.momentum).add_(g)
        theta -= self.lr * (g + self.momentum * u if self.nesterov else u)


class AdamW(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

        θ ← θ − ηλθ
        m ← β₁m + (1 − β₁)g          the mean of recent gradients
        v ← β₂v + (1 − β₂)g²         the mean of their squares
        m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ)
        θ ← θ − η·m̂/(√v̂ + ε)

    m and v begin at zero and are too small for a while; m̂ and v̂ put that right. `bias_correction=False` leaves it out.
    """

    def __init__(
        self,
        tensors: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        bias_correction: bool = True,
    ):
        super().__init__(tensors, lr, weight_decay)
        self.beta1, self.beta2 = fraction("beta1", betas[0]), fraction("beta2", betas[1])
        self.eps, self.bias_correction = eps, bias_correction
        self.m, self.v = self.zeros(), self.zeros()

    def move(self, i: int, theta: Tensor, g: Tensor) -> None:
        m, v = self.m[i], self.v[i]
        theta *= 1 - self.lr * self.weight_decay
        m.mul_(self.beta1).add_((1 - self.beta1) * g)
        v.mul_(self.beta2).add_((1 - self.beta2) * g**2)
        m_hat, v_hat = m, v
        if self.bias_correction:
            m_hat, v_hat = m / (1 - self.beta1**self.t), v / (1 - self.beta2**self.t)
        theta -= self.lr * m_hat / (v_hat.sqrt() + self.eps)


class Muon(Optimizer):
    """Muon (Jordan et al. 2024), for matrices: momentum, then the nearest matrix that only turns.

        m ← μm + (1 − μ)g
        O = newton_schulz((1 − μ)g + μm)        near U·Vᵀ of the singular value decomposition U·S·Vᵀ
        θ ← θ − ηλθ − η·√max(1, rows/columns)·O

    A gradient has a few large singular values and many small ones; O has them all near one, so that a step moves the
    matrix as far in rare directions as in frequent ones. Jordan's momentum sums where torch's averages (as here): the
    same, since O does not depend on the scale. torch computes O in bfloat16; so does `newton_schulz`, which
    serves where no other function is given to make O.
    Raises: InputError for a tensor that is no matrix.
    """

    def __init__(
        self,
        tensors: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        orthogonalize: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__(tensors, lr, weight_decay)
        for theta in self.tensors:
            if theta.ndim != 2:
                raise InputError(
                    f"Muon: expected matrices, got a tensor of shape {tuple(theta.shape)}; give that to AdamW"
                )
        self.momentum, self.orthogonalize = fraction("momentum", momentum), orthogonalize or newton_schulz
        self.m = self.zeros()

    def move(self, i: int, theta: Tensor, g: Tensor) -> None:
        rows, columns = theta.shape
        m = self.m[i]
        m.lerp_(g, 1 - self.momentum)  # μm + (1 − μ)g
        O_RxC = self.orthogonalize(g.lerp(m, self.momentum))
        theta *= 1 - self.lr * self.weight_decay
        theta -= self.lr * math.sqrt(max(1, rows / columns)) * O_RxC


class ByHand(Optimizer):
    """An optimizer whose step is a function, `rule(tensors, gradients, state, lr)`, which moves the tensors in place.

    groups  dicts with "params" and "lr", as `optim.param_groups` makes them, and the "rule" of each; a group has a state of its
            own, a dict that is empty before the first step
    Raises: InputError if there is no tensor, a group without a rule, or, in a step, a tensor without a gradient.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]]):
        if not all(callable(group.get("rule")) for group in groups):
            raise InputError(
                'groups: expected a "rule" in each, got one without; give the function that does the step'
            )
        super().__init__([tensor for group in groups for tensor in group["params"]], 1.0)
        self.param_groups = [
            {**group, "params": list(group["params"]), "peak": positive("lr", group["lr"]), "state": {}}
            for group in groups
        ]

    @torch.no_grad()
    def step(self) -> None:
        if any(tensor.grad is None for tensor in self.tensors):
            raise InputError(
                "step: expected a gradient for each tensor, got one without; call backward() first"
            )
        self.t += 1
        for group in self.param_groups:
            tensors = group["params"]
            group["rule"](tensors, [tensor.grad for tensor in tensors], group["state"], group["lr"])


def newton_schulz(matrix_RxC: Tensor, steps: int = 5, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """The matrix with its singular values pushed towards one, by products alone (Jordan et al. 2024). (R, C) in and out.

    With X scaled to norm 1, each step is X ← aX + b(XXᵀ)X + c(XXᵀ)²X, which maps every singular value s to
    as + bs³ + cs⁵ and leaves the singular vectors alone. The constants lift small values fast, and so do not settle
    at one, but between about 0.7 and 1.2. Raises: InputError if it is no matrix.
    """
    if matrix_RxC.ndim != 2:
        raise InputError(f"newton_schulz: expected a matrix, got shape {tuple(matrix_RxC.shape)}")
    a, b, c = NEWTON_SCHULZ
    X = matrix_RxC.to(dtype)
    tall = X.shape[0] > X.shape[1]
    if tall:  # the smaller of the two square products
        X = X.T
    X = X / X.norm().clamp(min=1e-7)
    for _ in range(steps):
        A = X @ X.T
        B = torch.addmm(A, A, A, beta=b, alpha=c)  # bA + cAA; bfloat16 then rounds once, not three times
        X = torch.addmm(X, B, X, beta=a)  # aX + BX
    return (X.T if tall else X).to(matrix_RxC.dtype)


def fraction(name: str, value: float) -> float:
    """`value` if it is in [0, 1): a share of the past that is kept. Raises: InputError."""
    if not 0 <= value < 1:
        raise InputError(f"{name}: expected 0 or more and less than 1, got {value}")
    return value
