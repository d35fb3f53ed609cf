"""Disturbed pairs: what changes, and what a rule that counts common words makes of it."""

from __future__ import annotations

import datasets
import pytest
from refusals import one_line

from scalept_lab.transfer import disturb

PAIR = ("sum of abcd and wxyz not in it", "def sum x it long2 not x return long + abcd")


def one(sentence: str = PAIR[0], code: str = PAIR[1]) -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {"sentence1": [sentence], "sentence2": [code], "label": [1], "idx": [0]}
    )


def many(sentence: str, rows: int) -> datasets.Dataset:
    return datasets.concatenate_datasets([one(sentence)] * rows)


def sides(pairs: datasets.Dataset) -> tuple[str, str]:
    return pairs["sentence1"][0], pairs["sentence2"][0]


@pytest.mark.parametrize(("which", "sentence", "code"), [
    ("own", PAIR[0], "def sum v0 it long2 not v0 return v1 + abcd"),
    ("short", PAIR[0], "def sum v0 it long2 not v0 return long + abcd"),
    ("shared", "v0 of v2 and wxyz not in v1", "def v0 x v1 long2 not x return long + v2"),
    ("one side", PAIR[0], "def v0 v1 v2 long2 not v1 return v3 + v4"),
])  # fmt: skip
def test_renamed_by_hand(which, sentence, code):
    """Keywords (def, not, return, and, in) and what is no word of letters keep their names."""
    assert sides(disturb.rename(one(), which)) == (sentence, code)
    assert sides(disturb.rename(one(), which, share=0.0)) == PAIR


def common(pairs: datasets.Dataset) -> list[int]:
    return [
        len(set(a.split()) & set(b.split()))
        for a, b in zip(pairs["sentence1"], pairs["sentence2"], strict=True)
    ]


def test_the_evidence_stays_unless_one_side_is_renamed(small):
    before = common(small.test)
    for which in ("short", "own", "shared"):
        changed = disturb.rename(small.test, which, share=0.7)
        assert common(changed) == before and changed["label"] == small.test["label"]
    assert sum(common(disturb.rename(small.test, "one side"))) < sum(before)
    prefixed = disturb.prefixed(small.test)
    assert prefixed["sentence1"][0] == f"{disturb.PREFIX} {small.test['sentence1'][0]}"
    assert prefixed["sentence2"][:] == small.test["sentence2"][:]


def test_typos_swap_two_neighbours_in_words_of_four_letters_or_more():
    swaps = {
        word: {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(3)}
        for word in ("abcd", "wxyz")
    }
    seen = {"abcd": set(), "wxyz": set()}
    changed = disturb.misspell(many("abcd abc wxyz", 40))
    for sentence, code in zip(changed["sentence1"], changed["sentence2"], strict=True):
        first, short, last = sentence.split()
        assert short == "abc" and code == PAIR[1]
        seen["abcd"].add(first)
        seen["wxyz"].add(last)
    assert seen == swaps
    few = disturb.misspell(many("abcd", 200), 0.25)["sentence1"]
    assert 30 < sum(sentence != "abcd" for sentence in few) < 75


def test_other_words_and_shares_are_refused():
    one_line(
        lambda: disturb.rename(one(), "all"), "which: expected one of short, own, shared, one side, got 'all'"
    )
    one_line(lambda: disturb.rename(one(), "own", 2), "share: expected a number from 0 to 1")
    one_line(lambda: disturb.misspell(one(), -0.1), "share: expected a number from 0 to 1")
