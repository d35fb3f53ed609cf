"""A floor and a power term for each thing that a run can have more of: L = E + Σ A_i / x_i^α_i.

The form of Hoffmann et al. 2022 (eq. 2) with any number of axes, such as demonstrations, parameters and steps. Additive: more of
one thing never makes up for the lack of another, and the largest term is the bottleneck. Whether that is true of some runs is
for a forecast to show, beside rivals such as `straight_line`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalept_lab.checks import shown
from scalept_lab.errors import InputError

STARTS = 24
STEEPEST = 3.0


@dataclass(frozen=True)
class Terms:
    """A fitted law: `law(n=1000, steps=500)` is its loss, `law.parts(…)` says what the floor and each term add to it."""

    E: float
    A: dict[str, float]
    alpha: dict[str, float]
    misfit: float  # root mean square of the residuals of log L

    def parts(self, **x: float | Sequence[float]) -> dict[str, np.ndarray]:
        """The floor "E" and each term at x. Raises: InputError for other axes than it was fitted to, or values not above 0."""
        found = _axes(x, tuple(self.A))
        return {"E": np.asarray(self.E)} | {
            name: self.A[name] * found[name] ** -self.alpha[name] for name in self.A
        }

    def __call__(self, **x: float | Sequence[float]) -> np.ndarray:
        """The loss at x. Raises: InputError as `parts`."""
        return np.sum(np.broadcast_arrays(*self.parts(**x).values()), axis=0)


def fit_terms(x: Mapping[str, Sequence[float]], L: Sequence[float]) -> Terms:
    """Least squares of log L over 24 starts, with E between 0 and the lowest loss, and exponents from 0 to 3.

    Raises: InputError for values that are not positive, unequal lengths, or no more runs than constants.
    """
    axes, y = _axes(x, tuple(x)), _axes({"L": L}, ("L",))["L"]
    if not axes or any(len(values) != len(y) for values in axes.values()) or len(y) <= 1 + 2 * len(axes):
        raise InputError(
            f"terms: expected more than {1 + 2 * len(axes)} runs with a value on each axis, "
            f"got {len(y)} losses and {[len(values) for values in axes.values()]} values; add runs or drop an axis"
        )
    from scipy.optimize import least_squares

    logs = np.log(np.array(list(axes.values())))
    centre = logs.mean(1, keepdims=True)
    K = len(axes)

    def predicted(theta: np.ndarray) -> np.ndarray:
        return theta[0] + np.exp(theta[1 : K + 1, None] - theta[K + 1 :, None] * (logs - centre)).sum(0)

    def off(theta: np.ndarray) -> np.ndarray:
        return np.log(predicted(theta) / y)

    rng = np.random.default_rng(0)
    low = np.r_[0.0, np.full(K, -20.0), np.zeros(K)]
    high = np.r_[y.min(), np.full(K, 20.0), np.full(K, STEEPEST)]
    found = []
    for _ in range(STARTS):
        start = np.r_[
            y.min() * rng.uniform(0.01, 0.9),
            np.log(np.median(y)) + rng.uniform(-4, 0, K),
            rng.uniform(0.1, 1.5, K),
        ]
        found.append(least_squares(off, start, bounds=(low, high), x_scale=0.3))
    best = min(found, key=lambda fit: fit.cost)
    alpha = best.x[K + 1 :]
    A = np.exp(best.x[1 : K + 1] + alpha * centre[:, 0])
    return Terms(
        float(best.x[0]), dict(zip(axes, map(float, A), strict=True)), dict(zip(axes, map(float, alpha), strict=True)),
        float(np.sqrt(np.mean(best.fun**2))),
    )  # fmt: skip


def straight_line(
    x: Mapping[str, Sequence[float]], L: Sequence[float], at: Mapping[str, Sequence[float]]
) -> np.ndarray:
    """The rival without a floor or a bottleneck: log L as a plane in the logarithms of x, fitted to the runs and read off `at`.

    Raises: InputError for values that are not positive.
    """
    axes, there = _axes(x, tuple(x)), _axes(at, tuple(x))
    rows = np.column_stack([np.ones(len(L)), *map(np.log, axes.values())])
    plane, *_ = np.linalg.lstsq(rows, np.log(_axes({"L": L}, ("L",))["L"]), rcond=None)
    return np.exp(plane[0] + sum(c * np.log(there[name]) for c, name in zip(plane[1:], axes, strict=True)))


def _axes(x: Mapping[str, float | Sequence[float]], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if set(x) != set(names):
        raise InputError(
            f"terms: expected a value for each of {', '.join(names)}, got {', '.join(x) or 'none'}"
        )
    found = {name: np.asarray(x[name], float) for name in names}
    for name, values in found.items():
        if not (np.isfinite(values) & (values > 0)).all():
            raise InputError(f"{name}: expected positive numbers, got {shown(x[name])}")
    return found
