"""What is measured of pre-training and fine-tuning: records, going on, disturbed pairs."""

from __future__ import annotations

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


def test_measure_gives_a_record(small, shape, monkeypatch, tmp_path):
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path))
    plan = FineTuning(least_steps=4, epochs=1)
    record = measure.measure(Start(shape, 0), small, 16, seed=1, plan=plan, tests=30)
    assert record.ok and set(record.metrics) == set(finetuning.METRICS)
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


def test_disturbed_pairs(small):
    typos = measure.misspell(small.test, 1.0)
    assert typos["sentence2"] == small.test["sentence2"] and typos["label"] == small.test["label"]
    for before, after in zip(small.test["sentence1"], typos["sentence1"], strict=True):
        assert [sorted(word) for word in before.split()] == [sorted(word) for word in after.split()]
    assert typos["sentence1"] != small.test["sentence1"]
    renamed = measure.rename(small.test, 1.0)
    for before, after in zip(small.test["sentence2"], renamed["sentence2"], strict=True):
        a, b = before.split(), after.split()
        assert len(a) == len(b) and a[0] == b[0] == "def" and len(set(a)) == len(set(b))
        assert all(x == y or y.startswith("v") for x, y in zip(a, b, strict=True))
    assert measure.misspell(small.test, 0.0).to_dict()["sentence1"] == small.test["sentence1"][:]
    with pytest.raises(InputError, match="share: expected 0 to 1"):
        measure.rename(small.test, 2)


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


def test_disturbed_by_hand(small):
    one = small.test.select([0])
    for column in ("sentence1", "sentence2"):
        one = one.remove_columns(column)
    one = one.add_column("sentence1", ["abcd abc wxyz"]).add_column(
        "sentence2", ["def f a b2 f return a + 1"]
    )
    assert measure.rename(one, 1.0)["sentence2"][0] == "def v0 v1 b2 v0 return v1 + 1"
    swaps = {
        word: {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(3)}
        for word in ("abcd", "wxyz")
    }
    seen = {"abcd": set(), "wxyz": set()}
    for seed in range(40):
        first, short, last = measure.misspell(one, 1.0, seed)["sentence1"][0].split()
        assert short == "abc"
        seen["abcd"].add(first)
        seen["wxyz"].add(last)
    assert seen == swaps
    changed = sum(
        measure.misspell(one, 0.25, seed)["sentence1"][0].split()[0] != "abcd" for seed in range(200)
    )
    assert 30 < changed < 75


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
