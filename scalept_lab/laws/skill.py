"""What a forecast is worth: its error beside those of rivals that need no law, and the score of its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scalept_lab.errors import InputError


def forecast_skill(
    predicted: float | Sequence[float],
    measured: float | Sequence[float],
    rivals: Mapping[str, float | Sequence[float]],
) -> dict[str, float]:
    """Rival -> the share of the rival's error that the forecast saves: 1 is perfect, 0 no better, below 0 worse.

    skill = 1 − mean |ln(predicted/measured)| / mean |ln(rival/measured)|, a skill score 1 − S/S_ref
    with the absolute error of the logarithm as S. One rival value may stand for all measurements. A rival without any error
    gives −∞, or 0 where the forecast has none either.

    Raises: InputError for numbers that are not positive and finite, unequal lengths, or no rival.
    """
    target = _positive("measured", measured)
    own = _error("predicted", predicted, target)
    if not rivals:
        raise InputError('rivals: expected at least one, as {"no change": 2.1}, got none')
    theirs = {name: _error(name, values, target) for name, values in rivals.items()}
    return {
        name: 1 - own / error if error else (0.0 if not own else -np.inf) for name, error in theirs.items()
    }


def interval_score(low: Any, high: Any, measured: Any, level: float = 0.95) -> np.ndarray:
    """The score of a central interval, in the unit of what was measured; smaller is better. Arrays of one shape, or numbers.

    Its width, and 2/α times what lies outside, α = 1 − level: 40 for 95 % (Gneiting & Raftery 2007, eq. 43). The score is
    proper: on average nobody does better than with the ends that hold the result with probability `level`, as he believes. A wide
    interval pays for its width each time, a narrow one for each miss.
    Raises: InputError for an interval whose low end is above its high end.
    """
    low, high, measured = (np.asarray(values, float) for values in (low, high, measured))
    if (low > high).any():
        raise InputError("interval: expected low at most high, got them the other way round; swap them")
    outside = np.maximum(low - measured, 0) + np.maximum(measured - high, 0)
    return high - low + 2 / (1 - level) * outside


def _error(name: str, values: float | Sequence[float], target: np.ndarray) -> float:
    found = _positive(name, values)
    if len(found) not in (1, len(target)):
        raise InputError(f"{name}: expected {len(target)} values, one for each measurement, got {len(found)}")
    return float(np.abs(np.log(found / target)).mean())


def _positive(name: str, values: float | Sequence[float]) -> np.ndarray:
    try:
        found = np.atleast_1d(np.asarray(values, float)).ravel()
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected positive numbers, got {values!r}") from None
    if not len(found) or not np.isfinite(found).all() or not (found > 0).all():
        raise InputError(f"{name}: expected positive numbers, got {values!r}")
    return found
