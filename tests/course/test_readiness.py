"""Whether a machine is ready for a class, and the table of a room from files that nobody trusts."""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import numpy as np
import pytest
from refusals import one_line

from scalept_lab import cli, machine
from scalept_lab.course import here, readiness
from scalept_lab.course.readiness import Readiness, Row
from scalept_lab.data import corpora, wheels
from scalept_lab.errors import InputError

PINNED = corpora.FINGERPRINTS["python"]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one notebook, whose second code cell the test writes; nothing that is pinned is here."""
    readiness._text.cache_clear()
    readiness._at_hand.cache_clear()
    monkeypatch.setattr(readiness, "notebooks", lambda: tmp_path)
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(wheels, "installed_files", lambda source: None)
    monkeypatch.setattr(wheels, "_pip_download", lambda *_: pytest.fail("the network was asked"))

    def row(code: str) -> Row:
        readiness._text.cache_clear()
        readiness._at_hand.cache_clear()
        cells = [
            {"cell_type": "code", "source": ["urlopen('set-up of a hosted machine')"]},
            {"cell_type": "markdown", "source": 'recorded("words")'},
            {"cell_type": "code", "source": code.splitlines(keepends=True)},
        ]
        (tmp_path / here.COURSE[0].file).write_text(json.dumps({"cells": cells}))
        return readiness._notebook(here.COURSE[0])

    yield row
    readiness._text.cache_clear()
    readiness._at_hand.cache_clear()


# --- one machine


def test_below_the_least_it_fails_and_below_the_wanted_it_is_told_what_to_do():
    found = [
        readiness._measured("memory", value, (1.5e9, 2e9), 1e9, "GB", "close programs")
        for value in (1e9, 1.8e9, 8e9)
    ]
    assert [(row.ok, row.do, row.share) for row in found] == [
        (False, "close programs", 0.5), (True, "close programs", 0.9), (True, "", 4.0),
    ]  # fmt: skip
    assert found[0].found == "1 GB" and found[0].wanted == "2 GB (at least 1.5)"


@pytest.mark.parametrize(
    ("code", "ok", "said"),
    [
        ("x = 1", True, "needs nothing but the kit"),
        ('sl.runs.recorded(\n    "standard")', True, "recorded sweeps"),
        ('sl.recorded("no_such")', False, "the recorded sweep no_such is missing"),
        ('sl.prepare("language")', True, "corpus language, generated at the first run"),
        ('sl.prepare("python-small")', False, "python-small needs the sources of mpmath, networkx, pygments"),
        ('sl.Sweep(width=8, corpus="owner/name")', False, "owner/name is none of the kit's"),
        (
            'sl.Study("mine")',
            False,
            "the corpus python needs the sources of mpmath, networkx, pygments, sympy",
        ),
        ('sl.data.collect(["sympy"])', False, "the pinned sources of mpmath"),
        ("sl.compress.trained(config)", False, "the corpus python"),
        ('urllib.request.urlopen("x")', False, "a cell asks the network"),
        ('BertModel.from_pretrained("google/bert")', False, "a cell asks the network"),
        ("BertModel.from_pretrained(folder)", True, "needs nothing"),
    ],
)
def test_a_notebooks_needs_are_read_from_its_cells(course, code, ok, said):
    row = course(code)
    assert row.ok is ok and said in row.found and bool(row.do) is not ok, row


def test_what_is_kept_and_what_will_be_trained_is_said(course, tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "installed_files", lambda source: [])
    assert (
        "corpus python, built at the first run; the teacher, trained at"
        in course("sl.compress.trained(c)").found
    )
    kept = tmp_path / "cache" / "models" / "0" / "a.pt"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"")
    assert "the teacher, in the cache" in course("sl.compress.trained(c)").found


def test_a_wheel_in_the_cache_serves_as_well_and_a_damaged_one_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(wheels, "installed_files", lambda source: None)
    source = wheels.SOURCES["mpmath"]
    assert not wheels.at_hand(source, tmp_path)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / source.wheel).write_bytes(b"cut short")
    assert not wheels.at_hand(source, tmp_path)
    monkeypatch.setattr(wheels, "_file_sha256", lambda path: source.wheel_sha256)
    assert wheels.at_hand(source, tmp_path)


def test_every_notebook_of_the_course_needs_nothing_that_the_kit_does_not_bring(monkeypatch):
    monkeypatch.setattr(readiness, "_at_hand", lambda source: True)
    readiness._text.cache_clear()
    rows = {lesson.number: readiness._notebook(lesson) for lesson in here.COURSE}
    assert all(row.ok for row in rows.values()), [row for row in rows.values() if not row.ok]
    assert "recorded sweeps" in rows["08"].found and "corpus language" in rows["12"].found
    assert "the teacher" in rows["11"].found and "the encoder" in rows["09"].found
    readiness._text.cache_clear()


@pytest.mark.parametrize("content", [None, "", "[1]", '{"cells": 3}', '{"cells": [3]}'])
def test_a_notebook_that_is_none_is_told_in_its_row(course, tmp_path, content):
    if content is not None:
        (tmp_path / here.COURSE[0].file).write_text(content)
    row = readiness._notebook(here.COURSE[0])
    assert not row.ok and "a notebook of the course" in row.found and "\n" not in row.found


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


def test_results_go_elsewhere_or_nowhere(course, tmp_path, monkeypatch):
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
    monkeypatch.setattr(readiness, "_at_hand", lambda source: True)
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


# --- a room


def told(
    ok: bool = True, sha: str | None = PINNED, share: float = 3.0, name: str = "speed", **fields
) -> dict:
    rows = (
        Row(name="disk", ok=True, found="9 GB free", wanted="1 GB free", share=9.0),
        Row(name=name, ok=ok, found="60 GFLOP/s", wanted="20 GFLOP/s", share=share),
    )
    return {**Readiness(machine="Linux", corpus_sha256=sha, rows=rows).as_json(), **fields}


def place(folder, **machines) -> None:
    for name, content in machines.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_room_in_one_table(tmp_path, capsys):
    place(tmp_path, anna=told(), ben=told(share=0.5), carl=told(ok=False, sha="b" * 64, share=20))
    assert cli.main(["check", "--class", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["carl", "ben", "anna"], (
        "what needs a hand stands first"
    )
    assert lines[1].split()[:3] == ["carl", "NO", "bbbbbbbb"] and "speed: 60 GFLOP/s" in lines[1]
    assert lines[2].split()[:3] == ["ben", "yes", PINNED[:8]]
    assert (
        "another corpus than most (bbbbbbbb in place of 4c3cbecd): carl; their runs cannot be pooled"
        in lines[4]
    )
    assert lines[-1] == "2 of 3 machines are ready for class"
    (tmp_path / "carl.json").unlink()
    assert cli.main(["check", "--class", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["corpora"] == {PINNED: ["anna", "ben"]} and found["rejected"] == []
    assert found["machines"][1] == {
        "name": "ben", "ok": True, "weakest": "speed", "found": "60 GFLOP/s", "corpus_sha256": PINNED,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not JSON"),
        ("import os; os.remove('x')", "not JSON"),
        ("[]", "a JSON object"),
        ("{}", "expected schema_version 1, got 'None'"),
        (told(schema_version=0), "check that machine again with this version"),
        (told(ok=False) | {"ok": True}, "it says ok True, and its rows say False"),
        (told(rows=[]), "rows"),
        (told(more=1), "more"),
        (told(corpus_sha256="<script>"), "corpus_sha256"),
        (told() | {"rows": [{**told()["rows"][0], "share": float("nan")}]}, "share"),
        (told() | {"rows": [{**told()["rows"][0], "found": "x" * 501}]}, "found"),
        ("[" * 100_000, "nested too deep"),
        (" " * 10**6 + "{}", "at most 1 MB"),
    ],
)
def test_a_file_that_is_none_is_told_and_the_others_count(tmp_path, content, reason):
    place(tmp_path, good=told(), bad=content)
    found = readiness.room(tmp_path)
    assert list(found.machines) == ["good"] and not found.ok
    (one,) = found.rejected
    assert one["file"] == "bad.json" and reason in one["reason"] and "\n" not in one["reason"]
    (tmp_path / "good.json").unlink()
    one_line(lambda: readiness.room(tmp_path), "that are none")


def test_a_folder_without_files(tmp_path):
    one_line(lambda: readiness.room(tmp_path), "got 0", "scalept check --class --json >")
    one_line(lambda: readiness.room(tmp_path / "none"), "expected a folder")


def test_names_cannot_move_the_cursor(tmp_path):
    place(tmp_path, **{"a\x1b[2J": told(name="s\x1b[1m\n")})
    assert "\x1b" not in str(readiness.room(tmp_path)) and "a?[2J" in str(readiness.room(tmp_path))
