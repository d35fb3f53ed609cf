"""Each operation of the roofline is timed, on the shapes that it is counted on."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scalept_lab.config import ModelConfig
from scalept_lab.costs.roofline import operations
from scalept_lab.train import ceilings

SHAPE = ModelConfig(width=32, depth=2, heads=4, context=16)


@pytest.mark.parametrize("shape", [SHAPE, SHAPE.replace(kv_heads=2), SHAPE.replace(kv_heads=1)], ids=str)
def test_what_is_timed_is_what_is_counted(shape):
    """torch counts the FLOPs of products as we do, and those of nothing else."""
    work = ceilings._work(shape, 3, "cpu")
    for op in operations(shape, 3):
        # torch has no count for the CPU's fused attention: the same call, its products one by one
        with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            work[op.name]()
        products = "attention" in op.name or op.name.startswith(("MLP", "queries"))
        assert counter.get_total_flops() == (op.flops if products else 0), op.name


def test_every_operation_has_its_seconds(monkeypatch):
    found = ceilings.measured(SHAPE, 2, rounds=3)
    assert list(found) == [op.name for op in operations(SHAPE, 2)]
    assert all(len(m.seconds) == 3 and m.flops_per_second > 0 for m in found.values())
    monkeypatch.setattr(ceilings, "NUMBERS", 2**14)
    assert ceilings.bandwidth(rounds=2) > 1e7
