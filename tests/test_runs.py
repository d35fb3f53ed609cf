"""Records on disk: validated, whole or not there, and nothing in a stranger's file can do more than be refused."""

from __future__ import annotations

import ast
import json
import multiprocessing
import os
import pickle
import stat
from pathlib import Path

import pandas as pd
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scalept_lab import runs
from scalept_lab.errors import InputError
from scalept_lab.runs import (
    RunRecord,
    Store,
    parse_record,
    read_records,
    write_atomically,
    write_records,
)


def made(seed: int = 0, **changes) -> RunRecord:
    return synthetic.record(synthetic.config(16, 1e5, seed=seed), **changes)


def altered(record: RunRecord, **changes) -> str:
    """The JSON of a record with fields set to what no honest writer would write."""
    return json.dumps({**json.loads(record.model_dump_json()), **changes})


# --- one record


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"L": float("nan")}, "L"),
        ({"L": float("inf")}, "L"),
        ({"L": -1.0}, "L"),
        ({"L": 0}, "L"),
        ({"L": "2.1 nats"}, "L"),
        ({"L": None}, "status 'ok' does not go with L = None"),
        ({"status": "diverged"}, "status 'diverged' does not go with L"),
        ({"status": "fine"}, "status"),
        ({"N": -1}, "N"),
        ({"D": 1.5}, "D"),
        ({"C": float("inf")}, "C"),
        ({"seconds": -1}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"metrics": {"accuracy": float("nan")}}, "metrics.accuracy"),
        ({"curve": [(1, 64, float("inf"))]}, "curve"),
        ({"curve": [(1, 64)]}, "curve"),
        ({"id": "../../../etc/passwd"}, "id"),
        ({"id": "ABCDEF0123456789"}, "id"),
        ({"id": "0123456789abcdef\n"}, "id"),
        ({"schema_version": 2}, "schema_version"),
        ({"origin": "elsewhere"}, "origin"),
        ({"config": "python"}, "config"),
        ({"extra": 1}, "extra"),
        ({"__class__": "os.system"}, "__class__"),
    ],
)
def test_what_is_not_a_record_is_told_in_one_line(changes, says):
    with pytest.raises(InputError, match=says) as error:
        parse_record(altered(made(), **changes))
    assert "\n" not in str(error.value) and str(error.value).startswith("run record: ")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "nan", "\0" * 500, '{"a":' * 5000, "x" * 10**6])
def test_garbage_is_told_in_one_short_line(text):
    with pytest.raises(InputError) as error:
        parse_record(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_a_record_is_frozen():
    with pytest.raises(ValidationError):
        made().L = 1.0  # type: ignore[misc]


def test_every_record_that_can_be_made_can_be_read_again():
    for record in (made(), made(status="diverged"), made(metrics={"a": 1e-300}, error=None)):
        assert parse_record(record.model_dump_json()) == record
    with pytest.raises(ValidationError):  # JSON has no such number: written, it could not be read
        made(metrics={"a": float("nan")})


LINE_ENDS = "\n\r\x0b\x0c\x1c\x85\u2028\u2029"


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(1e-6, 50), st.integers(0, 2**62))
def test_any_text_and_number_survive_the_way_through_a_file(text, loss, tokens):
    record = made(L=loss, D=tokens, provenance={"machine": text + LINE_ENDS})
    assert parse_record(record.model_dump_json()) == record
    lines = record.model_dump_json().split("\n")
    assert len(lines) == 1  # a record is one line of a .jsonl


# --- many


@pytest.mark.parametrize("name", ["all.jsonl", "all.parquet", "deeper/still/all.jsonl", "deeper/all.parquet"])
def test_what_is_written_is_read(tmp_path, name):
    records = [
        *synthetic.isoflop_records(),
        made(status="diverged"),
        made(3, error=LINE_ENDS, status="failed"),
    ]
    write_records(records, tmp_path / name)
    assert read_records(tmp_path / name) == records
    assert read_records((tmp_path / name).parent) == records
    write_records(iter(records[:2]), tmp_path / name)  # over what was there
    assert read_records(str(tmp_path / name)) == records[:2]


def test_a_folder_of_all_three_kinds(tmp_path):
    records = [made(seed) for seed in range(3)]
    Store(tmp_path).save(records[0])
    write_records([records[1]], tmp_path / "some.jsonl")
    write_records([records[2]], tmp_path / "more.parquet")
    (tmp_path / "notes.txt").write_text("not a record")
    (tmp_path / "old.json").mkdir()
    assert sorted(record.id for record in read_records(tmp_path)) == sorted(record.id for record in records)


def test_no_records_are_no_records(tmp_path):
    write_records([], tmp_path / "none.jsonl")
    write_records([], tmp_path / "none.parquet")
    assert read_records(tmp_path) == []


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected a .jsonl or .parquet file to write, got 'all.csv'"):
        write_records([made()], tmp_path / "all.csv")
    assert not list(tmp_path.iterdir())


