"""The exercises on decoding: what is accepted has the target's distribution, and the kit's own pieces pass."""

from __future__ import annotations

import numpy as np
import pytest

from scalept_lab.course import answers
from scalept_lab.course.sets import nb11_decoding
from scalept_lab.course.sets.nb11_decoding import accept, speculate

EXERCISES = {exercise.id: exercise for exercise in nb11_decoding.EXERCISES}


@pytest.mark.parametrize("id", EXERCISES)
def test_the_kits_own_piece_is_right(id):
    own = EXERCISES[id].own
    assert own is None or EXERCISES[id].check(own()).ok


def test_an_empty_body_is_no_answer():
    for id in ("11.9", "11.11"):
        assert (
            EXERCISES[id].check(lambda *arguments: None) == answers.UNANSWERED
            or not EXERCISES[id].check(lambda *arguments: None).ok
        )


def test_lines_a_learner_writes():
    written = sum(
        len([line for line in exercise.solution.splitlines() if line.strip() and line not in exercise.skeleton.splitlines()])
        for exercise in EXERCISES.values()
    )  # fmt: skip
    assert written >= 40


def test_the_loop_writes_the_targets_pairs():
    """Two tokens at a time against the chances of all 36 pairs: chi-square of 35 degrees of freedom; .999 is 66.6."""
    target, draft = nb11_decoding._mixed(0, 0.3)
    start = [1, 2]
    first = target(start)[-1]
    wanted = np.array([[first[a] * target([*start, a])[-1][b] for b in range(6)] for a in range(6)]).ravel()
    found = np.zeros(36)
    for seed in range(4000):
        text, _ = speculate(target, draft, start, 2, 2, seed)
        found[6 * text[2] + text[3]] += 1
    assert ((found - 4000 * wanted) ** 2 / (4000 * wanted)).sum() < 66.6


def test_the_wrong_resampling_would_be_seen_there():
    (again_from_p,) = [bad for bad, fragment in nb11_decoding._ACCEPT_WRONG if fragment == "twice over"]
    p, q = np.array([[0.1, 0.2, 0.3, 0.4]] * 2), np.array([[0.4, 0.3, 0.2, 0.1]])
    rng = np.random.default_rng(0)

    def statistic(rule):
        drawn = [rule(p, q, [int(rng.choice(4, p=q[0]))], rng.random(2))[0] for _ in range(3000)]
        return ((np.bincount(drawn, minlength=4) - 3000 * p[0]) ** 2 / (3000 * p[0])).sum()

    assert statistic(accept) < 16.3 < 100 < statistic(again_from_p)  # .999 of 3 degrees of freedom
