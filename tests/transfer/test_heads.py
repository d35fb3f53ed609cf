"""What heads read: matches across the border, and weights in units of even attention."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.transfer import checkpoints, heads

TOKENS = ["[CLS]", "a", "##b", "1", "[SEP]", "a", "1", "##b", "a", "[SEP]"]


def test_matches_are_whole_words_across_the_border():
    found = np.argwhere(heads.matches(TOKENS)).tolist()
    assert found == [[1, 5], [1, 8]]
    one_line(lambda: heads.matches(["[CLS]", "a", "[SEP]"]), "tokens: expected two segments")


def test_a_head_that_reads_the_same_word_is_told_from_an_even_one(small, checkpoint, monkeypatch):
    def planted(model, tokenizer, sentence1, sentence2):
        same = heads.matches(TOKENS)
        even = np.full((10, 10), 0.1)
        seeing = np.where(same.any(1)[:, None], same / np.maximum(1, same.sum(1, keepdims=True)), 0.1)
        return TOKENS, np.array([[even, seeing]])

    monkeypatch.setattr(heads, "attention", planted)
    read = heads.same_word(None, None, small.test.select(range(40)))
    assert read.ratio_PxBxH.shape == (40, 1, 2)
    assert read.ratio_PxBxH[:, 0, 0] == pytest.approx(1) and read.chance_PxBxH[:, 0, 0] == pytest.approx(1)
    assert read.ratio_PxBxH[:, 0, 1] == pytest.approx(5)  # all of the weight on two of ten tokens
    assert 1.5 < read.chance_PxBxH[:, 0, 1].mean() < 3.5  # two of four places, at random


def test_pairs_without_a_shared_word_are_left_out(small, checkpoint):
    model, tokenizer = checkpoints.load_checkpoint(checkpoint)
    apart = small.test.select(range(2)).map(lambda row: {"sentence1": "a b", "sentence2": "c d"})
    one_line(
        lambda: heads.same_word(model, tokenizer, apart), "pairs: expected some that share a word, got none"
    )
