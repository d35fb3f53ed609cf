"""The oracles of notebook 07: each agrees with the kit, and tells right from nearly right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scalept_lab.course.exercises import grade, notebook_exercises
from scalept_lab.course.sets import nb07
from scalept_lab.laws import noise
from scalept_lab.train import growth, pupils
from scalept_lab.train.curriculum import Competence


def message(id: str, answer) -> str:
    verdict = grade(id, answer)
    assert verdict.answered and not verdict.ok
    return verdict.message


@pytest.mark.parametrize("answer", [0.51, "0.507", np.float32(0.5074), [0.5074]])
def test_a_share_may_be_rounded(answer):
    assert grade("07.1", answer).ok


@pytest.mark.parametrize("answer", [1.4, 1.42, "1.4222"])
def test_how_many_times_as_many_may_be_rounded(answer):
    assert grade("07.7", answer).ok


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_what_is_open_is_what_the_competence_schedule_opens(power):
    hard = np.random.default_rng(0).permutation(1000)  # window k is the hard[k]-th easiest
    for step in (0, 7, 19, 20, 40):
        drawn = hard[nb07.paced_draw(step, hard, 4000, 20, 0.1, power)]
        opened = int(np.ceil(Competence(20, 0.1, power)(step) * 1000))
        assert drawn.max() < opened and drawn.max() > 0.99 * opened - 3


def sure_footed(step, performance):
    """Right, and written otherwise: no `update`, a threshold of its own."""
    level = 0
    for value in performance:
        level += (value > 0.45) - (value < 0.12)
        level = min(8, max(0, level))
    return np.int64(level)


def test_a_schedule_written_otherwise_is_right():
    verdict = grade("07.4", sure_footed)
    assert verdict.ok and len(verdict.rows) == 5 and all(ok for _, _, ok in verdict.rows)
    assert not grade("07.4", lambda step, performance: None).answered


@pytest.mark.parametrize(
    "fixed", [pupils.linear, pupils.hardest, lambda step, performance: min(8, step // 16)]
)
def test_no_fixed_schedule_serves_all_hidden_pupils(fixed):
    verdict = grade("07.4", fixed)
    assert not verdict.ok and not all(ok for _, _, ok in verdict.rows)


def test_what_is_no_level_and_what_raises_is_told_in_one_line():
    for bad in (
        lambda step, performance: 3.5,
        lambda step, performance: "easy",
        lambda step, performance: 1 / 0,
    ):
        assert "\n" not in message("07.4", bad)


def on_its_own(state, depth):
    """Right, and written otherwise: names split instead of cut."""
    deep = {name: weight.clone() for name, weight in state.items()}
    blocks = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    for name, weight in state.items():
        for new in range(blocks, depth):
            if name.startswith("blocks.") and int(name.split(".")[1]) == new % blocks:
                rest = name.split(".", 2)[2]
                deep[f"blocks.{new}.{rest}"] = (
                    torch.zeros_like(weight) if rest.endswith(("out.weight", "down.weight")) else weight
                )
    return deep


def test_growth_written_otherwise_is_right_and_is_the_kits():
    assert grade("07.9", on_its_own).ok
    small = nb07._tiny()
    state = small.state_dict()
    kits, mine = growth.deep_state(state, 5), nb07.deeper(state, 5)
    assert set(kits) == set(mine) and all(torch.equal(kits[name], mine[name]) for name in mine)
    none = {name: 0 * weight for name, weight in state.items()}
    kits, mine = growth.wide_state(state, 2, noise=0.0), nb07.wider(state, none)
    assert set(kits) == set(mine) and all(torch.equal(kits[name], mine[name]) for name in mine)


def names_too_few(state, noise):
    wide = nb07.wider(state, noise)
    del wide["head.weight"]
    return wide


def in_place(state, noise):
    wide = nb07.wider(state, noise)
    state["embed.weight"] *= 2
    return wide


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (names_too_few, "head.weight is missing"),
        (in_place, "changes the weights"),
        (lambda state, noise: state, "expected a tensor (11, 32)"),
        (lambda state, noise: 3, "a dict of tensors"),
    ],
)
def test_what_fits_no_model_is_told_in_one_line(answer, said):
    found = message("07.10", answer)
    assert said in found and "\n" not in found


def test_spikes_are_counted_as_the_kit_counts_them():
    losses, hardness = nb07._bumpy((60, 12, 1.0), seed=4)
    assert nb07.spikes_beyond(losses, hardness) == noise.spikes(noise.beyond(losses, hardness)) == 1
    assert noise.spikes(losses) > 1  # hard text, counted along


def test_a_learner_writes_in_seven_places():
    assert [exercise.kind for exercise in notebook_exercises("07")].count("build") == 7
