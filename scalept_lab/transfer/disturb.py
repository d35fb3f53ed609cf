"""Pairs with their input disturbed: what a robust classifier should not mind, and what destroys the label instead.

A test of robustness needs a disturbance that leaves the right answer as it was. Here a pair is right because sentence and
function belong together, and what shows it are the words that both have. So names may change as long as what is shared stays
shared: `rename` with "short", "own" or "shared" keeps every count of common words. Renaming a function's names without the
sentence ("one side") takes the evidence away, from a person as well: that is another task, not a harder one.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from scalept_lab.checks import one_of, positive

if TYPE_CHECKING:
    import datasets

PREFIX = "note that this one"  # words that no function is about
WHICH = ("short", "own", "shared", "one side")


def rename(
    pairs: datasets.Dataset, which: Literal["short", "own", "shared", "one side"] = "own", share: float = 1.0, seed: int = 0
) -> datasets.Dataset:  # fmt: skip
    """Give a share of the names of each function new ones, v0, v1, …, the same one wherever the name stands in the pair.

    which  "own": names that the sentence does not use; "short": those of them with one or two letters;
           "shared": names that it does use, renamed in both;
           "one side": all names, but in the function alone, so that sentence and function no longer share them
    A name is a word of letters that is no keyword of Python. Raises: InputError for another `which`, or a share outside [0, 1].
    """
    one_of("which", which, WHICH)
    positive("share", share, zero=True, most=1)
    rng = np.random.default_rng(seed)

    def change(sentence: str, code: str) -> tuple[str, str]:
        said, made = set(sentence.split()), dict[str, str]()
        for word in dict.fromkeys(code.split()):
            name = word.isalpha() and not keyword.iskeyword(word)
            wanted = which == "one side" or (word in said) == (which == "shared")
            wanted &= which != "short" or len(word) <= 2
            if name and wanted and rng.random() < share:
                made[word] = f"v{len(made)}"
        return (_replaced(sentence, made) if which == "shared" else sentence), _replaced(code, made)

    return _changed(pairs, change)


def misspell(pairs: datasets.Dataset, share: float = 1.0, seed: int = 0) -> datasets.Dataset:
    """Swap two neighbouring letters in a share of the words of every sentence (words of four letters or more).

    A person still reads it; a rule that compares words letter by letter does not.
    Raises: InputError for a share outside [0, 1].
    """
    positive("share", share, zero=True, most=1)
    rng = np.random.default_rng(seed)

    def change(sentence: str, code: str) -> tuple[str, str]:
        words = dict.fromkeys(sentence.split())
        made = {word: _swap(word, rng) for word in words if len(word) > 3 and rng.random() < share}
        return _replaced(sentence, made), code

    return _changed(pairs, change)


def prefixed(pairs: datasets.Dataset, words: str = PREFIX) -> datasets.Dataset:
    """The same words, which say nothing, before every sentence."""
    return _changed(pairs, lambda sentence, code: (f"{words} {sentence}", code))


def _changed(pairs: datasets.Dataset, change: Callable[[str, str], tuple[str, str]]) -> datasets.Dataset:
    sides = zip(pairs["sentence1"], pairs["sentence2"], strict=True)
    columns = zip(*(change(a, b) for a, b in sides), strict=True)
    for name, column in zip(("sentence1", "sentence2"), columns, strict=True):
        pairs = pairs.remove_columns(name).add_column(name, list(column))
    return pairs


def _replaced(text: str, names: dict[str, str]) -> str:
    return " ".join(names.get(word, word) for word in text.split())


def _swap(word: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(len(word) - 1))
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
