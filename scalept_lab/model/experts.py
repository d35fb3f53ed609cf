"""Mixture of experts: many MLPs in a block, and a router that sends each token through a few of them.

    p = softmax(W x)                      the router's probabilities over E experts
    y = Σ_{e in top k} g_e · MLP_e(x)     g: the p of the chosen, divided by their sum where k > 1

Parameters grow with E, work per token with k (Shazeer et al. 2017, "Outrageously Large Neural Networks", §2). Experts that nobody
chooses learn nothing, so the load has to be kept even: by a loss (Fedus et al. 2021, "Switch Transformers", §2.2), or by a bias
that counts in the choice alone (Wang et al. 2024, "Auxiliary-Loss-Free Load Balancing", §3; DeepSeek-V3).

Shape suffixes: T tokens, E experts, k choices, C slots of an expert, D width, F hidden units of one expert.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalept_lab.checks import positive, whole
from scalept_lab.config import ModelConfig
from scalept_lab.errors import InputError


def route(
    logits: Tensor, k: int, factor: float | None = None, renormalise: bool = True, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Which experts each token goes to, with which weights, and to which place in their queues.

    logits       (T, E), the router's
    k            experts per token
    factor       capacity factor: an expert has ceil(factor · k · T / E) places; None: as many as come
    renormalise  whether the weights of a token's k experts add up to 1
    bias         (E,), added to the probabilities for the choice of experts, not for the weights

    Returns three tensors (T, k): expert, the best first; weight, its probability (softmax over all E, then
    renormalised or not); place, from 0 on, or -1 where the queue is full and the choice is dropped. All first choices queue up
    before any second choice, and within a choice the tokens come in order. A dropped choice keeps its weight.
    Raises: InputError for k above E, or a factor that is not above 0.
    """
    T, E = logits.shape
    k = whole("k", k, 1, E, "a token passes an expert once")
    probability = logits.softmax(-1)
    score = probability if bias is None else probability + bias
    expert = score.topk(k, dim=-1).indices
    weight = probability.gather(-1, expert)
    if renormalise:
        weight = weight / weight.sum(-1, keepdim=True)
    queue = expert.T.flatten()
    came = F.one_hot(queue, E).cumsum(0)
    place = came.gather(-1, queue[:, None]).view(k, T).T - 1
    if factor is not None:
        places = math.ceil(positive("factor", factor) * k * T / E)
        place = place.masked_fill(place >= places, -1)
    return expert, weight, place


def apply_experts(
    x_TxD: Tensor, expert_Txk: Tensor, weight_Txk: Tensor, place_Txk: Tensor, up_ExDxF: Tensor, down_ExFxD: Tensor
) -> Tensor:  # fmt: skip
    """Σ over a token's experts of weight · MLP_e(x): each expert's tokens lie in its own slots, and all experts multiply at once.

    Where some queues are shorter than others, their slots stay empty and are multiplied all the same.
    """
    kept_Txk = place_Txk >= 0
    token, choice = kept_Txk.nonzero(as_tuple=True)
    expert, place = expert_Txk[token, choice], place_Txk[token, choice]
    slots = int(place.max()) + 1 if len(place) else 0
    x_ExCxD = x_TxD.new_zeros(len(up_ExDxF), slots, x_TxD.shape[1]).index_put((expert, place), x_TxD[token])
    y_ExCxD = F.gelu(x_ExCxD @ up_ExDxF, approximate="tanh") @ down_ExFxD
    weighted = weight_Txk[token, choice][:, None] * y_ExCxD[expert, place]
    return torch.zeros_like(x_TxD).index_add(0, token, weighted.to(x_TxD.dtype))


