"""Notebook 12's oracles: the kit's own pieces pass, and no two slips look alike."""

from __future__ import annotations

import pytest
import torch

from scalept_lab.course import ranks
from scalept_lab.course.equal import difference
from scalept_lab.course.exercises import grade
from scalept_lab.course.sets import nb12
from scalept_lab.parallel import ring


@pytest.mark.parametrize(
    ("right", "slips", "inputs"),
    [
        (ring.forward, nb12._FORWARD, nb12._ahead),
        (ring.backward, nb12._BACKWARD, nb12._back),
    ],
    ids=["forward", "backward"],
)
def test_each_slip_differs_from_the_kit_and_from_every_other(right, slips, inputs):
    """In one launch, so that all are looked at: of two that do the same, the second would never be told."""
    cases = nb12._cases(inputs)
    versions = [right, *(wrong for wrong, _ in slips)]
    found = ranks._on_ranks(
        [(None, each, case) for each in versions for _, case in cases], 3, 20, [], forgiving=True
    )
    assert not isinstance(found, str), found
    done = [found[len(cases) * i : len(cases) * (i + 1)] for i in range(len(versions))]
    for i, mine in enumerate(done):
        for theirs in done[i + 1 :]:
            assert any(not ranks._same(a, b, 1e-5, 1e-5) for a, b in zip(mine, theirs, strict=True))


def test_the_oracle_of_the_ring_is_torch_s_own_attention():
    q, k, v, grad, out, _, *wanted = nb12._whole()
    leaves = [part.clone().requires_grad_() for part in (q, k, v)]
    mixed = torch.nn.functional.scaled_dot_product_attention(*leaves, is_causal=True)
    mixed.backward(grad)
    assert not difference((mixed.detach(), *(leaf.grad for leaf in leaves)), (out, *wanted), 1e-5, 1e-5)


def test_any_fair_deal_is_right():
    """Every n-th position is another way; shares come as lists, tuples or tensors."""
    assert grade("12.4", lambda length, ranks: [range(rank, length, ranks) for rank in range(ranks)]).ok
    assert grade("12.4", ring.zigzag).ok
    assert "for 3 ranks" in grade("12.4", lambda length, ranks: nb12.deal(length, ranks)[:3]).message
    assert "one list of positions" in grade("12.4", lambda length, ranks: length).message


def test_absorb_may_keep_its_state_in_a_list_and_not_in_two_tensors():
    assert grade("12.1", lambda *args: list(ring.absorb(*args))).ok
    assert "three tensors" in grade("12.1", lambda *args: ring.absorb(*args)[:2]).message
