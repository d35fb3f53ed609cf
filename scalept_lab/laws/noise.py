"""How much gradients and losses vary: the gradient noise scale, the trade of steps against examples, and loss spikes.

The first two follow McCandlish et al. 2018, "An Empirical Model of Large-Batch Training". Numbers in, numbers out: the gradients
themselves are taken in `train.stepwise`. A batch is counted in whatever unit its size is given in; in this kit, sequences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalept_lab.errors import InputError

RESAMPLES = 400


@dataclass(frozen=True)
class NoiseScale:
    """`signal` |G|², `noise` tr Σ, their ratio `B_simple` = tr Σ/|G|², and its 90 % interval from `low` to `high`.

    Where the signal drowns in the noise, its estimate can be zero or less: B_simple is then infinite.
    """

    signal: float
    noise: float
    B_simple: float
    low: float
    high: float


def noise_scale(squares: Mapping[int, Sequence[float]], seed: int = 0) -> NoiseScale:
    """The noise scale from squared lengths of gradients, batch size -> one value for each batch measured.

    The gradient of a batch of B examples has E|G_B|² = |G|² + tr Σ/B (McCandlish et al. 2018, appendix A.1): a line in
    1/B, whose height at 1/B = 0 is the signal and whose slope is the noise. Two batch sizes give the paper's two
    unbiased estimates; with more, the line that fits best, each size weighted by how often it was measured. The
    interval is a bootstrap over batches: over all alike, if every size has as many (they are then taken as
    measured together), and over each size by itself if not.
    Raises: InputError for fewer than two batch sizes, sizes below 1, or values that are no squared lengths.
    """
    if len(squares) < 2:
        raise InputError(
            f"squares: expected gradients at two batch sizes or more, got {len(squares)}; measure one more"
        )
    if min(squares) < 1:
        raise InputError(f"squares: expected batch sizes of at least 1, got {min(squares)}")
    measured = {size: np.asarray(values, float) for size, values in sorted(squares.items())}
    for size, values in measured.items():
        if values.ndim != 1 or not len(values) or not (np.isfinite(values) & (values >= 0)).all():
            raise InputError(
                f"squares: expected squared lengths for batch size {size}, got {squares[size]!r}"[:160]
            )
    signal, noise = _line(measured)
    counts = {len(values) for values in measured.values()}
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES):
        rows = {n: rng.integers(0, n, n) for n in counts}
        if len(counts) == 1:
            again = {size: values[rows[len(values)]] for size, values in measured.items()}
        else:
            again = {size: rng.choice(values, len(values)) for size, values in measured.items()}
        found.append(_ratio(*_line(again)))
    low, high = np.quantile(found, [0.05, 0.95], method="nearest")
    return NoiseScale(signal, noise, _ratio(signal, noise), float(low), float(high))


def _line(measured: Mapping[int, np.ndarray]) -> tuple[float, float]:
    """Height and slope of the mean squares over 1/B, by weighted least squares."""
    inverse = np.array([1 / size for size in measured])
    mean = np.array([values.mean() for values in measured.values()])
    weight = np.array([float(len(values)) for values in measured.values()])
    slope, height = np.polyfit(inverse, mean, 1, w=np.sqrt(weight))
    return float(height), float(slope)


def _ratio(signal: float, noise: float) -> float:
    return max(noise, 0.0) / signal if signal > 0 else math.inf


# --- steps against examples -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tradeoff:
    """Fewest steps `S_min` (an endless batch) and fewest examples `E_min` (the smallest) to reach one loss.

    `error` is the root mean square of the relative misfit in steps: 0.05 means five percent.
    """

    S_min: float
    E_min: float
    error: float

    @property
    def B_crit(self) -> float:
        """Where both cost twice their minimum: E_min/S_min."""
        return self.E_min / self.S_min

    def steps(self, batch: np.ndarray | float) -> np.ndarray | float:
        return self.S_min * (1 + self.B_crit / batch)

    def examples(self, batch: np.ndarray | float) -> np.ndarray | float:
        return self.E_min * (1 + batch / self.B_crit)


def fit_tradeoff(batches: Sequence[float], steps: Sequence[float]) -> Tradeoff:
    """Fit (S/S_min − 1)(E/E_min − 1) = 1 (McCandlish et al. 2018, section 2.3) to steps measured at several batch sizes.

    With E = B·S it reads S = S_min + E_min/B. The fit makes relative errors small, as a plot on logarithmic axes
    shows them; steps that are NaN (the loss was not reached) are left out.
    Raises: InputError for fewer than three batch sizes with steps, or steps that do not fall as the batch grows.
    """
    from scipy.optimize import least_squares

    B, S = np.asarray(batches, float), np.asarray(steps, float)
    if B.shape != S.shape:
        raise InputError(f"steps: expected one for each of {len(B)} batch sizes, got {len(S)}")
    there = np.isfinite(S)
    B, S = B[there], S[there]
    if len(np.unique(B)) < 3 or (B <= 0).any() or (S <= 0).any():
        raise InputError(
            f"batches: expected three positive sizes or more that reached the loss, got {len(np.unique(B))}"
        )

    def misfit(log: np.ndarray) -> np.ndarray:
        return np.log(np.exp(log[0]) + np.exp(log[1]) / B) - np.log(S)

    start = np.log([S.min(), (B * S).min()])
    fit = least_squares(misfit, start)
    S_min, E_min = np.exp(fit.x)
    if not (S_min > 1e-3 * S.min() and E_min > 1e-3 * (B * S).min()):
        raise InputError(
            "steps: expected them to fall and level off as the batch grows; measure smaller and larger batches"
        )
    return Tradeoff(float(S_min), float(E_min), float(np.sqrt(np.mean(fit.fun**2))))


def steps_to(curve: Sequence[tuple[int, int, float]], target: float, average: int = 5) -> float:
    """The step at which a training curve of (step, tokens, loss) first falls below `target`, NaN if it never does.

    The loss of a few batches jumps about, so a moving average over `average` points is read, with a straight line between
    its points. Raises: InputError for a curve of fewer points.
    """
    points = np.asarray(curve, float)
    if len(points) < average:
        raise InputError(f"curve: expected at least {average} points, got {len(points)}")
    kernel = np.ones(average) / average
    steps, loss = (np.convolve(points[:, column], kernel, "valid") for column in (0, 2))
    below = np.flatnonzero(loss < target)
    if not len(below):
        return math.nan
    i = int(below[0])
    if i == 0:
        return float(steps[0])
    share = (loss[i - 1] - target) / (loss[i - 1] - loss[i])
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))


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


def beyond(losses: Sequence[float], hardness: Sequence[float]) -> np.ndarray:
    """The losses of a run without what the text of each batch adds: `hardness` is the loss of one finished model on the same
    batches, and its mean stays in. An excursion that is left is the run's own, and not a batch that is hard for everybody.

    Raises: InputError for sequences that are not equally long.
    """
    own, text = np.asarray(losses, float), np.asarray(hardness, float)
    if own.ndim != 1 or own.shape != text.shape or not np.isfinite(text).all():
        raise InputError(f"hardness: expected {own.size} numbers, one for each loss, got {text.size}")
    return own - (text - text.mean())


def summary(losses: Sequence[float], norms: Sequence[float]) -> dict[str, float]:
    """Spikes, the largest loss ratio, and the gradient norm: its median and its highest percentile (99)."""
    return {
        "spikes": float(spikes(losses)),
        "largest_ratio": float(loss_ratio(losses).max()),
        "norm_median": float(np.median(norms)),
        "norm_p99": float(np.quantile(norms, 0.99)),
    }
