"""Many lengths from one trunk: the ends are the runs trained one by one."""

from __future__ import annotations

import pytest

from scalept_lab.config import Curriculum, Growth, TrainConfig, recommend
from scalept_lab.errors import InputError
from scalept_lab.model.optim import learning_rate
from scalept_lab.train import pacing
from scalept_lab.train.loop import train
from scalept_lab.train.trunk import ended, ends, leaves

PLAN = recommend(8, 2560, context=16, corpus="language", vocab_size=40, eval_windows=20)
LENGTHS = (2560, 5120, 3840)


@pytest.fixture(scope="module")
def found():
    return [record for _, record in ends(PLAN, LENGTHS, device="cpu")]


def test_each_end_is_the_run_of_its_own_to_the_last_digit(found):
    for record in found:
        alone = train(TrainConfig.model_validate(record.config), device="cpu")
        assert (record.id, record.L, record.D, record.C) == (alone.id, alone.L, alone.D, alone.C)
        assert record.curve[-1][:2] == alone.curve[-1][:2]


def test_what_was_spent_is_the_trunk_and_the_decays(found):
    runs = ended(PLAN, LENGTHS)
    assert [record.config["tokens"] for record in found] == sorted(LENGTHS)
    spent = sum(record.metrics["own_flops"] for record in found)
    decays = sum(pacing.flops(run) - pacing.flops(run, leaves(run)) for run in runs)
    assert spent == pytest.approx(pacing.flops(runs[-1], leaves(runs[-1])) + decays)
    assert spent < 0.75 * sum(record.C for record in found)


def test_until_a_run_leaves_it_has_the_rate_of_the_longest():
    runs = ended(PLAN, LENGTHS)
    for run in runs:
        before = leaves(run)
        assert [learning_rate(step, run) for step in range(before)] == [
            learning_rate(step, runs[-1]) for step in range(before)
        ]
        assert learning_rate(before, run) < 1


def test_what_cannot_share_a_trunk_is_refused():
    with pytest.raises(InputError, match="tokens: expected one length or more"):
        ended(PLAN, [])
    with pytest.raises(InputError, match="tokens: expected twice the warm-up"):
        ended(PLAN.replace(warmup=0.9), [2560])
    with pytest.raises(InputError, match="config: expected a plain run"):
        ended(PLAN.replace(curriculum=Curriculum()), LENGTHS)
    with pytest.raises(InputError, match="growth: expected none in this loop"):
        list(ends(PLAN.replace(growth=Growth(start=PLAN.model, flops=1e9)), LENGTHS))
