"""Scenarios: what they allow, worked out by hand, and that each number has its source."""

from __future__ import annotations

import pytest
from refusals import one_line

from scalept_lab.study.scenarios import ASSUMED, CARDS, SCENARIOS, scenario


def test_the_budgets_in_gpu_hours():
    assert scenario("day").gpu_hours == 8 * 24
    assert scenario("month").gpu_hours == 1024 * 720
    assert scenario("serving").gpu_hours == 300_000 / 3.0
    assert scenario("robots").unique == 20_000 * 8.5 * 1024


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_fact_has_a_source_or_is_called_an_assumption(name):
    facts = scenario(name).facts()
    assert all(value and source for _, value, source in facts)
    assert sum(source == ASSUMED for *_, source in facts) >= 5
    assert any("data sheet" in source for *_, source in facts)


def test_a_card_without_a_precision_has_no_peak_for_it():
    assert "fp8" in CARDS["H100-80GB"].peaks and "fp8" not in CARDS["A100-80GB"].peaks
    assert scenario("day").cluster("fp32").peak == 19.5e12


def test_an_unknown_scenario():
    one_line(lambda: scenario("mont"), "did you mean month?")
