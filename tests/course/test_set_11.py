"""The oracles of notebook 11: each agrees with the kit, and tells right from nearly right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scalept_lab.compress import distill, gptq
from scalept_lab.costs import numbers
from scalept_lab.course.exercises import grade
from scalept_lab.course.sets import nb11
from scalept_lab.plots.compress import pareto


def test_the_grid_that_serves_is_the_kits():
    rows = np.random.default_rng(0).standard_normal((5, 40)) * np.geomspace(0.1, 10, 5)[:, None]
    for bits in (2, 3, 8):
        q, scale, zero = nb11.quantize(rows, bits)
        made = numbers.quantize(rows, bits)
        assert np.array_equal(q, made.q) and np.array_equal(scale, made.scale[:, 0])
        assert np.array_equal(zero, made.zero[:, 0])


@pytest.mark.parametrize(
    ("rows", "bits", "wanted"),
    [([[-1.5, 1.5]], 2, [0, 3]), ([[-0.3, 0.12, 0.5]], 2, [0, 1, 3]), ([[0.0, 0.0]], 4, [0, 0])],
)
def test_grids_by_hand(rows, bits, wanted):
    """Without the clamp the first gives 4, and marks counted from the lowest number give 2 in the second."""
    assert nb11.quantize(np.array(rows), bits)[0][0].tolist() == wanted


def test_columns_are_the_kits():
    for weight, hessian, rule, damping in nb11._matrices():
        assert torch.allclose(
            nb11.compensated(weight, hessian, rule, damping),
            gptq.compensated(weight, hessian, rule, damping),
            rtol=1e-9,
        )
    for (size,) in nb11._sizes():
        assert torch.equal(nb11.two_of_four(size), gptq.largest_of(size))


def test_the_worked_number_of_the_text():
    H, w = torch.tensor([[1.0, 0.9], [0.9, 1.0]]).double(), torch.tensor([[0.37, 0.3]]).double()
    made = nb11.compensated(w, H, nb11.quarters, 1e-9)
    assert made.tolist() == [[0.25, 0.5]]
    assert gptq.output_error(w, made, H) == pytest.approx(0.0112, abs=5e-5)
    assert gptq.output_error(w, torch.full((1, 2), 0.25), H) == pytest.approx(0.0277, abs=5e-5)


def test_the_students_loss_is_the_kits_and_its_gradient_that_of_finite_differences():
    for student, teacher, targets, T, w in nb11._logits()[:-1]:
        loss, gradient = nb11.distillation(student, teacher, targets, T, w)
        s, t = (torch.from_numpy(np.array(x, float))[None] for x in (student, teacher))
        hard = torch.nn.functional.cross_entropy(s[0], torch.from_numpy(targets))
        assert loss == pytest.approx(float((1 - w) * hard + w * distill.soft_loss(s, t, T)), rel=1e-9)
        for place in np.ndindex(student.shape):
            step = np.zeros(student.shape)
            step[place] = 1e-5
            up, down = (
                nb11.distillation(student + sign * step, teacher, targets, T, w)[0] for sign in (1, -1)
            )
            assert gradient[place] == pytest.approx((up - down) / 2e-5, abs=1e-8)


def test_the_front_is_the_figures():
    made = np.random.default_rng(1)
    points = [tuple(float(x) for x in pair) for pair in made.integers(0, 6, (40, 2))]
    assert nb11.front(points) == pareto(points)


def test_other_right_answers_are_right():
    def by_sorting(points):
        return np.array([all(c > a or l > b or (c, l) == (a, b) for c, l in points) for a, b in points])

    assert grade("11.14", by_sorting).ok
    assert grade("11.2", lambda rows, bits: tuple(np.float32(x) for x in nb11.quantize(rows, bits))).ok
    assert grade("11.3", {"linear": 0.31, "all": 0.26}).ok  # as a notebook prints them
