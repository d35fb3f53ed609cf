"""The language of known entropy: its closed forms against brute force and against samples."""

import itertools

import numpy as np
import pytest

from scalept_lab.data import tokens
from scalept_lab.data.language import Language
from scalept_lab.errors import InputError


@pytest.fixture(scope="module")
def language():
    return Language(0)


@pytest.fixture(scope="module")
def tiny():
    return Language(5, letters=3, slots=(6, 100, 150), favourites=(2, 1))


def test_entropy_rate_agrees_with_a_long_sample(language):
    """A hundred stretches of 10,000 letters: letters depend on each other, long stretches hardly."""
    text = language.sample(1_000_100, seed=1).reshape(100, 10_001)
    losses = language.window_losses(text[:, :-1], text[:, 1:])
    error = losses.std(ddof=1) / 10
    assert error < 0.003
    assert abs(losses.mean() - language.window_entropy(10_000)) < 4 * error
    assert language.window_entropy(10_000) == pytest.approx(language.entropy_rate, abs=0.001)


def test_entropy_rate_by_brute_force(tiny):
    """The chain written out as a matrix; pi from its eigenvector, h from the definition."""
    n, size = tiny.vocab_size**tiny.order, tiny.vocab_size
    matrix = np.zeros((n, n))
    for state, letter in itertools.product(range(n), range(size)):
        matrix[state, (state * size + letter) % n] += tiny.P[state, letter]
    values, vectors = np.linalg.eig(matrix.T)
    pi = np.real(vectors[:, np.argmax(values.real)])
    pi /= pi.sum()
    assert np.allclose(pi, tiny.pi, atol=1e-12)
    h = -sum(pi[s] * p * np.log(p) for s in range(n) for p in tiny.P[s] if p > 0)
    assert tiny.entropy_rate == pytest.approx(h, rel=1e-12)


def test_every_letter_can_follow_every_state(language):
    assert language.P.min() > 0 and np.allclose(language.P.sum(1), 1)


def test_knowing_more_letters_never_hurts(language):
    ladder = [language.entropy_given(k) for k in range(language.order + 2)]
    assert ladder == sorted(ladder, reverse=True)
    assert ladder[-1] == ladder[-2] == language.entropy_rate < ladder[0] < np.log(language.vocab_size)
    counts = np.bincount(language.sample(300_000), minlength=language.vocab_size) / 300_000
    assert ladder[0] == pytest.approx(-(counts * np.log(counts)).sum(), abs=0.01)


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_window_losses_are_a_distribution_and_its_mean_the_window_entropy(tiny, length):
    """Over all windows there are: probabilities given the first token sum to one, expected loss is the closed form."""
    every = np.array(list(itertools.product(range(3), repeat=length + 1)))
    probability = np.exp(-tiny.window_losses(every[:, :-1], every[:, 1:]) * length)
    first = tiny._joint(1)
    assert np.allclose(np.bincount(every[:, 0], probability), 1)
    expected = (first[every[:, 0]] * probability * -np.log(probability)).sum() / length
    assert tiny.window_entropy(length) == pytest.approx(expected, rel=1e-10)


def test_floor_of_a_sample_is_near_the_window_entropy(language):
    x, y = tokens.eval_windows(language.sample(200_000, seed=9), 64, 3000)
    floor = language.window_losses(x, y)
    assert floor.shape == (3000,)
    assert abs(floor.mean() - language.window_entropy(64)) < 4 * floor.std() / np.sqrt(3000)
    assert (
        language.entropy_rate
        < language.window_entropy(128)
        < language.window_entropy(64)
        < 1.01 * language.entropy_rate
    )


def test_samples_are_seeded_and_spelled():
    one, same, other = Language(1), Language(1), Language(2)
    assert np.array_equal(one.sample(2000, 3), same.sample(2000, 3))
    assert not np.array_equal(one.sample(2000, 3), one.sample(2000, 4))
    assert not np.array_equal(one.sample(2000, 3), other.sample(2000, 3))
    text = one.sample(500)
    assert text.dtype == np.uint8 and np.array_equal(one.encode(one.decode(text)), text)


def test_bad_input(language):
    with pytest.raises(InputError, match="with the letters abc"):
        language.encode("Zebra!")
    with pytest.raises(InputError, match="not text"):
        language.window_losses(np.full((1, 8), 200), np.full((1, 8), 200))
    for wrong in ({"letters": 1}, {"slots": (80, 100, 74)}, {"favourites": (1,)}, {"slots": (78, 104, 74)}):
        with pytest.raises(InputError):
            Language(0, **wrong)
    with pytest.raises(InputError, match="at least 1"):
        language.sample(0)


def test_favourites_follow_zipf():
    """Nearly all slots at level 2: the likeliest of 40 letters has 1 / Σ k^-1.5 = 0.4345 of them, the next 2^-1.5 of that."""
    flat = Language(0, slots=(40, 1, 215), favourites=(1, 1))
    share = [(1 + 215 * p) / 256 for p in (0.4345, 0.4345 * 2**-1.5)]
    assert flat.P.mean(0)[:2] == pytest.approx(share, abs=0.03)
