"""What the heads of an encoder read across the border between two segments, measured against a head that reads evenly.

A weight on "the same word" means nothing by itself: with 25 tokens in sight, an even head puts .04 on each. So the weight is
divided by what even attention gives, and the same is done with words of the other segment drawn at random in place of those
that match: what a head would score that knows nothing of the word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from scalept_lab.errors import InputError
from scalept_lab.transfer.finetuning import attention

SEP = "[SEP]"


class Read(NamedTuple):
    """By pair, block and head: the weight on the same word of the other segment, over even attention (1: no preference).

    `chance`: the same with places of the other segment drawn at random, as many as match.
    """

    ratio_PxBxH: np.ndarray
    chance_PxBxH: np.ndarray


def matches(tokens: Sequence[str]) -> np.ndarray:
    """(L, L), true where a token of the first segment (row) stands before the same whole word of the second (column).

    Pieces of words and what holds no letter do not count. Raises: InputError if there are not two segments.
    """
    ends = [i for i, token in enumerate(tokens) if token == SEP]
    if len(ends) < 2:
        raise InputError(f"tokens: expected two segments that end with {SEP}, got {len(ends)}")
    border = ends[0]
    return np.array([
        [i < border < j and a == b and a.isalpha() for j, b in enumerate(tokens)] for i, a in enumerate(tokens)
    ])  # fmt: skip


def same_word(model: Any, tokenizer: Any, pairs: Any, seed: int = 0) -> Read:
    """How much each head reads the same word in the other segment, in those of the pairs that share a word.

    Raises: InputError if none of them does.
    """
    rng = np.random.default_rng(seed)
    ratios, chances = [], []
    for row in pairs:
        tokens, weights_BxHxLxL = attention(model, tokenizer, row["sentence1"], row["sentence2"])
        same = matches(tokens)
        if not same.any():
            continue
        second = np.arange(tokens.index(SEP) + 1, len(tokens) - 1)
        drawn = np.zeros_like(same)
        for i in np.flatnonzero(same.any(1)):
            drawn[i, rng.choice(second, same[i].sum(), replace=False)] = True
        even = same.sum() / len(tokens)
        ratios.append((weights_BxHxLxL * same).sum((-1, -2)) / even)
        chances.append((weights_BxHxLxL * drawn).sum((-1, -2)) / even)
    if not ratios:
        raise InputError("pairs: expected some that share a word, got none; give more pairs")
    return Read(np.array(ratios), np.array(chances))
