"""What ranks send and hold, counted, against the planner's formulas."""

from __future__ import annotations

import sys

import pytest
from strategies import STEPS, STRATEGIES, alone, parallel

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.costs import planner
from scalept_lab.parallel import ledger
from scalept_lab.train.trials import trial


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_ledger_agrees_with_the_formula(tiny_corpus, name, ranks):
    """Calls and payload of the busiest rank, exactly; what is left is one all-reduce of one number, the gradients' norm."""
    if (name, ranks) == ("interleaved", 4):
        pytest.skip("8 stages of 4 blocks: refused")
    model, batch = ModelConfig(width=32, depth=4, heads=4, context=16), 8
    given = TrainConfig(model=model, corpus=tiny_corpus, batch=batch, parallel=parallel(name))
    found = trial(given, ranks, 3)
    tensors = len(alone(given.replace(parallel=None, tokens=STEPS * batch * 16)).parameters)
    foretold = planner.toy(model, ledger.layout(given.parallel, ranks, batch), batch, tensors=tensors)
    rows = dict(found.rows)
    assert rows.pop(ledger.ONE_NUMBER) == (1, 4)
    expected = ledger.by_kind(foretold["traffic"])
    if given.parallel.strategy == "pipeline" and ranks > 2 and name != "interleaved":
        # the first stage sends on only
        expected = {kind: (calls // 2, size // 2) for kind, (calls, size) in expected.items()}
    assert rows == expected

    states = foretold["states"]
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
