"""Miniatures: the plan's proportions at equal FLOPs, one supply of text for both, and a verdict that follows the interval."""

from __future__ import annotations

import pytest
import synthetic
from refusals import one_line

from scalept_lab.costs.counts import shape
from scalept_lab.study import miniature, rivals
from scalept_lab.study.sweep import flops_of


@pytest.mark.parametrize("name", ["day", "month"])
def test_a_miniature_keeps_tokens_per_parameter_and_scarcity(name):
    made = rivals.best(name)
    run = miniature.small(made)
    assert run.tokens / shape(run.model).non_embedding == pytest.approx(made.tokens / made.N, rel=0.15)
    assert run.tokens / run.unique_tokens == pytest.approx(made.passes, rel=0.01)
    assert flops_of(run) == pytest.approx(miniature.FLOPS, rel=0.01)


def test_robots_and_serving_have_none():
    one_line(lambda: miniature.small(rivals.naive("robots")), "expected a plan for text", "robots")


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Stands in for training: a loss for each arm and seed; returns the two arms of the comparison."""

    def compare(plan_loss, naive_loss):
        def run_all(configs, store, progress):
            assert len({config.unique_tokens for config in configs}) == 1  # one supply for both
            half = len(configs) // 2
            losses = [plan_loss(c.seed) for c in configs[:half]] + [
                naive_loss(c.seed) for c in configs[half:]
            ]
            return [
                synthetic.record(c).model_copy(update={"L": loss})
                for c, loss in zip(configs, losses, strict=True)
            ]

        monkeypatch.setattr(miniature, "run_all", run_all)
        return miniature.beside_naive(rivals.best("month"), folder=tmp_path)

    return compare


def test_the_gain_is_naive_minus_plan_paired_by_seed(trained):
    found = trained(lambda seed: 2.0 + seed, lambda seed: 2.1 + seed + 0.01 * (seed == 1))
    assert found.losses == (2.0, 3.0, 4.0)
    assert found.gain.mean == pytest.approx((0.1 + 0.11 + 0.1) / 3) and found.gain.low > 0
    assert found.verdict == "the plan's miniature is better" and found.agrees is True
    turned = trained(lambda seed: 2.1 + seed + 0.01 * (seed == 1), lambda seed: 2.0 + seed)
    assert turned.verdict == "the naive plan's miniature is better" and turned.agrees is False


def test_no_difference_is_not_told_apart(trained):
    found = trained(lambda seed: 2.0 + 0.01 * (seed == 1), lambda seed: 2.0 + 0.01 * (seed == 2))
    assert found.verdict == "the miniatures are not told apart" and found.agrees is None


def test_too_few_seeds_and_a_plan_that_is_the_naive_one():
    one_line(lambda: miniature.beside_naive(rivals.best("month"), seeds=(0, 0, 1)), "at least 3")
    one_line(lambda: miniature.beside_naive(rivals.naive("month")), "nothing is to compare")
