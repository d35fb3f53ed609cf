"""Which documents say the same: exact copies by a hash, near copies by the word runs that they share."""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
import zlib
from collections.abc import Sequence

import numpy as np

from scalept_lab.data.tokens import utf8
from scalept_lab.screen import watched

# Scripts that are written without blanks between words (Chinese, Japanese, Thai, Lao, Burmese, Khmer), and emoji: there each
# character is a word.
CHARACTER = (
    r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2600-\u27bf\U0001f000-\U0001faff"
)
# Vowel signs and accents, which Python counts to no word: of Indian scripts all but the full stops, also those
# of Arabic and Hebrew.
MARK = r"\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
# ++: without a way back, which would take memory for each letter of a word
_WORD = re.compile(rf"[{CHARACTER}]|(?:[^\W{CHARACTER}]|[{MARK}])++")
_MIX = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD],
    np.uint64,
)
SHINGLE = 5
# 64 permutations: a pair of Jaccard similarity J becomes a candidate with probability 1 - (1 - J^4)^16.
BANDS, ROWS = 16, 4
LONG = 1_000_000  # characters of a text that are written alike, words of one that are hashed at a time
BATCH = 10_000  # shingles whose hashes stand in memory at a time: 64 numbers for each


def written_alike(text: str) -> str:
    """The text in one of the ways to write it (Unicode's NFKC): é may be one character or two, a letter of full or half width.

    Of a very long text only é is (NFC): a character may stand for eighteen others, and a million for a gigabyte.
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC" if len(text) <= LONG else "NFC", text)


def exact_key(text: str) -> str:
    """sha256 of the text with every run of white space made one blank, and each character written in one way."""
    return hashlib.sha256(utf8(" ".join(written_alike(text).split()))).hexdigest()


def shingles(text: str) -> np.ndarray:
    """Sorted unique uint32 hashes of all runs of five words; a text of fewer words has one shingle."""
    # part by part: a list of the words of a long book takes twenty times its bytes
    words = (zlib.crc32(utf8(found[0])) for found in _WORD.finditer(written_alike(text)))
    parts: list[np.ndarray] = []
    hashes = np.zeros(0, np.uint64)
    while len(block := np.fromiter(itertools.islice(words, LONG), np.uint64)):
        hashes = np.concatenate([hashes[-(SHINGLE - 1) :], block])
        parts.append(_runs(hashes, SHINGLE))
    if len(hashes) < SHINGLE and len(hashes):
        parts = [_runs(hashes, len(hashes))]
    return np.unique(np.concatenate([np.zeros(0, np.uint32), *parts]))


def _runs(hashes: np.ndarray, size: int) -> np.ndarray:
    """A uint32 hash of every `size` neighbours of a row of uint64; none where there are fewer."""
    mixed = np.zeros(max(0, len(hashes) - size + 1), np.uint64)
    for j in range(size):  # wraps modulo 2^64, as a polynomial hash should
        mixed += hashes[j : j + len(mixed)] * _MIX[j]
    mixed ^= mixed >> np.uint64(29)
    return np.unique((mixed * _MIX[0] >> np.uint64(32)).astype(np.uint32))


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Jaccard similarity of two sorted arrays of unique shingles; two empty ones count as different."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / max(1, len(a) + len(b) - both)


def near_duplicates(
    texts: Sequence[str], threshold: float = 0.7, progress: bool = False
) -> list[tuple[int, int, float]]:
    """(removed, kept, Jaccard) for every document that is nearly an earlier, kept one.

    MinHash signatures in a locality-sensitive hash (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of
    Massive Datasets, chapter 3) find candidates without comparing all pairs; the true Jaccard similarity of
    the shingles then decides, so the result has no false positives, and misses a pair of similarity 0.7
    with probability 0.012, one of 0.8 with 0.0002.
    """
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    blank = MinHash(num_perm=BANDS * ROWS, seed=1, hashfunc=int)
    sets: dict[int, np.ndarray] = {}
    found: list[tuple[int, int, float]] = []
    for index, text in enumerate(watched(texts, "looking for near copies", len(texts), progress)):
        shingle_set = shingles(text)
        if not len(shingle_set):
            continue
        signature = blank.copy()
        for start in range(0, len(shingle_set), BATCH):
            signature.update_batch(shingle_set[start : start + BATCH].tolist())
        best = max(((jaccard(shingle_set, sets[k]), -k) for k in lsh.query(signature)), default=(0.0, 0))
        if best[0] >= threshold:
            found.append((index, -best[1], best[0]))
        else:
            lsh.insert(index, signature, check_duplication=False)
            sets[index] = shingle_set
    return found


PRIME, LARGEST = np.uint64(2**61 - 1), np.uint64(2**32 - 1)


def signature(shingle_set: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(P,) uint64: for each of P hash functions the smallest ((a·x + b) mod 2⁶¹ − 1) mod 2³² over the shingles x.

    Two sets agree in a place with probability J. Without shingles every place holds 2³² − 1. With the same `a` and `b` (uint64)
    it is the signature of `datasketch`.
    """
    x_S = np.asarray(shingle_set, np.uint64)
    least = np.full(len(a), LARGEST)
    if not len(x_S):
        return least
    hashed_SxP = (x_S[:, None] * np.asarray(a, np.uint64) + np.asarray(b, np.uint64)) % PRIME & LARGEST
    return np.minimum(least, hashed_SxP.min(axis=0))


def candidates(signatures_TxP: np.ndarray, bands: int) -> list[tuple[int, int]]:
    """Pairs i < j of rows that agree in all places of at least one of `bands` equal bands, sorted."""
    signatures_TxP = np.asarray(signatures_TxP)
    pairs: set[tuple[int, int]] = set()
    for band_TxR in np.split(signatures_TxP, bands, axis=1):
        alike: dict[bytes, list[int]] = {}
        for row, values in enumerate(band_TxR):
            others = alike.setdefault(values.tobytes(), [])
            pairs.update((other, row) for other in others)
            others.append(row)
    return sorted(pairs)
