"""Exact and near duplicates, against a slow twin."""

from __future__ import annotations

import itertools
import random

import pytest

from scalept_lab.data import duplicates


def variants(seed=0):
    """Texts with every degree of overlap: each a mixture of one common and one own list of words."""
    rng = random.Random(seed)
    words = [f"word{i}" for i in range(3000)]
    base = rng.choices(words, k=400)
    texts = []
    for keep in [1.0, 0.97, 0.95, 0.93, 0.9, 0.85, 0.8, 0.6, 0.4, 0.2, 0.0] * 3:
        cut = int(keep * 400)
        texts.append(" ".join(base[:cut] + rng.choices(words, k=400 - cut)))
    return texts


def test_shingles_are_the_five_word_runs():
    a, b = "one two three four five six seven", "ONE two three four five six"
    runs = {tuple(a.split()[i : i + 5]) for i in range(3)}
    assert len(duplicates.shingles(a)) == len(runs) == 3
    # one run in common of four
    assert duplicates.jaccard(duplicates.shingles(a), duplicates.shingles(b)) == pytest.approx(1 / 4)
    assert len(duplicates.shingles("two words")) == 1 and len(duplicates.shingles("")) == 0
    assert duplicates.jaccard(duplicates.shingles(""), duplicates.shingles("")) == 0


def test_words_are_those_of_any_script():
    """Two sentences with one link are not copies; one long text with a character changed is."""
    link = " https://example.org/a/long/path/to/some/page/of/this/site"
    assert (
        duplicates.near_duplicates(["北京今天晴朗无云适合出门" + link, "上海连日小雨气温逐渐下降" + link])
        == []
    )
    assert len(duplicates.shingles("可扩展预训练")) == 2  # six characters, two runs of five
    assert len(duplicates.shingles("один два три четыре пять шесть")) == 2
    rng = random.Random(0)
    text = "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(200))
    found = duplicates.near_duplicates([text, text[:100] + "一" + text[101:]])
    assert [(copy, original) for copy, original, _ in found] == [(1, 0)]
    assert found[0][2] == pytest.approx(191 / 201)  # 196 runs each; five of them hold the changed character


def test_near_duplicates_agree_with_all_pairs():
    """The slow twin compares every pair with sets of word tuples, hashing nothing."""
    texts, threshold = variants(), 0.7
    sets = [{tuple(t.split()[i : i + 5]) for i in range(len(t.split()) - 4)} for t in texts]
    kept: list[int] = []
    slow = set()
    for i, own in enumerate(sets):
        if any(len(own & sets[k]) / len(own | sets[k]) >= threshold for k in kept):
            slow.add(i)
        else:
            kept.append(i)
    fast = duplicates.near_duplicates(texts, threshold)
    assert {removed for removed, _, _ in fast} == slow and len(slow) > 5
    for removed, original, similarity in fast:
        assert original in kept
        assert similarity == pytest.approx(
            len(sets[removed] & sets[original]) / len(sets[removed] | sets[original]), abs=1e-6
        )
    remaining = [i for i in range(len(texts)) if i not in slow]
    assert all(
        duplicates.jaccard(duplicates.shingles(texts[i]), duplicates.shingles(texts[j])) < threshold
        for i, j in itertools.combinations(remaining, 2)
    )


def test_a_copy_is_laid_to_the_document_that_it_resembles_most():
    words = [f"w{i}" for i in range(60)]
    near = " ".join([*words[:50], *"abcdefghij"])
    found = duplicates.near_duplicates(
        ["other words altogether, six of them", near, " ".join(words), near], 0.9
    )
    # documents 1 and 2 share 46 of 66 runs of five
    assert found == [(3, 1, 1.0)]
    assert duplicates.jaccard(*map(duplicates.shingles, (near, " ".join(words)))) == pytest.approx(46 / 66)
    assert duplicates.near_duplicates([near, " ".join(words)], 46 / 66) == [(1, 0, pytest.approx(46 / 66))]


def test_pairs_that_are_missed_by_hand():
    """Sixteen bands of four: 0.7^4 = 0.2401, and 0.7599^16 = 0.0124; for 0.8, 0.5904^16 = 0.00022."""
    missed = [(1 - J**duplicates.ROWS) ** duplicates.BANDS for J in (0.7, 0.8)]
    assert missed == pytest.approx([0.01236, 0.000218], rel=0.01)


def test_white_space_aside_is_what_exact_says():
    assert duplicates.exact_key(" a\t b\n") == duplicates.exact_key("a b") != duplicates.exact_key("ab")
