"""A trial reads and does what the run does, and looks at all of it."""

from __future__ import annotations

import pytest
from strategies import ROTARY, STEPS, alone, config

from scalept_lab.config import Curriculum
from scalept_lab.train.loop import train
from scalept_lab.train.trials import largest_difference, trial


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
