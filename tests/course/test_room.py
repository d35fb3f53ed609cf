"""The table of a room, from files that nobody trusts."""

from __future__ import annotations

import json

import pytest
from refusals import one_line

from scalept_lab import cli
from scalept_lab.course import room
from scalept_lab.course.readiness import Readiness, Row
from scalept_lab.data import corpora

PINNED = corpora.FINGERPRINTS["python"]


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
    found = room.read(tmp_path)
    assert list(found.machines) == ["good"] and not found.ok
    (one,) = found.rejected
    assert one["file"] == "bad.json" and reason in one["reason"] and "\n" not in one["reason"]
    (tmp_path / "good.json").unlink()
    one_line(lambda: room.read(tmp_path), "that are none")


def test_a_folder_without_files(tmp_path):
    one_line(lambda: room.read(tmp_path), "got 0", "scalept check --class --json >")
    one_line(lambda: room.read(tmp_path / "none"), "expected a folder")


def test_names_cannot_move_the_cursor(tmp_path):
    place(tmp_path, **{"a\x1b[2J": told(name="s\x1b[1m\n")})
    assert "\x1b" not in str(room.read(tmp_path)) and "a\\x1b[2J" in str(room.read(tmp_path))
