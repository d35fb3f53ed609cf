"""Exercises of notebook 12: a softmax over blocks, attention in a ring and its gradients, fair shares, heads for positions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from scalept_lab.course.answers import UNANSWERED, Verdict, judged, number
from scalept_lab.course.equal import difference, plain
from scalept_lab.course.exercises import Exercise
from scalept_lab.course.ranks import ranked
from scalept_lab.course.sets import nb12_experts
from scalept_lab.course.sets.pieces import skeleton, slips, source

if TYPE_CHECKING:
    from torch import Tensor

MATHS = "import math\n\n\n"
OR_YOURS = "# ring.absorb is the kit's; yours does the same\n"


def _kits(name: str) -> Any:
    """A piece of the kit's ring, which loads torch only when it is asked for."""
    from scalept_lab.parallel import ring

    return getattr(ring, name)


# --- 12.1: the softmax over blocks ----------------------------------------------------------------------------


def absorb(state, q, k, v, visible):
    """One more block of keys and values. q: (…, L, K) queries; k, v: (…, J, K); visible: (L, J), True where a query sees a key.

    state: three tensors, of what came before: the largest score of each row (…, L), the sum of exp(score − largest) (…, L), and
    the sum of exp(score − largest) · value (…, L, K). At the start they are −∞, 0 and 0. Returns the three, brought up to date.
    """
    import torch

    largest, total, mixed = state
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(~visible, -math.inf)
    new = torch.maximum(largest, scores.amax(dim=-1))
    safe = new.masked_fill(new == -math.inf, 0.0)
    weights = torch.exp(scores - safe[..., None])
    rescale = torch.exp(largest - safe)
    total = total * rescale + weights.sum(dim=-1)
    mixed = mixed * rescale[..., None] + weights @ v
    return new, total, mixed


_ABSORB, _ABSORB_WRONG = slips(
    absorb,
    ("rescale = torch.exp(largest - safe)", "rescale = torch.ones_like(total)", "measured from the old maximum",
     "the sums of earlier blocks were measured from the old maximum: rescale them when it rises."),
    ("total * rescale", "total", "the weighted sum alone", "you rescale the weighted sum alone: the sum of the weights was "
     "measured from the old maximum, too."),
    ("torch.maximum(largest, scores.amax(dim=-1))", "scores.amax(dim=-1)", "is not carried on",
     "the maximum is not carried on: it is the largest score of all blocks so far, not of this one."),
    ("math.sqrt(q.shape[-1])", "q.shape[-1]", "applied twice", "the scale is applied twice: scores are divided by √d, once."),
    (" / math.sqrt(q.shape[-1])", "", "are not scaled",
     "the scores are not scaled: divide them by √d, d being the size of a head."),
    ("masked_fill(~visible, -math.inf)", "masked_fill(~visible, 0.0)", "exp(0 −",
     "a hidden key with score 0 still gets the weight exp(0 − maximum); its weight has to be 0."),
    ("masked_fill(~visible", "masked_fill(visible", "the other way round", "the mask is the other way round: `visible` is "
     "True where a query "
     "may look."),
    ("safe = new.masked_fill(new == -math.inf, 0.0)", "safe = new", "−∞ − (−∞)",
     "a row that has seen no key yet has the maximum −∞, and −∞ − (−∞) is no number. Subtract 0 there."),
    ("new = torch.maximum(largest, scores.amax(dim=-1))", "new = torch.zeros_like(largest)", "overflows",
     "without the maximum exp overflows as soon as scores are large."),
)  # fmt: skip


@lru_cache
def _folds() -> list[tuple[str, list[Tensor], Tensor, list[slice]]]:
    """(name, q k v, mask, the blocks of keys in the order in which they come)."""
    import torch

    torch.manual_seed(12)
    q, k, v = (torch.randn(2, 12, 4) for _ in range(3))
    causal = torch.ones(12, 12).tril().bool()
    thirds = [slice(0, 4), slice(4, 8), slice(8, 12)]
    return [
        ("one block", [q, k, v], causal, [slice(0, 12)]),
        ("three blocks", [q, k, v], torch.ones(12, 12).bool(), thirds),
        ("scores near 200", [20 * q, 10 * k, v], causal, thirds),
        ("rows that see nothing at first", [q, k, v], causal, thirds[::-1]),
    ]


