"""Distillation against the same steps by hand, and against training alone."""

from __future__ import annotations

import math

import pytest
import torch
import untrained

from scalept_lab.compress import distill
from scalept_lab.config import TrainConfig
from scalept_lab.data.corpora import prepare
from scalept_lab.errors import InputError
from scalept_lab.model.optim import learning_rate, set_rate
from scalept_lab.study.sweep import flops_of
from scalept_lab.train import pacing
from scalept_lab.train.loop import fit_model
from scalept_lab.train.step import set_up

STUDENT = TrainConfig(model=untrained.SMALL.replace(width=16, heads=2), tokens=4_000, eval_windows=16)


def test_soft_loss_is_the_formula_and_zero_for_equals():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    p, q = (x.double() / 3 for x in (teacher, student))
    p, q = p.softmax(-1), q.softmax(-1)
    by_hand = 9 * (p * (p.log() - q.log())).sum(-1).mean()
    assert distill.soft_loss(student, teacher, 3.0).item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert distill.soft_loss(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-6)


def test_without_weight_a_student_trains_as_if_alone(tiny_corpus):
    corpus = prepare(tiny_corpus)
    config = STUDENT.replace(corpus=tiny_corpus)
    alone, run = fit_model(config, corpus=corpus)
    watched, same = distill.fit_student(config, untrained.model(), weight=0.0, corpus=corpus)
    assert same.L == run.L and same.C == run.C and same.status == "ok"
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), watched.parameters(), strict=True))
    taught, record = distill.fit_student(config, untrained.model(), weight=0.5, corpus=corpus)
    assert record.L != run.L and record.C > run.C and record.curve
    assert not torch.equal(taught.head.weight, alone.head.weight)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        (
            {"model": untrained.SMALL.replace(width=64, heads=4)},
            {},
            "student: expected at most the teacher's",
        ),
        (
            {"model": untrained.SMALL.replace(width=16, heads=2, vocab_size=300)},
            {},
            "vocabulary: expected the teacher's 256",
        ),
        (
            {"model": untrained.SMALL.replace(width=16, heads=2, context=64)},
            {},
            "context: expected at most the teacher's 48",
        ),
        ({}, {"temperature": 0}, "temperature: expected a positive number"),
        ({}, {"temperature": math.inf}, "temperature: expected a positive number"),
        ({}, {"weight": 1.5}, "weight: expected a number from 0 to 1"),
        ({}, {"weight": math.nan}, "weight: expected a number from 0 to 1"),
    ],
)
def test_pairs_that_cannot_be_distilled(changes, options, message):
    with pytest.raises(InputError, match=message) as found:
        distill.fit_student(STUDENT.replace(**changes), untrained.model(), **options)
    assert "\n" not in str(found.value)


def test_the_student_follows_the_text_by_a_quarter_and_the_teacher_by_three(tiny_corpus):
    """Three steps of plain gradient descent, whose size depends on the weights, against the same steps by hand."""
    corpus, teacher, T = prepare(tiny_corpus), untrained.model(), 2.0
    config = STUDENT.replace(corpus=tiny_corpus, optimizer="sgd", tokens=3 * 4 * 48, clip=100.0)
    taught, _ = distill.fit_student(config, teacher, weight=0.75, temperature=T, corpus=corpus)
    run = set_up(config, "cpu")
    for step, (x, y) in enumerate(pacing.stream(config, corpus.train)):
        set_rate(run.optimizer, learning_rate(step, config))
        q_BxLxV, p_BxLxV = run.model(torch.from_numpy(x)), teacher(torch.from_numpy(x)).detach()
        hard = -q_BxLxV.log_softmax(-1).gather(-1, torch.from_numpy(y)[..., None]).mean()
        p, log_p, log_q = (
            (p_BxLxV / T).softmax(-1),
            (p_BxLxV / T).log_softmax(-1),
            (q_BxLxV / T).log_softmax(-1),
        )
        soft = T**2 * (p * (log_p - log_q)).sum(-1).mean()
        (0.25 * hard + 0.75 * soft).backward()
        run.optimizer.step()
        run.optimizer.zero_grad()
    for own, twin in zip(taught.parameters(), run.model.parameters(), strict=True):
        assert torch.allclose(own, twin, atol=1e-6)


@pytest.mark.parametrize("context", [48, 24])
def test_a_student_pays_for_its_teachers_forward_passes(word_corpus, context):
    """Two blocks of 12·32² weights and a head of 32·256, two FLOPs each; attention 4·context·32 in each block.

    The teacher could read 48 tokens, but is shown what the student reads.
    """
    forward = 2 * (2 * 12 * 32**2 + 32 * 256) + 2 * 4 * context * 32
    model = STUDENT.model.replace(context=context)
    config = STUDENT.replace(corpus="words", model=model, tokens=5 * 4 * context)
    _, record = distill.fit_student(config, untrained.model(), corpus=word_corpus)
    assert record.C == flops_of(config) + 5 * 4 * context * forward


def test_a_fingerprint_is_of_names_shapes_and_values():
    layer = torch.nn.Linear(2, 3, bias=False)
    mark = distill.fingerprint(layer)
    assert len(mark) == 16 and int(mark, 16) >= 0
    assert distill.fingerprint(layer.double()) == mark
    turned = torch.nn.Linear(3, 2, bias=False)
    turned.weight.data = layer.weight.data.view(2, 3)
    assert len({mark, distill.fingerprint(turned), distill.fingerprint(torch.nn.Sequential(layer))}) == 3


def test_a_student_as_large_as_its_teacher_may_learn():
    distill.check(STUDENT.replace(model=untrained.SMALL), untrained.model(), temperature=0.5, weight=1.0)


def test_logits_of_two_vocabularies():
    with pytest.raises(InputError, match="one vocabulary"):
        distill.soft_loss(torch.zeros(1, 2, 5), torch.zeros(1, 2, 6))
