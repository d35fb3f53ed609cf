"""What failures cost at scale: how often to save, and which share of the time is left for training. No torch.

Symbols: interval τ of training between checkpoints, cost δ of one (training stands still), M the mean time between failures
of the whole machine, R the time from a failure to training again; all in seconds. Failures come at random, at a constant rate.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scalept_lab.checks import positive, whole


def machine_mtbf(gpu_mtbf: float, gpus: int) -> float:
    """Mean time between failures of `gpus` GPUs that each fail once in `gpu_mtbf`, where any failure stops all."""
    return positive("gpu_mtbf", gpu_mtbf) / whole("gpus", gpus)


def best_interval(cost: float, mtbf: float) -> float:
    """τ* = √(2·δ·M), the interval that loses least to first order (Young 1974). Good while δ is far below M."""
    return math.sqrt(2 * positive("cost", cost) * positive("mtbf", mtbf))


def goodput(interval: Any, cost: float, mtbf: float, restart: float = 0.0) -> Any:
    """The share of time that is training which is kept: τ / [M·e^(R/M)·(e^((τ+δ)/M) − 1)] (Daly 2006).

    Exact where failures come at a constant rate, also while saving or restarting. `interval` may be an array.
    Raises: InputError for an interval, cost or mtbf of zero or less, or a negative restart.
    """
    cost, mtbf = positive("cost", cost), positive("mtbf", mtbf)
    restart = positive("restart", restart, zero=True)
    shape, times = np.shape(interval), [positive("interval", time) for time in np.ravel(interval)]
    interval = np.array(times).reshape(shape)
    exponent = np.minimum((interval + cost) / mtbf, 700.0)  # e^709 is the largest that a float holds
    with np.errstate(over="ignore"):  # a time longer than a float holds: nothing is kept
        share = interval / (mtbf * math.exp(min(restart / mtbf, 700.0)) * np.expm1(exponent))
    return float(share) if share.ndim == 0 else share


def simulate(
    interval: float, cost: float, mtbf: float, restart: float, intervals: int, seed: int = 0
) -> float:
    """Goodput measured on a made-up machine: failures drawn one by one, until so many intervals are done and saved.

    Raises: InputError as `goodput` does, or for less than one interval.
    """
    goodput(interval, cost, mtbf, restart)
    intervals = whole("intervals", intervals)
    random, clock = np.random.default_rng(seed), 0.0
    for _ in range(intervals):
        while (failure := random.exponential(mtbf)) < interval + cost:
            clock += failure
            while (again := random.exponential(mtbf)) < restart:
                clock += again
            clock += restart
        clock += interval + cost
    return intervals * interval / clock
