"""How difficult a piece of text is, measured in four ways that need no training run. Numpy and the standard library only.

`length`       tokens
`compression`  bytes after zlib over bytes before: what repeats itself is easy (headers of 8 bytes are taken off)
`rarity`       mean −log p of its tokens, p their share of the whole (Platanios et al. 2019 take the sum over a sentence)
`loss`         nats per token under a small reference model: a table of token pairs (a bigram model)

All grow with difficulty. A reference model can be any other, too: score the windows with it and order by the result.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from scalept_lab.checks import one_of
from scalept_lab.errors import InputError

SAMPLE = 2_000_000  # tokens from the start of a corpus that the counts are taken from
OVERHEAD = 8  # bytes that zlib adds to any text, the empty one included
Scores = np.ndarray


def length(pieces: Sequence[np.ndarray], vocabulary: np.ndarray) -> Scores:
    return np.array([len(piece) for piece in pieces], float)


def compression(pieces: Sequence[np.ndarray], vocabulary: np.ndarray) -> Scores:
    def ratio(raw: bytes) -> float:
        return (len(zlib.compress(raw, 9)) - OVERHEAD) / max(1, len(raw))

    return np.array([ratio(np.ascontiguousarray(piece).tobytes()) for piece in pieces])


def rarity(pieces: Sequence[np.ndarray], vocabulary: np.ndarray) -> Scores:
    counts = np.bincount(vocabulary, minlength=_size(pieces, vocabulary)) + 1.0
    surprise = -np.log(counts / counts.sum())
    return np.array([surprise[piece].mean() for piece in pieces])


def loss(pieces: Sequence[np.ndarray], vocabulary: np.ndarray) -> Scores:
    size = _size(pieces, vocabulary)
    pairs_VxV = np.zeros((size, size))
    np.add.at(pairs_VxV, (vocabulary[:-1], vocabulary[1:]), 1.0)
    single = np.bincount(vocabulary, minlength=size) + 1.0
    pairs_VxV += 10 * single / single.sum()  # pairs never seen: as often as their second token is
    surprise_VxV = -np.log(pairs_VxV / pairs_VxV.sum(1, keepdims=True))
    return np.array([surprise_VxV[piece[:-1], piece[1:]].mean() for piece in pieces])


MEASURES: dict[str, Callable[[Sequence[np.ndarray], np.ndarray], Scores]] = {
    "length": length,
    "compression": compression,
    "rarity": rarity,
    "loss": loss,
}


def scores(measure: str, pieces: Sequence[np.ndarray], corpus: np.ndarray) -> Scores:
    """The difficulty of each of `pieces` (1-D token arrays, two tokens or more), by the name of the measure.

    corpus: the token stream that `rarity` and `loss` count in (its first two million tokens).
    Raises: InputError for an unknown measure, or a piece of fewer than two tokens.
    """
    one_of("measure", measure, MEASURES)
    if len(pieces) == 0 or min(map(len, pieces)) < 2:
        raise InputError("pieces: expected texts of at least two tokens each, got none or a shorter one")
    return MEASURES[measure](pieces, np.asarray(corpus[:SAMPLE]))


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's: do two measures order the pieces alike? 1 exactly, 0 not at all, −1 the other way round."""
    from scipy import stats

    return float(stats.spearmanr(a, b).statistic)


def _size(pieces: Sequence[np.ndarray], vocabulary: np.ndarray) -> int:
    return 1 + max(int(vocabulary.max(initial=0)), *(int(piece.max()) for piece in pieces))