def test_the_first_bad_record_is_named_by_file_and_line(tmp_path):
    file = tmp_path / "class.jsonl"
    write_records([made(0), made(1)], file)
    file.write_text(file.read_text() + "\n" + altered(made(2), L=-1) + "\n")
    with pytest.raises(InputError, match=r"class.jsonl:4: run record: L: .*greater than 0"):
        read_records(file)


@pytest.mark.parametrize("name", ["torn.json", "torn.jsonl", "torn.parquet"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00garbage\x80", b"{", b"PAR1 not really PAR1"])
def test_a_torn_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    if name.endswith("jsonl") and not content:
        assert read_records(tmp_path) == []
        return
    with pytest.raises(InputError, match=name) as error:
        read_records(tmp_path)
    assert "\n" not in str(error.value)


def test_a_table_without_records_is_named(tmp_path):
    pd.DataFrame({"loss": [1.0]}).to_parquet(tmp_path / "points.parquet")
    with pytest.raises(InputError, match=r"points.parquet: expected a Parquet file with a column 'record'"):
        read_records(tmp_path / "points.parquet")


def test_a_missing_path_is_told(tmp_path):
    with pytest.raises(InputError, match=r"no such file or folder: .*gone"):
        read_records(tmp_path / "gone")


# --- the store


def test_what_is_saved_is_found(tmp_path):
    store = Store(tmp_path / "new" / "folder")
    assert store.get(made().id) is None and store.records() == []
    path = store.save(made())
    assert path == store.path(made().id) and path.name == made().id + ".json"
    assert store.get(made().id) == made()


def test_records_come_in_the_order_of_their_compute(tmp_path):
    store = Store(tmp_path)
    for record in reversed(synthetic.isoflop_records()):
        store.save(record)
    found = store.records()
    assert len(found) == len(synthetic.isoflop_records())
    assert [record.C for record in found] == sorted(record.C for record in found)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x80", b"\0" * 4096, b"[]", b"3"])
def test_a_torn_file_counts_as_missing(tmp_path, content):
    store = Store(tmp_path)
    store.path(made(0).id).write_bytes(content)
    store.path(made(1).id).mkdir()
    store.save(made(2))
    assert store.get(made(0).id) is None and store.get(made(1).id) is None
    assert store.records() == [made(2)]
    store.save(made(0))
    assert store.get(made(0).id) == made(0)


def test_every_cut_of_a_record_counts_as_missing(tmp_path):
    store = Store(tmp_path)
    whole = store.save(made(curve=[])).read_bytes().rstrip()
    for size in range(0, len(whole), 7):
        store.path(made().id).write_bytes(whole[:size])
        assert store.get(made().id) is None


def test_a_file_under_another_runs_name_is_not_that_run(tmp_path):
    store = Store(tmp_path)
    os.rename(store.save(made(0)), store.path(made(1).id))
    assert store.get(made(1).id) is None and store.records() == []


def test_a_run_is_finished_unless_it_failed_or_read_another_text(tmp_path):
    store = Store(tmp_path)
    text, other = "ab" * 32, "cd" * 32
    for seed, status in enumerate(("ok", "diverged", "failed")):
        store.save(made(seed, status=status))
        found = store.finished(made(seed).id, text)
        assert found == (None if status == "failed" else store.get(made(seed).id))
        assert store.finished(made(seed).id, other) is None
    assert store.finished("0" * 16, text) is None


def test_a_run_on_another_text_is_put_aside_and_a_failed_one_replaced(tmp_path):
    store = Store(tmp_path)
    first, second, unknown = made(), made(provenance={"corpus_sha256": "cd" * 32}), made(provenance={})
    for record in (first, made(seconds=9.0), second, unknown):
        store.save(record)
    path = store.path(first.id)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        path.name,
        path.name + ".abababababab",
        path.name + ".cdcdcdcdcdcd",
    ]
    assert parse_record((tmp_path / f"{path.name}.abababababab").read_text()) == made(seconds=9.0)
    store.save(first)
    assert parse_record((tmp_path / f"{path.name}.unknown").read_text()) == unknown and store.records() == [
        first
    ]
    store.save(made(1, status="failed"))
    store.save(made(1, provenance={}))
    assert len(list(tmp_path.glob(made(1).id + "*"))) == 1


# --- atomic writing


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_what_was_there_and_no_temporary(tmp_path, monkeypatch, step):
    store = Store(tmp_path)
    store.save(made())
    before = store.path(made().id).read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    for kind in ("json", "jsonl", "parquet"):
        with pytest.raises(InputError, match="cannot be written: No space left"):
            if kind == "json":
                store.save(made(seconds=99.0))
            else:
                write_records([made()], tmp_path / f"all.{kind}")
    assert [path.name for path in tmp_path.iterdir()] == [made().id + ".json"]
    assert store.path(made().id).read_bytes() == before


def test_an_interrupt_leaves_no_temporary(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.json", "{}")
    assert not list(tmp_path.iterdir())


def test_text_is_flushed_to_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls: list[str] = []

    def noted(name: str, real):
        def call(*arguments):
            calls.append(name)
            return real(*arguments)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    write_atomically(tmp_path / "a.txt", "Größe 中文\n")
    assert calls == ["fsync", "replace"]
    assert (tmp_path / "a.txt").read_bytes() == "Größe 中文\n".encode()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_a_shared_folder_stays_readable_for_the_others(tmp_path):
    mask = os.umask(0o022)
    try:
        path = Store(tmp_path).save(made())
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def _save_many(folder: Path, record: RunRecord, times: int) -> None:
    for _ in range(times):
        Store(folder).save(record)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs a quick start")
def test_two_processes_may_save_the_same_run(tmp_path):
    """A reader meanwhile always finds one of the two versions, whole."""
    store, versions = Store(tmp_path), [made(seconds=1.0), made(seconds=2.0)]
    store.save(versions[0])
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_save_many, args=(tmp_path, version, 200)) for version in versions]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        assert store.get(made().id) in versions
        reads += 1
    assert reads > 10 and all(writer.exitcode == 0 for writer in writers)
    assert [path.name for path in tmp_path.iterdir()] == [made().id + ".json"]


# --- a file of records


def test_a_study_gives_its_runs_and_its_hero_and_nothing_else(tmp_path):
    Store(tmp_path / "runs").save(made(0))
    Store(tmp_path / "hero").save(made(1))
    Store(tmp_path / "shots").save(made(2))
    (tmp_path / "study.json").write_text("{}")
    assert [record.id for record in read_records(tmp_path)] == [made(0).id, made(1).id]
    (tmp_path / "hero" / f"{made(1).id}.json").unlink()
    (tmp_path / "hero").rmdir()
    assert [record.id for record in read_records(tmp_path)] == [made(0).id]


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = Store(tmp_path).save(made())
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=f"^{path}: expected a run record, got Permission denied$"):
        read_records(path)


