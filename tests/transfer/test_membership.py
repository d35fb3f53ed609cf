"""Membership inference: the curve and its interval, groups that differ in nothing else, and what an attack finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from refusals import one_line

from scalept_lab.runs import RunRecord
from scalept_lab.transfer import membership, pairs
from scalept_lab.transfer.checkpoints import load_checkpoint
from scalept_lab.transfer.finetuning import FineTuning, evaluate, finetune
from scalept_lab.transfer.measure import Start
from tests.transfer.test_pairs import module


@pytest.fixture(scope="module")
def many(small):
    """The made-up task with enough functions to deal out."""
    return replace(small, functions=pairs.functions([module(f"n{i}.part") for i in range(150)]))


def test_the_curve_by_hand():
    """Members .9 and .8, others .8 and .3: one point up, one diagonal step, one to the right. Of four pairs of a member and
    another three and a half are in the right order."""
    accused, caught, auc = membership.roc([0.9, 0.8, 0.8, 0.3], [1, 1, 0, 0])
    assert accused.tolist() == [0, 0, 0.5, 1] and caught.tolist() == [0, 0.5, 1, 1] and auc == 3.5 / 4


@pytest.mark.parametrize("digits", [0, 8])
def test_the_area_is_the_probability_of_the_right_order(digits):
    rng = np.random.default_rng(0)
    members = rng.integers(0, 2, 80)
    scores = np.round(rng.normal(size=80) + 0.7 * members, digits)
    ours, theirs = scores[members == 1], scores[members == 0]
    right = np.mean([(a > b) + 0.5 * (a == b) for a in ours for b in theirs])
    curve = membership.roc(scores, members)
    assert curve.auc == pytest.approx(right) and np.all(np.diff(curve.accused) >= 0)
    assert membership.roc(-scores, members).auc == pytest.approx(1 - right)


def test_what_is_caught_with_few_accused():
    members = [1] * 4 + [0] * 4
    curve = membership.roc([0.9, 0.7, 0.5, 0.2, 0.8, 0.6, 0.4, 0.3], members)
    assert [membership.caught_at(curve, share) for share in (0.01, 0.25, 0.5, 1.0)] == [0.25, 0.5, 0.75, 1.0]


def test_the_interval_holds_the_area_in_nineteen_of_twenty():
    """Normal scores a standard deviation apart: the area is Φ(1/√2) = .7602."""
    rng, members, held = np.random.default_rng(0), np.repeat([1, 0], [60, 50]), 0
    for _ in range(400):
        low, high = membership.interval(rng.normal(size=110) + members, members)
        held += low <= 0.76025 <= high
    assert 0.92 <= held / 400 <= 0.975
    low, high = membership.interval([1.0, 1.0, 0.0, 0.0], [1, 1, 0, 0])
    assert low == high == 1.0


def test_bad_scores_are_refused_in_one_line():
    one_line(lambda: membership.roc([1.0, 2.0], [1, 1]), "some of both kinds, got 2 members among 2")
    one_line(lambda: membership.roc([1.0], [1, 0]), "expected one for each of 2")
    one_line(lambda: membership.interval([1.0, float("nan")], [1, 0]), "1 that are none (NaN)")


def test_no_function_and_no_sentence_is_in_two_groups(many):
    dealt = membership.groups(many, 8, seed=1)
    assert list(dealt) == list(membership.GROUPS)
    for column in ("sentence1", "sentence2"):
        sides = [set(part[column]) for part in dealt.values()]
        assert sum(map(len, sides)) == len(set.union(*sides))
    assert set(membership.groups(many, 8, seed=2)["members"]["sentence1"]) != set(
        dealt["members"]["sentence1"]
    )
    one_line(lambda: membership.groups(many, 5000), "size: expected 2 to")


def test_losses_are_those_of_evaluate(small, checkpoint):
    model, tokenizer = load_checkpoint(checkpoint)
    test = small.test.select(range(11))
    found = membership.losses(model, tokenizer, test)
    whole, parts = (membership.logits(model, tokenizer, test, chunk) for chunk in (128, 4))
    assert np.allclose(whole, parts, atol=1e-5) and whole.shape == (11, 2)
    score = evaluate(model, tokenizer, test)
    assert found.mean() == pytest.approx(score.loss, rel=1e-5)
    assert np.mean(found < np.log(2)) == pytest.approx(score.accuracy)


def test_the_attack_finds_what_was_learned_by_heart_and_nothing_in_strangers(many, checkpoint):
    dealt = membership.groups(many, 16, seed=0)
    torch.manual_seed(0)
    model, tokenizer = load_checkpoint(checkpoint)
    finetune(model, tokenizer, dealt["members"], dealt["others"], FineTuning(lr=1e-2, epochs=40, batch=8))
    members, others, strangers = membership.attacks(model, tokenizer, dealt)["loss"]
    truth = np.repeat([1, 0], 16)
    assert membership.roc(np.concatenate([members, others]), truth).auc > 0.75
    low, high = membership.interval(np.concatenate([strangers, others]), truth)
    assert low <= 0.5 <= high


def test_the_gap_attack_knows_what_accuracy_knows(many, checkpoint):
    """Caught is the accuracy on members, accused that on others: the area is (1 + their difference) / 2."""
    dealt = membership.groups(many, 12, seed=0)
    model, tokenizer = load_checkpoint(checkpoint)
    found = membership.attacks(model, tokenizer, dealt, reference=model)
    assert np.array_equal(found["reference"], np.zeros((3, 12)))
    gap = np.subtract(*(evaluate(model, tokenizer, dealt[name]).accuracy for name in ("members", "others")))
    scores = np.concatenate(found["right"][:2])
    assert membership.roc(scores, np.repeat([1, 0], 12)).auc == pytest.approx((1 + gap) / 2)


def test_a_record_of_an_attack(many, shape, checkpoint, monkeypatch):
    monkeypatch.setattr(membership, "pretrained", lambda start, of: checkpoint)
    record = membership.attacked(Start(shape, 640), many, pairs=8, epochs=1)
    assert isinstance(record, RunRecord) and record.config["plan"]["epochs"] == 1
    assert {
        f"{attack} {what}"
        for attack in ("right", "loss", "reference")
        for what in ("auc", "null", "caught 1%")
    } <= set(record.metrics)
    assert all(0 <= value <= 1 for value in record.metrics.values())
