"""A quality filter that learns from examples: hashed words, logistic regression, and a score for each document.

The way of GPT-3's filter (Brown et al. 2020, appendix A): documents that one trusts against documents as they come. What such a
filter calls good is what looks like the examples, no more.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence

import numpy as np

from scalept_lab.checks import positive, whole
from scalept_lab.data.tokens import utf8
from scalept_lab.errors import InputError

CHARS = 4000  # of a document that are looked at


def hashed(texts: Sequence[str], buckets: int = 2048) -> np.ndarray:
    """(T, buckets): how often each word and each pair of neighbours in a text's first `CHARS` characters falls into a bucket,
    each row divided by its length.

    Words are split at blanks, a pair is joined by one, and crc32 modulo `buckets` is the place. A text without words is a row
    of zeros. Raises: InputError for no bucket.
    """
    buckets = whole("buckets", buckets, 1)
    counts_TxB = np.zeros((len(texts), buckets))
    for row, text in zip(counts_TxB, texts, strict=True):
        words = text[:CHARS].split()
        grams = words + [" ".join(pair) for pair in itertools.pairwise(words)]
        places = np.array([zlib.crc32(utf8(gram)) % buckets for gram in grams], dtype=np.int64)
        row += np.bincount(places, minlength=buckets)
    lengths = np.linalg.norm(counts_TxB, axis=1, keepdims=True)
    return counts_TxB / np.where(lengths > 0, lengths, 1.0)


def logistic(X: np.ndarray, y: np.ndarray, steps: int = 100, rate: float = 20.0) -> tuple[np.ndarray, float]:
    """Weights (B,) and bias that tell y = 1 from y = 0: `steps` of gradient descent on the mean log loss, from zeros.

    `X @ w + b` is the log of the odds. Raises: InputError for labels that do not match the rows of X.
    """
    X, y = np.asarray(X, float), np.asarray(y, float)
    rate, steps = positive("rate", rate), whole("steps", steps, 0)
    if X.ndim != 2 or y.shape != X.shape[:1] or not len(y):
        raise InputError(
            f"y: expected one label for each row of X, got {y.shape} for {X.shape}; check the labels"
        )
    w, b = np.zeros(X.shape[1]), 0.0
    for _ in range(steps):
        p = 1 / (1 + np.exp(-(X @ w + b)))
        w -= rate * X.T @ (p - y) / len(y)
        b -= rate * float(np.mean(p - y))
    return w, b


def likeness(good_TxB: np.ndarray, pool_TxB: np.ndarray) -> np.ndarray:
    """How much each document of a pool looks like the good ones: (T,), higher is more alike.

    A document is scored by a classifier that has not seen it: one is trained on the even documents of the pool, one on the odd.
    """
    scores = np.zeros(len(pool_TxB))
    for half in (0, 1):
        own = np.arange(len(pool_TxB)) % 2 == half
        X = np.concatenate([good_TxB, pool_TxB[~own]])
        w, b = logistic(X, np.arange(len(X)) < len(good_TxB))
        scores[own] = pool_TxB[own] @ w + b
    return scores


def best(scores: np.ndarray, sizes: np.ndarray, share: float = 0.5) -> np.ndarray:
    """Rows of the highest scores that together hold `share` of the bytes (to the document that reaches it), in order."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    filled = np.cumsum(np.asarray(sizes)[order])
    return np.sort(order[: int(np.searchsorted(filled, share * filled[-1])) + 1])
