"""Builds of notebook 06: right answers in odd types."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scalept_lab.course.exercises import grade
from scalept_lab.course.sets.nb06 import Snapshot


@pytest.mark.parametrize("kind", [int, float, np.int64, torch.tensor])
def test_a_step_is_a_step_whatever_its_type(kind):
    class Mine(Snapshot):
        def restore(self, model, optimizer):
            return kind(super().restore(model, optimizer))

    assert grade("06.6", Mine).ok


def test_another_step_is_refused():
    class Mine(Snapshot):
        def restore(self, model, optimizer):
            return super().restore(model, optimizer) + 1

    assert "return the step" in grade("06.6", Mine).message
