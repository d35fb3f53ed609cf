"""The doors from outside under the faults of `make torture`: a few of each here, thousands by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.torture import doors, fuzz, generate, objects
from benchmarks.torture.outcome import Break, Outcome, joined, table

SLOW = {"merge", "scalept fit", "notebook run", "text built", "Hugging Face model", "LeRobot 2.1", "LeRobot 3.0",
"demonstrations",
        "checkpoint"}  # fmt: skip
QUICK = [
    door.name for door in doors.FILES if door.name not in SLOW and not door.name.startswith(("pairs", "documents"))
]  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Door -> its valid folder and the sealed parts of what it gives."""
    made: dict = {}

    def of(door: str):
        if door not in made:
            made[door] = fuzz.prepared(door, tmp_path_factory.mktemp("doors"))
        return made[door]

    return of


def answered(door, seed, base, folder, expected):
    """One case of the fuzz ends in a result or in one line."""
    place = folder / f"case-{seed}"
    what, call, names, check = fuzz.case(door, seed, base, place, expected)
    try:
        found = fuzz.judged(call, names, check)
    finally:
        shutil.rmtree(place)
    assert found.kind != "broken", f"{what}: {found.line}"


@pytest.mark.parametrize("door", QUICK)
@settings(max_examples=max(5, settings.default.max_examples // 2), suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**40))
def test_a_spoilt_file_is_read_or_refused_in_one_line(door, kept, tmp_path, monkeypatch, seed):
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path / "results"))
    base, expected = kept(door)
    answered(door, seed, base, tmp_path, expected)


@pytest.mark.parametrize("door", ["guesses", "claims", "command line"])
@settings(suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**40))
def test_any_object_and_any_word_is_answered(door, tmp_path, monkeypatch, seed):
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path / "results"))
    answered(door, seed, tmp_path, tmp_path, None)


@pytest.mark.parametrize("id", ["00.1", "01.1", "02.1", "02.2", "08.1"])
@settings(suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**40))
def test_any_object_is_checked(id, tmp_path, monkeypatch, seed):
    from scalept_lab.course.exercises import check

    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path / "results"))
    what, answer = objects.odd(Random(seed))
    found = fuzz.judged(lambda: check(id, answer), (), None)
    assert found.kind == "fine", f"{what}: {found.line}"


# --- the torture itself: it finds what is broken, and makes it again


def test_a_seed_makes_the_same_fault_again():
    data = json.dumps({"a": [1, {"b": "x"}], "c": '{"d": 1}'}).encode()
    faults = [generate.spoilt(data, Random(seed), "x.json") for seed in range(300)]
    assert faults == [generate.spoilt(data, Random(seed), "x.json") for seed in range(300)]
    assert len({content for content, _ in faults}) > 150  # and they are many


@pytest.mark.parametrize("answer, line", [
    (ValueError("a\nb"), "ValueError: a⏎b"), (KeyboardInterrupt(), "KeyboardInterrupt: "), (SystemExit(2), "SystemExit: 2"),
])  # fmt: skip
def test_another_exception_is_a_break(answer, line):
    def call():
        raise answer

    assert fuzz.judged(call, (), None) == fuzz.Result("broken", line)


@pytest.mark.parametrize("text, kind", [
    ("x.json: expected a law", "refused"), ("a law was expected", "broken"), ("x.json: two\nlines", "broken"),
    ("x.json: \x1b[2J", "broken"), ("x.json: " + "y" * 5000, "broken"),
])  # fmt: skip
def test_a_refusal_is_one_line_that_names_the_file(text, kind):
    assert fuzz.refusal(text, ("x.json",)).kind == kind


def test_a_sealed_result_is_as_it_was_or_none():
    assert not fuzz.changed([1, None], [1, 2])
    assert fuzz.changed([1, 3], [1, 2]) and fuzz.changed([1], [1, 2])
    assert fuzz.judged(lambda: [3], (), lambda found: fuzz.changed(found, [2])).kind == "broken"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux")
def test_a_worker_that_dies_hangs_or_eats_is_told_and_the_next_one_goes_on(tmp_path, monkeypatch):
    def case(door, seed, base, place, expected):
        import os
        import time

        ways = {
            0: lambda: 1,
            1: lambda: os._exit(7),
            2: lambda: time.sleep(60),
            3: lambda: b"x" * 300_000_000,
            4: lambda: 1,
        }
        place.mkdir()
        return f"way {seed}", ways[seed], (), None

    monkeypatch.setattr(fuzz, "case", case)
    monkeypatch.setattr(fuzz, "SECONDS", 1.0)
    monkeypatch.setattr(fuzz, "BYTES", 10**8)
    outcome = Outcome("made up")
    fuzz.watched("made up", [0, 1, 2, 3, 4], tmp_path, tmp_path / "scratch", None, outcome)
    assert (outcome.tried, outcome.fine, outcome.hangs) == (5, 2, 1)
    assert [(one.seed, one.what) for one in outcome.broken] == [(n, f"made up, way {n}") for n in (1, 2, 3)]
    assert "ended with 7" in outcome.broken[0].line and "MB" in outcome.broken[2].line


def test_outcomes_join_and_show_as_one_table():
    parts = [
        Outcome("a", 3, 1, 1, [Break("x", 1, "y")], 1, 10**6, 2.0),
        Outcome("b", 1, 1, peak_bytes=5 * 10**6),
    ]
    whole = joined("all", parts)
    assert (whole.tried, whole.fine, whole.refused, len(whole.broken), whole.hangs) == (4, 2, 1, 1, 1)
    assert table(parts).splitlines()[-1] == "| all | 4 | 2 | 1 | 1 | 1 | 5 | 2 |"
