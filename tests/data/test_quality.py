"""A filter that learns from examples: its features, its gradient, and what it chooses."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from scalept_lab.data import quality
from scalept_lab.errors import InputError


def test_words_and_pairs_are_counted_in_their_buckets():
    (row,) = quality.hashed(["a b a"], 101)
    expected = np.zeros(101)
    for gram in ("a", "b", "a", "a b", "b a"):
        expected[zlib.crc32(gram.encode()) % 101] += 1
    np.testing.assert_allclose(row, expected / np.linalg.norm(expected))
    X = quality.hashed(["", "one", " \n ", "数据 质量"], 7)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), [0, 1, 0, 1])
    assert quality.hashed([], 7).shape == (0, 7)


def test_descent_follows_the_gradient_of_the_mean_log_loss():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 4)), rng.random(30) < 0.4

    def loss(w, b):
        z = X @ w + b
        return np.mean(np.log1p(np.exp(z)) - y * z)

    w, b = quality.logistic(X, y, steps=1, rate=1.0)
    eps = 1e-6
    slopes = [(loss(eps * e, 0) - loss(-eps * e, 0)) / (2 * eps) for e in np.eye(4)]
    np.testing.assert_allclose(-w, slopes, atol=1e-8)
    assert -b == pytest.approx((loss(np.zeros(4), eps) - loss(np.zeros(4), -eps)) / (2 * eps), abs=1e-8)
    losses = [loss(*quality.logistic(X, y, steps, 0.5)) for steps in (0, 10, 200)]
    assert losses[0] == pytest.approx(np.log(2)) and losses[0] > losses[1] > losses[2]


def test_what_looks_like_the_examples_scores_higher_and_shuffled_examples_tell_nothing():
    rng = np.random.default_rng(1)

    def texts(words, count):
        return [" ".join(rng.choice(words, 40)) for _ in range(count)]

    of_graphs, of_colours = [f"graph{i}" for i in range(30)], [f"colour{i}" for i in range(30)]
    pool = quality.hashed(texts(of_graphs, 40) + texts(of_colours, 40), 512)
    alike = np.arange(80) < 40
    scores = quality.likeness(quality.hashed(texts(of_graphs, 40), 512), pool)
    assert scores[alike].min() > scores[~alike].max()
    both = quality.likeness(quality.hashed(texts(of_graphs + of_colours, 80), 512), pool)
    assert abs(np.mean(both[alike]) - np.mean(both[~alike])) < 0.2 * np.mean(scores[alike] - scores[~alike])


def test_the_best_fill_the_share_of_the_bytes():
    sizes = np.array([10, 30, 20, 40])
    assert quality.best([0.1, 0.9, 0.9, 0.4], sizes, 0.5).tolist() == [1, 2]
    assert quality.best([0.1, 0.9, 0.9, 0.4], sizes, 0.51).tolist() == [1, 2, 3]
    assert quality.best([0.1, 0.9, 0.9, 0.4], sizes, 1.0).tolist() == [0, 1, 2, 3]


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="one label for each row"):
        quality.logistic(np.zeros((3, 2)), np.zeros(2))
    with pytest.raises(InputError, match="buckets"):
        quality.hashed(["a"], 0)
