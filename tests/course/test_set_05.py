"""Notebook 05's answers in any form, and messages that do not give them away. The builds are held by test_sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scalept_lab.course.exercises import grade
from scalept_lab.course.sets import nb05

GATHERED = [1, 2, 3, 10, 20, 30, 100, 200, 300]


@pytest.mark.parametrize(
    "form",
    [
        lambda values: tuple(values),
        lambda values: np.array(values),
        lambda values: torch.tensor(values, dtype=torch.float32),
        lambda values: [[value] for value in values],
        lambda values: str(values),
    ],
)
def test_what_a_rank_holds_is_right_in_any_form(form):
    answer = {"all_reduce": [111, 222, 333], "all_gather": GATHERED, "reduce_scatter": [222]}
    assert grade("05.1", {name: form(values) for name, values in answer.items()}).ok


@pytest.mark.parametrize("nonsense", ["banana", [0], {"a": 1}, None, [[[]]], 7.0])
def test_nonsense_is_refused_and_told_nothing(nonsense):
    verdict = grade("05.1", {"all_reduce": nonsense, "all_gather": GATHERED, "reduce_scatter": [222]})
    assert not verdict.ok and "111" not in verdict.message and "222" not in verdict.message


def test_a_right_sum_by_whole_tensors_is_too_much():
    assert _diagnosis(nb05._RING_DIAGNOSES, nb05._whole_tensors).startswith("the sum is right")


def _diagnosis(diagnoses, wrong):
    return next(text for function, text in diagnoses if function is wrong)


def test_the_buckets_of_the_oracle_by_hand():
    """Linear 6-20-20-20-3, from the end: 12, 240, 80, 1600, 80, 1600, 80, 480 bytes."""
    assert nb05._buckets(1000) == [12 + 240 + 80 + 1600, 80 + 1600, 80 + 480]
    assert nb05._buckets(10**9) == [4172]


def test_what_the_ring_sends_by_hand():
    """20 numbers on 3 ranks: pieces of 7, 7, 6. Rank 0 leaves out piece 1, then piece 2."""
    assert [row["point_to_point"] for row in nb05._ring_sent(3, (20,))] == [
        (4, 4 * 27),
        (4, 4 * 27),
        (4, 4 * 26),
    ]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda stage, stages, microbatches: 3, "expected a list of steps"),
        (lambda stage, stages, microbatches: [("B", 0)], "expected F of micro-batch 0 before its B"),
        (lambda stage, stages, microbatches: iter(nb05.one_f_one_b(stage, stages, microbatches)), ""),
    ],
)
def test_an_order_is_judged_by_playing_it(build, says):
    verdict = grade("05.9", build)
    assert verdict.ok == (not says) and says in verdict.message


@pytest.mark.parametrize(
    "changes",
    [
        {"pipeline": 2, "data": 16},
        {"zero": 2},
        {"data": "32"},
        {"tensor": np.int64(8)},
        {"micro_batch": 2, "zero": 2},
    ],
)
def test_many_layouts_are_good_enough(changes):
    good = {"data": 32, "tensor": 8, "pipeline": 1, "zero": 1, "micro_batch": 1, "recompute": "selective"}
    assert grade("05.12", good | changes).ok


@pytest.mark.parametrize("answer", [3, "all", {"data": 1}, [1, 2]])
def test_a_layout_in_another_form_is_one_line(answer):
    verdict = grade("05.12", answer)
    assert not verdict.ok and "needs exactly the keys" in verdict.message
