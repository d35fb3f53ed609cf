"""Experts on ranks equal one process, forward and backward, and send what the formula says."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.costs import traffic
from scalept_lab.errors import InputError
from scalept_lab.model.experts import apply_experts, route
from scalept_lab.parallel import experts, spread
from scalept_lab.parallel.launcher import RankError, launch
from scalept_lab.parallel.ledger import Ledger

E, D, HIDDEN, K, T = 4, 6, 5, 2, 10


def layer_on_ranks():
    rank, ranks = dist.get_rank(), dist.get_world_size()
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(*size, generator=generator, dtype=torch.float64)
            for size in ((T * ranks, D), (T * ranks, E), (E, D, HIDDEN), (E, HIDDEN, D))]  # fmt: skip
    x, logits, up, down = (tensor.requires_grad_() for tensor in made)
    expert, weight, place = route(logits, K)
    whole = apply_experts(x, expert, weight, place, up, down)
    leaves = (x, logits, up, down)
    wanted = torch.autograd.grad((whole**2).sum(), leaves, retain_graph=True)
    mine, own = slice(rank * T, rank * T + T), experts.shared(E, rank, ranks)
    with Ledger() as ledger:
        y = experts.expert_parallel(x[mine], expert[mine], weight[mine], up[own], down[own])
        found = torch.autograd.grad((y**2).sum(), leaves)
    places = (mine, mine, own, own)
    gaps = [(a - b)[part].abs().max() for a, b, part in zip(wanted, found, places, strict=True)]
    arrived = int(((expert >= own.start) & (expert < own.stop)).sum())
    return max(map(float, [(whole[mine] - y).abs().max(), *gaps])), ledger.rows, arrived


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_experts_on_ranks_equal_one_process_and_send_the_formula(ranks):
    found = launch(layer_on_ranks, ranks)
    for gap, rows, arrived in found:
        assert gap < 1e-10
        assert rows == {"all_to_all": (5, 8 * E + 2 * 8 * D * (T * K + arrived))}
    forecast = traffic.expert_parallel(T, D, K, E, 1, ranks, bytes_per_element=8)
    assert sum(row.calls for row in forecast) == 5
    assert sum(rows["all_to_all"][1] for _, rows, _ in found) == ranks * sum(row.payload for row in forecast)


def one_alone():
    if dist.get_rank() == 0:
        experts.expert_parallel(torch.zeros(2, D), torch.zeros(2, K, dtype=int), torch.zeros(2, K),
                                torch.zeros(2, D, HIDDEN), torch.zeros(2, HIDDEN, D))  # fmt: skip


def test_a_rank_that_calls_alone_does_not_wait_for_ever():
    with pytest.raises(RankError, match="rank 0"):
        launch(one_alone, 2, seconds=3)


def refused():
    lines = []
    up, down, x = torch.zeros(2, D, HIDDEN), torch.zeros(2, HIDDEN, D), torch.zeros(3, D)
    chosen, weight = torch.tensor([[0, 4]] * 3), torch.zeros(3, K)
    for arguments in (
        (x, chosen, weight, up, down),
        (x, chosen[:2], weight[:2], up, down),
        (x[:, :2], chosen, weight, up, down),
    ):
        try:
            experts.expert_parallel(*arguments)
        except InputError as error:
            lines.append(str(error))
    return lines


def test_what_cannot_be_sent_is_refused_before_anybody_waits():
    ((first, second, third), _) = launch(refused, 2)
    assert "numbers from 0 to 3, since 2 ranks hold 2 experts each, got 0 to 4" in first
    assert "a row for each of the 3 tokens" in second and "experts for rows of 2" in third
    assert not any("\n" in line for line in (first, second, third))


def test_experts_that_ranks_do_not_divide():
    assert [experts.shared(8, rank, 4) for rank in range(4)] == [
        slice(0, 2),
        slice(2, 4),
        slice(4, 6),
        slice(6, 8),
    ]
    with pytest.raises(InputError, match="experts: 6 cannot be shared evenly by 4 ranks"):
        experts.shared(6, 0, 4)


def test_the_training_loop_refuses_experts_on_ranks():
    config = TrainConfig(model=ModelConfig(experts={"number": 4}))
    spread.check(config, 1)
    with pytest.raises(InputError, match="experts: expected a dense model on 2 ranks, got 4 experts"):
        spread.check(config, 2)
