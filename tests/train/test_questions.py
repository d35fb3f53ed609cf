"""What a model can do: the next token, and the true continuation among four."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scalept_lab.errors import InputError
from scalept_lab.train import questions


class Oracle(torch.nn.Module):
    """Knows a text in which each token follows from the one before; says so with `sure`."""

    def __init__(self, follows: np.ndarray, sure: float = 9.0):
        super().__init__()
        self.table = torch.nn.Parameter(sure * torch.eye(len(follows))[torch.from_numpy(follows)])
        self.config = SimpleNamespace(context=16)

    def forward(self, x):
        return self.table[x]


def text(count: int = 6000) -> np.ndarray:
    """Pairs of letters at random, then a walk through a cycle that the pair starts."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 6, count).astype(np.uint8)


def test_the_true_continuation_stands_first_and_all_follow_the_same_two_tokens():
    stream = text()
    asked = questions.questions(stream, 16, 50)
    assert asked.shape == (50, questions.OPTIONS, 16)
    assert (asked == questions.questions(stream, 16, 50)).all()  # the same for every model
    before = asked[:, :, : 16 - questions.ENDING]
    assert (before == before[:, :1]).all()
    whole = bytes(stream)
    for row in asked:
        endings = [bytes(each[-questions.ENDING - questions.SEAM :].astype(np.uint8)) for each in row]
        assert len(set(endings)) == questions.OPTIONS and all(each in whole for each in endings)
        assert bytes(row[0].astype(np.uint8)) in whole


def test_a_model_that_knows_the_text_is_right_and_one_that_knows_nothing_guesses():
    follows = np.array([1, 2, 3, 4, 5, 0])
    walk = np.arange(600) % 6
    noisy = np.where(np.random.default_rng(1).random(6000) < 0.1, text(), np.resize(walk, 6000))
    asked = questions.questions(noisy, 16, 200)
    good, none = questions.score(Oracle(follows), asked), questions.score(Oracle(follows, 0.0), asked)
    assert good > 0.4 and none == 0.0  # where all are alike, none is taken


def test_accuracy_counts_the_tokens_named_first():
    follows = np.array([1, 2, 3, 4, 5, 0])
    corpus = SimpleNamespace(heldout=(np.arange(2000) % 6).astype(np.uint8))
    assert questions.accuracy(Oracle(follows), corpus, 20) == 1.0
    assert questions.accuracy(Oracle(follows[::-1].copy()), corpus, 20) < 0.5


def test_texts_that_give_no_questions_are_refused():
    with pytest.raises(InputError, match="questions: expected a context"):
        questions.questions(text(), 5, 10)
    with pytest.raises(InputError, match="ask fewer"):
        questions.questions(np.arange(200), 16, 10)
    with pytest.raises(InputError, match="count"):
        questions.questions(text(), 16, 0)
