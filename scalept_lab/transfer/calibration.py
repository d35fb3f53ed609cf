"""Whether a classifier's probabilities are true: of the pairs that it is 80 % sure of, are 80 % right? (Guo et al. 2017)

The expected calibration error sorts predictions into bins by confidence, the probability of the predicted class, and takes
the mean distance between confidence and accuracy, weighted by the predictions in a bin (their equation 3). It is never zero
for a finite test set, so it is compared with what a perfectly calibrated classifier of the same confidences would get.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from scalept_lab.checks import whole
from scalept_lab.errors import InputError

BINS = 10


class Bins(NamedTuple):
    """By bin that holds anything: mean confidence, accuracy, number of predictions."""

    confidence: np.ndarray
    accuracy: np.ndarray
    held: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error."""
        return float(np.average(abs(self.confidence - self.accuracy), weights=self.held))


def binned(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> Bins:
    """Predictions in `bins` bins of equal width from 0 to 1, open below, closed above; confidence 0 is in the first.

    Raises: InputError for no predictions, unequal lengths, or a confidence outside [0, 1].
    """
    whole("bins", bins)
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    if confidence.ndim != 1 or confidence.shape != right.shape or not len(confidence):
        raise InputError(
            f"confidence: expected as many numbers as outcomes, got {confidence.size} and {right.size}"
        )
    if not (0 <= confidence.min() and confidence.max() <= 1):
        raise InputError(
            f"confidence: expected 0 to 1, got {confidence.min():.4g} to {confidence.max():.4g}; give probabilities"
        )
    at = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count, sums, hits = (np.bincount(at, weights, bins) for weights in (None, confidence, right))
    there = count > 0
    return Bins(sums[there] / count[there], hits[there] / count[there], count[there])


def confidence(logits_PxC: np.ndarray, labels_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(probability of the predicted class, whether it is the label) of each of P predictions among C classes."""
    chances = softmax(np.asarray(logits_PxC, float), axis=1)
    return chances.max(1), chances.argmax(1) == np.asarray(labels_P)


def by_chance(confidence: np.ndarray, bins: int = BINS, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """The calibration errors of a perfectly calibrated classifier with these confidences: outcomes drawn by them."""
    rng = np.random.default_rng(seed)
    confidence = np.asarray(confidence, float)
    return np.array(
        [binned(confidence, rng.random(len(confidence)) < confidence, bins).error for _ in range(draws)]
    )


def loss(logits_PxC: np.ndarray, labels_P: np.ndarray, temperature: float = 1.0) -> float:
    """Cross-entropy in nats per prediction of softmax(logits / temperature)."""
    told = log_softmax(np.asarray(logits_PxC, float) / temperature, axis=1)
    return float(-told[np.arange(len(told)), np.asarray(labels_P, int)].mean())


def temperature(logits_PxC: np.ndarray, labels_P: np.ndarray) -> float:
    """The temperature from 0.05 to 20 with the lowest cross-entropy: to be fitted on pairs that nothing was trained on."""
    found = minimize_scalar(
        lambda log: loss(logits_PxC, labels_P, np.exp(log)), bounds=np.log([0.05, 20.0]), method="bounded"
    )
    return float(np.exp(found.x))
