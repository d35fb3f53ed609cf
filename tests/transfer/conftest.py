"""A made-up task of sentence pairs, and a tiny BERT that was pre-trained on it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scalept_lab.transfer import bert, measure, pairs
from scalept_lab.transfer.bert import Shape
from scalept_lab.transfer.measure import Start
from tests.transfer.test_pairs import MANY

TINY = Shape(depth=1, width=16, heads=2, vocab_size=300)


@pytest.fixture(scope="session")
def small() -> measure.Task:
    found = pairs.functions(MANY)
    parts = pairs.build_task(found, "corpus")
    texts = bert.segments(parts["pretrain"])
    tokenizer = bert.make_tokenizer((" ".join(text) for text in texts), TINY.vocab_size)
    heldout = {"old": texts[:20], "new": texts[20:40]}
    return measure.Task(
        texts[20:], texts[:20], heldout, parts["train"], parts["test"], tokenizer, "0" * 64, found, "corpus"
    )


@pytest.fixture(scope="session")
def shape(small) -> Shape:
    return replace(TINY, vocab_size=len(small.tokenizer))


@pytest.fixture(scope="session")
def checkpoint(small, shape, tmp_path_factory):
    return measure.pretrained(Start(shape, 640), small, cache=tmp_path_factory.mktemp("cache"))
