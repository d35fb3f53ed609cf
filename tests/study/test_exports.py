"""A learner's file for the class: what it holds, that it stays small and the same, and what is refused."""

from __future__ import annotations

import gzip
import json

import pytest
import synthetic
from refusals import one_line

from scalept_lab import learners, runs
from scalept_lab.errors import InputError
from scalept_lab.runs import read_records
from scalept_lab.study import exports


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return synthetic.study(tmp_path_factory.mktemp("study") / "planted")


@pytest.fixture(autouse=True)
def progress(tmp_path, monkeypatch):
    """What the learner has done so far."""
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path / "results"))
    guess = learners.Guess(value=2.0, low=1.9, high=2.1, at="2030-01-01")
    kept = learners.Learner(
        exercises={"02.1": learners.Work(right=True, tries=2), "00.1": learners.Work(tries=1)},
        predictions={"08.a": learners.Prediction(guesses=[guess], measured=2.05, rivals={"no change": 2.4})},
    )
    runs.write_atomically(learners.path(), kept.model_dump_json())
    return kept


def test_it_holds_all_of_a_study_and_of_its_learner(made, progress, tmp_path):
    path = made.export(tmp_path / "anna.jsonl.gz", learner=" Anna ")
    head = exports.header(path)
    assert (head.learner, head.study, head.budget_flops) == ("Anna", "planted", 6e12)
    assert head.spent_flops == pytest.approx(made.spent)
    assert (head.exercises, head.predictions) == (progress.exercises, progress.predictions)
    (called,) = head.shots
    assert called.shot == made.shots()[0] and called.measured == made.scores()[0].measured
    own = made.store.records() + made.heroes.records()
    assert sorted(read_records(path), key=lambda r: r.id) == sorted(own, key=lambda r: r.id)  # as they are


def test_the_same_content_gives_the_same_bytes_and_few_of_them(made, tmp_path):
    packed, plain = (made.export(tmp_path / name, learner="Anna") for name in ("a.jsonl.gz", "b.jsonl"))
    assert packed.read_bytes() == made.export(tmp_path / "c.jsonl.gz", learner="Anna").read_bytes()
    assert packed.read_bytes()[4:8] == bytes(4)  # no time of writing
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert 2 * packed.stat().st_size < plain.stat().st_size


@pytest.mark.parametrize(
    ("learner", "name"),
    [("../../x", "x-planted.jsonl.gz"), ("陈伟", "陈伟-planted.jsonl.gz"), ("<b>Bob</b>", "b_Bob_b-planted.jsonl.gz"),
     ("/etc", "etc-planted.jsonl.gz"), ("…", "learner-planted.jsonl.gz"), ("x" * 100, "x" * 24 + "-planted.jsonl.gz")],
)  # fmt: skip
def test_the_name_of_a_learner_is_no_path(made, tmp_path, monkeypatch, learner, name):
    monkeypatch.chdir(tmp_path)
    path = made.export(learner=learner)
    assert str(path) == name and path.is_file()
    assert exports.header(path).learner == learner


@pytest.mark.parametrize(
    ("learner", "says"),
    [("", "expected your name"), ("  ", "expected your name"), ("x" * 10**7, "at most 100"),
     ("a\nb", "printable"), ("a\u202eb", "printable"), ("\x1b[2J", "printable")],
)  # fmt: skip
def test_what_is_no_name_is_refused_and_nothing_written(made, tmp_path, learner, says):
    one_line(lambda: made.export(tmp_path / "a.jsonl.gz", learner=learner), says)
    one_line(lambda: made.export(tmp_path / "a.txt", learner="Anna"), ".jsonl.gz or .jsonl", "'a.txt'")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def altered(made, tmp_path, **changes):
    """The class file with other fields in its first line."""
    lines = made.export(tmp_path / "a.jsonl", learner="Anna").read_text(encoding="utf-8").splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), **changes}, separators=(",", ":"))
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "a.jsonl"


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"class_file": 0}, "got version 0; export it again with this kit"), ({"class_file": 2}, "got version 2; update this kit"),
     ({"class_file": "1"}, "got version '1'; update"), ({"learner": 3}, "learner"), ({"more": 1}, "more"),
     ({"budget_flops": -1}, "budget_flops"), ({"shots": [{"shot": {}}]}, "shots.0.shot"),
     ({"exercises": {"00.1": {"right": "perhaps"}}}, "exercises.00.1.right")],
)  # fmt: skip
def test_another_version_or_a_strange_first_line_is_one_line(made, tmp_path, changes, says):
    path = altered(made, tmp_path, **changes)
    with pytest.raises(InputError) as error:
        exports.header(path)
    assert says in str(error.value) and "\n" not in str(error.value) and "a.jsonl" in str(error.value)


def test_a_damaged_first_line_and_a_file_of_records_alone(made, tmp_path):
    (tmp_path / "a.jsonl").write_text(runs.CLASS_FILE + "1")
    one_line(lambda: exports.header(tmp_path / "a.jsonl"), "damaged first line; export it again")
    runs.write_records(made.records(), tmp_path / "b.jsonl")
    (tmp_path / "empty.jsonl").touch()
    for name in ("b.jsonl", "empty.jsonl", "c.json"):
        assert exports.header(tmp_path / name) is None


def test_a_file_cut_short_gives_what_is_before_the_cut(made, tmp_path):
    path = made.export(tmp_path / "a.jsonl.gz", learner="Anna")
    path.write_bytes(path.read_bytes()[:-3000])
    found = []
    with pytest.raises(
        InputError, match=r"a\.jsonl\.gz: expected a file of run records, got another or a damaged one"
    ):
        found.extend(line for line, _ in runs.texts(path))
    assert exports.header(path).learner == "Anna"


def test_what_unpacks_to_far_more_than_it_is_long_is_left(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"\n" * 200_000))
    one_line(
        lambda: list(runs.texts(tmp_path / "a.jsonl.gz")), "a.jsonl.gz:100001: expected at most 100,000 lines"
    )
    monkeypatch.setattr(runs, "UNPACKED", 1000)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((b"x" * 99 + b"\n") * 11))
    one_line(lambda: list(runs.texts(tmp_path / "b.jsonl.gz")), "b.jsonl.gz:11: expected at most")


def test_a_broken_seal_is_not_handed_in(tmp_path):
    study = synthetic.study(tmp_path / "s", hero=False)
    (path,) = (tmp_path / "s" / "shots").iterdir()
    path.write_text(path.read_text().replace('"predicted":', '"predicted": 1, "was":'))
    one_line(lambda: study.export(tmp_path / "a.jsonl.gz", learner="Anna"), "seal")
    assert not (tmp_path / "a.jsonl.gz").exists()