def _folded(answer: Callable, parts: Sequence[Tensor], mask: Tensor, blocks: Sequence[slice]) -> Any:
    """The result of attention and the logarithm of each row's sum, by folding block after block."""
    q, k, v = (part.clone() for part in parts)
    state = _kits("nothing_seen")(q)
    for block in blocks:
        state = answer(state, q, k[:, block], v[:, block], mask[:, block])
        if state is None or state is ...:
            return None
    largest, total, mixed = state
    return mixed / total[..., None], largest + total.log()


def _judge_absorb(answer: Callable) -> Verdict:
    found: list[Any] = []
    rows: list[tuple[str, str, bool]] = []
    for name, (q, k, v), mask, blocks in _folds():
        try:
            found.append(_folded(answer, (q, k, v), mask, blocks))
        except (TypeError, ValueError) as error:
            if "unpack" in str(error) or "iterable" in str(error):
                return Verdict(
                    False,
                    "return three tensors: the new largest scores, sums and weighted sums.",
                    rows=tuple(rows),
                )
            raise
        if found[-1] is None:
            return UNANSWERED
        scores = (q @ k.transpose(-2, -1) / 2).masked_fill(~mask, -math.inf)
        off = difference(found[-1], (scores.softmax(-1) @ v, scores.logsumexp(-1)), 1e-5, 1e-5)
        rows.append((name, off or "agrees", not off))
    if all(ok for *_, ok in rows):
        return Verdict(
            True,
            "Whatever the blocks and their order: it is the softmax of all scores at once.",
            rows=tuple(rows),
        )
    for wrong, text in _ABSORB:
        theirs = [_folded(wrong, *case[1:]) for case in _folds()]
        if not any(_unlike(*pair) for pair in zip(found, theirs, strict=True)):
            return Verdict(False, text, rows=tuple(rows))
    case, off, _ = next(row for row in rows if not row[2])
    return Verdict(False, f"{case}: {off}.", rows=tuple(rows))


def _unlike(mine: Any, theirs: Any) -> bool:
    """Whether two wrong results differ; where neither is a number they do not."""
    import torch

    return not all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True) for a, b in zip(mine, theirs, strict=True)
    )


ABSORB = Exercise(
    id="12.1",
    kind="build",
    minutes=18,
    difficulty=3,
    question="Write absorb(state, q, k, v, visible): bring the running maximum, the running sum and the running weighted "
    "sum of values "
    "of each row up to date with one more block of keys and values.",
    check=judged(_judge_absorb, wanted="block after block, the softmax attention of all keys, to 1e-5"),
    hints=(
        "Scores first, −∞ where a query may not look. The new maximum is the larger of the old one and that of this block.",
        "Sums that were measured from the old maximum become sums from the new one by the factor exp(old − new).",
        "Both sums: old · factor + what this block adds. Where the new maximum is still −∞, subtract 0 instead of it, or "
        "you get "
        "−∞ − (−∞).",
    ),
    skeleton=skeleton(absorb),
    own=lambda: _kits("absorb"),
    solution=source(absorb, MATHS),
    wrong=_ABSORB_WRONG,
    placeholder=lambda state, q, k, v, visible: ...,
)


# --- 12.2 and 12.3: the ring ----------------------------------------------------------------------------------


def ring_forward(q, k, v, places):
    """Causal attention over a sequence that the ranks share. q, k, v: (B, H, L, K), the rows of this rank's positions.

    places: for each rank the positions that it holds, a tensor (L,). Keys and values travel as one stacked tensor, n − 1 hops.
    Returns the result (B, H, L, K), and the logarithm of the sum of exp(score) of each row (B, H, L).
    """
    import torch
    import torch.distributed as dist

    from scalept_lab.parallel import ring

    rank, ranks = dist.get_rank(), dist.get_world_size()
    state = ring.nothing_seen(q)
    kv = torch.stack([k, v])
    for step in range(ranks):
        theirs = places[(rank - step) % ranks]
        visible = theirs[None, :] <= places[rank][:, None]
        state = ring.absorb(state, q, kv[0], kv[1], visible)
        if step < ranks - 1:
            kv = ring.shift(kv)
    largest, total, mixed = state
    return mixed / total[..., None], largest + total.log()


