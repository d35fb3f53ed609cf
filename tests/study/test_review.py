"""The questions to a plan: what each fault is told, with numbers worked out by hand."""

from __future__ import annotations

from math import exp

import pytest
from refusals import one_line
from small_plan import plan

from scalept_lab.study.judge import judge_of
from scalept_lab.study.plan import Plan, seal
from scalept_lab.study.review import Finding, check


def finding(made: Plan, question: str) -> Finding:
    return next(each for each in check(made) if each.question == question)


def test_a_plan_that_keeps_everything():
    assert all(each.ok for each in check(seal(plan())))


HUGE = {"width": 65536, "depth": 512, "heads": 512}
FAULTS = [
    ({"layout": {"data": 4}}, "feeds all ranks", "8 is not 4 data", "nearest layout that fits is d8·t1·p1"),
    ({"batch": 100}, "feeds all ranks", "multiple of 8 data ranks", "nearest layout"),
    ({"layout": {"data": 4, "tensor": 2}}, "feeds all ranks", "1 heads do not divide", "nearest layout"),
    ({"layout": {"data": 2, "pipeline": 4}}, "feeds all ranks", "2 layers do not divide", "nearest layout"),
    (
        {"model": {"width": 4096, "depth": 32, "heads": 32}},
        "fits in memory",
        "of 80 GiB",
        "nearest layout that fits is",
    ),
    ({"model": HUGE}, "fits in memory", "of 80 GiB", "no layout of these GPUs holds this model"),
    ({"tokens": 1e15}, "keeps the budget", "of 192 GPU hours", "it pays for"),
    ({"precision": "fp8"}, "has this precision", "A100-80GB has no fp8", "take one of mixed"),
    ({"precision": "bf16"}, "keeps small updates", "lose updates below", "take mixed"),
    ({"batch": 512}, "has a useful batch", "1,048,576 tokens", "beyond 256 sequences"),
    ({"tokens": 2e7}, "has a useful batch", "38 steps", "fewer than 100"),
    ({"tokens": 6e10}, "has enough text", "is read 60 times", "less often"),
    (
        {"tokens": 6e9, "law": "hoffmann"},
        "has enough text",
        "read 6 times",
        "takes every token for a fresh one",
    ),
    ({"curriculum": {"choice": "easy"}}, "says why in this order", "without a reason", "give curriculum.why"),
    ({}, "is sealed with a prediction", "no prediction", "seal it"),
]


@pytest.mark.parametrize(
    ("changes", "question", "found", "advice"), FAULTS, ids=[f[1] + f[3] for f in FAULTS]
)
def test_each_fault_is_told_with_what_to_do(changes, question, found, advice):
    told = finding(plan(**changes), question)
    assert not told.ok and found in told.found and advice in told.advice, told
    assert "\n" not in told.found + told.advice


def test_by_what_factor_a_model_is_too_large():
    """16 bytes a parameter over 8 GPUs of 80 GiB: 2.6e13 parameters need some 600 times that."""
    told = finding(plan(model=HUGE), "fits in memory").advice
    states = 16 * 12 * 512 * 65536**2 / 8 / (80 * 2**30)
    assert 600 < states < float(told.partition("needs ")[2].partition(" times")[0]) < 1.1 * states


def test_what_repetition_is_worth_is_told():
    """The last token of pass 1 + R_D is worth 1/e of a fresh one."""
    told = finding(plan(tokens=(1 + 15.387756) * 1e9), "has enough text")
    assert told.ok and f"worth {exp(-1):.0%}" in told.found


def test_robots_may_read_their_demonstrations_so_often():
    few, many = (
        plan(scenario="robots", layout={"data": 2}, tokens=passes * 20_000 * 8.5 * 1024)
        for passes in (20, 25)
    )
    assert finding(few, "has enough text").ok and not finding(many, "has enough text").ok


def test_a_seal_breaks_with_the_plan():
    sealed = seal(plan())
    assert sealed.low < sealed.predicted < sealed.high
    assert sealed.predicted == pytest.approx(judge_of("day").loss(sealed.N, sealed.tokens))
    changed = sealed.replace(tokens=sealed.tokens * 2)
    assert "changed after" in finding(changed, "is sealed with a prediction").found
    lower = sealed.replace(predicted=sealed.predicted * 0.999)
    assert "changed after" in finding(lower, "is sealed with a prediction").found
    assert seal(changed).seal != sealed.seal


def test_a_prediction_of_ones_own_is_kept_and_held_against_the_law():
    wild = seal(plan(predicted=1.0, low=0.9, high=1.1))
    assert wild.predicted == 1.0
    assert "holds 0% of the law's draws" in finding(wild, "is sealed with a prediction").found
    one_line(lambda: seal(plan(predicted=1.0, low=1.1, high=1.2)), "low ≤ predicted ≤ high")
