"""The recorder, and the sweeps: what they would train is what data/records holds."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import record
from scalept_lab.config import run_id
from scalept_lab.errors import InputError
from scalept_lab.runs import RunRecord, Store, data_folder, read_records, recorded
from sweeps import SWEEPS, Job, Sweep, laws

FILES = sorted(path.stem for path in (data_folder() / "records").glob("*.jsonl"))


def test_each_recorded_file_has_a_sweep_and_a_row_in_the_table():
    assert sorted(SWEEPS) == FILES
    said = (data_folder() / "records" / "README.md").read_text(encoding="utf-8")
    for name in FILES:
        assert f"| `{name}.jsonl` | {len(recorded(name))} |" in said


@pytest.mark.parametrize("name", FILES)
def test_a_sweep_makes_the_recorded_runs(name, monkeypatch):
    """Nothing is trained: every job finds its recorded result, by which a sweep may choose what comes next.

    Jobs go to other processes, so they are pickled here.
    """
    known = {run.id: run for run in recorded(name)}
    monkeypatch.setattr(laws, "RESAMPLES", 20)
    monkeypatch.setattr(record, "make", lambda jobs, store, workers: pickle.dumps(jobs))
    found = record.made(SWEEPS[name], SimpleNamespace(get=known.get), SWEEPS[name].seeds)
    assert sorted(run.id for run in found) == sorted(known)
    assert all(run.provenance == known[run.id].provenance for run in found)  # its labels, too
    assert record.table(found, SWEEPS[name].metrics)


# --- the recorder, with runs that take no time --------------------------------------------------------------------------


def toy(seed: int, way: str, calls: str) -> RunRecord:
    """A run that notes in the file `calls` that it was made."""
    with open(calls, "a") as file:
        file.write(f"{way} {seed}\n")
    config = {"way": way, "seed": seed}
    return RunRecord(
        id=run_id(config), config=config, N=1, N_total=1, D=1, C=1.0, L=2.0 - (way == "b") + seed / 10, metrics={"m": 5.0},
        seconds=0.0, peak_rss_bytes=0, provenance={"corpus_sha256": Path(calls + ".text").read_text()},
    )  # fmt: skip


@pytest.fixture
def calls(tmp_path, monkeypatch) -> Path:
    """What was made. Beside it stands the text that the toys are trained on. Threads serve as workers: they start at once."""
    monkeypatch.setattr(record, "local_processes", ThreadPoolExecutor)
    (tmp_path / "calls.text").write_text("one text")
    (tmp_path / "calls").touch()
    return tmp_path / "calls"


def toys(calls: Path, **more) -> Sweep:
    """The ways a and b, and then the better one with a seed of its own."""
    text = Path(f"{calls}.text")

    def job(seed: int, way: str, **label: str) -> Job:
        return Job({"way": way, "seed": seed}, partial(toy, seed, way, str(calls)), text.read_text, label)

    def rounds(seeds):
        tried = yield [job(seed, way, experiment="tried", arm=way) for way in "ab" for seed in seeds]
        best = min(tried, key=lambda run: run.L)
        yield [job(9, best.config["way"], experiment="chosen", arm="best")]

    return Sweep("nothing", 0, rounds, (0, 1), **more)


def test_a_sweep_goes_on_where_it_was(calls, tmp_path, capsys):
    """A later round follows from the results of an earlier one; a run on other text is made again."""
    store, sweep = Store(tmp_path / "kept"), toys(calls)
    found = record.made(sweep, store, sweep.seeds, workers=2)
    assert [(run.config["way"], run.config["seed"]) for run in found] == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
        ("b", 1),
        ("b", 9),
    ]
    assert [run.provenance["arm"] for run in found] == ["a", "a", "b", "b", "best"]
    assert sorted(calls.read_text().split("\n")) == ["", "a 0", "a 1", "b 0", "b 1", "b 9"]
    assert "4 of 4: experiment tried, arm " in capsys.readouterr().out

    store.path(found[1].id).unlink()  # as if the sweep had been killed before this one
    calls.write_text("")
    assert record.made(sweep, store, sweep.seeds) == found
    assert calls.read_text() == "a 1\n"
    Path(f"{calls}.text").write_text("another text")
    assert {run.corpus for run in record.made(sweep, store, [0])} == {"another text"}
    assert sorted(calls.read_text().split()[2:]) == sorted(["b", "0", "a", "0", "b", "9"])


def test_the_table_has_a_mean_over_seeds(calls, tmp_path):
    sweep = toys(calls)
    head, *rows = record.table(record.made(sweep, Store(tmp_path / "kept"), (0, 1, 4)), ("m",)).splitlines()
    assert head.split() == ["experiment", "arm", "L", "sd", "m", "runs"]
    # 2, 2.1 and 2.4: mean 6.5 / 3; the differences to it are -1/6, -1/15 and 7/30, and 13/150 / 2 the variance
    assert [row.split() for row in rows] == [
        ["tried", "a", "2.1667", "0.2082", "5.0", "3"],
        ["tried", "b", "1.1667", "0.2082", "5.0", "3"],
        ["chosen", "best", "1.9000", "5.0", "1"],
    ]


def test_fields_that_are_set_in_some_runs_only_count_as_varied():
    rows = [{"seed": 0, "unique": None, "model": 1}, {"seed": 1, "unique": 5, "model": 1}]
    assert record.varied(rows) == ["seed", "unique"]


def test_a_part_is_made_alone(calls, tmp_path):
    sweep, store = toys(calls), Store(tmp_path / "kept")
    with pytest.raises(InputError, match="--only: expected one of tried, got 'order'"):
        record.made(sweep, store, sweep.seeds, only="order")
    assert calls.read_text() == ""


def test_a_record_of_another_run_is_refused(calls, tmp_path):
    job = Job({"way": "c", "seed": 0}, partial(toy, 0, "a", str(calls)), lambda: "")
    with pytest.raises(RuntimeError, match=f"expected a record of {job.id}"):
        record.make_one(job, str(tmp_path))
    assert not list(tmp_path.glob("*.json"))


def test_record_writes_the_whole_sweep_with_what_was_timed(calls, tmp_path, monkeypatch, capsys):
    def timed(records):
        return [run.model_copy(update={"metrics": {"speed": 3.0}}) for run in records]

    monkeypatch.setattr(record, "data_folder", lambda: tmp_path)
    monkeypatch.setitem(SWEEPS, "toys", toys(calls, timed=timed))
    record.main(["toys", "--out", str(tmp_path)])
    assert not (tmp_path / "records").exists()
    record.main(["toys", "--out", str(tmp_path), "--record"])
    found = read_records(tmp_path / "records" / "toys.jsonl")
    assert [(run.origin, run.metrics) for run in found] == 5 * [("recorded", {"speed": 3.0})]
    assert found[4].provenance == {"corpus_sha256": "one text", "experiment": "chosen", "arm": "best"}
    assert all(run.origin == "live" for run in Store(tmp_path / "toys").records())
    for more in (["--seeds", "3"], ["--only", "tried"]):
        with pytest.raises(SystemExit):
            record.main(["toys", "--out", str(tmp_path), "--record", *more])
        assert "leave out --seeds and --only" in capsys.readouterr().err


def test_the_command_lists_the_sweeps_and_refuses_others(capsys):
    record.main([])
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()] == list(SWEEPS)
    assert "repetition      30 runs" in shown
    with pytest.raises(SystemExit):
        record.main(["nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err
