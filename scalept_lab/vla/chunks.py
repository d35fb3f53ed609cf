"""A chunk of actions as a few whole numbers, and back: uniform bins, or frequencies as FAST has them.

A chunk is `steps` actions of D dimensions each, in units of their spread. A code is a pair of functions: `encode` gives the
whole numbers of chunks, in the order in which a policy writes them; `decode` gives the chunks that such numbers stand for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scalept_lab.checks import positive, whole

Code = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]


def bins(steps: int, width: float) -> Code:
    """One whole number for each number of a chunk: in which of the equal bins it lies, 0 being the one from 0 to `width`.

    RT-2 (Brohan et al., 2023) and OpenVLA (Kim et al., 2024) write actions so.
    Raises: InputError for steps below 1, a width of 0.
    """
    whole("steps", steps)
    positive("width", width)

    def encode(chunk_NxSxD: np.ndarray) -> np.ndarray:
        return np.floor(chunk_NxSxD / width).astype(int).reshape(len(chunk_NxSxD), -1)

    def decode(number_NxK: np.ndarray) -> np.ndarray:
        return ((number_NxK + 0.5) * width).reshape(len(number_NxK), steps, -1)

    return encode, decode


def frequencies(steps: int, keep: int, scale: float) -> Code:
    """The `keep` lowest frequencies of a chunk, in whole multiples of `scale`.

    So FAST does (Pertsch et al., 2025, section V), which then joins frequent pairs of numbers (byte-pair encoding): the cosine
    transform (DCT-II, orthonormal) of each dimension along time, all dimensions of the lowest frequency first.
    Raises: InputError for steps below 1, more frequencies than steps, or a scale of 0.
    """
    whole("keep", keep, 1, whole("steps", steps), "a chunk has as many frequencies as steps")
    positive("scale", scale)
    k, at = np.arange(keep)[:, None], np.arange(steps) + 0.5
    basis_KxS = np.sqrt(2 / steps) * np.cos(np.pi * k * at / steps)
    basis_KxS[0] = np.sqrt(1 / steps)

    def encode(chunk_NxSxD: np.ndarray) -> np.ndarray:
        return np.round(basis_KxS @ chunk_NxSxD / scale).astype(int).reshape(len(chunk_NxSxD), -1)

    def decode(number_NxK: np.ndarray) -> np.ndarray:
        return basis_KxS.T @ (scale * number_NxK.reshape(len(number_NxK), keep, -1))

    return encode, decode
