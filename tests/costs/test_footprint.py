"""Memory of a step by its formula: added up by hand. (That it is what torch keeps is the matter of the model's tests.)"""

from __future__ import annotations

import pytest
from refusals import one_line

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.costs.footprint import activations, footprint, states

SHAPE = ModelConfig(width=24, depth=3, heads=2, context=10, vocab_size=50, mlp_ratio=5)


def test_activations_by_hand():
    """70 tokens of width 24 in 3 blocks: a norm keeps input, output and two numbers of 4 bytes; 6 pieces of attention."""
    found = activations(SHAPE, 7)
    assert found == {
        "inputs of blocks": 4 * 70 * 24 * 3,
        "norms": 70 * 3 * (4 * 24 + 2 * 4 * 24 + 16),
        "attention": 70 * 3 * (6 * 4 * 24 + 4 * 2),
        "MLP": 70 * 3 * 2 * 4 * 5 * 24,
        "output": 70 * (8 * 24 + 8 + 4 * 50 + 16) + 4,
        "copies of weights": 0,
    }
    half = activations(SHAPE.replace(positions="learned"), 7, "bfloat16")
    assert half["attention"] == 70 * 3 * (4 * 2 * 24 + 4 * 2) and half["norms"] == 70 * 3 * (
        4 * 24 + 2 * 2 * 24 + 16
    )
    assert half["output"] == 70 * (6 * 24 + 8 + 4 * 50 + 16) + 4 + 8 * 10 and half["MLP"] == found["MLP"] / 2
    assert half["copies of weights"] == 2 * (3 * 14 * 24 * 24 + 50 * 24)


def test_recomputation_keeps_the_inputs_of_the_blocks():
    found = activations(SHAPE, 7, "float16", recompute=True)
    assert found["inputs of blocks"] == 4 * 70 * 24 * 3
    assert (found["norms"], found["attention"], found["MLP"]) == (0, 0, 0)
    assert found["copies of weights"] == 2 * 50 * 24


def test_states_by_hand():
    """2·50·24 in embedding and output, 3·14·24² inside the blocks."""
    inside = 3 * 14 * 24 * 24
    total = 2 * 50 * 24 + inside
    each = {"adamw": 8 * total, "muon": 8 * total - 4 * inside, "momentum": 4 * total, "sgd": 0}
    for optimizer, size in each.items():
        assert states(SHAPE, optimizer) == {
            "parameters": 4 * total,
            "gradients": 4 * total,
            "optimizer": size,
        }


@pytest.mark.parametrize(("accumulate", "part"), [(1, 7), (2, 4), (3, 3), (7, 1)])
def test_one_part_of_the_batch_has_its_activations_at_a_time(accumulate, part):
    config = TrainConfig(model=SHAPE, batch=7, accumulate=accumulate, optimizer="momentum", dtype="bfloat16")
    found = footprint(config)
    assert found["activations"] == sum(activations(SHAPE, part, "bfloat16").values())
    assert found["total"] == found["activations"] + sum(states(SHAPE, "momentum").values())


def test_unknown_kinds_are_refused():
    one_line(lambda: activations(SHAPE, 0), "batch: expected a whole number of at least 1")
    one_line(lambda: activations(SHAPE, 7, "float8"), "dtype: expected one of float32, bfloat16, float16")
    one_line(lambda: states(SHAPE, "adam"), "optimizer: expected one of adamw")