def ring_backward(grad, q, k, v, out, logsum, places):
    """Gradients of q, k and v, from `grad` (B, H, L, K), that of the result `out`; `logsum` (B, H, L) is what ring_forward kept.

    Keys and values travel as one stacked tensor, n − 1 hops; their gradients as another one, n hops, so that they end at home.
    Returns three tensors (B, H, L, K).
    """
    import torch
    import torch.distributed as dist

    from scalept_lab.parallel import ring

    rank, ranks = dist.get_rank(), dist.get_world_size()
    scale = 1 / math.sqrt(q.shape[-1])
    kv = torch.stack([k, v])
    dkv = torch.zeros_like(kv)
    dq = torch.zeros_like(q)
    inner = (grad * out).sum(dim=-1, keepdim=True)
    for step in range(ranks):
        k, v = kv
        visible = places[(rank - step) % ranks][None, :] <= places[rank][:, None]
        scores = (q @ k.transpose(-2, -1) * scale).masked_fill(~visible, -math.inf)
        weights = torch.exp(scores - logsum[..., None])
        dscores = weights * (grad @ v.transpose(-2, -1) - inner) * scale
        dq += dscores @ k
        dkv[0] += dscores.transpose(-2, -1) @ q
        dkv[1] += weights.transpose(-2, -1) @ grad
        dkv = ring.shift(dkv)
        if step < ranks - 1:
            kv = ring.shift(kv)
    return dq, dkv[0], dkv[1]


LENGTH, HEADS, SIZE = 24, 4, 4  # of the cases
# Both in one launch. Of two ranks the one before is the one after, and a ring of three is the smallest that has a direction.
CASES = [(3, "contiguous"), (3, "zigzag")]
NAMES = ("3 ranks, consecutive positions", "3 ranks, zigzag")


@lru_cache
def _whole() -> list[Tensor]:
    """q, k, v and the gradient of the result, of the whole sequence; then what one process makes of them."""
    import torch

    torch.manual_seed(122)
    q, k, v, grad = (torch.randn(1, HEADS, LENGTH, SIZE) for _ in range(4))
    leaves = [part.double().requires_grad_() for part in (q, k, v)]
    scores = leaves[0] @ leaves[1].transpose(-2, -1) / math.sqrt(SIZE)
    scores = scores.masked_fill(torch.ones(LENGTH, LENGTH).triu(1).bool(), -math.inf)
    out = scores.softmax(-1) @ leaves[2]
    out.backward(grad)
    grads = [leaf.grad.float() for leaf in leaves]  # type: ignore[union-attr]
    return [q, k, v, grad, out.detach().float(), scores.logsumexp(-1).detach().float(), *grads]


def _rows(rank: int, ranks: int, how: str) -> tuple[list[Tensor], list[Tensor]]:
    """The rows of one rank, and the places of all."""
    places = _kits(how)(LENGTH, ranks)
    return [part[:, :, places[rank]] for part in _whole()], places


def _ahead(rank: int, ranks: int, how: str) -> tuple:
    mine, places = _rows(rank, ranks, how)
    return (*mine[:3], places)


def _back(rank: int, ranks: int, how: str) -> tuple:
    mine, places = _rows(rank, ranks, how)
    q, k, v, grad, out, logsum, *_ = mine
    return grad, q, k, v, out, logsum, places


def _of_one_process(ranks: int, inputs: Any, which: slice) -> list[tuple[Tensor, ...]]:
    return [tuple(_rows(rank, ranks, inputs.keywords["how"])[0][which]) for rank in range(ranks)]


def _hops(ranks: int, inputs: Any, hops: Callable[[int], int]) -> dict[str, tuple[int, int]]:
    each = 2 * 4 * HEADS * LENGTH // ranks * SIZE
    return {"point_to_point": (hops(ranks), hops(ranks) * each)}


def _cases(inputs: Callable) -> list[tuple[int, Any]]:
    return [(ranks, partial(inputs, how=how)) for ranks, how in CASES]


