import numpy as np
import pytest

from scalept_lab.data import difficulty
from scalept_lab.errors import InputError

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, 200).astype(np.uint8)
SAME = np.full(200, 97, np.uint8)
WORDS = np.frombuffer(b"the cat sat on the mat and the dog sat on the cat " * 4, np.uint8)
CORPUS = np.frombuffer(b"the cat sat on the mat and the dog sat on the cat " * 200, np.uint8)


@pytest.mark.parametrize("measure", ["compression", "rarity", "loss"])
def test_noise_is_harder_than_words(measure):
    words, noise = difficulty.scores(measure, [WORDS, NOISE], CORPUS)
    assert words < noise


def test_compression_of_repetition_is_next_to_nothing():
    same, noise = difficulty.scores("compression", [SAME, NOISE], CORPUS)
    assert same < 0.05 and noise == pytest.approx(1.0, abs=0.05)


def test_length_counts_and_rarity_is_the_mean_surprise():
    assert list(difficulty.scores("length", [SAME, WORDS[:30]], CORPUS)) == [200, 30]
    even = np.arange(256, dtype=np.uint8)
    assert difficulty.scores("rarity", [even], even)[0] == pytest.approx(np.log(256))


def test_the_reference_model_is_a_distribution():
    pairs = [np.array([116, token], np.uint8) for token in range(256)]
    surprise = difficulty.scores("loss", pairs, np.append(CORPUS, np.uint8(255)))
    assert np.exp(-surprise).sum() == pytest.approx(1.0)


def test_rank_correlation():
    assert difficulty.rank_correlation([1, 2, 3], [10, 20, 90]) == pytest.approx(1)
    assert difficulty.rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


@pytest.mark.parametrize(
    "measure, pieces, words",
    [("hardness", [WORDS], "measure: expected one of length"), ("loss", [], "pieces"), ("loss", [WORDS[:1]], "at least two")],
)  # fmt: skip
def test_bad_input(measure, pieces, words):
    with pytest.raises(InputError, match=words):
        difficulty.scores(measure, pieces, CORPUS)
