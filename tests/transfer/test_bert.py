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
