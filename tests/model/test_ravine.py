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
