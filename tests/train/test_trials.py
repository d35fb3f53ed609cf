"""A trial reads and does what the run does, and looks at all of it."""

from __future__ import annotations

import pytest
import torch
from strategies import ROTARY, STEPS, alone, config

from scalept_lab.config import Curriculum
from scalept_lab.train.loop import train
from scalept_lab.train.trials import Trial, largest_difference, trial


def test_two_optimizers_in_one_are_looked_at_as_any(tiny_corpus):
    given = config(tiny_corpus, optimizer="muon")
    found = alone(given)
    sizes = {name: t.numel() for name, t in found.parameters.items()}
    inside = sum(size for name, size in sizes.items() if name.startswith("blocks."))
    assert len(found.losses) == STEPS and found.losses[-1] < found.losses[0]
    # Muon keeps one 32-bit number for a weight, AdamW two and a counter for each of its tensors.
    assert found.held[0]["optimizer"] == 4 * (inside + 2 * (sum(sizes.values()) - inside)) + 4 * 2
    loss, _ = largest_difference(found, trial(given, 2, STEPS))
    assert loss < 1e-3  # Muon rounds to bfloat16: tiny differences grow


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"unique_tokens": 10 * ROTARY.context},
        {"curriculum": Curriculum(order="easy")},
        {"curriculum": Curriculum(order="length", start=0.25)},
    ],
)
def test_a_trial_reads_what_the_run_reads(tiny_corpus, changes):
    given = config(tiny_corpus, eval_windows=8, **changes)
    curve = [loss for *_, loss in train(given).curve]
    assert trial(given, 1, STEPS).losses == pytest.approx(curve, abs=1e-5)


def test_the_largest_difference_by_hand():
    """Of losses 0.25. Of matrices √(0² + 1²)/√(3² + 4²) and 0.5/1."""
    a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])
    one = Trial([1.0, 2.0], {"a": a, "b": b}, {}, [], [])
    other = Trial([1.125, 1.75], {"a": a + torch.tensor([[0.0, 1.0]]), "b": b}, {}, [], [])
    assert largest_difference(one, other) == pytest.approx((0.25, 0.2))
    other.parameters["b"] = torch.tensor([[1.0, -0.5]])
    assert largest_difference(one, other) == pytest.approx((0.25, 0.5))
    del other.parameters["b"]
    with pytest.raises(ValueError, match=r"other parameters: \['b'\]"):
        largest_difference(one, other)
