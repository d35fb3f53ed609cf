"""Plans: what a file may hold, and the bill by hand."""

from __future__ import annotations

import json

import pytest
from refusals import one_line
from small_plan import TINY, plan

from scalept_lab.study.plan import bill, read_plan, seal


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
