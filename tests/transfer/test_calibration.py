"""Calibration by hand, its null, and the temperature of planted logits."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.transfer import calibration


def test_bins_by_hand():
    """Five bins: .55 and .6 fall into the third (above .4, up to .6), .95 into the last."""
    found = calibration.binned(np.array([0.55, 0.6, 0.95]), np.array([True, False, True]), bins=5)
    assert found.confidence == pytest.approx([0.575, 0.95]) and found.accuracy == pytest.approx([0.5, 1.0])
    assert found.held.tolist() == [2, 1]
    assert found.error == pytest.approx((2 * 0.075 + 0.05) / 3)
    assert calibration.binned([1.0, 0.0], [True, False]).held.tolist() == [1, 1]


def test_confidence_is_that_of_the_predicted_class():
    sure, right = calibration.confidence(np.log([[0.8, 0.2], [0.3, 0.7]]), [0, 0])
    assert sure == pytest.approx([0.8, 0.7]) and right.tolist() == [True, False]


def test_a_calibrated_classifier_lies_within_its_null_and_a_sure_one_beyond():
    rng = np.random.default_rng(1)
    sure = rng.uniform(0.5, 1, 500)
    null = calibration.by_chance(sure, draws=400)
    low, high = np.quantile(null, [0.01, 0.99])
    assert low < calibration.binned(sure, rng.random(500) < sure).error < high
    assert calibration.binned(sure, rng.random(500) < 0.6).error > high
    assert null.mean() > 0.01


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_a_planted_factor(factor):
    rng = np.random.default_rng(2)
    true = rng.normal(size=(20_000, 2))
    chance = 1 / (1 + np.exp(true[:, 0] - true[:, 1]))
    labels = (rng.random(20_000) < chance).astype(int)
    T = calibration.temperature(factor * true, labels)
    assert pytest.approx(factor, rel=0.06) == T
    assert calibration.loss(factor * true, labels, T) <= calibration.loss(factor * true, labels)


def test_bad_input_is_refused():
    one_line(
        lambda: calibration.binned([], []), "confidence: expected as many numbers as outcomes, got 0 and 0"
    )
    one_line(
        lambda: calibration.binned([0.5], [1, 0]),
        "confidence: expected as many numbers as outcomes, got 1 and 2",
    )
    one_line(lambda: calibration.binned([1.5], [1]), "confidence: expected 0 to 1, got 1.5")
    one_line(
        lambda: calibration.binned([0.5], [1], bins=0), "bins: expected a whole number of at least 1, got 0"
    )
