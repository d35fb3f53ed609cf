"""The recorder, and the sweeps: what they would train is what data/records holds."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from scalept_lab.runs import RunRecord, Store, data_folder, read_records, recorded

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(FOLDER))

import record
from sweeps import SWEEPS, Job, Sweep, laws

FILES = sorted(path.stem for path in (data_folder() / "records").glob("*.jsonl"))


def test_each_recorded_file_has_a_sweep_and_a_row_in_the_table():
    assert sorted(SWEEPS) == FILES
    said = (data_folder() / "records" / "README.md").read_text(encoding="utf-8")
    for name in FILES:
        assert f"| `{name}.jsonl` | {len(recorded(name))} |" in said


@pytest.mark.parametrize("name", FILES)
def test_a_sweep_makes_the_recorded_runs(name, monkeypatch):
    """Nothing is trained: every job finds its recorded result, of which a sweep may choose what comes next."""
    known = {run.id: run for run in recorded(name)}
    monkeypatch.setattr(laws, "RESAMPLES", 20)
    monkeypatch.setattr(record, "make", lambda jobs, store, workers: None)
    found = record.made(SWEEPS[name], SimpleNamespace(get=known.get), SWEEPS[name].seeds)
    assert sorted(run.id for run in found) == sorted(known)
    assert all(run.provenance == known[run.id].provenance for run in found)  # its labels, too
    assert record.table(found, SWEEPS[name].metrics)
