"""A class pooled: the planted law is found, a lie about all runs of a learner stands out, an honest class has nobody named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import synthetic
from refusals import one_line

import classroom
import scalept_lab as sl
from scalept_lab.config import run_id
from scalept_lab.runs import read_records, write_records
from scalept_lab.study.pooling import pool


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> classroom.Made:
    """Twenty files of 20 runs: seven honest, ten malformed in seven ways, three lies (told in `classroom`)."""
    return classroom.make(tmp_path_factory.mktemp("class"), learners=20, runs=20, share=0.65)


@pytest.fixture(scope="module")
def pooled(made):
    return pool(made.folder)


def test_each_way_to_be_wrong_is_found_or_told(made, pooled):
    rows = {row["way"]: row for row in classroom.table(made, pooled)}
    assert len(rows) == 10
    says = {
        "cut in half": "damaged one (Compressed file ended", "a program": "expected a file of run records",
        "an older version": "got version 0; export it again with this kit", "a name of 10 MB": "at most 1 MB",
        "10 million empty lines": "at most 100,000 lines", "losses that are none": "L: Input should be a finite number",
        "nested 500,000 deep": "Invalid JSON", "lie: told 20 times": "more records agree with that one",
        "lie: 3 % lower": "more records agree with that one",
    }  # fmt: skip
    for way, text in says.items():
        assert text in rows[way]["reason"], way
    for way in ("a program", "an older version", "a name of 10 MB", "10 million empty lines"):
        assert rows[way]["accepted"] == 0
    assert rows["losses that are none"]["refused"] == 3 * rows["losses that are none"]["files"]
    # what the loud one says of the common runs is refused, twenty times each, and honest records of them are in
    assert rows["lie: told 20 times"]["refused"] == 100
    common = {one.id: one for one in pooled.gathered.accepted if len(one.learners) > 3}
    assert len(common) == classroom.COMMON and all(len(one.learners) >= 7 for one in common.values())
    # no record of the other two lies is wrong by itself, but all of a learner's together are
    assert [rows[way]["stands out"] for way in ("lie: 3 % lower", "lie: tokens × 2")] == [1, 1]
    assert sorted(pooled.stand_out) == ["learner 017", "learner 019"]
    json.dumps(pooled.as_json())
    assert not Path("/tmp/owned").exists()


def test_the_law_is_the_planted_one_with_the_lies_and_without(made, pooled):
    without = pool(made.folder, without=pooled.stand_out)
    ahead = 1e5, 1e7  # five times the tokens of the largest run
    errors = [abs(each.law(*ahead) / classroom.loss(*ahead) - 1) for each in (pooled, without)]
    assert max(errors) < 0.02 and without.stand_out == []
    assert "learner 019" not in str(without) and len(without.records) < len(pooled.records)
    one_line(lambda: pool(made.folder, without=["nobody"]), "got 'nobody'; print(pool) shows them")


def test_offsets_are_those_that_were_planted(pooled):
    by = {each.learner: each for each in pooled.offsets}
    usual = np.median([each.percent for each in pooled.offsets])
    low = by["learner 019"]
    assert (
        low.percent - usual == pytest.approx(100 * np.log(0.97), abs=0.4) and low.low < low.percent < low.high
    )
    # seeds are planted to differ by 0.4 %, machines and learners together by 0.054 %
    assert pooled.spread.seeds == pytest.approx(0.4, rel=0.5) and pooled.spread.same_run < 0.15


def test_an_interval_by_hand():
    """Three learners of four runs at ±0.1 and ±0.3 % around 0, 0.1 and −0.1 %: median distance 0.2 %, so σ = 0.2965·√(12/9) =
    0.3424 %; the error of a median of four is 0.3424·√(π/2/4) = 0.2146, the interval ±0.4206."""
    from scalept_lab.study import pooling

    class Flat:
        def __call__(self, N, D):
            return np.ones(len(N))

    class One:
        status, N, D = "ok", 1, 1

        def __init__(self, learner, percent):
            self.learners, self.loss = (learner,), np.exp(percent / 100)

    told = [
        One(name, offset + x)
        for name, offset in (("a", 0), ("b", 0.1), ("c", -0.1))
        for x in (-0.3, -0.1, 0.1, 0.3)
    ]
    (low, middle, high), between = pooling._offsets(Flat(), told)
    assert (low.learner, middle.learner, high.learner) == ("c", "a", "b")
    assert high.percent == pytest.approx(0.1) and high.high - high.percent == pytest.approx(0.4206, abs=1e-3)
    assert between == 0  # offsets 0 and ±0.1 differ by less than chance gives


def class_of(rng, learners=12, runs=15, **factors) -> list:
    """Stand-ins for what learners told of a flat law: 0.4 % between seeds; `factors` on the losses of some."""
    from scalept_lab.study.merging import Told

    told = []
    for i in range(learners):
        for k in range(runs):
            loss = 2.0 * np.exp(0.004 * rng.standard_normal()) * factors.get(f"l{i}", 1.0)
            told.append(
                Told("", 1, "", f"{i}-{k}", "ok", float(loss), "", 1, 1, 1.0, f"{k}", True, "", (f"l{i}",))
            )
    return told


def named(told) -> list[str]:
    from scalept_lab.study import pooling

    return [
        each.learner
        for each in pooling._offsets(lambda N, D: np.full(len(N), 2.0), told)[0]
        if each.stands_out
    ]


def test_an_honest_class_has_nobody_named():
    """The null: of 200 honest classes one in twenty may name somebody."""
    assert sum(bool(named(class_of(np.random.default_rng(seed)))) for seed in range(200)) <= 20


def test_what_stands_out_and_what_is_too_small_to_see():
    found = {
        percent: np.mean([
            named(class_of(np.random.default_rng(seed), l3=1 - percent / 100)) == ["l3"] for seed in range(40)
        ])
        for percent in (0.1, 1.0)
    }  # fmt: skip
    assert found[1.0] > 0.9 and found[0.1] < 0.2


def test_spread_by_hand():
    """One run by two learners, 1 % apart: σ = 1.4826·1/√2 = 1.048 %. Two seeds of one learner, 2 % apart: twice that."""
    from scalept_lab.study import pooling

    def one(id, settings, learner, percent):
        told = class_of(np.random.default_rng(0), 1, 1)[0]
        return pooling.merging.replace(
            told, id=id, settings=settings, learners=(learner,), loss=float(np.exp(percent / 100))
        )

    told = [
        one("a", "s", "Anna", 0),
        one("a", "s", "Ben", 1),
        one("b", "s", "Ben", -1),
        one("c", "t", "Ben", 5),
    ]
    found = pooling._spread(told, None)
    assert (found.same_run, found.same_runs) == (pytest.approx(1.0484, abs=1e-3), 2)
    assert (found.seeds, found.seeded) == (pytest.approx(2 * 1.0484, abs=1e-3), 2)
    shared = pooling._spread(
        [one("a", "s", "Anna", 0), one("b", "s", "Ben", 1)], None
    )  # a seed for each learner
    assert (shared.same_run, shared.seeds) == (None, pytest.approx(1.0484, abs=1e-3))


# --- whose runs they are


def test_runs_are_marked_and_a_merged_file_is_pooled_as_its_parts(made, pooled, tmp_path):
    assert {record.origin for record in pooled.records} == {"classmate"}
    marks = {name for record in pooled.records for name in record.provenance["learners"]}
    assert {"陈伟", "../../x", "lucky <b>Lou</b>", "learner 019"} <= marks
    write_records(pooled.records, tmp_path / "class.jsonl")
    again = pool(tmp_path / "class.jsonl")
    assert again.law.params == pooled.law.params
    assert {each.learner for each in again.offsets} == {each.learner for each in pooled.offsets}
    assert read_records(tmp_path / "class.jsonl") == again.records


def test_folders_and_files_without_names_count_as_their_own_names(tmp_path):
    for k, name in enumerate(("anna", "ben")):
        sl.Store(tmp_path / name).save(synthetic.record(synthetic.config(16, 1e5, seed=k)))
    write_records([synthetic.record(synthetic.config(16, 1e5, seed=3))], tmp_path / "chen.jsonl")
    found = pool([tmp_path / "anna", tmp_path / "ben", tmp_path / "chen.jsonl"])
    assert [record.provenance["learners"] for record in found.records] == [["anna"], ["ben"], ["chen"]]
    assert (
        found.law is None
        and "at least 6 points" in found.why
        and "no law: expected at least 6 points" in str(found)
    )


def test_two_files_of_one_name_are_told_and_kept_apart(made, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl.gz").write_bytes((made.folder / "003.jsonl.gz").read_bytes())
    found = pool(tmp_path)
    assert {each.learner for each in found.offsets} == {"Ana & Ben (a.jsonl.gz)", "Ana & Ben (b.jsonl.gz)"}
    assert found.notes == ("2 files are those of Ana & Ben: they are kept apart",)
    assert found.gathered.duplicates == len(found.records)


def test_runs_on_other_text_stay_out_of_the_law(tmp_path):
    runs = synthetic.grid_records()
    other = {**runs[0].provenance, "corpus_sha256": "cd" * 32}
    odd = synthetic.record(synthetic.config(16, 1e5, seed=9), provenance=other)
    write_records([*runs, odd], tmp_path / "a.jsonl")
    found = pool(tmp_path)
    assert len(found.records) == 17 and len(found.law.points) == 16
    assert "1 of 17 runs were trained on other text than most" in found.notes[0]


def test_runs_of_other_kinds_stay_out_of_the_law(tmp_path):
    """Half a model, trained on after pruning: its loss is not that of its N and D."""
    runs = synthetic.grid_records()
    config = {**runs[0].config, "compress": {"arm": "half"}}
    odd = runs[0].model_copy(update={"config": config, "id": run_id(config), "C": runs[0].C / 10})
    write_records([*runs, odd], tmp_path / "a.jsonl")
    found = pool(tmp_path)
    assert len(found.records) == 17 and len(found.law.points) == 16
    assert found.notes == ("1 of 17 runs stay out of the law, since each is no plain training of one model",)


def test_a_folder_without_files_is_one_line(tmp_path):
    one_line(lambda: pool(tmp_path), "at least one run record, got 0", "nothing is pooled")
    one_line(lambda: pool(tmp_path / "gone"), "no such file or folder")


# --- predictions


def test_who_forecasts_best_over_shots_and_guesses(pooled):
    rows = {row.learner: row for row in pooled.ledger.rows}
    assert pooled.ledger.best == [classroom.GOOD]
    assert rows[classroom.GOOD].calls == classroom.QUESTIONS + 1  # the guesses and the sealed shot
    assert rows[classroom.LUCKY].verdict == "too few to tell"
    assert rows[classroom.GOOD].skill > rows["Ana & Ben"].skill > 0


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        (lambda head, hero: head["shots"][0]["shot"].update(predicted=head["shots"][0]["measured"]), "its seal is broken"),
        (lambda head, hero: head["shots"][0].update(measured=1.2), "its score is not the loss of its run"),
        (lambda head, hero: hero.update(L=-1.0), "its run is not among those accepted"),
        (lambda head, hero: hero["provenance"].update(created="2029-01-01T00:00:00+00:00"), "began before it was sealed"),
    ],
)  # fmt: skip
def test_a_shot_that_may_not_be_what_it_says_does_not_count(tmp_path, change, doubt):
    lines = classroom.Maker(20, 0).lines(5)
    change(lines[0], lines[-1])
    (tmp_path / "a.jsonl.gz").write_bytes(classroom.packed(lines))
    found = pool(tmp_path, bootstrap=0)
    assert doubt in found.notes[0] and found.notes[0].startswith("learner 005: the prediction of run ")
    assert found.ledger.rows[0].calls == classroom.QUESTIONS
    (tmp_path / "a.jsonl.gz").write_bytes(classroom.packed(classroom.Maker(20, 0).lines(5)))
    assert pool(tmp_path, bootstrap=0).notes == ()


def test_the_rivals_of_a_shot_are_the_kits_own(tmp_path):
    """No change is the lowest loss of the sweep, whatever the file says."""
    from scalept_lab.study import merging, pooling

    (tmp_path / "a.jsonl.gz").write_bytes(classroom.packed(classroom.Maker(20, 0).lines(5)))
    found = merging.gather([tmp_path])
    shot = next(call for call in pooling._calls(found)[0] if call.question == pooling.SHOTS)
    sweep = [one.loss for one in found.told if one.id != shot.question][:-1]
    assert shot.rivals["no change"] == min(sweep) > shot.rivals["straight line"]


def test_one_run_of_another_law_is_named_with_its_learner_and_holds_no_law(tmp_path):
    """0.4 nats is no loss that is refused by itself, and below it E could not lie."""
    runs = synthetic.grid_records(seeds=2)
    write_records(runs[:20], tmp_path / "Anna.jsonl")
    spoilt = [*runs[20:-1], runs[-1].model_copy(update={"L": 0.4})]
    write_records(spoilt, tmp_path / "Ben.jsonl")
    found = pool(tmp_path, bootstrap=0)
    write_records(runs[20:-1], tmp_path / "Ben.jsonl")
    without = pool(tmp_path, bootstrap=0)
    assert found.law.params == pytest.approx(without.law.params, rel=1e-6)
    (note,) = found.notes
    assert note.startswith(
        f"run {runs[-1].id} of {tmp_path.name} ({tmp_path / 'Ben.jsonl'}:12): L 0.4 where the law of"
    )
    assert len(found.records) == len(without.records) + 1 and not without.notes
