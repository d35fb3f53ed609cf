"""How much of one text stands in another: numbers worked out by hand."""

from __future__ import annotations

import numpy as np
from refusals import one_line

from scalept_lab.data.shared import shared_runs


def test_runs_are_counted_place_by_place_and_never_across_documents():
    train = [np.array([1, 2, 3, 4]), np.array([5, 6])]
    held = [np.array([2, 3, 4, 5, 6]), np.array([9])]
    assert shared_runs(train, held, 1) == 5 / 6
    assert shared_runs(train, held, 2) == 3 / 4  # 23, 34 and 56; 45 would go from one document into the next
    assert shared_runs(train, held, 3) == 1 / 3
    assert shared_runs(train, [np.array([1, 2, 1, 2, 9])], 2) == 2 / 4  # 12 twice; 21 and 29 are new


def test_bytes_and_integers_of_any_size_are_the_same_tokens():
    assert shared_runs([np.array([1, 2], np.uint8)], [np.array([1, 2], np.int64)], 2) == 1.0


def test_a_run_longer_than_all_is_refused():
    one_line(lambda: shared_runs([np.arange(9)], [np.arange(3)], 4), "size: expected a run no longer")
    one_line(lambda: shared_runs([np.arange(9)], [np.arange(3)], 0), "size: expected")
