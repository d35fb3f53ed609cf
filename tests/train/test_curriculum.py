import itertools
import math

import numpy as np
import pytest

from scalept_lab.errors import InputError
from scalept_lab.train.curriculum import (
    Adaptive,
    Competence,
    LengthWarmup,
    Mixture,
    SelfPaced,
    Stepwise,
    adapt,
    draw_source,
    level_index,
    linear,
    must_end,
    root,
)

LEVELS = ("easy", "middle", "hard")
AB = {"a": 0.5, "b": 0.5}


def test_stepwise_changes_at_its_steps():
    schedule = Stepwise(LEVELS, (10, 30))
    assert [schedule(step) for step in (0, 9, 10, 29, 30, 10**6)] == ["easy"] * 2 + ["middle"] * 2 + [
        "hard"
    ] * 2
    assert schedule.ends() == 30


def test_competence_is_the_formula_and_never_falls():
    assert root(100, 0.1)(50) == pytest.approx(math.sqrt(0.5 * (1 - 0.01) + 0.01))
    assert linear(100, 0.1)(50) == pytest.approx(0.55)
    for schedule in (linear(100), root(100), Competence(100, 0.05, 3)):
        values = [schedule(step) for step in range(120)]
        assert values[0] == pytest.approx(schedule.start) and values[100:] == [1.0] * 20
        assert values == sorted(values)
    assert root(100)(30) > linear(100)(30)


def test_length_warmup_rounds_down_and_arrives():
    schedule = LengthWarmup(8, 64, 100)
    assert [schedule(step) for step in (0, 14, 15, 99, 100, 500)] == [8, 8, 16, 56, 64, 64]
    doubling = LengthWarmup(8, 64, 100, doubling=True)
    assert {doubling(step) for step in range(101)} == {8, 16, 32, 64} and doubling(99) == 32


def test_mixture_moves_in_a_straight_line_and_always_sums_to_one():
    schedule = Mixture({"a": 1.0, "b": 0.0}, AB, end=30, begin=10)
    assert schedule(5) == {"a": 1.0, "b": 0.0} and schedule(30) == AB
    assert schedule(20)["a"] == pytest.approx(0.75)
    assert all(sum(schedule(step).values()) == pytest.approx(1) for step in range(40))
    assert Mixture(AB, AB, end=0)(0) == AB


def test_adaptive_promotes_and_demotes_only_after_its_patience():
    schedule = Adaptive(LEVELS, promote=0.8, demote=0.5, patience=2)
    assert schedule(0) == "easy"
    assert schedule(3, [0.9]) == "easy"
    assert schedule(3, [0.9, 0.8]) == "middle"
    assert schedule(3, [0.9, 0.6, 0.9]) == "easy", "an evaluation between the thresholds breaks the row"
    assert schedule(3, [0.9] * 4) == "hard" and schedule(3, [0.9] * 40) == "hard"
    assert schedule(3, [0.9, 0.9, 0.4]) == "middle"
    assert schedule(3, [0.9, 0.9, 0.4, 0.4]) == "easy"
    assert schedule(3, [0.1] * 10) == "easy"


def test_one_step_of_the_recursion_by_hand():
    """Arguments: level, row, evaluation, promote 0.8, demote 0.5, patience 2, top 4."""
    assert adapt(1, 1, 0.8, 0.8, 0.5, 2, 4) == (2, 0), "a new level starts a new row"
    assert adapt(2, -1, 0.4, 0.8, 0.5, 2, 4) == (1, 0)
    assert adapt(1, 0, 0.8, 0.8, 0.5, 2, 4) == (1, 1)
    assert adapt(2, -1, 0.5, 0.8, 0.5, 2, 4) == (2, 0), "as good as the lower threshold is not below it"
    assert adapt(2, -1, 0.9, 0.8, 0.5, 2, 4) == (2, 1), "a good one after a bad one begins anew"
    assert adapt(4, 1, 0.9, 0.8, 0.5, 2, 4) == (4, 0) and adapt(0, -1, 0.1, 0.8, 0.5, 2, 4) == (0, 0)
    assert Adaptive(("a", "b", "c", "d"), 0.8, 0.5, patience=2)(0, [0.9] * 5) == "c"