def test_the_sweeps_that_ship_with_the_kit_go_by_name():
    assert runs.data_folder().name == "data" and {record.origin for record in runs.recorded("recipe")} == {
        "recorded"
    }
    with pytest.raises(
        InputError, match=r"recorded sweep: expected one of .*, recipe, .* got .recip. .did you mean recipe"
    ):
        runs.recorded("recip")


# --- nothing that is read is executed


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("sprung"),))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.parquet"])
def test_a_pickle_is_refused_unopened(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError):
        read_records(name)
    assert not Path("sprung").exists()


def test_the_package_has_no_way_to_run_what_it_reads():
    """No pickle, eval or the like: what a file holds is data. Three modules may, and say why in their first lines:

    `launcher` sends functions to its own processes through a folder that only this user can open, and `parallel.checkpoint` reads
    DCP's table of contents with an unpickler that knows a dozen classes (tests/parallel/test_checkpoint.py gives it others).
    `course.sets.pieces` makes wrong versions of an exercise's solution out of the kit's own source.
    """
    allowed = {
        "parallel/launcher.py": "cloudpickle",
        "parallel/checkpoint.py": "pickle",
        "course/sets/pieces.py": "exec",
    }
    every = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle", "eval", "exec"}
    package = Path(runs.__file__).parent
    for file in sorted(package.rglob("*.py")):
        banned = every - {allowed.get(file.relative_to(package).as_posix())}
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & banned, file
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in banned, file
            elif isinstance(node, ast.Call):
                called = node.func.id if isinstance(node.func, ast.Name) else ""
                assert called not in {"eval", "exec"} & banned, f"{file}:{node.lineno}"
                assert not any(
                    keyword.arg == "allow_pickle" and getattr(keyword.value, "value", True)
                    for keyword in node.keywords
                ), f"{file}:{node.lineno}"


def test_drafts_of_killed_writers_are_swept(tmp_path):
    """Those of an hour ago; one of now may be in the making."""
    old, new, other = (tmp_path / name for name in (".a.json.0011aabb.tmp", ".b.json.0011aabb.tmp", "c.json"))
    for file in (old, new, other):
        file.write_text("{")
    os.utime(old, (1, 1))
    os.utime(other, (1, 1))
    runs.write_atomically(other, "{")
    assert sorted(file.name for file in tmp_path.iterdir()) == [".b.json.0011aabb.tmp", "c.json"]


def test_a_small_table_of_many_rows_is_refused_before_records_are_made(tmp_path, monkeypatch):
    """48 kB of Parquet can hold 100,000 records of 4 kB each."""
    three = [made(seed) for seed in range(3)]
    write_records(three, tmp_path / "a.parquet")
    assert read_records(tmp_path / "a.parquet") == three
    monkeypatch.setattr("scalept_lab.runs.LINES", 2)
    with pytest.raises(
        InputError, match=r"a\.parquet:3: expected at most 2 lines and 100 MB unpacked, got more"
    ):
        read_records(tmp_path / "a.parquet")
    monkeypatch.undo()
    monkeypatch.setattr("scalept_lab.runs.UNPACKED", len(three[0].model_dump_json()) + 1)
    with pytest.raises(InputError, match=r"a\.parquet:2: expected at most 100,000 lines"):
        read_records(tmp_path / "a.parquet")
