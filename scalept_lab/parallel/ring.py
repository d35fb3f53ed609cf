"""Ring attention: one sequence on many ranks. Queries stay where they are; keys and values travel round.

    places = ring.zigzag(length, ranks)          # which positions each rank holds
    mixed = ring.attention(q, k, v, places)      # on every rank, with the rows of its own positions

After n − 1 hops every query has met every key, and no rank ever held more than one block of scores. What makes it exact is the
softmax over blocks, which keeps a running maximum and a running sum (Milakov & Gimelshein 2018, §3); the ring is Liu, Zaharia
& Abbeel 2023, §3. The backward pass computes the blocks of scores again from what the forward pass kept of each row: the
logarithm of its sum (Dao 2023, §3.1). Gradients of keys and values travel with their block, one hop more than it, to come home.

Shape suffixes as in `model.transformer`; L counts this rank's positions, J those of the block that is visiting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from scalept_lab.checks import whole
from scalept_lab.errors import InputError
from scalept_lab.model.transformer import Transformer
from scalept_lab.parallel.spread import everybody, many, rank, world

State = tuple[Tensor, Tensor, Tensor]


# --- who holds which positions


def contiguous(length: int, ranks: int) -> list[Tensor]:
    """Positions of each rank: the first `length / ranks` on rank 0, and so on. Raises: InputError if they do not divide."""
    return list(torch.arange(_divided(length, ranks)).chunk(ranks))


def zigzag(length: int, ranks: int) -> list[Tensor]:
    """Two pieces for each rank, one from the front and its mirror image from the back, so that all see equally many keys.

    Raises: InputError if the length is no multiple of twice the ranks.
    """
    pieces = torch.arange(_divided(length, ranks, pieces=2)).chunk(2 * ranks)
    return [torch.cat([pieces[r], pieces[-1 - r]]) for r in range(ranks)]


def visible_pairs(places: Sequence[Tensor]) -> list[list[int]]:
    """How many pairs of query and key are not masked: a row for each step of the ring, a column for each rank."""
    ranks = len(places)
    return [
        [int(_visible(places[r], places[(r - step) % ranks]).sum()) for r in range(ranks)]
        for step in range(ranks)
    ]


def _visible(mine_L: Tensor, theirs_J: Tensor) -> Tensor:
    """(L, J): a query sees the keys at its own position and before. What counts is the place in the whole sequence."""
    return theirs_J[None, :] <= mine_L[:, None]


def _divided(length: int, ranks: int, pieces: int = 1) -> int:
    length, ranks = whole("length", length), whole("ranks", ranks)
    if length % (pieces * ranks):
        shares = "two equal pieces each" if pieces == 2 else "equal shares"
        raise InputError(
            f"length: expected a multiple of {pieces * ranks}, so that {ranks} ranks hold {shares}, got {length}; "
            "pad the sequence or take fewer ranks"
        )
    return length


# --- the softmax over blocks


def nothing_seen(q_BxHxLxK: Tensor) -> State:
    """What is known of each row before the first block: maximum −∞, sum 0, weighted sum of values 0."""
    highest_BxHxL = torch.full_like(q_BxHxLxK[..., 0], -math.inf)
    return highest_BxHxL, torch.zeros_like(highest_BxHxL), torch.zeros_like(q_BxHxLxK)


def absorb(
    state: State, q_BxHxLxK: Tensor, k_BxHxJxK: Tensor, v_BxHxJxK: Tensor, visible_LxJ: Tensor
) -> State:
    """The state after one more block of keys and values: what was summed before is rescaled to the new maximum."""
    highest_BxHxL, total_BxHxL, mixed_BxHxLxK = state
    scores_BxHxLxJ = q_BxHxLxK @ k_BxHxJxK.transpose(-2, -1) / math.sqrt(q_BxHxLxK.shape[-1])
    scores_BxHxLxJ = scores_BxHxLxJ.masked_fill(~visible_LxJ, -math.inf)
    new_BxHxL = torch.maximum(highest_BxHxL, scores_BxHxLxJ.amax(dim=-1))
    # a row that has seen no key yet would compute −∞ − (−∞)
    safe_BxHxL = new_BxHxL.masked_fill(new_BxHxL == -math.inf, 0.0)
    weights_BxHxLxJ = torch.exp(scores_BxHxLxJ - safe_BxHxL[..., None])
    rescale_BxHxL = torch.exp(highest_BxHxL - safe_BxHxL)
    total_BxHxL = total_BxHxL * rescale_BxHxL + weights_BxHxLxJ.sum(dim=-1)
    mixed_BxHxLxK = mixed_BxHxLxK * rescale_BxHxL[..., None] + weights_BxHxLxJ @ v_BxHxJxK
    return new_BxHxL, total_BxHxL, mixed_BxHxLxK


# --- the ring


def shift(tensor: Tensor) -> Tensor:
    """Send a tensor to the next rank and return what the rank before sent: one hop, which all ranks make at once."""
    tensor, arriving = tensor.contiguous(), torch.empty_like(tensor, memory_format=torch.contiguous_format)
    if not many() or world() == 1:
        return tensor
    send = dist.P2POp(dist.isend, tensor, (rank() + 1) % world())
    receive = dist.P2POp(dist.irecv, arriving, (rank() - 1) % world())
    for hop in dist.batch_isend_irecv([send, receive]):
        hop.wait()
    return arriving


def forward(
    q_BxHxLxK: Tensor, k_BxHxLxK: Tensor, v_BxHxLxK: Tensor, places: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Attention of this rank's queries over the whole sequence, and the logarithm of each row's sum (B, H, L).

    Keys and values travel as one tensor: n − 1 messages of 2·B·H·L·K numbers from each rank.
    """
    state, kv = nothing_seen(q_BxHxLxK), torch.stack([k_BxHxLxK, v_BxHxLxK])
    for step in range(len(places)):
        theirs = places[(rank() - step) % len(places)]  # the block that is here has come `step` ranks far
        state = absorb(state, q_BxHxLxK, kv[0], kv[1], _visible(places[rank()], theirs))
        if step < len(places) - 1:
            kv = shift(kv)
    highest_BxHxL, total_BxHxL, mixed_BxHxLxK = state
    return mixed_BxHxLxK / total_BxHxL[..., None], highest_BxHxL + total_BxHxL.log()