_FORWARD, _FORWARD_WRONG = slips(
    ring_forward,
    ("theirs = places[(rank - step) % ranks]", "theirs = places[rank]", "forgets the ring",
     "the mask forgets the ring: it has to be made from the positions of the block that is here now, not from your own."),
    ("(rank - step)", "(rank + step)", "from the rank before",
     "blocks come from the rank before: after s hops the block of rank r − s is here, not that of r + s."),
    ("if step < ranks - 1:", "if step < ranks:", "one hop too many",
     "one hop too many: after n − 1 hops every block has been everywhere."),
    ("for step in range(ranks):", "for step in range(ranks - 1):", "one block is missing",
     "one block is missing: n − 1 hops bring n blocks, your own included."),
    ("mixed / total[..., None]", "mixed", "not divided", "the weighted sum is not divided by the sum of the weights."),
    ("theirs[None, :] <= ", "theirs[None, :] < ", "its own position", "a query sees the key at its own position as well."),
)  # fmt: skip

FORWARD = Exercise(
    id="12.2",
    kind="build",
    minutes=20,
    difficulty=3,
    question="Write ring_forward(q, k, v, places): each rank keeps its queries, and keys and values travel round the "
    "ring, stacked "
    "into one tensor, in n − 1 hops.",
    check=ranked(
        partial(_of_one_process, which=slice(4, 6)), _cases(_ahead), names=NAMES, rel=1e-5, abs=1e-5,
        ledger=partial(_hops, hops=lambda n: n - 1), diagnoses=_FORWARD,
        right="No rank ever held more than one block of scores.",
    ),
    hints=(
        "Begin with your own block. In each step: absorb the block that is here, then pass it on, except after the last.",
        "After s hops rank r holds the block of rank r − s (modulo n). A query at position i sees the keys at positions j "
        "≤ i: compare "
        "the two lists of positions.",
        "state = nothing_seen(q), and kv the stack of k and v. In each of n steps make `visible` (L, J) from places[(rank "
        "− step) % n] and "
        "places[rank], absorb, and shift kv in all but the last. At the end divide, and add the logarithm of the sum to "
        "the maximum.",
    ),
    skeleton=skeleton(ring_forward),
    own=lambda: _kits("forward"),
    solution=source(ring_forward, OR_YOURS),
    wrong=_FORWARD_WRONG[:3],  # each costs two launches; a test of its own tells all of them apart in one
    placeholder=lambda q, k, v, places: ...,
)  # fmt: skip


_BACKWARD, _BACKWARD_WRONG = slips(
    ring_backward,
    ("        dkv = ring.shift(dkv)\n        if step < ranks - 1:\n",
     "        if step < ranks - 1:\n            dkv = ring.shift(dkv)\n",
     "one hop short", "the gradients of keys and values are one hop short of home: they travel n hops, one more than "
     "their block."),
    ("        dkv = ring.shift(dkv)\n", "", "stay behind",
     "the gradients of keys and values stay behind: they belong to the block, so they travel with it."),
    ("- inner) * scale", "- inner)", "scale is missing",
     "scores are products times 1/√d, so their gradient hands that factor on: the scale is missing."),
    ("* (grad @ v.transpose(-2, -1) - inner)", "* (grad @ v.transpose(-2, -1))", "the softmax's derivative",
     "the softmax's derivative has a second term: each weight also lowers all others of its row, by the sum of grad · out."),
    ("places[(rank - step) % ranks][None, :]", "places[rank][None, :]", "forgets the ring",
     "the mask forgets the ring: it has to be made from the positions of the block that is here now."),
    (".masked_fill(~visible, -math.inf)", "", "without the mask", "the scores are made again without the mask."),
    ("dkv[1] += weights.transpose(-2, -1) @ grad", "dkv[1] += weights.transpose(-2, -1) @ out", "of the result itself",
     "the gradient of the values is made of `grad`, not of the result itself."),
)  # fmt: skip

