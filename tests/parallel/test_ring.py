"""A sequence on many ranks: the result, the gradients and the bytes of one process, and shares that are fair."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
import torch.distributed as dist
from refusals import one_line

from scalept_lab.config import ModelConfig
from scalept_lab.costs.traffic import context_parallel
from scalept_lab.errors import InputError
from scalept_lab.model.transformer import Transformer, cross_entropy
from scalept_lab.parallel import ring
from scalept_lab.parallel.launcher import launch
from scalept_lab.parallel.ledger import Ledger

LENGTH = 24
WIDTH = 8  # two heads of four


def whole():
    """q, k, v and the gradient of the result, all positions: (B, H, T, K)."""
    torch.manual_seed(0)
    return [torch.randn(3, 2, LENGTH, 4, dtype=torch.float64) for _ in range(4)]


def in_one_process():
    """The slow twin: all scores at once, by autograd."""
    *parts, grad = whole()
    q, k, v = leaves = [part.requires_grad_() for part in parts]
    scores = q @ k.transpose(-2, -1) / math.sqrt(4)
    out = scores.masked_fill(torch.ones(LENGTH, LENGTH).triu(1).bool(), -math.inf).softmax(-1) @ v
    out.backward(grad)
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def on_ranks():
    """For each division of the positions: what this rank found, and what it sent forward and in all."""
    *parts, grad = whole()
    found = {}
    for how in (ring.contiguous, ring.zigzag):
        places = how(LENGTH, dist.get_world_size())
        mine = places[dist.get_rank()]
        leaves = [part[:, :, mine].requires_grad_() for part in parts]
        with Ledger() as ledger:
            out = ring.attention(*leaves, places)
            ahead = ledger.rows["point_to_point"]
            out.backward(grad[:, :, mine])
        results = [out.detach(), *(leaf.grad for leaf in leaves)]
        found[how.__name__] = results, ahead, ledger.rows["point_to_point"]
    return found


@cache
def found_on(ranks):
    return launch(on_ranks, ranks)


@pytest.mark.parametrize("how", ["contiguous", "zigzag"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_result_and_gradients_are_those_of_one_process(ranks, how):
    places, wanted = getattr(ring, how)(LENGTH, ranks), in_one_process()
    for rank, found in enumerate(found_on(ranks)):
        for mine, all_of_it in zip(found[how][0], wanted, strict=True):
            torch.testing.assert_close(mine, all_of_it[:, :, places[rank]], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("ranks", [2, 3])
def test_messages_are_those_of_the_formula_to_the_byte(ranks):
    for found in found_on(ranks):
        for _, ahead, in_all in found.values():
            for rows, backward in ((ahead, False), (in_all, True)):
                (row,) = context_parallel(3, LENGTH, WIDTH, 1, ranks, bytes_per_element=8, backward=backward)
                assert rows == (row.calls, row.payload)


def test_alone_it_is_attention():
    *parts, grad = whole()
    leaves = [part.requires_grad_() for part in parts]
    out = ring.attention(*leaves, ring.zigzag(LENGTH, 1))
    out.backward(grad)
    places, wanted = ring.zigzag(LENGTH, 1)[0], in_one_process()
    assert places.tolist() == list(range(LENGTH))
    for mine, want in zip([out, *(leaf.grad for leaf in leaves)], wanted, strict=True):
        torch.testing.assert_close(mine, want)


def test_blocks_may_come_in_any_order_and_rows_may_see_nothing_at_first():
    q, k, v, _ = whole()
    at = torch.arange(LENGTH)
    state = ring.nothing_seen(q)
    for block in (at[16:], at[3:16], at[:3]):
        state = ring.absorb(state, q, k[:, :, block], v[:, :, block], block <= at[:, None])
        assert not any(part.isnan().any() for part in state)
    _, total, mixed = state
    torch.testing.assert_close(mixed / total[..., None], in_one_process()[0])


def test_places_by_hand():
    assert [part.tolist() for part in ring.contiguous(6, 3)] == [[0, 1], [2, 3], [4, 5]]
    assert [part.tolist() for part in ring.zigzag(8, 2)] == [[0, 1, 6, 7], [2, 3, 4, 5]]


def test_work_by_hand_and_the_zigzag_is_even():
    """Two ranks of two positions: 3 pairs in their own blocks; then rank 1 sees all 4 of rank 0's, and rank 0 none of its."""
    assert ring.visible_pairs(ring.contiguous(4, 2)) == [[3, 3], [0, 4]]
    work = ring.visible_pairs(ring.zigzag(96, 4))
    assert all(len(set(step)) == 1 for step in work) and sum(map(sum, work)) == 96 * 97 // 2


def trained(how):
    """Three steps on this rank's positions; the weights."""
    torch.manual_seed(3)
    model = Transformer(ModelConfig(width=16, depth=2, heads=2, context=LENGTH, vocab_size=7))
    tokens = torch.randint(7, (2, LENGTH + 1))
    alone = how == "alone"
    places = ring.zigzag(LENGTH, 1 if alone else dist.get_world_size())
    mine = places[0 if alone else dist.get_rank()]
    if not alone:
        assert ring.split(model, places) is model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        (cross_entropy(model(tokens[:, :-1][:, mine]), tokens[:, 1:][:, mine]) / len(places)).backward()
        for parameter in [] if alone else model.parameters():
            dist.all_reduce(parameter.grad)
        optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_a_model_trained_in_the_ring_ends_with_the_weights_of_one_process():
    for weights in launch(trained, 2, "ring"):
        torch.testing.assert_close(weights, trained("alone"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ring.contiguous(10, 4), "length: expected a multiple of 4, so that 4 ranks hold equal shares, got 10"),
        (lambda: ring.zigzag(12, 4), "a multiple of 8, so that 4 ranks hold two equal pieces each, got 12"),
        (lambda: ring.contiguous(0, 2), "length"),
        (lambda: ring.attention(*whole()[:3], ring.contiguous(LENGTH, 2)), "positions of 1 ranks, got those of 2"),
        (lambda: ring.attention(*whole()[:3], ring.contiguous(48, 1)), "the 48 positions that rank 0 holds, got 24 rows"),
        (lambda: ring.attention(*whole()[:2], whole()[2][:1], ring.contiguous(LENGTH, 1)), "of one shape"),
    ],
)  # fmt: skip
def test_refusals(call, said):
    one_line(call, said)


@pytest.mark.parametrize("changes", [{"causal": False}, {"positions": "learned"}, {"context": 32}])
def test_models_that_it_cannot_split_are_refused(changes):
    model = Transformer(ModelConfig(**{"width": 16, "depth": 1, "heads": 2, "context": LENGTH, **changes}))
    before = model.cos if model.config.positions == "rotary" else None
    one_line(lambda: ring.split(model, ring.zigzag(LENGTH, 1)), "rotary positions and a context of 24")
    assert before is None or model.cos is before


def another_shape():
    q = torch.randn(1, 2, 4, 4 + 2 * dist.get_rank())
    ring.attention(q, q, q, ring.contiguous(8, 2))


def test_ranks_with_different_shapes_are_told_in_one_line():
    with pytest.raises(
        InputError, match=r"got 1×2×4×6 float32 on rank 1 and 1×2×4×4 float32 on rank 0"
    ) as raised:
        launch(another_shape, 2, seconds=20)
    assert "\n" not in str(raised.value)
