"""The capstone's pieces against the kit's and by hand, and what a graded plan is told."""

from __future__ import annotations

import numpy as np
import pytest

from scalept_lab.course.sets import nb13
from scalept_lab.laws.formulas import LAWS
from scalept_lab.study import rivals

LAW = LAWS["muennighoff"]


def test_the_loss_is_that_of_the_kit():
    for N, D, U in ((1e9, 2e10, 1e12), (1e8, 4e10, 1e9), (3e10, 1e11, 1e10)):
        assert nb13.repeated_loss(LAW.params, N, D, U) == pytest.approx(float(LAW(N, D, U)), rel=1e-9)


def test_the_best_size_without_scarcity_and_serving_is_the_laws_own_split():
    N, D = nb13.best_size(nb13._by_law, 1e20, 1e18, 0.0, 4.5)
    assert N == pytest.approx(LAW.optimal(1e20).N, rel=0.01) and 6 * N * D == pytest.approx(1e20)


def test_a_layout_by_hand():
    """8 GPUs of 80 GiB, 8e8 parameters: 12.8 GB of states and 18 GB of activations fit on one; eight copies are fastest."""
    assert nb13.fastest_layout(*nb13._clusters()[0]) == (8, 1, 1)
    assert nb13.fastest_layout(*nb13._clusters()[-1]) == (0, 0, 0)


def test_a_bill_by_hand():
    assert nb13.whole_bill(*nb13._bills()[0]) == pytest.approx({"gpu_hours": 8, "kwh": 4, "dollars": 16})
    assert nb13.whole_bill(*nb13._bills()[1])["gpu_hours"] == pytest.approx(1000)


def test_a_share_of_draws_by_hand():
    def loss(p, N, D, unique):
        return p["E"] + N

    found = nb13.share_better(loss, {"E": np.array([1.0, 5.0])}, (1.0, 0), (1.5, 0), 1.0)
    assert found == pytest.approx({"share": 1.0, "low": 0.5, "high": 0.5})


def test_a_plans_file_is_graded_and_a_number_is_none(tmp_path):
    path = rivals.naive("day").save(tmp_path / "plan.json")
    assert "no prediction is sealed" in nb13.DESIGN.check(str(path)).message
    assert "expected the path of a plan's file" in nb13.DESIGN.check(3).message
    assert "found no such file" in nb13.DESIGN.check(str(tmp_path / "gone")).message
