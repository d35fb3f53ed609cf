"""How smoothly a run went: loss spikes and extreme gradients, from its losses and gradient norms. Numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scalept_lab.errors import InputError

WINDOW = 10  # steps averaged, so that an odd batch is no spike
RATIO = 1.1  # times the lowest loss so far


def loss_ratio(losses: Sequence[float], window: int = WINDOW) -> np.ndarray:
    """The loss over its lowest value so far, both as means of the last `window` steps: 1 where it is at a new low.

    After the loss ratio of Li et al. 2022, "The Stability-Efficiency Dilemma", who take single steps of large batches.
    Raises: InputError for fewer losses than the window, or values that are not above zero.
    """
    values = np.asarray(losses, float)
    if values.ndim != 1 or len(values) < window or not (values > 0).all():
        raise InputError(
            f"losses: expected at least {window} numbers above 0, got {len(values)}; did the run diverge?"
        )
    means = np.convolve(values, np.ones(window) / window, "valid")
    return means / np.minimum.accumulate(means)


def spikes(losses: Sequence[float], window: int = WINDOW, ratio: float = RATIO) -> int:
    """How often the loss ratio rises above `ratio`; it has to come back below before another spike is counted."""
    above = loss_ratio(losses, window) > ratio
    return int(above[0]) + int((above[1:] & ~above[:-1]).sum())


def summary(losses: Sequence[float], norms: Sequence[float]) -> dict[str, float]:
    """Spikes, the largest loss ratio, and the gradient norm: its median and its highest percentile (99)."""
    return {
        "spikes": float(spikes(losses)),
        "largest_ratio": float(loss_ratio(losses).max()),
        "norm_median": float(np.median(norms)),
        "norm_p99": float(np.quantile(norms, 0.99)),
    }