BACKWARD = Exercise(
    id="12.3",
    kind="build",
    minutes=25,
    difficulty=4,
    question="Write ring_backward(grad, q, k, v, out, logsum, places): the gradients of q, k and v, by sending keys and "
    "values round once "
    "more, and the gradients of keys and values with them until they are home.",
    check=ranked(
        partial(_of_one_process, which=slice(6, 9)), _cases(_back), names=NAMES, rel=1e-5, abs=1e-5,
        ledger=partial(_hops, hops=lambda n: 2 * n - 1), diagnoses=_BACKWARD,
        right="Autograd of one process finds the same three gradients.",
    ),
    hints=(
        "The weights of a block come back without a maximum: exp(score − logsum) is the softmax over all keys.",
        "With P the weights of a block: dV = Pᵀ grad, dP = grad Vᵀ, dS = P · (dP − the row's sum of grad · out), then dQ "
        "= dS K / √d "
        "and dK = dSᵀ Q / √d.",
        "dQ is added up at home. dK and dV are added to what travels with the block; shift them after every step, the "
        "last one included, "
        "and keys and values after every step but the last.",
    ),
    skeleton=skeleton(ring_backward),
    own=lambda: _kits("backward"),
    solution=source(ring_backward, MATHS),
    wrong=_BACKWARD_WRONG[:3],
    placeholder=lambda grad, q, k, v, out, logsum, places: ...,
)  # fmt: skip


# --- 12.4: fair shares ----------------------------------------------------------------------------------------


def deal(length, ranks):
    """length: positions, a multiple of 2 · ranks. Returns for each rank the list of the positions that it holds, all as long."""
    size = length // (2 * ranks)
    pieces = [list(range(size * i, size * (i + 1))) for i in range(2 * ranks)]
    return [pieces[rank] + pieces[2 * ranks - 1 - rank] for rank in range(ranks)]


