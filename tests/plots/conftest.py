"""Laws fitted once for all tests of figures."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
from figures import ISO

from scalept_lab.laws.fit import fit_law


@pytest.fixture(scope="session")
def law():
    return fit_law(**synthetic.points(ISO), bootstrap=200)


@pytest.fixture(scope="session")
def power_law():
    D = np.geomspace(1e5, 1e7, 8)
    return fit_law(None, D, 1.1 + 190 * D**-0.41, form="power", bootstrap=100)
