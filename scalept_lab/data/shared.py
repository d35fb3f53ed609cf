"""How much of one text stands in another, word for word: the test for held-out text that is also in the training text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from scalept_lab.checks import whole
from scalept_lab.errors import InputError


def shared_runs(train: Sequence[np.ndarray], heldout: Sequence[np.ndarray], size: int) -> float:
    """The share of the held-out runs of `size` tokens (every place where one starts) that also stand in the training text.

    train, heldout: documents, integer arrays of any length; a run does not go past the end of a document. Between 0 and 1.
    Exact: runs are compared, not their hashes. Raises: InputError where no held-out document is as long as a run.
    """
    size = whole("size", size, 1)
    seen, asked = _runs(train, size), _runs(heldout, size)
    if not asked:
        raise InputError(
            f"size: expected a run no longer than the longest held-out document, got {size}; take a shorter one"
        )
    known = set(seen)
    return sum(run in known for run in asked) / len(asked)


def _runs(documents: Sequence[np.ndarray], size: int) -> list[bytes]:
    wide = [np.ascontiguousarray(document, np.int32) for document in documents]
    return [
        row.tobytes()
        for document in wide
        if len(document) >= size
        for row in sliding_window_view(document, size)
    ]
