"""What the broken runs share: windows from all over a text, and means at their last step."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scalept_lab.train import miniature


def test_windows_overlap_by_their_target_alone():
    found = miniature.windows_of(np.arange(10), 9, 0, context=3)
    assert sorted(found.tolist()) == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]


def test_means_stand_at_their_last_step():
    assert miniature.smooth([1.0, 3.0, 5.0, 6.0, 9.0], 2) == (
        [2, 4],
        [2.0, 5.5],
    )  # what is left over is dropped


def test_an_untrained_model_gives_each_byte_the_same_probability():
    rows = np.zeros((2, miniature.CONTEXT + 1), np.int64)
    assert miniature.score(miniature.model_of(), rows) == pytest.approx(math.log(256), rel=1e-5)
