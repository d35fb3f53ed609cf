"""Fine-tuning a checkpoint, its scores, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from refusals import one_line

from scalept_lab.errors import InputError
from scalept_lab.transfer import bert, finetuning, pairs
from scalept_lab.transfer.checkpoints import load_checkpoint
from scalept_lab.transfer.finetuning import FineTuning


def test_scores_by_hand():
    labels, told = [1] * 40 + [0] * 160, [1] * 30 + [0] * 10 + [1] * 20 + [0] * 140
    assert finetuning.scores(labels, told) == pytest.approx(
        {"accuracy": 0.85, "precision": 0.6, "recall": 0.75, "f1": 2 / (1 / 0.6 + 1 / 0.75)}
    )
    assert finetuning.scores([0, 1], [0, 0])["f1"] == 0.0


@pytest.mark.parametrize(
    ("labels", "told", "says"),
    [([], [], "one for each"), ([0, 1], [0], "got 1 for 2"), ([0, 2], [0, 1], "labels: expected 0 and 1 alone, got 2"),
     ([0, 1], [0, 2], "predictions: expected 0 and 1 alone, got 2")],
)  # fmt: skip
def test_scores_are_those_of_two_classes(labels, told, says):
    one_line(lambda: finetuning.scores(labels, told), says)


def test_what_is_no_classifier_of_pairs_is_refused_before_it_is_trained(small, shape, monkeypatch):
    import transformers

    monkeypatch.setattr(finetuning, "_trainer", lambda *_: pytest.fail("trained"))
    models = {
        "(1, 3)": transformers.BertForSequenceClassification(shape.config(num_labels=3)),
        "(1, 1)": transformers.BertForSequenceClassification(shape.config(num_labels=1)),
        "without logits": transformers.BertModel(shape.config()),
        "BertForMaskedLM with outputs (1, ": transformers.BertForMaskedLM(shape.config()),
    }
    for says, model in models.items():
        one_line(
            lambda model=model: finetuning.finetune(model, small.tokenizer, small.train, small.test),
            "expected a classifier with 2 classes", says,
        )  # fmt: skip
        one_line(lambda model=model: finetuning.evaluate(model, small.tokenizer, small.test), "2 classes")


def test_what_cannot_be_scored_is_one_line(small, checkpoint):
    model, tokenizer = load_checkpoint(checkpoint)
    one_line(lambda: finetuning.evaluate(model, tokenizer, small.test.select([])), "at least one to score")
    one_line(lambda: finetuning.evaluate(model, tokenizer, small.test, chunk=0), "chunk: ")
    one_line(lambda: finetuning.evaluate(model, tokenizer, small.test, length=-5), "length: ")
    tokenizer.add_tokens(["never seen"])
    one_line(lambda: finetuning.evaluate(model, tokenizer, small.test), "checkpoint: its table has")


def test_the_path_of_the_hub_on_local_files(small, checkpoint, tmp_path):
    """A checkpoint folder in the hub's layout and a data set in MRPC's: load, fine-tune, score, and read the log."""
    small.train.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    small.test.to_parquet(tmp_path / "validation-00000-of-00001.parquet")
    train, test = (pairs.load_pairs(str(tmp_path), split) for split in ("train", "validation"))
    model, tokenizer = load_checkpoint(checkpoint)
    before = finetuning.evaluate(model, tokenizer, test)
    (tmp_path / "file").touch()
    one_line(
        lambda: finetuning.finetune(
            model, tokenizer, train, test, FineTuning(), logs=tmp_path / "file" / "logs"
        ),
        "logs cannot be written: ",
    )
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


def test_what_is_missing_is_refused_in_one_line(small, checkpoint):
    model, tokenizer = load_checkpoint(checkpoint)
    with pytest.raises(InputError, match="two classes"):
        finetuning.finetune(model, tokenizer, small.train.filter(lambda row: row["label"] == 0), small.test)
    with pytest.raises(InputError, match="expected the columns"):
        finetuning.finetune(model, tokenizer, small.train.remove_columns("label"), small.test)


def test_attention_is_the_formula(small, checkpoint):
    model, tokenizer = load_checkpoint(checkpoint)
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


def test_few_pairs_get_more_passes():
    """100 pairs in batches of 32 are 4 steps, 3 epochs 12: fewer than 50. 1,000 pairs are 32 steps, 96 in all."""
    assert [FineTuning().steps(pairs) for pairs in (100, 1000)] == [50, 96]


def test_the_score_does_not_depend_on_the_chunks(small, checkpoint):
    model, tokenizer = load_checkpoint(checkpoint)
    test = small.test.select(range(11))
    whole, parts = (finetuning.evaluate(model, tokenizer, test, chunk=chunk) for chunk in (128, 4))
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
    assert parts.predictions.tolist() == whole.predictions.tolist()
    nats = []
    for row in test:
        with torch.no_grad():
            encoded = tokenizer(row["sentence1"], row["sentence2"], return_tensors="pt")
            nats.append(-torch.log_softmax(model(**encoded).logits[0].double(), -1)[row["label"]].item())
    assert whole.loss == pytest.approx(sum(nats) / 11, rel=1e-4)
