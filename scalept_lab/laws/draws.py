"""How sure the constants of a law can be, from where its runs lay and how far they scattered: no run is needed.

Near its minimum, least squares on log loss is a linear problem. Its constants then have the covariance σ²·(JᵀJ)⁻¹, J being the
slopes of log loss in the constants at the runs (Seber & Wild 1989, *Nonlinear Regression*, chapter 2). Draws from that normal
distribution stand in for refits to resampled runs where only the constants of a law were published. They share two weaknesses
with every linear approximation: they are too narrow where the loss bends within the interval, and they know nothing of a wrong
form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from scalept_lab.checks import positive, whole
from scalept_lab.errors import InputError

STEP = 1e-5  # of a logarithm, for central differences


def draws(
    loss: Callable[[dict[str, float]], np.ndarray],
    constants: Mapping[str, float],
    sigma: float,
    count: int = 400,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """`count` draws of each constant, (count,) by name, around `constants` (all above 0; they are drawn as logarithms).

    loss: of the constants, the losses (runs,) of the law at its runs, nats per token. sigma: scatter of log loss around the law.
    Raises: InputError where the runs do not determine the constants.
    """
    names = tuple(constants)
    log = np.log([positive(name, constants[name]) for name in names])
    sigma, count = positive("sigma", sigma, zero=True), whole("count", count)

    def at(theta: np.ndarray) -> np.ndarray:
        return np.log(loss(dict(zip(names, np.exp(theta), strict=True))))

    steps = STEP * np.eye(len(names))
    J = np.array([(at(log + step) - at(log - step)) / (2 * STEP) for step in steps]).T
    if len(J) <= len(names) or np.linalg.matrix_rank(J) < len(names):
        raise InputError(
            f"draws: expected runs that determine {', '.join(names)}, got {len(J)} that do not; add runs or drop a constant"
        )
    # columns of one length: constants that differ in size by many decades would spoil the inverse
    size = np.linalg.norm(J, axis=0)
    root = np.linalg.cholesky(np.linalg.inv((J / size).T @ (J / size)))
    drawn = log + sigma * np.random.default_rng(seed).standard_normal((count, len(names))) @ root.T / size
    return dict(zip(names, np.exp(drawn).T, strict=True))
