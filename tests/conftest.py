"""A small corpus of its own grammar, made here, for every test that trains: built in a second, learned in two."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import settings

# before torch: on a busy machine two threads can be far slower than one
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same few examples each time; `HYPOTHESIS_PROFILE=torture pytest …` looks for others, for as long as that takes.
settings.register_profile("fast", max_examples=25, derandomize=True, deadline=None)
settings.register_profile("torture", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def made_up_text(size: int, seed: int = 0) -> str:
    """Paragraphs of 150 made-up words, each of which six others may follow: easy to predict, dull to read."""
    rng = random.Random(seed)
    words = [
        "".join(rng.choice("aeiou" if i % 2 else "bcdfgklmnprst") for i in range(rng.randint(2, 7)))
        for _ in range(150)
    ]
    follow = {word: rng.choices(words, k=6) for word in words}
    paragraphs: list[str] = []
    while sum(map(len, paragraphs)) < size:
        word, said = rng.choice(words), []
        for _ in range(rng.randint(40, 90)):
            said.append(word + "." * (rng.random() < 0.1))
            word = rng.choice(follow[word])
        paragraphs.append(" ".join(said) + ".\n\n")
    return "".join(paragraphs)


@pytest.fixture(scope="session")
def _made(tmp_path_factory) -> tuple[Path, Path]:
    from scalept_lab.data.corpora import prepare

    folder = tmp_path_factory.mktemp("corpus")
    file, cache = folder / "made-up.txt", folder / "cache"
    file.write_text(made_up_text(300_000))
    prepare(str(file), cache=cache)
    return file, cache


@pytest.fixture
def tiny_corpus(_made, monkeypatch) -> str:
    """The `data.sources` of a TrainConfig: 300 kB of text, prepared in a cache that the test (and its children) use."""
    file, cache = _made
    monkeypatch.setenv("SCALEPT_CACHE", str(cache))
    return str(file)


@pytest.fixture(scope="session")
def word_corpus(tmp_path_factory):
    """A prepared corpus of forty words in random order: there is something to learn in a few steps, and nothing to build."""
    import numpy as np

    from scalept_lab.data.corpora import Prepared

    random = np.random.default_rng(0)
    known = random.integers(97, 123, (40, 5)).astype(np.uint8)
    stream = known[random.integers(0, 40, 6000)].reshape(-1)
    return Prepared(
        "words", stream[:25_000], stream[25_000:], 256, "0" * 64, {}, tmp_path_factory.mktemp("words")
    )