class MoE(nn.Module):
    """A block's MLP as a mixture of experts, a drop-in for `transformer.MLP`.

    One chosen expert keeps its probability as its weight: renormalised it would be 1 whatever the router says, and the router
    would get no gradient.
    """

    bias: Tensor

    def __init__(self, config: ModelConfig):
        super().__init__()
        assert config.experts is not None
        self.config, E = config.experts, config.experts.number
        D, F_ = config.width, config.mlp_ratio * config.width
        self.router = nn.Linear(D, E, bias=False)
        self.up = nn.Parameter(torch.randn(E, D, F_) / math.sqrt(D))
        self.down = nn.Parameter(torch.randn(E, F_, D) / math.sqrt(F_))
        self.register_buffer("bias", torch.zeros(E))
        self.auxiliary: Tensor | None = None  # of the last training pass, until `auxiliary_loss` takes it

    def routed(self, logits_TxE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        config = self.config
        return route(logits_TxE, config.active, config.capacity, config.active > 1, self.bias)

    def forward(self, x_BxLxD: Tensor) -> Tensor:
        x_TxD = x_BxLxD.flatten(0, 1)
        logits_TxE = self.router(x_TxD).float()
        expert_Txk, weight_Txk, place_Txk = self.routed(logits_TxE)
        if torch.is_grad_enabled():
            self._balance(logits_TxE, expert_Txk)
        return apply_experts(x_TxD, expert_Txk, weight_Txk, place_Txk, self.up, self.down).view_as(x_BxLxD)

    def _balance(self, logits_TxE: Tensor, expert_Txk: Tensor) -> None:
        if self.config.balance == "auxiliary":
            self.auxiliary = self.config.strength * balance_loss(logits_TxE, expert_Txk)
        elif self.config.balance == "bias":  # from the next pass on
            with torch.no_grad():
                self.bias += self.config.strength * torch.sign(1 - relative_load(expert_Txk, len(self.bias)))


def relative_load(expert_Txk: Tensor, experts: int) -> Tensor:
    """(E,): choices of each expert over their mean; 1 where the load is even."""
    load_E = torch.bincount(expert_Txk.flatten(), minlength=experts).float()
    return load_E / load_E.mean()


def balance_loss(logits_TxE: Tensor, expert_Txk: Tensor) -> Tensor:
    """E · Σ_e f_e · P_e: f the share of all choices that fell on an expert, P its mean probability (Fedus et al. 2021, eq. 4).

    1 where both are even, up to E where all falls on one. Choices have no gradient; it comes through P.
    """
    E = logits_TxE.shape[1]
    return (relative_load(expert_Txk, E) * logits_TxE.softmax(-1).mean(0)).sum()


def auxiliary_loss(model: nn.Module) -> Tensor | float:
    """The balance losses of all layers in the last training pass, weighted and added up; taken once. 0 where there is none."""
    total: Tensor | float = 0.0
    for layer in (module for module in model.modules() if isinstance(module, MoE)):
        if layer.auxiliary is not None:
            total, layer.auxiliary = total + layer.auxiliary, None
    return total


@torch.no_grad()
def router_logits(model: nn.Module, tokens_BxL: Tensor) -> Tensor:
    """What every router of a model says about a batch: logits (layers, T, E). Raises: InputError for a model without experts."""
    layers, found = [module for module in model.modules() if isinstance(module, MoE)], []
    if not layers:
        raise InputError("model: expected one with experts (ModelConfig.experts), got a dense one")
    hooks = [
        layer.router.register_forward_hook(lambda _, __, logits: found.append(logits)) for layer in layers
    ]
    try:
        model(tokens_BxL.to(layers[0].up.device))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(found)


@torch.no_grad()
def loads(model: nn.Module, tokens_BxL: Tensor) -> Tensor:
    """Choices that fell on each expert over their mean, (layers, E): 1 everywhere is an even load.

    Raises: InputError for a model without experts.
    """
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    logits = router_logits(model, tokens_BxL)
    return torch.stack([
        relative_load(layer.routed(logits_TxE.float())[0], layer.config.number)
        for layer, logits_TxE in zip(layers, logits, strict=True)
    ])  # fmt: skip


def need_dense(config: ModelConfig, what: str) -> None:
    """For what knows the dense block alone. Raises: InputError for a model with experts."""
    if config.experts:
        raise InputError(
            f"model: {what} expects a dense model, got one with {config.experts.number} experts; take one without"
        )
