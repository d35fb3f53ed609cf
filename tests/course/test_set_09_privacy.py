"""The exercises on privacy: the pieces that a learner writes agree with the kit's."""

from __future__ import annotations

import numpy as np

from scalept_lab.course.sets import nb09_privacy
from scalept_lab.transfer import membership


def test_the_learners_pieces_are_the_kits():
    rng = np.random.default_rng(5)
    members = np.repeat([1, 0], 30)
    logits = np.round(rng.normal(size=(60, 2)), 1)
    scores, caught, accused = nb09_privacy.attack(logits, rng.integers(0, 2, 60), None, members, 0.1)
    curve = membership.roc(scores, members)
    for ours, theirs in zip(nb09_privacy.roc(scores, members), curve, strict=True):
        assert np.allclose(ours, theirs)
    assert caught == membership.caught_at(curve, 0.1) and accused <= 0.1