def backward(
    grad_BxHxLxK: Tensor, q_BxHxLxK: Tensor, k_BxHxLxK: Tensor, v_BxHxLxK: Tensor,
    mixed_BxHxLxK: Tensor, logsum_BxHxL: Tensor, places: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of this rank's queries, keys and values, from that of the result.

    n − 1 messages with keys and values as in the forward pass, and n with their gradients.
    """
    scale = 1 / math.sqrt(q_BxHxLxK.shape[-1])
    kv = torch.stack([k_BxHxLxK, v_BxHxLxK])
    dq_BxHxLxK, dkv = torch.zeros_like(q_BxHxLxK), torch.zeros_like(kv)
    inner_BxHxLx1 = (grad_BxHxLxK * mixed_BxHxLxK).sum(dim=-1, keepdim=True)
    for step in range(len(places)):
        k, v = kv
        visible_LxJ = _visible(places[rank()], places[(rank() - step) % len(places)])
        scores_BxHxLxJ = (q_BxHxLxK @ k.transpose(-2, -1) * scale).masked_fill(~visible_LxJ, -math.inf)
        weights_BxHxLxJ = torch.exp(scores_BxHxLxJ - logsum_BxHxL[..., None])
        dscores_BxHxLxJ = weights_BxHxLxJ * (grad_BxHxLxK @ v.transpose(-2, -1) - inner_BxHxLx1) * scale
        dq_BxHxLxK += dscores_BxHxLxJ @ k
        dkv[0] += dscores_BxHxLxJ.transpose(-2, -1) @ q_BxHxLxK
        dkv[1] += weights_BxHxLxJ.transpose(-2, -1) @ grad_BxHxLxK
        dkv = shift(dkv)  # after the last step, too: that hop takes them home
        if step < len(places) - 1:
            kv = shift(kv)
    return dq_BxHxLxK, dkv[0], dkv[1]


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, places: Any, ahead: Callable, back: Callable
    ) -> Tensor:
        mixed, logsum = ahead(q, k, v, places)
        ctx.save_for_backward(q, k, v, mixed, logsum)
        ctx.places, ctx.back = places, back
        return mixed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return (*ctx.back(grad, *ctx.saved_tensors, ctx.places), None, None, None)


def attention(
    q_BxHxLxK: Tensor, k_BxHxLxK: Tensor, v_BxHxLxK: Tensor, places: Sequence[Tensor],
    forward: Callable[..., tuple[Tensor, Tensor]] = forward,
    backward: Callable[..., tuple[Tensor, Tensor, Tensor]] = backward,
) -> Tensor:  # fmt: skip
    """Causal attention over a sequence that the ranks share; every rank calls it with its rows, in the order of its places.

    Autograd goes through it. `forward` and `backward`: other functions that do what those of this module do.
    Raises: InputError on every rank if the places are not those of this group, or one rank brings another shape.
    """
    shapes = [tuple(tensor.shape) for tensor in (q_BxHxLxK, k_BxHxLxK, v_BxHxLxK)]
    told = everybody((_unfit(shapes, places), shapes[0], str(q_BxHxLxK.dtype).removeprefix("torch.")))
    for r, (fault, *one) in enumerate(told):
        if fault or one != list(told[0][1:]):
            raise InputError(
                fault
                or f"ring: expected one shape on all ranks, got {_shape(one)} on rank {r} and {_shape(told[0][1:])} on "
                "rank 0; give each rank as many sequences, heads and positions"
            )
    there = [place.to(q_BxHxLxK.device) for place in places]
    return _Ring.apply(q_BxHxLxK, k_BxHxLxK, v_BxHxLxK, there, forward, backward)


def _unfit(shapes: Sequence[tuple[int, ...]], places: Sequence[Tensor]) -> str | None:
    """What is wrong on this rank."""
    if len(places) != world():
        return f"places: expected the positions of {world()} ranks, got those of {len(places)}; deal them out again"
    if len(set(shapes)) > 1 or len(shapes[0]) < 2:
        return f"ring: expected q, k and v of one shape (…, positions, head size), got {', '.join(map(str, shapes))}"
    if shapes[0][-2] != len(places[rank()]):
        return (
            f"ring: expected the {len(places[rank()])} positions that rank {rank()} holds, got {shapes[0][-2]} rows; "
            "take the rows `places[rank]` of the sequence"
        )
    return None


def _shape(told: Sequence[Any]) -> str:
    return f"{'×'.join(map(str, told[0]))} {told[1]}"


def split(model: Transformer, places: Sequence[Tensor], **how: Any) -> Transformer:
    """Let a `Transformer` read this rank's positions only: attention goes round the ring, all else is local anyway.

    The weights stay whole on every rank; average their gradients over the ranks. `how` goes to `attention`. The model is
    changed and returned. Raises: InputError if it is no causal one with rotary positions, or not of this length.
    """
    config = model.config
    length = sum(map(len, places))
    if not config.causal or config.positions != "rotary" or config.context != length:
        raise InputError(
            f"model: expected a causal one with rotary positions and a context of {length}, got "
            f"{'causal' if config.causal else 'not causal'}, {config.positions}, {config.context}"
        )
    mine = places[rank()].to(model.cos.device)
    model.cos, model.sin = model.cos[mine], model.sin[mine]
    for block in model.blocks:
        block.attention.mix = partial(attention, places=places, **how)  # type: ignore[union-attr]
    return model