def test_hysteresis_stops_the_level_from_flickering():
    noisy = [0.79 + 0.02 * (-1) ** k for k in range(20)]
    strict, wide = Adaptive(LEVELS, 0.79, 0.785), Adaptive(LEVELS, 0.79, 0.5)

    def moves(schedule):
        chosen = [schedule(0, noisy[:k]) for k in range(20)]
        return sum(a != b for a, b in itertools.pairwise(chosen))

    assert moves(strict) > 10 and moves(wide) == 2


def test_adaptive_is_at_its_target_by_the_deadline():
    schedule = Adaptive(LEVELS, promote=0.8, deadline=100)
    assert schedule(99, [0.0] * 50) == "easy" and schedule(100, [0.0] * 50) == "hard"
    must_end(schedule, 101)


def test_self_paced_lets_more_in_until_it_lets_all_in():
    schedule = SelfPaced(start=1.0, growth=2.0, every=10, top=4.0)
    assert [schedule(step) for step in (0, 9, 10, 19, 20)] == [1.0, 1.0, 2.0, 2.0, math.inf]
    assert schedule.ends() == 20
    assert SelfPaced(5.0, 2.0, 10, 4.0)(0) == math.inf


def test_schedules_are_pure_and_comparable():
    seen = [0.9, 0.2, 0.9]
    schedule = Adaptive(LEVELS, 0.8)
    assert schedule(5, seen) == schedule(5, seen) and seen == [0.9, 0.2, 0.9]
    assert root(10) == root(10) and root(10) != linear(10)


def test_draw_follows_the_weights():
    rng = np.random.default_rng(0)
    drawn = [draw_source({"a": 0.2, "b": 0.8}, rng) for _ in range(2000)]
    assert drawn.count("b") / 2000 == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: must_end(Adaptive(LEVELS, 0.8), 1000), "never ends; give it a deadline"),
        (lambda: must_end(root(1000), 1000), "within 1,000 steps, got one that ends at step 1,000"),
        (lambda: SelfPaced(1.0, 1.0, 10, 4.0), "growth: expected a factor above 1"),
        (lambda: SelfPaced(0.0, 2.0, 10, 4.0), "start: expected a positive number"),
        (lambda: Mixture({"a": 0.5, "b": 0.4}, AB, 10), "sum to 1"),
        (lambda: Mixture({"a": 1.5, "b": -0.5}, AB, 10), "0 or more"),
        (lambda: Mixture({"a": math.nan, "b": 0.5}, AB, 10), "sum to 1"),
        (lambda: Mixture({"a": 1.0}, AB, 10), "expected weights for a, got a, b"),
        (lambda: Mixture(AB, AB, end=5, begin=10), "end: expected a step from 10"),
        (lambda: Adaptive(LEVELS, 0.8)(3, [0.5, -0.1]), "performance: expected a number of at least 0, got -0.1"),
        (lambda: Adaptive(LEVELS, 0.8)(3, [math.nan]), "got nan; did the evaluation fail?"),
        (lambda: Adaptive(LEVELS, 0.5, 0.8), "demote: expected a threshold below promote"),
        (lambda: Adaptive(("a", "a"), 0.8), "different levels"),
        (lambda: Adaptive((), 0.8), "at least one"),
        (lambda: Adaptive(LEVELS, 0.8, patience=0), "patience"),
        (lambda: Adaptive(LEVELS, 0.8, deadline=-1), "deadline"),
        (lambda: Stepwise(LEVELS, (10,)), "until: expected 2 rising steps"),
        (lambda: Stepwise(LEVELS, (30, 10)), "rising"),
        (lambda: Competence(10, 0.0), "start: expected a positive number of at most 1"),
        (lambda: Competence(0), "steps"),
        (lambda: Competence(10, power=0), "power"),
        (lambda: LengthWarmup(128, 64, 10), "start: expected a length"),
        (lambda: LengthWarmup(12, 64, 10), "multiples of 8"),
        (lambda: root(10)(-1), "step: expected 0 or more, got -1"),
        (lambda: level_index(LEVELS, "harder"), "level: expected one of easy, middle, hard, got 'harder'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(make, words):
    with pytest.raises(InputError) as error:
        make()
    assert words in str(error.value) and "\n" not in str(error.value)
