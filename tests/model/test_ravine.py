"""The ravine of the explorer, in numpy: against torch on the same surface."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from scalept_lab.errors import InputError
from scalept_lab.model import ravine


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("SGD", lambda p: torch.optim.SGD(p, 0.02)),
        ("momentum", lambda p: torch.optim.SGD(p, 0.02, momentum=0.8)),
        ("Nesterov", lambda p: torch.optim.SGD(p, 0.02, momentum=0.8, nesterov=True)),
        ("Adam", lambda p: torch.optim.Adam(p, 0.02, betas=(0.8, 0.99))),
    ],
)
def test_the_ravine_is_walked_as_torch_would(name, theirs):
    path = ravine.descend(name, rate=0.02, momentum=0.8, curvature=25.0, steps=60)
    theta = nn.Parameter(torch.tensor(ravine.START, dtype=torch.float64))
    optimizer = theirs([theta])
    for point in path.points[1:]:
        optimizer.zero_grad()
        (0.5 * (theta[0] ** 2 + 25 * theta[1] ** 2)).backward()
        optimizer.step()
        np.testing.assert_allclose(point, theta.detach().numpy(), atol=1e-6)
    assert path.loss[0] == pytest.approx(0.5 * (ravine.START[0] ** 2 + 25 * ravine.START[1] ** 2))


@pytest.mark.parametrize("curvature", [5.0, 25.0])
def test_gradient_descent_diverges_beyond_two_over_the_largest_curvature(curvature):
    limit = 2 / curvature
    assert ravine.descend("SGD", rate=0.98 * limit, curvature=curvature, steps=400).loss[-1] < 0.01
    lost = ravine.descend("SGD", rate=1.02 * limit, curvature=curvature, steps=400)
    assert lost.diverged and np.isfinite(lost.points).all()


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "Adagrad"},
        {"rate": 0.0},
        {"rate": -1},
        {"momentum": 1.0},
        {"curvature": 0},
        {"steps": 0},
    ],
)
def test_the_ravine_refuses_bad_input_in_one_line(fields):
    with pytest.raises(InputError) as error:
        ravine.descend(**fields)
    assert "expected" in str(error.value) and "\n" not in str(error.value)


def test_a_path_that_is_lost_is_followed_to_a_million_times_its_start():
    """Rate 0.2 across a curvature of 25: each step multiplies θ₂ by 1 − 5, so its part of J by 16, from 12.5 of 20.5 on.

    12.5·16ᵗ > 20.5·10⁶ from t = 6 on.
    """
    path = ravine.descend("SGD", rate=0.2, curvature=25.0, steps=60)
    assert path.diverged and path.points.shape == (7, 2)
    assert path.points[2].tolist() == pytest.approx([-4 * 0.8**2, 16.0])
    assert path.loss[1] == pytest.approx(0.5 * (3.2**2 + 25 * 4**2))


def test_the_surface_by_hand_and_a_walk_as_it_comes():
    assert ravine.surface(np.array([[3.0, 2.0], [0.0, -1.0]]), 5.0).tolist() == [14.5, 2.5]
    plain = ravine.descend()
    assert len(plain.loss) == 61 and not plain.diverged
    # Rate 0.05, curvature 25: (1 − 0.05)·(−4) along, (1 − 1.25)·1 across.
    assert plain.points[1].tolist() == pytest.approx([-3.8, -0.25])
    assert len(ravine.descend(steps=1, momentum=0.0).loss) == 2
