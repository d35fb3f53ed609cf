"""Pooling the records of a class: honest ones count once each, and no other gets in by being first."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import synthetic
from refusals import one_line

from scalept_lab.config import run_id
from scalept_lab.errors import InputError
from scalept_lab.runs import RunRecord, Store, data_folder, read_records, write_records
from scalept_lab.study import merging
from scalept_lab.study.merging import merge

SHIPPED = sorted(path.stem for path in (data_folder() / "records").glob("*.jsonl"))


def made(seed: int = 0, **changes) -> RunRecord:
    return synthetic.record(synthetic.config(16, 1e5, seed=seed), **changes)


def altered(record: RunRecord, **changes) -> str:
    """The JSON of a record with fields set to what no honest writer would write."""
    return json.dumps({**json.loads(record.model_dump_json()), **changes})


def signed(record: RunRecord, config, **changes) -> str:
    """The same with another config, and the id that belongs to it."""
    return altered(record, config=config, id=run_id(config), **changes)


def test_merge_counts_what_it_took_and_what_it_left(tmp_path):
    alice, bob, out = tmp_path / "alice", tmp_path / "bob", tmp_path / "class.jsonl"
    for seed in (0, 1, 2):
        Store(alice).save(made(seed))
    for seed in (2, 3):
        Store(bob).save(made(seed))
    write_records([made(3), made(4)], bob / "more.parquet")
    (bob / "slips.jsonl").write_text(
        "\n".join(
            [
                made(5).model_dump_json(),
                "",
                altered(made(6), L=float("nan")),
                altered(made(7), L=-2.0),
                altered(made(8), L=40.0),
                altered(made(9), note="hello"),
                altered(made(10), D=0),
                "not a record",
            ]
        )
    )
    (bob / "torn.json").write_bytes(b"\xff{")
    (bob / "torn.parquet").write_bytes(b"PAR1")
    found = merge([alice, bob], out)
    assert (found["accepted"], found["duplicates"]) == (6, 2)
    assert {record.id for record in read_records(out)} == {made(seed).id for seed in range(6)}
    assert {record.origin for record in read_records(out)} == {"classmate"}
    rejected = {(Path(each["file"]).name, each["line"]): each["reason"] for each in found["rejected"]}
    assert len(rejected) == len(found["rejected"]) == 8
    for line, reason in (
        (3, "L"),
        (4, "L"),
        (5, "L: expected at most"),
        (6, "note"),
        (7, "above 0"),
        (8, "JSON"),
    ):
        assert reason in rejected["slips.jsonl", line]
    assert ("torn.json", 1) in rejected and ("torn.parquet", 1) in rejected
    assert all("\n" not in reason for reason in rejected.values())
    json.dumps(found)  # plain data, for --json


def test_merging_twice_changes_nothing(tmp_path):
    for seed in range(3):
        Store(tmp_path / "alice").save(made(seed))
    out = tmp_path / "class.parquet"
    first = merge([tmp_path / "alice"], out)
    again = merge([tmp_path / "alice", out], out)
    assert (first["accepted"], first["duplicates"]) == (3, 0)
    assert (again["accepted"], again["duplicates"], again["rejected"]) == (3, 3, [])


def test_a_finished_run_replaces_a_failed_one_whoever_comes_first(tmp_path):
    Store(tmp_path / "alice").save(made(status="failed", error="MemoryError"))
    Store(tmp_path / "bob").save(made())
    for order in itertools.permutations(["alice", "bob"]):
        found = merge([tmp_path / name for name in order], tmp_path / "out.jsonl")
        assert (found["accepted"], found["duplicates"]) == (1, 1)
        assert read_records(tmp_path / "out.jsonl")[0].ok


@pytest.mark.parametrize(
    "config",
    [{}, {"model": 3}, {"model": None}, {"model": {"vocab_size": "many"}}, {"model": {"vocab_size": 0}},
     {"model": {"vocab_size": True}}, {"model": {"vocab_size": 10**400}}, {"model": [["vocab_size", 2]]}],
    ids=str,
)  # fmt: skip
def test_a_strange_config_is_no_reason_to_stop(tmp_path, config):
    (tmp_path / "a.jsonl").write_text(signed(made(), config))
    try:
        assert merge([tmp_path / "a.jsonl"], tmp_path / "out.jsonl")["accepted"] == 1
    except InputError as error:
        assert "got 1 that are none" in str(error)


@pytest.mark.parametrize(
    ("vocabulary", "most"), [(256, 11.09), (2, 1.386), (1, 11.09), (50_000, 21.64), ("many", 11.09)]
)
def test_a_loss_above_twice_the_uniform_guess_is_a_slip(tmp_path, vocabulary, most):
    """2 · ln 256 = 11.09, 2 · ln 2 = 1.386; where the config does not say, bytes are taken."""
    config = {"model": {"vocab_size": vocabulary}}
    lines = [signed(made(), config | {"seed": k}, L=most + (-0.01, 0.01)[k]) for k in (0, 1)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = merge([tmp_path / "a.jsonl"], tmp_path / "out.jsonl")
    assert found["accepted"] == 1 and [each["line"] for each in found["rejected"]] == [2]


@pytest.mark.parametrize("name", ["N", "D", "C"])
def test_a_finished_run_of_nothing_is_a_slip_and_an_unfinished_one_is_not(tmp_path, name):
    (tmp_path / "a.jsonl").write_text(
        altered(made(0), **{name: 0}) + "\n" + altered(made(1, status="diverged"), **{name: 0})
    )
    found = merge([tmp_path / "a.jsonl"], tmp_path / "out.jsonl")
    assert (found["accepted"], [each["line"] for each in found["rejected"]]) == (1, [1])


def test_a_missing_folder_is_refused_and_nothing_written(tmp_path):
    Store(tmp_path / "alice").save(made())
    with pytest.raises(InputError, match=r"no such file or folder: .*bob"):
        merge([tmp_path / "alice", tmp_path / "bob"], tmp_path / "class.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["alice"]


def test_nothing_to_accept_is_refused_and_what_was_there_is_kept(tmp_path):
    out = tmp_path / "class.jsonl"
    write_records([made()], out)
    kept = out.read_bytes()
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.jsonl").write_text("\n{")
    one_line(lambda: merge([tmp_path / "empty"], out), "at least one run record, got 0", "no .json")
    one_line(lambda: merge([tmp_path / "torn.jsonl"], out), "got 1", "torn.jsonl:2:", "not written")
    assert out.read_bytes() == kept
    one_line(lambda: merge([tmp_path / "empty"], tmp_path / "new.jsonl"), "at least one")
    assert not (tmp_path / "new.jsonl").exists()


# --- records that tell one run differently


def told(folder, *lines: str) -> dict:
    """What comes of files with one line each."""
    for number, line in enumerate(lines):
        (folder / f"{number}.jsonl").write_text(line)
    return merge([folder], folder / "out" / "class.jsonl")


def test_two_that_differ_are_both_named_and_neither_is_taken(tmp_path):
    found = told(tmp_path, altered(made(), L=0.5), altered(made(), L=2.462), altered(made(1)))
    assert (found["accepted"], found["duplicates"], len(found["rejected"])) == (1, 0, 2)
    first, second = (each["reason"] for each in found["rejected"])
    assert f"run {made().id}: L 0.5 here, L 2.462 in {tmp_path}/1.jsonl:1; neither is taken" == first
    assert f"run {made().id}: L 2.462 here, L 0.5 in {tmp_path}/0.jsonl:1; neither is taken" == second


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_against_two_is_named_wherever_it_comes(tmp_path, place):
    lines = [altered(made(), L=2.46), altered(made(), L=2.47)]
    found = told(tmp_path, *lines[:place], altered(made(), L=0.5), *lines[place:])
    assert (found["accepted"], found["duplicates"]) == (1, 1)
    (fault,) = found["rejected"]
    assert fault["file"] == f"{tmp_path}/{place}.jsonl"
    assert "L 0.5 here, L 2.4" in fault["reason"] and "more records agree with that one" in fault["reason"]
    assert read_records(tmp_path / "out" / "class.jsonl")[0].L > 2


def test_a_run_that_diverged_here_and_not_there_or_read_other_text_is_told_differently(tmp_path):
    other = {**made().provenance, "corpus_sha256": "cd" * 32}
    for odd, says in (
        (made(status="diverged").model_dump_json(), "diverged here, L "),
        (altered(made(), provenance=other), "trained on other text than in"),
    ):
        found = told(tmp_path, made().model_dump_json(), altered(made(), seconds=7.5), odd)
        assert (found["accepted"], found["duplicates"]) == (1, 1)
        assert says in found["rejected"][0]["reason"]


def test_machines_that_differ_in_the_third_digit_agree(tmp_path):
    found = told(tmp_path, *(altered(made(), L=loss) for loss in (2.46, 2.462, 2.458)))
    assert (found["accepted"], found["duplicates"], found["rejected"]) == (1, 2, [])


def test_a_file_has_one_voice_however_often_it_tells_a_run(tmp_path):
    """One classmate tells a lie ten times, two tell the truth: by records the lie would have it, ten to two."""
    loud = "\n".join([altered(made(), L=2.0)] * 10)
    found = told(tmp_path, loud, altered(made(), L=2.46), altered(made(), L=2.462))
    assert (found["accepted"], found["duplicates"], len(found["rejected"])) == (1, 1, 10)
    assert {each["file"] for each in found["rejected"]} == {f"{tmp_path}/0.jsonl"}
    assert read_records(tmp_path / "out" / "class.jsonl")[0].L > 2.4


def test_copies_of_one_record_have_one_voice_in_however_many_files(tmp_path):
    """Five copies of a lie, renamed and marked by whoever passed them on, against two measurements."""
    lie = [
        altered(made(), L=2.0, origin=origin) for origin in ("live", "classmate", "recorded", "live", "live")
    ]
    found = told(tmp_path, *lie, altered(made(), L=2.46), altered(made(), L=2.462))
    assert (found["accepted"], len(found["rejected"])) == (1, 5)
    assert read_records(tmp_path / "out" / "class.jsonl")[0].L > 2.4


def test_against_one_honest_file_a_loud_one_gains_nothing(tmp_path):
    loud = "\n".join([altered(made(), L=2.0)] * 10)
    found = told(tmp_path, loud, altered(made(), L=2.46), altered(made(1)))
    assert (found["accepted"], len(found["rejected"])) == (1, 11)  # neither is taken
    assert read_records(tmp_path / "out" / "class.jsonl")[0].id == made(1).id


def test_of_three_that_agree_the_one_in_the_middle_counts(tmp_path):
    """A loss 1.9 % too low, within what machines differ by, gains nothing by coming first."""
    told(tmp_path, *(altered(made(), L=loss) for loss in (2.415, 2.461, 2.462)))
    assert read_records(tmp_path / "out" / "class.jsonl")[0].L == 2.461


def test_a_progress_file_among_the_records_is_told_as_one(tmp_path):
    from scalept_lab.learners import Learner

    Store(tmp_path).save(made())
    (tmp_path / "anna.json").write_text(Learner().model_dump_json(indent=1))
    (fault,) = merge([tmp_path], tmp_path / "out.jsonl")["rejected"]
    assert fault["reason"].startswith("a learner's progress, which holds no runs; `scalept progress --class`")


# --- files that cost more than they are long


def test_a_text_named_often_is_kept_once(tmp_path, monkeypatch):
    """One text of 2 MB, named 4,000 times in 800 bytes: too long for a record, and said so once."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    often = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), pa.array(["x" * 2_000_000]))
    pq.write_table(pa.table({"record": often}), tmp_path / "a.parquet")
    Store(tmp_path).save(made())
    found = merge([tmp_path], tmp_path / "out.jsonl")
    assert found["accepted"] == 1
    (fault,) = found["rejected"]
    assert fault["reason"].endswith("a.parquet:1: expected a run record of at most 1 MB, got more")


def test_a_long_line_is_not_read_to_its_end(tmp_path):
    with open(tmp_path / "a.jsonl", "wb") as file:
        file.write(made().model_dump_json().encode() + b"\n")
        file.truncate(10**9)  # a line of nearly a gigabyte, which takes no room
    found = merge([tmp_path], tmp_path / "out.jsonl")
    assert found["accepted"] == 1 and "a.jsonl:2: expected a run record of at most 1 MB" in str(found)


def test_a_file_of_faults_is_left_after_a_hundred(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n" * 5000)
    Store(tmp_path).save(made())
    found = merge([tmp_path], tmp_path / "out.jsonl")
    assert len(found["rejected"]) == 101
    assert "100 that are no record: the rest of the file is not read" in found["rejected"][-1]["reason"]


def test_all_together_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "KEPT", 10_000)
    for seed in range(8):
        Store(tmp_path).save(made(seed))
    one_line(lambda: merge([tmp_path], tmp_path / "out.jsonl"), "expected records of at most 0.01 MB in all")
    assert not (tmp_path / "out.jsonl").exists()
