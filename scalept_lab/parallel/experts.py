"""Expert parallelism: each rank holds some of a layer's experts, and its tokens travel to the experts that they chose.

    counts     all-to-all of how many rows go to each expert      E integers a rank
    dispatch   all-to-all of the rows, sorted by expert           k rows of D for each token
    experts    every rank: its own experts on what has arrived
    combine    all-to-all of the results, the same way back       k rows of D for each token

Lepikhin et al. 2020, "GShard" (§3.2); every choice is served, however many an expert gets, so that the sizes of the messages are
known only once the counts have arrived. The backward pass sends the gradients of both the other way: as many bytes once more.
`scalept_lab.costs.traffic.expert_parallel` has the formula.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributed as dist
from torch.distributed.nn.functional import all_to_all_single

from scalept_lab.errors import InputError


def expert_parallel(x: Tensor, expert: Tensor, weight: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """A layer of experts that is spread over the ranks: for this rank's tokens, the weighted sum over their experts.

    x       (T, D), this rank's tokens; T may differ between ranks
    expert  (T, k), which of all E experts each token goes to; weight (T, k)
    up      (E/n, D, F) and down (E/n, F, D), the experts of this rank: rank 0 has the first E/n, and so on
    Returns (T, D): Σ weight · gelu(x up) down. Differentiable in x, weight, up and down. Every rank has to call it.
    """
    check(x, expert, weight, up, down)
    tokens, chosen = (
        torch.arange(len(x), device=x.device).repeat_interleave(expert.shape[1]),
        expert.flatten(),
    )
    ranks, mine = dist.get_world_size(), len(up)
    order = chosen.argsort(stable=True)
    leaving = torch.bincount(chosen, minlength=ranks * mine)
    coming = torch.empty_like(leaving)
    dist.all_to_all_single(coming, leaving)
    send = leaving.view(ranks, mine).sum(1).tolist()
    receive = coming.view(ranks, mine).sum(1).tolist()
    rows = x[tokens[order]]
    arrived = all_to_all_single(rows.new_empty(sum(receive), x.shape[1]), rows, receive, send)
    which = torch.arange(mine, device=x.device).repeat(ranks).repeat_interleave(coming)
    done = torch.zeros_like(arrived)
    for e in range(mine):
        at = (which == e).nonzero()[:, 0]
        done = done.index_add(0, at, F.gelu(arrived[at] @ up[e], approximate="tanh") @ down[e])
    back = all_to_all_single(torch.empty_like(rows), done, send, receive)
    return torch.zeros_like(x).index_add(0, tokens[order], weight.flatten()[order, None] * back)


def check(x: Tensor, expert: Tensor, weight: Tensor, up: Tensor, down: Tensor) -> None:
    """Whether `expert_parallel` can take these, before any rank waits for another. Raises: InputError."""
    ranks = dist.get_world_size()
    if expert.shape != weight.shape or len(expert) != len(x):
        raise InputError(
            f"expert: expected a row for each of the {len(x)} tokens and a weight for each choice, got experts "
            f"{tuple(expert.shape)} and weights {tuple(weight.shape)}"
        )
    if len(up) != len(down) or up.shape[1] != x.shape[1]:
        raise InputError(
            f"up: expected experts for rows of {x.shape[1]}, got up {tuple(up.shape)} and down {tuple(down.shape)}"
        )
    if expert.numel() and not 0 <= int(expert.min()) <= int(expert.max()) < ranks * len(up):
        raise InputError(
            f"expert: expected numbers from 0 to {ranks * len(up) - 1}, since {ranks} ranks hold {len(up)} experts each, got "
            f"{int(expert.min())} to {int(expert.max())}"
        )


def shared(experts: int, rank: int, ranks: int) -> slice:
    """Which of a layer's experts a rank holds. Raises: InputError where they cannot be shared evenly."""
    if experts % ranks:
        raise InputError(
            f"experts: {experts} cannot be shared evenly by {ranks} ranks; take a multiple of {ranks}, or fewer ranks"
        )
    return slice(rank * experts // ranks, (rank + 1) * experts // ranks)