def _consecutive(length, ranks):
    return [list(range(length // ranks * rank, length // ranks * (rank + 1))) for rank in range(ranks)]


def _front_and_back(length, ranks):
    size = length // (2 * ranks)
    pieces = [list(range(size * i, size * (i + 1))) for i in range(2 * ranks)]
    return [pieces[rank] + pieces[ranks + rank] for rank in range(ranks)]


def _neighbours_mirrored(length, ranks):
    size = length // (2 * ranks)
    pieces = [list(range(size * i, size * (i + 1))) for i in range(2 * ranks)]
    return [pieces[rank] + pieces[(2 * ranks - rank) % (2 * ranks)] for rank in range(ranks)]


def _uneven(length, ranks):
    """Shares of equal work, but not of equal length."""
    edges = [round(length * math.sqrt(rank / ranks)) for rank in range(ranks + 1)]
    return [list(range(a, b)) for a, b in itertools.pairwise(edges)]


DEALT = ((64, 4), (192, 6))
EVEN = 1.06  # time of the steps over the mean work of a rank


def _judge_deal(answer: Callable) -> Verdict:
    import torch

    rows: list[tuple[str, str, bool]] = []
    for length, ranks in DEALT:
        name = f"{length} positions, {ranks} ranks"
        given = plain(answer(length, ranks))
        if given is None or given is ...:
            return UNANSWERED
        try:
            shares = [[int(place) for place in plain(share)] for share in given]
        except (TypeError, ValueError):
            return Verdict(False, "return a list with one list of positions for each rank.", rows=tuple(rows))
        if len(shares) != ranks:
            return Verdict(False, f"{name}: these are shares for {len(shares)} ranks.", rows=tuple(rows))
        held = sorted(place for share in shares for place in share)
        if held != list(range(length)):
            return Verdict(
                False, f"{name}: each position has to be held by one rank, and by one only.", rows=tuple(rows)
            )
        if len(set(map(len, shares))) > 1:
            return Verdict(
                False,
                f"{name}: the shares differ in length, and so do the memory and the messages of the ranks.",
                rows=tuple(rows),
            )
        work = _kits("visible_pairs")([torch.tensor(share) for share in shares])
        longer = sum(map(max, work)) * ranks / sum(map(sum, work))
        rows.append((name, f"takes {longer:.2f} times the mean work of a rank", longer <= EVEN))
    table = tuple(rows)
    if all(ok for *_, ok in rows):
        return Verdict(True, "In each step all ranks have as much to do, to a few percent.", rows=table)
    if all(max(share) - min(share) == len(share) - 1 for share in shares):
        return Verdict(
            False,
            "with consecutive positions the first rank has only its own block to look at, and the last one all blocks.",
            rows=table,
        )
    return Verdict(
        False,
        "some rank is still the slowest in its step: who holds early positions, which see few keys, should hold as many late "
        "ones, which see many.",
        rows=table,
    )


DEAL = Exercise(
    id="12.4",
    kind="build",
    minutes=10,
    difficulty=3,
    question="Write deal(length, ranks): which positions should each rank hold so that under a causal mask all ranks have "
    "equally much to "
    "do in each step of the ring? Shares are of one length, and a step may take at most 6 % longer than the mean work.",
    check=judged(_judge_deal, wanted="shares of one length, steps at most 6 % longer than the mean work"),
    hints=(
        "The query at position i sees i + 1 keys. Count what the first and what the last rank see.",
        "Give each rank two pieces instead of one.",
        "Cut the sequence into 2n pieces. A piece from the front goes with the one that is as far from the back.",
    ),
    skeleton=skeleton(deal),
    own=lambda: deal,
    solution=source(deal),
    wrong=(
        (_consecutive, "only its own block"),
        (_front_and_back, "the slowest in its step"),
        (_neighbours_mirrored, "held by one rank, and by one only"),
        (_uneven, "differ in length"),
    ),
    placeholder=lambda length, ranks: ...,
)


# --- 12.5: heads for positions --------------------------------------------------------------------------------


def attention_by_heads(q, k, v):
    """Causal attention over a sequence that the ranks share, each n-th part of it on one rank, in order. q, k, v: (B, H, L, K).

    One all-to-all of q, k and v stacked gives each rank all positions of H / n heads, in the order of the heads; a second
    one takes the result back. Returns (B, H, L, K): all heads, this rank's positions.
    """
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F

    ranks = dist.get_world_size()
    parts = torch.stack(torch.stack([q, k, v]).chunk(ranks, dim=2))  # (n, 3, B, H/n, L, K), part r for rank r
    arrived = torch.empty_like(parts)
    dist.all_to_all_single(arrived, parts)
    q, k, v = torch.cat(list(arrived), dim=-2)  # (3, B, H/n, n·L, K)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    parts = torch.stack(mixed.chunk(ranks, dim=-2))  # (n, B, H/n, L, K)
    arrived = torch.empty_like(parts)
    dist.all_to_all_single(arrived, parts)
    return torch.cat(list(arrived), dim=1)


def _heads_inputs(rank: int, ranks: int, how: str) -> tuple:
    return tuple(_rows(rank, ranks, how)[0][:3])


def _heads_wanted(ranks: int, inputs: Any) -> list[Tensor]:
    return [_rows(rank, ranks, inputs.keywords["how"])[0][4] for rank in range(ranks)]


def _heads_sent(ranks: int, inputs: Any) -> dict[str, tuple[int, int]]:
    return {"all_to_all": (2, 4 * 4 * HEADS * LENGTH // ranks * SIZE)}


_HEADS, _HEADS_WRONG = slips(
    attention_by_heads,
    ("is_causal=True", "is_causal=False", "mask is missing", "the causal mask is missing: now that all positions are "
     "here, it is the plain one."),
    ("chunk(ranks, dim=2)", "roll(1, dims=2).chunk(ranks, dim=2)", "heads end up", "the heads end up in another order "
     "than they started in."),
    ("torch.cat(list(arrived), dim=-2)", "torch.cat(list(arrived.flip(0)), dim=-2)", "positions are out of order",
     "the positions are out of order: what rank r sent are the positions of rank r."),
)  # fmt: skip


def _never_back(q, k, v):
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F

    ranks = dist.get_world_size()
    parts = torch.stack(torch.stack([q, k, v]).chunk(ranks, dim=2))
    arrived = torch.empty_like(parts)
    dist.all_to_all_single(arrived, parts)
    q, k, v = torch.cat(list(arrived), dim=-2)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def _apart(q, k, v):
    """Three all-to-alls where one was asked for."""
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F

    ranks = dist.get_world_size()
    moved = []
    for part in (q, k, v):
        pieces = torch.stack(part.chunk(ranks, dim=1))
        arrived = torch.empty_like(pieces)
        dist.all_to_all_single(arrived, pieces)
        moved.append(torch.cat(list(arrived), dim=-2))
    q, k, v = moved
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    pieces = torch.stack(mixed.chunk(ranks, dim=-2))
    arrived = torch.empty_like(pieces)
    dist.all_to_all_single(arrived, pieces)
    return torch.cat(list(arrived), dim=1)


HEADS_FOR_POSITIONS = Exercise(
    id="12.5",
    kind="build",
    minutes=15,
    difficulty=3,
    question="Write attention_by_heads(q, k, v): exchange positions for heads in one all-to-all, attend over the whole "
    "sequence with H / n "
    "heads, and exchange back in a second one.",
    check=ranked(
        _heads_wanted, [(2, partial(_heads_inputs, how="contiguous"))], names=("2 ranks",), rel=1e-5, abs=1e-5,
        ledger=_heads_sent,
        diagnoses=[*_HEADS, (_never_back, "the result is still by heads: exchange it back, so that each rank has its own "
        "positions."),
                   (_apart, "right, but in four calls: stack q, k and v, so that they travel together.")],
        right="Attention itself is that of one process: nothing in it knows of ranks.",
    ),
    hints=(
        "all_to_all_single sends the r-th slice of the first dimension to rank r, and puts what rank r sent into the r-th "
        "slice.",
        "Before attention cut along the heads; what arrives is cut along the positions. After it, the other way round.",
        "Stack q, k, v; chunk along the heads and stack the chunks, so that the first dimension counts ranks. Exchange "
        "into an empty tensor of "
        "the same shape, and put its slices side by side along the positions. Afterwards the same with positions and "
        "heads exchanged.",
    ),
    skeleton=skeleton(attention_by_heads),
    own=lambda: attention_by_heads,
    solution=source(attention_by_heads),
    wrong=(_HEADS_WRONG[0], (_never_back, "still by heads"), (_apart, "in four calls")),
    placeholder=lambda q, k, v: ...,
)  # fmt: skip


# --- 12.6: hidden messages ------------------------------------------------------------------------------------

HIDDEN = Exercise(
    id="12.6",
    kind="design",
    minutes=8,
    difficulty=2,
    question="Each rank reaches 4e14 FLOPs a second and sends 5e10 bytes a second to the next one. A model has 64 heads "
    "of queries and 8 of "
    "keys and values, all in 16 bits, and its causal mask is balanced, so that half of each block is work. How many "
    "positions must a rank "
    "hold for a hop to take no longer than the forward work on the block that is there?",
    check=number(
        2000.0,
        rel=0.01,
        diagnoses=(
            (16000.0, "keys and values have 8 heads, not 64: the hop carries an eighth."),
            (
                1000.0,
                "under the balanced mask half of the block is work, so the hop has half as much to hide behind.",
            ),
            (8000.0, "that is for 64 heads of keys and values and no mask."),
            (4000.0, "16 bits are 2 bytes."),
            (500.0, "the hop carries keys and values: two tensors."),
        ),
        slips=(),
        right="The width cancels, and so does the number of ranks: what counts is the FLOPs that a link leaves time for.",
    ),
    hints=(
        "With c positions a rank and a width D: scores take 2·c²·D FLOPs, and so does the weighted sum of values.",
        "The hop carries keys and values of c positions, D · 8/64 numbers each, 2 bytes a number.",
        "Set half of 4·c²·D over 4e14 equal to 2·c·D·(8/64)·2 over 5e10, and solve for c.",
    ),
    solution="""
flops, bandwidth = 4e14, 5e10
# (4 * c**2 * D / 2) / flops == 2 * c * D * (8 / 64) * 2 / bandwidth
answer = 2 * (8 / 64) * 2 * flops / (2 * bandwidth)
""",
    wrong=(
        (16000, "8 heads, not 64"),
        (1000, "half of the block is work"),
        (8000, "no mask"),
        (4000, "2 bytes"),
        (500, "two tensors"),
    ),
)

EXERCISES = (ABSORB, FORWARD, BACKWARD, DEAL, HEADS_FOR_POSITIONS, HIDDEN, *nb12_experts.EXERCISES)
