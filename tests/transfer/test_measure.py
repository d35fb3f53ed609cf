"""Masking, pre-training, fine-tuning and what is measured of them, on a made-up task that a tiny BERT learns in seconds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from scalept_lab.config import run_id
from scalept_lab.errors import InputError
from scalept_lab.transfer import bert, finetuning, measure, pairs
from scalept_lab.transfer.bert import Shape
from scalept_lab.transfer.finetuning import FineTuning
from scalept_lab.transfer.measure import Start
from tests.transfer.test_pairs import MANY

TINY = Shape(depth=1, width=16, heads=2, vocab_size=300)


@pytest.fixture(scope="module")
def small() -> measure.Task:
    found = pairs.functions(MANY)
    parts = pairs.build_task(found, "corpus")
    texts = bert.segments(parts["pretrain"])
    tokenizer = bert.make_tokenizer((" ".join(text) for text in texts), TINY.vocab_size)
    heldout = {"old": texts[:20], "new": texts[20:40]}
    return measure.Task(
        texts[20:], texts[:20], heldout, parts["train"], parts["test"], tokenizer, "0" * 64, found, "corpus"
    )


@pytest.fixture(scope="module")
def shape(small) -> Shape:
    return replace(TINY, vocab_size=len(small.tokenizer))


@pytest.fixture(scope="module")
def checkpoint(small, shape, tmp_path_factory):
    return measure.pretrained(Start(shape, 640), small, cache=tmp_path_factory.mktemp("cache"))


# --- masking ----------------------------------------------------------------------------------------------------------


def test_masking_chooses_and_corrupts_as_bert_does():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 1000, (200, 64), generator=generator)
    special = torch.zeros_like(ids, dtype=torch.bool)
    special[:, 0] = True
    corrupted, labels = bert.mask(ids, special, 1000, generator)
    chosen = labels != bert.IGNORED
    assert not chosen[:, 0].any() and torch.equal(labels[chosen], ids[chosen])
    assert torch.equal(corrupted[~chosen], ids[~chosen])
    assert chosen[:, 1:].float().mean().item() == pytest.approx(0.15, abs=0.01)
    became_mask = (corrupted == bert.SPECIAL.index("[MASK]"))[chosen].float().mean().item()
    stayed = (corrupted == ids)[chosen].float().mean().item()
    assert became_mask == pytest.approx(0.8, abs=0.03) and stayed == pytest.approx(0.1, abs=0.03)


def test_masked_loss_is_the_sum_by_hand(small, checkpoint):
    from transformers import BertForMaskedLM, BertForPreTraining

    model = BertForPreTraining.from_pretrained(checkpoint)
    texts = small.heldout["old"]
    first, second = (bert.encode(small.tokenizer, [text[i] for text in texts]) for i in (0, 1))
    batch = bert.join(first, second)
    special = batch["input_ids"] < len(bert.SPECIAL)
    generator = torch.Generator().manual_seed(0)
    ids, labels = bert.mask(batch["input_ids"], special, model.config.vocab_size, generator)
    with torch.no_grad():
        logits = model(**{**batch, "input_ids": ids}).prediction_logits
    nats = [
        -math.log(torch.softmax(logits[i, j].double(), -1)[labels[i, j]])
        for i, j in (labels != bert.IGNORED).nonzero().tolist()
    ]
    assert bert.masked_loss(model, small.tokenizer, texts) == pytest.approx(sum(nats) / len(nats), rel=1e-4)
    other = BertForMaskedLM.from_pretrained(checkpoint).eval()
    with torch.no_grad():
        theirs = other(**{**batch, "input_ids": ids}, labels=labels).loss.item()
    assert theirs == pytest.approx(sum(nats) / len(nats), rel=1e-4)


def test_joined_pairs_are_those_of_the_tokenizer(small):
    sentences, codes = ([text[i] for text in small.texts[:8]] for i in (0, 1))
    ours = bert.join(bert.encode(small.tokenizer, sentences), bert.encode(small.tokenizer, codes))
    theirs = small.tokenizer(sentences, codes, padding=True, return_tensors="pt")
    for name, values in ours.items():
        assert torch.equal(values, theirs[name]), name


def test_segments_use_the_name_where_there_is_no_sentence():
    found = [
        pairs.Function("p", "m", "add_edges", "add the given edges", "def add edges graph edges graph add"),
        pairs.Function("p", "m", "to_DiGraph", "", "def to di graph self return 1"),
        pairs.Function("p", "m", "run", "", "def run self return 1 + 2"),
        pairs.Function("p", "m", "__init__", "", "def init self a b c"),
    ]
    assert bert.segments(found) == [(found[0].sentence, found[0].code)]
    assert bert.segments(found, undocumented=True) == [
        ("add the given edges", "def add edges graph edges graph add"),
        ("to di graph", "self return 1"),
    ]


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


# --- fine-tuning ------------------------------------------------------------------------------------------------------


def test_scores_by_hand():
    labels, told = [1] * 40 + [0] * 160, [1] * 30 + [0] * 10 + [1] * 20 + [0] * 140
    assert finetuning.scores(labels, told) == pytest.approx(
        {"accuracy": 0.85, "precision": 0.6, "recall": 0.75, "f1": 2 / (1 / 0.6 + 1 / 0.75)}
    )
    assert finetuning.scores([0, 1], [0, 0])["f1"] == 0.0


def test_the_path_of_the_hub_on_local_files(small, checkpoint, tmp_path):
    """A checkpoint folder in the hub's layout and a data set in MRPC's: load, fine-tune, score, and read the log."""
    small.train.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    small.test.to_parquet(tmp_path / "validation-00000-of-00001.parquet")
    train, test = (pairs.load_pairs(str(tmp_path), split) for split in ("train", "validation"))
    model, tokenizer = finetuning.load_checkpoint(checkpoint)
    before = finetuning.evaluate(model, tokenizer, test)
    found = finetuning.finetune(
        model, tokenizer, train, test, FineTuning(lr=3e-3, epochs=30), logs=tmp_path / "logs"
    )
    assert found.loss < before.loss or found.accuracy > before.accuracy
    assert finetuning.scores(test["label"], found.predictions) == pytest.approx(
        {name: getattr(found, name) for name in finetuning.METRICS}
    )
    steps, losses = finetuning.read_events(tmp_path / "logs")
    assert steps[-1] <= FineTuning(epochs=30).steps(len(train)) and losses[-5:].mean() < losses[:5].mean()
    with pytest.raises(InputError, match=r"curve: expected one of .*train/.*, got 'nothing'"):
        finetuning.read_events(tmp_path / "logs", "nothing")


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
    assert record.N_total == real and record.N < real


def test_bad_checkpoints_are_refused_in_one_line(small, shape, checkpoint, tmp_path, monkeypatch):
    from transformers import BertForPreTraining

    monkeypatch.setattr(finetuning, "hub_reachable", lambda: False)
    with pytest.raises(InputError, match="bert-base-uncased: no such folder, and the hub cannot be reached"):
        finetuning.load_checkpoint("bert-base-uncased")
    with pytest.raises(InputError, match="no such folder"):
        finetuning.load_checkpoint(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"config\.json"):
        finetuning.load_checkpoint(tmp_path)
    BertForPreTraining(replace(shape, vocab_size=shape.vocab_size + 7).config()).save_pretrained(tmp_path)
    small.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(
        InputError, match=rf"{shape.vocab_size + 7} rows and its tokenizer {shape.vocab_size}"
    ) as error:
        finetuning.load_checkpoint(tmp_path)
    assert "\n" not in str(error.value)
    model, tokenizer = finetuning.load_checkpoint(checkpoint)
    with pytest.raises(InputError, match="two classes"):
        finetuning.finetune(model, tokenizer, small.train.filter(lambda row: row["label"] == 0), small.test)
    with pytest.raises(InputError, match="expected the columns"):
        finetuning.finetune(model, tokenizer, small.train.remove_columns("label"), small.test)


def test_the_hub_gets_the_same_call(checkpoint, monkeypatch):
    """With a network, a name that is no folder goes to transformers as it is."""
    import transformers

    asked = []
    real = transformers.AutoTokenizer.from_pretrained
    monkeypatch.setattr(finetuning, "hub_reachable", lambda: True)
    monkeypatch.setattr(
        transformers.AutoTokenizer,
        "from_pretrained",
        lambda name: asked.append(name) or real(str(checkpoint)),
    )
    build = transformers.AutoModelForSequenceClassification.from_pretrained
    monkeypatch.setattr(
        transformers.AutoModelForSequenceClassification,
        "from_pretrained",
        lambda name, **more: asked.append(name) or build(str(checkpoint), **more),
    )
    finetuning.load_checkpoint("bert-base-uncased")
    assert asked == ["bert-base-uncased"] * 2


# --- looking inside, going on, and disturbing -------------------------------------------------------------------------


def test_attention_is_the_formula(small, checkpoint):
    model, tokenizer = finetuning.load_checkpoint(checkpoint)
    sentence, code = small.texts[0]
    tokens, weights = finetuning.attention(model, tokenizer, sentence, code)
    assert (
        weights.shape == (1, 2, len(tokens), len(tokens))
        and tokens[0] == "[CLS]"
        and tokens.count("[SEP]") == 2
    )
    assert np.allclose(weights.sum(-1), 1, atol=1e-5)
    encoded = tokenizer(sentence, code, return_tensors="pt")
    with torch.no_grad():
        x_LxD = model.bert.embeddings(encoded["input_ids"], encoded["token_type_ids"])[0]
        layer = model.bert.encoder.layer[0].attention.self
        q, k = (part(x_LxD).view(len(tokens), 2, 8).transpose(0, 1) for part in (layer.query, layer.key))
        by_hand = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(8), -1)
    assert np.allclose(weights[0], by_hand.numpy(), atol=1e-5)


def test_a_model_with_fewer_positions_gets_shorter_pairs(small, shape):
    """24 positions, where a plan asks for 64 or more: fine-tuning, scoring, attention and pre-training cut to what fits."""
    from transformers import BertForPreTraining, BertForSequenceClassification

    config = shape.config(num_labels=2)
    config.max_position_embeddings = 24
    model = BertForSequenceClassification(config)
    long = "to di graph from node add " * 10
    tokens, weights = finetuning.attention(model, small.tokenizer, long, long)
    assert len(tokens) == 24 and weights.shape == (1, 2, 24, 24)
    pairs_of_two = small.train.select(range(8)).map(lambda row: {"sentence1": long, "sentence2": long})
    score = finetuning.finetune(
        model, small.tokenizer, pairs_of_two, pairs_of_two, FineTuning(epochs=1, least_steps=1, length=128)
    )
    assert math.isfinite(score.loss)
    pretraining = BertForPreTraining(config)
    plan = bert.Pretraining(sequences=32, batch=16)
    bert.pretrain(pretraining, small.tokenizer, [(long, long)] * 4, plan)
    assert math.isfinite(bert.masked_loss(pretraining, small.tokenizer, [(long, long)] * 4))


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
