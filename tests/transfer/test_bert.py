"""Masking, joining and pre-training of BERT."""

from __future__ import annotations

import math

import pytest
import torch

from scalept_lab.transfer import bert, pairs


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


def test_long_pairs_are_cut_to_the_length_by_hand():
    """Ten positions: three tokens of the first, four of the second, [CLS] and two [SEP]; a short pair is filled up."""
    found = bert.join([[11, 12, 13, 14, 15], [31]], [[21, 22, 23, 24, 25, 26], [41]], length=10)
    assert found["input_ids"].tolist() == [
        [2, 11, 12, 13, 3, 21, 22, 23, 24, 3],
        [2, 31, 3, 41, 3, 0, 0, 0, 0, 0],
    ]
    assert found["token_type_ids"].tolist() == [[0] * 5 + [1] * 5, [0, 0, 0, 1, 1, 0, 0, 0, 0, 0]]
    assert found["attention_mask"].tolist() == [[1] * 10, [1] * 5 + [0] * 5]


def test_the_curve_is_of_means_and_the_rate_rises_and_falls(small, shape, monkeypatch):
    """52 steps of 4: a mean of fifty and one of two. Ten steps: 1/1.6 of the rate, then 0.9, 0.8, … of it."""
    from transformers import BertForPreTraining

    rates = []

    class Noting(torch.optim.AdamW):
        def step(self, *arguments):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*arguments)

    monkeypatch.setattr(torch.optim, "AdamW", Noting)
    told = []
    model = BertForPreTraining(shape.config())
    plan = bert.Pretraining(sequences=52 * 4, batch=4)
    curve = bert.pretrain(model, small.tokenizer, small.texts, plan, lambda *point: told.append(point))
    assert [seen for seen, _, _ in curve] == [200, 208] and told == curve and not model.training
    chance = math.log(shape.vocab_size)
    assert all(0.5 * chance < masked < 1.2 * chance and 0.3 < pair < 1.5 for _, masked, pair in curve)
    rates.clear()
    bert.pretrain(model, small.tokenizer, small.texts, bert.Pretraining(sequences=43, batch=4, lr=0.01))
    assert rates == pytest.approx(
        [0.01 * share for share in (0.625, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)]
    )


def test_the_same_texts_give_the_same_ids():
    """The trainer numbers equally frequent pieces as its threads meet them: whole checkpoints differed by that."""
    texts = [f"{a}{b} {b}{a}" for a in "abcdefgh" for b in "ijklmnop"]
    tokenizer = bert.make_tokenizer(texts, 200)
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    assert vocabulary[: len(bert.SPECIAL)] == list(bert.SPECIAL)
    learned = vocabulary[len(bert.SPECIAL) :]
    assert learned == sorted(learned) and len(learned) > 16
    assert tokenizer.decode(tokenizer("ai ia")["input_ids"], skip_special_tokens=True) == "ai ia"
