"""Heads that write chunks: equal networks, what each is given, a flow and its sampler, a run and its record."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from refusals import one_line

from scalept_lab.runs import parse_record
from scalept_lab.vla import chunks, detour, heads
from scalept_lab.vla.heads import HeadConfig, Net, Policy, euler, fit, flow_loss, score

HEADS = ("mean", "bins apart", "bins", "frequencies", "flow")
SMALL = dict(width=16, steps=30, batch=16, demonstrations=60)


def weights(config: HeadConfig) -> int:
    return sum(part.numel() for part in Net(config).parameters())


def test_all_heads_have_as_many_weights_where_a_token_has_as_many_levels_as_a_chunk_numbers():
    assert {weights(HeadConfig(head=head)) for head in HEADS} == {43808}


@pytest.mark.parametrize("head", HEADS)
def test_a_run_learns_and_is_a_record(head):
    policy, record = fit(HeadConfig(head=head, **{**SMALL, "steps": 150}))
    assert record.curve[-1][2] < 0.95 * record.curve[0][2]
    assert record.D == 150 * 16 and record.C == 6 * record.N * record.D
    done, scored = score(policy, record, count=12)
    assert done.shape == (12, 16, 2) and parse_record(scored.model_dump_json()) == scored
    assert scored.metrics["passes"] == {"mean": 1, "flow": 10, "frequencies": 12}.get(head, 32)
    assert scored.metrics["success"] == detour.arrives(detour.scenes(12, 20_000), done).mean()


def test_a_seed_is_a_policy_and_draws_are_by_seed():
    config = HeadConfig(head="flow", **SMALL)
    (first, a), (_, b), (_, c) = fit(config), fit(config), fit(config.replace(seed=1))
    assert a.L == b.L != c.L and a.id == b.id != c.id
    scenes = detour.scenes(3, 0)
    assert np.array_equal(first.act(scenes), first.act(scenes))
    assert not np.array_equal(first.act(scenes), first.act(scenes, seed=1))


def test_apart_sees_no_token_and_in_turn_those_before():
    tokens = torch.tensor([[31, 0, 31, 5]]).repeat(2, 1)
    upto = torch.tensor([2, 0])
    shape = dict(chunk=2, **SMALL)
    assert Policy(HeadConfig(head="bins", **shape)).shown(tokens, upto).tolist() == [[1, -1, 0, 0], [0] * 4]
    assert not Policy(HeadConfig(head="bins apart", **shape)).shown(tokens, upto).any()


def test_tokens_stay_within_their_levels():
    policy = Policy(HeadConfig(head="bins", chunk=2))
    far = np.array([[[-100.0, 100.0], [0.01, -0.01]]])
    assert policy.tokens(far).tolist() == [[0, 31, 16, 15]]


def test_in_turn_keeps_what_was_drawn_together():
    """Two tokens that are always equal: drawn in turn they agree, drawn apart half of the time."""
    journeys = detour.demonstrate(60, 0, steps=2)
    same = np.repeat(np.where(np.arange(60) % 2, 1.0, -1.0)[:, None, None], 2, axis=1).repeat(2, axis=2)
    agree = {}
    for head in ("bins", "bins apart"):
        policy = Policy(HeadConfig(head=head, chunk=2, width=32))
        optimizer, generator = (
            torch.optim.Adam(policy.parameters(), lr=0.01),
            torch.Generator().manual_seed(0),
        )
        seen = torch.zeros(60, 3)
        for _ in range(150):
            optimizer.zero_grad()
            heads._loss(policy, seen, policy.tokens(same), generator, flow_loss).backward()
            optimizer.step()
        done = policy.act(np.zeros((200, 3)))
        agree[head] = (np.sign(done[:, :, 1]).std(1) == 0).mean()
    assert len(journeys) == 60 and agree["bins"] > 0.95 and 0.35 < agree["bins apart"] < 0.65


def test_the_kits_code_can_be_another():
    code = chunks.frequencies(16, 3, 0.6)
    policy, record = fit(HeadConfig(head="frequencies", **SMALL), code=code)
    assert policy.length == 6 == record.metrics["passes"]


def test_a_flow_leads_from_noise_to_the_one_chunk_there_is():
    chunk = torch.tensor([[2.0, -1.0, 0.5]])

    def to_it(x, time):
        return (chunk - x) / (1 - time[:, None])

    many = chunk.expand(500, 3)
    assert flow_loss(to_it, many, torch.Generator().manual_seed(0)).item() < 1e-6
    still = flow_loss(lambda x, _: 0 * x, torch.zeros(5000, 3), torch.Generator().manual_seed(0))
    assert still.item() == pytest.approx(1, abs=0.05)
    assert torch.allclose(euler(to_it, torch.randn(4, 3), 7), chunk.expand(4, 3), atol=1e-5)


def test_euler_against_what_it_makes_of_exponential_decay():
    asked = []

    def decay(x, time):
        asked.append(time.tolist())
        return -x

    start = torch.tensor([[1.0], [3.0]])
    assert torch.allclose(euler(decay, start, 4), start * 0.75**4)
    assert asked == [[0.0] * 2, [0.25] * 2, [0.5] * 2, [0.75] * 2] and start.tolist() == [[1.0], [3.0]]


def test_a_flow_takes_as_many_passes_as_it_is_told():
    policy, calls = Policy(HeadConfig(head="flow", **SMALL)), []
    policy.net.register_forward_hook(lambda *_: calls.append(1))
    policy.act(detour.scenes(2, 0), passes=3)
    assert len(calls) == 3
    one_line(lambda: policy.act(detour.scenes(2, 0), passes=0), "passes: expected a whole number")


def test_a_rate_that_blows_up_is_a_record_too():
    _, record = fit(HeadConfig(head="mean", **{**SMALL, "lr": 1e6}))
    assert record.status == "diverged" and record.L is None
