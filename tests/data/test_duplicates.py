"""Exact and near duplicates, against a slow twin."""

from __future__ import annotations

import inspect
import itertools
import random
import unicodedata

import numpy as np
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


@pytest.mark.parametrize("script, first, other, runs", [
    ("Thai", "วันนี้อากาศดีมาก", "พรุ่งนี้ฝนจะตกหนัก", 12), ("Hindi", "आज मौसम बहुत अच्छा है।", "कल बारिश होगी और ठंड", 1),
    ("Japanese", "今日は天気がとても良い", "明日は雨が強く降るよ", 7),
    ("Arabic", "الطَّقسُ جَميلٌ اليَومَ في المَدينَةِ", "غدا سيهطل المطر بغزارة", 1),
    ("emoji", "👍🎉🐈🌧🔥🚀", "🌲🌲🐕🍎🎈🧊", 2),
])  # fmt: skip
def test_words_of_scripts_with_marks_or_without_blanks(script, first, other, runs):
    """Runs of five, counted by hand: Hindi and Arabic by words with their signs, the others by characters."""
    assert len(duplicates.shingles(first)) == runs
    link = " https://example.org/a/long/path/to/some/page/of/this/site"
    assert duplicates.near_duplicates([first + link, other + link]) == []


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


def test_one_text_written_in_two_ways_is_one():
    """Two code points or one for ế, full or half width: copies, exact and near."""
    text = "Hôm nay thời tiết đẹp, chúng tôi đi dạo ở công viên"
    for way in (
        unicodedata.normalize("NFD", text),
        "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    ):
        assert way != text and duplicates.exact_key(way) == duplicates.exact_key(text)
        assert duplicates.jaccard(duplicates.shingles(way), duplicates.shingles(text)) == 1
    assert (
        duplicates.exact_key("カタカナ") == duplicates.exact_key("ｶﾀｶﾅ") != duplicates.exact_key("ひらがな")
    )


def test_a_long_document_is_hashed_part_by_part(monkeypatch):
    texts = variants()[:20]
    whole = duplicates.near_duplicates(texts)
    long = " ".join(texts[:3])
    sets = [duplicates.shingles(text) for text in ("", "one", "four words and no", long)]
    monkeypatch.setattr(duplicates, "BATCH", 7)
    assert duplicates.near_duplicates(texts) == whole and whole
    for size in (1, 2, 3, 4, 5, 100):
        monkeypatch.setattr(duplicates, "LONG", size)
        for text, known in zip(("", "one", "four words and no", long), sets, strict=True):
            np.testing.assert_array_equal(duplicates.shingles(text), known)


def test_a_character_that_stands_for_many_does_not_multiply_a_long_text():
    assert len(duplicates.written_alike("\ufdfa")) == 18
    assert len(duplicates.written_alike("\ufdfa" * (duplicates.LONG + 1))) == duplicates.LONG + 1


def test_white_space_aside_is_what_exact_says():
    assert duplicates.exact_key(" a\t b\n") == duplicates.exact_key("a b") != duplicates.exact_key("ab")


# --- signatures and bands in plain numpy ---------------------------------------------------------------------------------


def functions(count=64, seed=0):
    return np.random.default_rng(seed).integers(1, 2**31, (2, count), dtype=np.uint64)


@pytest.mark.parametrize("size", [0, 1, 50])
def test_a_signature_is_that_of_datasketch(size):
    from datasketch import MinHash

    a, b = functions(16)
    shingle_set = np.unique(np.random.default_rng(1).integers(0, 2**32, size, dtype=np.uint32))
    scheme = {"scheme": "legacy"} if "scheme" in inspect.signature(MinHash.__init__).parameters else {}
    made = MinHash(num_perm=16, permutations=(a, b), hashfunc=int, **scheme)
    if size:
        made.update_batch(shingle_set.tolist())
    np.testing.assert_array_equal(duplicates.signature(shingle_set, a, b), made.hashvalues)


def test_equal_places_estimate_the_jaccard_similarity():
    shingle_sets = [duplicates.shingles(text) for text in variants()[:11]]
    a, b = functions(2000)
    signatures = [duplicates.signature(shingle_set, a, b) for shingle_set in shingle_sets]
    for shingle_set, row in zip(shingle_sets, signatures, strict=True):
        J = duplicates.jaccard(shingle_set, shingle_sets[0])
        assert (row == signatures[0]).mean() == pytest.approx(J, abs=4 * (J * (1 - J) / 2000) ** 0.5 + 1e-9)


def test_candidates_are_those_of_all_pairs_compared_band_by_band():
    signatures = np.random.default_rng(2).integers(0, 3, (40, 12), dtype=np.uint64)
    signatures[7] = signatures[3] = signatures[30]  # ties of three
    for bands in (1, 3, 4, 12):
        slow = [
            (i, j)
            for i, j in itertools.combinations(range(40), 2)
            if (signatures[i] == signatures[j]).reshape(bands, -1).all(1).any()
        ]
        assert duplicates.candidates(signatures, bands) == slow
    assert duplicates.candidates(signatures[:1], 4) == []
