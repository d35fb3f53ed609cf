"""docs/at_scale.md: the Slurm script as it stands there, the merge after it, and the config that it shows."""

from __future__ import annotations

import concurrent.futures as futures
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from scalept_lab import cli
from scalept_lab.config import Parallel, TrainConfig, parse
from scalept_lab.parallel import spread
from scalept_lab.runs import Store, read_records
from scalept_lab.study.study import Study
from scalept_lab.study.sweep import run_all

PAGE = Path(__file__).parents[2] / "docs" / "at_scale.md"


def test_slurm_job_array(sweep, losses, refuses, tmp_path):
    """The script as it stands on the page, one task after the other as Slurm would start them."""
    scripts = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    (script,) = [script for script in scripts if "--array" in script]
    (tmp_path / "configs").mkdir()
    for config in sweep:
        (tmp_path / "configs" / f"{config.id()}.json").write_text(config.model_dump_json())

    def task(number: int) -> subprocess.CompletedProcess:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        variables = {**os.environ, "PATH": path, "SLURM_ARRAY_TASK_ID": str(number)}
        command = ["bash", "-c", script]
        return subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=240
        )

    for number in range(len(sweep)):
        done = task(number)
        assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "mine" / "runs"
    before = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.json")}
    assert set(before) == {f"{config.id()}.json" for config in sweep}
    assert task(0).returncode == 0  # submitted again: what is finished is not trained again
    assert {file.name: file.stat().st_mtime_ns for file in folder.glob("*.json")} == before

    study = Study("mine", budget_flops=1e9, folder=folder.parent)  # the folder is a study
    assert [record.L for record in study.run(sweep, executor=refuses, progress=False)] == losses
    assert study.spent == pytest.approx(sweep.flops)


def test_merge_of_what_the_tasks_left(sweep, tmp_path, capsys):
    """A record cut off half way is named and left out; the rest is pooled."""
    store = Store(tmp_path / "runs")
    with futures.ThreadPoolExecutor(1) as executor:
        records = run_all(sweep, store, executor, progress=False)
    torn = store.path(records[0].id)
    torn.write_text(torn.read_text()[:200])
    out = tmp_path / "all.jsonl"
    assert cli.main(["merge", str(store.folder), "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accepted"] == 1 and [Path(r["file"]) for r in found["rejected"]] == [torn]
    assert [record.id for record in read_records(out)] == [records[1].id]


def test_the_page_shows_a_config_that_can_be_shared_and_every_strategy():
    page = PAGE.read_text(encoding="utf-8")
    (shown,) = re.findall(r"```json\n(.*?)```", page, re.S)
    config = parse(TrainConfig, json.loads(shown))
    for ranks in (2, 8, 32):
        spread.check(config, ranks)
    strategies = get_args(Parallel.model_fields["strategy"].annotation)
    assert len(strategies) > 5 and all(f"`{strategy}`" in page for strategy in strategies)
