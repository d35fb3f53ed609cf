"""Whether a machine is ready for a class."""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import numpy as np

from scalept_lab import cli, machine
from scalept_lab.course import here, needs, readiness
from scalept_lab.course.readiness import Readiness, Row
from scalept_lab.data import corpora
from scalept_lab.errors import InputError

PINNED = corpora.FINGERPRINTS["python"]


def test_below_the_least_it_fails_and_below_the_wanted_it_is_told_what_to_do():
    found = [
        readiness._measured("memory", value, (1.5e9, 2e9), 1e9, "GB", "close programs")
        for value in (1e9, 1.8e9, 8e9)
    ]
    assert [(row.ok, row.do, row.share) for row in found] == [
        (False, "close programs", 0.5), (True, "close programs", 0.9), (True, "", 4.0),
    ]  # fmt: skip
    assert found[0].found == "1 GB" and found[0].wanted == "2 GB (at least 1.5)"


def test_the_corpus_row_trusts_bytes_and_not_the_card(monkeypatch, word_corpus):
    monkeypatch.setattr(corpora, "prepare", lambda name: word_corpus)
    row, sha = readiness._corpus()
    assert (
        not row.ok
        and sha == corpora.fingerprint(word_corpus.train, word_corpus.heldout) != word_corpus.sha256
    )
    assert f"text, fingerprint {sha[:8]}…" in row.found and "damaged or another" in row.do
    monkeypatch.setitem(corpora.FINGERPRINTS, "python", sha)
    row, _ = readiness._corpus()
    assert row.ok and row.do == "" and "the pinned one" in row.found and "built" not in row.found


def test_the_fallback_says_what_it_means(monkeypatch, tmp_path):
    stream = np.arange(100, dtype=np.uint8)
    found = SimpleNamespace(
        train=stream, heldout=stream[:9], card={"origin": "stdlib fallback"}, folder=tmp_path / "made"
    )

    def build(name):
        found.folder.mkdir(exist_ok=True)
        os.utime(found.folder, (time.time() + made, time.time() + made))
        return found

    monkeypatch.setattr(corpora, "prepare", build)
    made = -3600
    assert "built now" not in readiness._corpus()[0].found
    made = 1
    row, _ = readiness._corpus()
    assert not row.ok and "this Python's own library" in row.found and "built now in 0 s" in row.found
    assert "not pooled" in row.do and "constraints.txt" in row.do


def test_a_corpus_that_cannot_be_built_is_a_row(monkeypatch):
    def refuse(name):
        raise InputError("the disk is full")

    monkeypatch.setattr(corpora, "prepare", refuse)
    row, sha = readiness._corpus()
    assert (row.ok, row.found, sha) == (False, "the disk is full", None)


def test_results_go_elsewhere_or_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(needs, "notebooks", lambda: tmp_path)
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCALEPT_RESULTS", raising=False)
    assert readiness._results().ok and readiness._results().do == ""
    monkeypatch.setattr(readiness.folders, "may_write", lambda place: "cache" in str(place))
    row = readiness._results()
    assert row.ok and "cannot be written" in row.found and "cache/results" in row.do
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path / "named"))
    row = readiness._results()
    assert not row.ok and "SCALEPT_RESULTS" in row.do


def test_processes_that_cannot_meet(monkeypatch):
    monkeypatch.setattr(readiness, "_meet", lambda: None)
    assert readiness._processes().ok
    monkeypatch.setattr(
        readiness.socket, "create_server", lambda *_: (_ for _ in ()).throw(OSError("no\nroute"))
    )
    row = readiness._processes()
    assert not row.ok and "no route" in row.found and "127.0.0.1" in row.do


def test_a_notebooks_row(monkeypatch, tmp_path):
    monkeypatch.setattr(needs, "notebooks", lambda: tmp_path)
    row = readiness._notebook(here.COURSE[0])
    assert not row.ok and "a notebook of the course" in row.found and "copy" in row.do
    for found, missing, ok, said in (
        (["a", "b"], [], True, "a; b"),
        (["a"], ["c"], False, "c"),
        ([], [], True, "nothing but"),
    ):
        monkeypatch.setattr(needs, "of", lambda path, answer=(found, missing): answer)
        row = readiness._notebook(here.COURSE[0])
        assert row.ok is ok and said in row.found and ("bundle" in row.do) is not ok


def test_packages(monkeypatch):
    assert readiness._packages().ok and "packages installed" in readiness._packages().found
    monkeypatch.setattr("scalept_lab.course.notebooks.missing", lambda: (["torch>=2.11"], 20))
    row = readiness._packages()
    assert not row.ok and "not installed: torch>=2.11" in row.found


def test_all_rows_together(monkeypatch, capsys):
    """One verdict, its JSON, and exit status 1 where it is no."""
    fine = Row(name="corpus", ok=True, found="the pinned one", wanted="it")
    monkeypatch.setattr(readiness, "_corpus", lambda: (fine, PINNED))
    monkeypatch.setattr(readiness, "_meet", lambda: None)
    monkeypatch.setattr(needs, "_at_hand", lambda source: True)
    small = {"python": "3.11", "torch": "2", "cores": 1, "memory_bytes": 8 * 10**9, "gflops": 50.0}
    monkeypatch.setattr(machine, "check", lambda: small)
    assert cli.main(["check", "--class", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True and found["corpus_sha256"] == PINNED
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows["memory"]) == {"name", "ok", "found", "wanted", "do", "share"}
    assert [name for name in rows if name.startswith("notebook")] == [
        f"notebook {one.number}" for one in here.COURSE
    ]
    assert rows["memory"]["share"] == 4 and rows["speed"]["share"] == 2.5 and rows["cores"]["share"] == 0.5
    assert "double" in rows["cores"]["do"]
    small["memory_bytes"] = 10**9
    assert cli.main(["check", "--class"]) == 1
    text = capsys.readouterr().out
    assert "NOT      memory" in text and "NOT ready for class: memory" in text and "ok, but  cores" in text


def test_rows_that_say_the_same_share_a_line():
    def row(name, ok, found):
        return Row(name=name, ok=ok, found=found, wanted="w", do="" if ok else "d")

    rows = (row("disk", True, "x"), row("notebook 00", True, "x"), row("notebook 01", False, "y"),
            row("notebook 02", True, "x"), row("notebook 03", False, "y"))  # fmt: skip
    lines = str(Readiness(machine="m", rows=rows)).splitlines()
    assert [line.split() for line in lines[2:5]] == [
        ["ok", "disk", "x"], ["ok", "notebooks", "00,", "02", "x"], ["NOT", "notebooks", "01,", "03", "y"],
    ]  # fmt: skip
    assert lines[-1] == "NOT ready for class: notebooks 01, 03"
