"""Plans: what a file may hold, the bill by hand, the seal, and what each fault is told."""

from __future__ import annotations

import json
from math import exp

import pytest
from refusals import one_line

from scalept_lab.config import parse
from scalept_lab.study import plan as planning
from scalept_lab.study.judge import judge_of
from scalept_lab.study.plan import Plan, bill, check, read_plan, seal

TINY = {
    "scenario": "day", "model": {"width": 128, "depth": 2, "heads": 1}, "tokens": 1000 * 256 * 2048, "batch": 256,
    "layout": {"data": 8}, "curriculum": {"choice": "none", "why": "text as it comes"},
}  # fmt: skip


def plan(**changes) -> Plan:
    return parse(Plan, {**TINY, **changes})


def finding(made: Plan, question: str) -> planning.Finding:
    return next(each for each in check(made) if each.question == question)


def test_the_bill_of_a_run_that_waits_for_its_data():
    """A tiny model waits for data: 256 × 2,048 tokens at 2e6 a second on 8 GPUs take 0.032768 s, 1,000 steps 32.768 s."""
    found = bill(plan())
    assert found["steps"] == 1000 and found["step_seconds"] == pytest.approx(0.032768)
    assert found["gpu_hours"] == pytest.approx(32.768 * 8 / 3600)
    assert found["kwh"] == pytest.approx(found["gpu_hours"] * 400 * 1.4 / 1000)
    assert found["dollars"] == pytest.approx(found["gpu_hours"] * 2.0)
    assert found["share"] == pytest.approx(found["gpu_hours"] / 192)


def test_serving_is_paid_out_of_the_same_budget():
    """2·N FLOPs a token (and the output layer and attention), 1e12 tokens, at a tenth of 989 TFLOP/s."""
    made = plan(
        scenario="serving",
        model={"width": 4096, "depth": 32, "heads": 32},
        layout={"data": 64, "zero": 1},
        batch=1024,
    )
    per_token = 2 * (12 * 32 * 4096**2 + 50304 * 4096) + 4 * 32 * 4096 * 4096
    assert bill(made)["serving_gpu_hours"] == pytest.approx(per_token * 1e12 / (0.1 * 989e12) / 3600)
    assert bill(made)["gpu_hours"] > bill(made)["serving_gpu_hours"]


def test_a_plan_that_keeps_everything():
    assert all(each.ok for each in check(seal(plan())))
    assert planning.runs(plan())  # it may run before it is sealed


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


def test_to_the_file_and_back(tmp_path):
    made = seal(plan())
    assert read_plan(made.save(tmp_path / "plan.json")) == made


BAD = [
    ("{'a': 1}", "not JSON"),
    ("[" * 100_000, "nested too deep"),
    ("[1, 2]", "a JSON object"),
    (json.dumps({**TINY, "scenario": "moon"}), "expected one of day, month"),
    (json.dumps(TINY).replace(str(TINY["tokens"]), "1e400"), "tokens"),
    (json.dumps({**TINY, "tokens": -1}), "tokens"),
    (json.dumps({**TINY, "batch": 0}), "batch"),
    (json.dumps({**TINY, "batch": "eval('1')"}), "batch"),
    (json.dumps({**TINY, "model": {"width": 10**9, "depth": 2, "heads": 1}}), "model.width"),
    (json.dumps({**TINY, "model": {"width": 100, "depth": 2, "heads": 3}}), "not a multiple of heads"),
    (json.dumps({**TINY, "law": "/etc/passwd"}), "expected one of hoffmann"),
    (json.dumps({**TINY, "command": "rm"}), "command"),
    ("import os\nos.remove('x')", "not JSON"),
]


@pytest.mark.parametrize(("text", "word"), BAD, ids=[word for _, word in BAD])
def test_what_is_no_plan_is_refused_in_one_line(tmp_path, text, word):
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8")
    one_line(lambda: read_plan(path), "plan.json", word)


def test_a_program_and_a_folder_are_no_plan(tmp_path):
    (tmp_path / "program").write_bytes(b"\x7fELF\x02\x01\xff\xfe")
    one_line(lambda: read_plan(tmp_path / "program"), "UTF-8")
    one_line(lambda: read_plan(tmp_path), "got a folder")
    one_line(lambda: read_plan(tmp_path / "gone"), "found no such file")
