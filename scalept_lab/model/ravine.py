"""A loss surface that one can look at: a ravine in two dimensions, and the paths of four optimizers down it.

J(θ) = ½(θ₁² + κθ₂²). Its curvature is 1 along the ravine and κ across it; κ is the condition number. Everything about
gradient descent on it can be worked out by hand (Goh 2017, "Why Momentum Really Works"), and it is where the trade
between speed along and stability across shows at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalept_lab.checks import one_of, positive, whole
from scalept_lab.errors import InputError

START = (-4.0, 1.0)
OPTIMIZERS = ("SGD", "momentum", "Nesterov", "Adam")
LOST = 1e6  # times the loss at the start: from there on a path is not followed


@dataclass(frozen=True)
class Path:
    """`points` (steps + 1, 2) and `loss` (steps + 1), shorter if the path was lost."""

    points: np.ndarray
    loss: np.ndarray
    diverged: bool


def surface(theta: np.ndarray, curvature: float) -> np.ndarray:
    """J at points (…, 2)."""
    return 0.5 * (theta[..., 0] ** 2 + curvature * theta[..., 1] ** 2)


def descend(
    optimizer: str = "SGD",
    rate: float = 0.05,
    momentum: float = 0.9,
    curvature: float = 25.0,
    steps: int = 60,
) -> Path:
    """Walk from START with the exact gradient. `momentum` is μ, and Adam's β₁; Adam's β₂ is 0.99.

    Raises: InputError for an unknown optimizer, a rate or curvature that is not positive, momentum outside [0, 1),
    or less than one step.
    """
    one_of("optimizer", optimizer, OPTIMIZERS)
    rate, curvature = positive("rate", rate), positive("curvature", curvature)
    if not 0 <= momentum < 1:
        raise InputError(f"momentum: expected 0 or more and less than 1, got {momentum}")
    steps = whole("steps", steps)
    scale = np.array([1.0, curvature])
    theta, u, v, beta2 = np.array(START), np.zeros(2), np.zeros(2), 0.99
    points, first = [theta], surface(np.array(START), curvature)
    for t in range(1, steps + 1):
        g = scale * theta
        if optimizer == "Adam":
            u, v = momentum * u + (1 - momentum) * g, beta2 * v + (1 - beta2) * g**2
            move = u / (1 - momentum**t) / (np.sqrt(v / (1 - beta2**t)) + 1e-8)
        else:
            u = (0.0 if optimizer == "SGD" else momentum) * u + g
            move = g + momentum * u if optimizer == "Nesterov" else u
        theta = theta - rate * move
        points.append(theta)
        if surface(theta, curvature) > LOST * first:
            break
    path = np.array(points)
    loss = surface(path, curvature)
    return Path(path, loss, bool(loss[-1] > first))
