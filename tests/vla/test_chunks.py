"""Chunks as whole numbers and back: bins, and frequencies against the formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.vla.chunks import bins, frequencies

RNG = np.random.default_rng(0)


def test_a_bin_is_told_by_its_middle():
    encode, decode = bins(2, 0.5)
    chunk = np.array([[[0.1, -0.1], [0.5, 1.2]]])
    assert encode(chunk).tolist() == [[0, -1, 1, 2]]
    assert decode(encode(chunk)).tolist() == [[[0.25, -0.25], [0.75, 1.25]]]
    many = RNG.normal(size=(20, 2, 3))
    assert abs(decode(encode(many)) - many).max() <= 0.25 + 1e-12


@pytest.mark.parametrize("steps", [1, 2, 7, 16])
def test_all_frequencies_are_the_whole_chunk(steps):
    chunk = RNG.normal(size=(5, steps, 3))
    encode, decode = frequencies(steps, steps, 1e-6)
    assert np.allclose(decode(encode(chunk)), chunk, atol=1e-5)
    # orthonormal (Parseval): the strengths have the energy of the chunk
    assert ((1e-6 * encode(chunk)) ** 2).sum() == pytest.approx((chunk**2).sum(), rel=1e-4)


def test_one_number_by_the_formula_and_the_order():
    steps, scale = 6, 0.01
    chunk = RNG.normal(size=(2, steps, 2))
    numbers = frequencies(steps, 3, scale)[0](chunk).reshape(2, 3, 2)
    for k, size in ((0, math.sqrt(1 / 6)), (2, math.sqrt(2 / 6))):
        strength = size * sum(
            chunk[1, s, 0] * math.cos(math.pi * k * (s + 0.5) / steps) for s in range(steps)
        )
        assert numbers[1, k, 0] == round(strength / scale)


def test_what_is_left_out_is_what_is_fast():
    steps = 16
    slow = np.cos(np.pi * 1 * (np.arange(steps) + 0.5) / steps)[None, :, None]
    fast = np.cos(np.pi * 9 * (np.arange(steps) + 0.5) / steps)[None, :, None]
    encode, decode = frequencies(steps, 4, 1e-4)
    assert np.allclose(decode(encode(slow + fast)), slow, atol=1e-3)


def test_what_makes_no_code():
    one_line(lambda: frequencies(4, 5, 0.1), "keep: expected a whole number from 1 to 4, got 5")
    one_line(lambda: frequencies(4, 2, 0.0), "scale: expected a positive number")
    one_line(lambda: frequencies(0, 1, 0.1), "steps: expected a whole number")
    one_line(lambda: bins(0, 0.1), "steps: expected a whole number")
    one_line(lambda: bins(3, math.nan), "width: expected a positive number")
