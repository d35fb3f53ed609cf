"""What is measured of pre-training and fine-tuning: records, going on, disturbed pairs."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from scalept_lab.config import run_id
from scalept_lab.data import sources
from scalept_lab.errors import InputError
from scalept_lab.transfer import bert, finetuning, measure, pairs
from scalept_lab.transfer.finetuning import FineTuning
from scalept_lab.transfer.measure import Start
from tests.transfer.test_pairs import MANY, module


def test_pretraining_lowers_the_loss_and_is_the_same_again(small, shape, checkpoint, tmp_path):
    from transformers import BertForPreTraining

    start = Start(shape, 640)
    again = measure.pretrained(start, small, cache=tmp_path)
    untrained = measure.pretrained(Start(shape, 0), small, cache=tmp_path)
    losses = [
        bert.masked_loss(BertForPreTraining.from_pretrained(folder), small.tokenizer, small.heldout["old"])
        for folder in (checkpoint, again, untrained)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6) and losses[0] < losses[2] - 0.5
    assert start.name != Start(shape, 640, seed=1).name


def test_of_two_that_pretrain_at_once_both_have_the_whole_checkpoint(small, shape, tmp_path, monkeypatch):
    """The other process finishes while this one trains; and half of one, which a killed process of before left, is made anew."""
    start = Start(shape, 0)
    done = measure.pretrained(start, small, cache=tmp_path / "other")
    place = tmp_path / "mine" / done.relative_to(tmp_path / "other")

    def sooner(*_, **__):
        shutil.copytree(done, place, dirs_exist_ok=True)
        return []

    monkeypatch.setattr(measure, "pretrain", sooner)
    trained = replace(start, sequences=0)
    (place).mkdir(parents=True)
    (place / "config.json").write_text("{}")
    assert measure.pretrained(trained, small, cache=tmp_path / "mine") == place
    assert {file.name for file in place.iterdir()} == {file.name for file in done.iterdir()}
    assert not list(place.parent.glob(".draft-*"))
    measure.load_pretraining(place)
    late = Start(shape, 64)
    place = place.with_name(place.name.replace(start.name, late.name))
    assert measure.pretrained(late, small, cache=tmp_path / "mine") == place
    assert (place / "curve.json").read_bytes() == (done / "curve.json").read_bytes()  # the other's
    assert not list(place.parent.glob(".draft-*"))


def test_measure_gives_a_record(small, shape, monkeypatch, tmp_path):
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path))
    plan = FineTuning(least_steps=4, epochs=1)
    record = measure.measure(Start(shape, 0), small, 16, seed=1, plan=plan, tests=30)
    assert record.ok and set(record.metrics) == {*finetuning.METRICS, "trained"}
    assert record.metrics["trained"] == record.N_total + 2 * (shape.width + 1)  # the classifier's own layer
    said = {seed: measure.described(Start(shape, 0), small.negatives, 16, seed, plan, 30) for seed in (1, 2)}
    assert record.id == run_id(said[1]) != run_id(said[2])
    assert record.config == said[1]
    from transformers import BertModel

    real = sum(p.numel() for p in BertModel(shape.config()).parameters())
    assert record.N_total == real
    # one block of width 16 (attention 4 x 272, MLP 1088 + 1040, two norms of 32), the pooler 272, and the tables' norm
    assert record.N == 4 * 272 + 1088 + 1040 + 2 * 32 + 272 + 32
    # four steps of 32 pairs
    test = small.test.select(range(30))
    lengths = [len(small.tokenizer(row["sentence1"], row["sentence2"])["input_ids"]) for row in test]
    assert record.D == round(4 * 32 * sum(lengths) / 30) and record.C == 6 * record.N * record.D


def test_going_on_learns_the_new_text(small, shape, monkeypatch, tmp_path):
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path))
    found = measure.continued(Start(shape, 640), small, 0.0, sequences=640)
    assert found["new"] < found["new before"]
    same = measure.continued(Start(shape, 640), small, 0.5, sequences=64)
    assert same["old before"] == pytest.approx(found["old before"], abs=1e-6)
    with pytest.raises(InputError, match="replay: expected a share"):
        measure.continued(Start(shape, 640), small, 1.0)


def test_the_recorded_runs_are_all_there():
    from scalept_lab.runs import recorded

    runs = recorded("transfer")
    assert all(run.ok and 0 <= run.metrics["f1"] <= 1 for run in runs)
    cells = {}
    for run in runs:
        c = run.config
        shape = tuple(c["start"]["shape"].values())
        cells.setdefault((shape, c["start"]["sequences"], c["negatives"], c["pairs"]), []).append(
            c["plan"]["seed"]
        )
    assert all(sorted(seeds) == [0, 1, 2] for seeds in cells.values())
    sizes = sorted({size for *_, size in cells})
    assert len(sizes) >= 5 and sizes[-1] / sizes[0] > 10**1.5


def test_fewer_weights_learn_if_a_rank_says_so(small, shape, monkeypatch, tmp_path):
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path))
    plan, head = FineTuning(least_steps=2, epochs=1), 2 * (shape.width + 1)
    found = {
        rank: measure.measure(Start(shape, 0), small, 16, plan=plan, tests=10, rank=rank) for rank in (0, 3)
    }
    assert found[0].metrics["trained"] == head
    assert found[3].metrics["trained"] == head + 2 * 3 * 2 * shape.width  # query and value, down and up
    assert found[3].config["rank"] == 3 and found[0].id != found[3].id
    assert "rank" not in measure.described(Start(shape, 0), "corpus", 16)


def test_what_is_chosen_on_is_of_other_modules_than_training_and_test(small):
    found = pairs.functions([module(f"q{i}.part", 3) for i in range(60)])
    parts = pairs.build_task(found, "corpus")
    whole = replace(small, functions=found, train=parts["train"], test=parts["test"])
    apart = measure.held_out(whole)
    of = {f.code: f.module for f in found}
    train, choose, test = (
        {of[code] for code in part["sentence2"]} for part in (apart.train, apart.test, whole.test)
    )
    assert train and choose and not train & choose and not (train | choose) & test
    assert train | choose <= {of[code] for code in whole.train["sentence2"]}
    assert (apart.split, small.split) == ("choose", "test")
    assert measure.described(Start(), "corpus", 9, split=apart.split) != measure.described(
        Start(), "corpus", 9
    )


def test_a_rate_of_its_own_names_another_start(shape):
    usual, fast = Start(shape, 640), Start(shape, 640, lr=4e-3)
    assert usual.name == Start(shape, 640, lr=bert.Pretraining.lr).name != fast.name
    assert "lr" not in usual.told and fast.told["lr"] == 4e-3


@pytest.mark.parametrize(("replay", "share"), [(0.0, 0), (0.25, 1 / 3), (0.75, 3)])
def test_replay_is_a_share_of_what_is_read(small, shape, monkeypatch, tmp_path, replay, share):
    """A quarter of all is a third of the new."""
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path))
    read = []
    monkeypatch.setattr(measure, "pretrain", lambda model, tokenizer, texts, plan: read.append((texts, plan)))
    measure.continued(Start(shape, 0), small, replay, sequences=77, seed=5, lr=0.25)
    ((texts, plan),) = read
    new = len(small.new)
    assert texts[:new] == small.new and len(texts) - new == round(new * share)
    assert set(texts[new:]) <= set(small.texts)
    assert (plan.sequences, plan.seed, plan.lr) == (77, 5, 0.25)


def test_the_task_keeps_the_new_package_and_the_test_modules_out_of_pretraining(monkeypatch, tmp_path):
    found = pairs.functions([*MANY, *(module(f"q{i}.part", 3, measure.NEW) for i in range(30))])
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path))
    monkeypatch.setattr(measure, "_functions", lambda: found)
    task = measure.task.__wrapped__("corpus")
    of = {f.sentence: f for f in found}

    def whence(texts):
        return {(of[sentence].package, pairs.part_of(of[sentence].module)) for sentence, _ in texts}

    assert whence(task.texts) == {("p", "pretrain")} and whence(task.new) == {(measure.NEW, "pretrain")}
    assert whence(task.heldout["old"]) == {("p", "test")} and whence(task.heldout["new"]) == {
        (measure.NEW, "test")
    }
    assert (task.functions, task.negatives, len(task.sha256)) == (found, "corpus", 64)
    monkeypatch.setattr(measure, "make_tokenizer", None)  # made once, then read
    again = measure.task.__wrapped__("module")
    assert again.tokenizer.get_vocab() == task.tokenizer.get_vocab() and again.sha256 == task.sha256


def test_the_functions_of_the_corpus_are_parsed_once(monkeypatch, tmp_path):
    rows = [
        (one["text"], one["package"], one["module"], f"p/{i}.py", "MIT") for i, one in enumerate(MANY[:3])
    ]
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path))
    monkeypatch.setattr(measure, "collect", lambda names: sources.table(rows))
    found = measure._functions()
    assert found == pairs.functions(MANY[:3]) and len(found) == 12
    monkeypatch.setattr(measure, "functions", None)
    assert measure._functions() == found
    rows.append(("def f(a): return a + a", "p", "m", "p/9.py", "MIT"))
    with pytest.raises(TypeError):  # other files: parsed anew
        measure._functions()
