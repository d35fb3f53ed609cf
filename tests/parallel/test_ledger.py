"""What ranks send and hold, counted, against the planner's formulas."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.distributed as dist
from strategies import STEPS, STRATEGIES, alone, parallel, spread_over

from scalept_lab.config import ModelConfig, Parallel, TrainConfig
from scalept_lab.costs import planner
from scalept_lab.costs.layouts import Layout
from scalept_lab.parallel import ledger
from scalept_lab.parallel.launcher import launch
from scalept_lab.train.trials import trial


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_ledger_agrees_with_the_formula(tiny_corpus, name, ranks):
    """Calls and payload of the busiest rank, exactly; what is left is one all-reduce of one number, the gradients' norm."""
    model, batch = ModelConfig(width=32, depth=4, heads=4, context=16), 8
    plain = TrainConfig(model=model, corpus=tiny_corpus, batch=batch)
    found = spread_over(ranks, name, plain, steps=3)
    given = plain.replace(parallel=parallel(name))
    tensors = len(alone(plain.replace(tokens=STEPS * batch * 16)).parameters)
    forecast = planner.toy(model, ledger.layout(given.parallel, ranks, batch), batch, tensors=tensors)
    rows = dict(found.rows)
    assert rows.pop(ledger.ONE_NUMBER) == (1, 4)
    expected = ledger.by_kind(forecast["traffic"])
    if given.parallel.strategy == "pipeline" and ranks > 2 and name != "interleaved":
        # the first stage sends on only
        expected = {kind: (calls // 2, size // 2) for kind, (calls, size) in expected.items()}
    assert rows == expected

    states = forecast["states"]
    fullest = max(found.held, key=lambda held: held["parameters"])
    gathered = fullest.get("gathered", fullest["parameters"])
    assert (gathered if name == "zero2" else fullest["parameters"]) == states["params"]
    assert fullest["gradients"] == states["grads"]
    optimizer = max(held["optimizer"] for held in found.held)
    if name == "zero1":  # whole tensors are dealt out, so ranks do not come out even
        assert sum(held["optimizer"] for held in found.held) == pytest.approx(
            states["optimizer"] * ranks, rel=0.01
        )
    else:
        assert 0 <= optimizer - states["optimizer"] <= 4 * tensors  # a step count of 4 bytes for each tensor


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's TCP_INFO")
def test_wire_bytes_are_the_payload_s_share_and_gloo_s_detour(tiny_corpus):
    """All-reduce: 2(n−1)/n of the gradients. gloo runs a reduce-scatter as an all-reduce: FSDP sends (n−1)/n more."""
    model = ModelConfig(width=64, depth=2, heads=4, context=8)
    for name, extra in (("ddp", 0.0), ("fsdp", 1.0)):
        found = trial(TrainConfig(model=model, corpus=tiny_corpus, batch=4, parallel=parallel(name)), 2, 3)
        wire = planner.toy(model, ledger.layout(parallel(name), 2, 4), 4)["wire_bytes"]
        gradients = 4 * sum(whole.numel() for whole in found.parameters.values())
        expected = wire + extra * gradients / 2
        assert all(expected <= sent < 1.05 * expected for sent in found.wire)


@pytest.mark.parametrize(
    ("given", "ranks", "batch", "expected"),
    [
        (Parallel(strategy="ddp"), 4, 10, Layout(data=4, micro_batch=2)),
        (Parallel(strategy="zero1"), 4, 8, Layout(data=4, zero=1, micro_batch=2)),
        (Parallel(strategy="zero2"), 2, 8, Layout(data=2, zero=2, micro_batch=4)),
        (Parallel(strategy="fsdp"), 8, 24, Layout(data=8, zero=3, micro_batch=3)),
        (Parallel(strategy="hsdp", shard=4), 8, 24, Layout(data=8, zero=3, micro_batch=3, copies=2)),
        (Parallel(strategy="fsdp_tensor", tensor=2), 8, 24, Layout(data=4, tensor=2, zero=3, micro_batch=6)),
        (Parallel(strategy="tensor"), 4, 8, Layout(tensor=4, micro_batch=8)),
        (Parallel(strategy="sequence"), 4, 8, Layout(tensor=4, sequence=True, micro_batch=8)),
        (Parallel(strategy="pipeline", microbatches=4), 2, 9, Layout(pipeline=2, micro_batch=3)),
        (
            Parallel(strategy="pipeline", schedule="interleaved", microbatches=4),
            2,
            8,
            Layout(pipeline=2, micro_batch=2, interleave=2),
        ),
    ],
)
def test_a_strategy_in_the_planners_terms(given, ranks, batch, expected):
    assert ledger.layout(given, ranks, batch) == expected


def test_rows_of_one_kind_are_added():
    rows = [("all_reduce", 2, 10.4), ("send", 1, 7.0), ("all_reduce", 3, 5.6)]
    found = ledger.by_kind(
        [{"kind": kind, "calls": calls, "payload": payload} for kind, calls, payload in rows]
    )
    assert found == {"all_reduce": (5, 16), "send": (1, 7)}


def every_collective():
    """Ten numbers of 4 bytes all-reduced twice, five of each rank gathered, ten scattered, one broadcast of 2 bytes each."""
    with ledger.Ledger() as seen:
        for _ in range(2):
            dist.all_reduce(torch.ones(10))
        dist.all_gather_into_tensor(torch.empty(10), torch.ones(5))
        dist.reduce_scatter_tensor(torch.empty(5), torch.ones(10))
        dist.broadcast(torch.ones(3, dtype=torch.bfloat16), src=0)
        dist.all_reduce(torch.ones(1))
        if dist.get_rank() == 0:
            dist.send(torch.ones(7), 1)
        else:
            dist.recv(torch.empty(7), 0)
    dist.all_reduce(torch.ones(10))  # after it, nothing is counted
    return seen.rows


def test_every_kind_is_counted_with_its_bytes():
    common = {
        "all_reduce": (2, 80), "all_gather": (1, 40), "reduce_scatter": (1, 40), "broadcast": (1, 6),
        ledger.ONE_NUMBER: (1, 4),
    }  # fmt: skip
    assert launch(every_collective, 2) == [common | {"point_to_point": (1, 28)}, common]
