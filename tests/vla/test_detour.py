"""The task with two right answers: who arrives, on which side, and what the demonstrators do."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import one_line

from scalept_lab.vla import detour


@pytest.mark.parametrize("sides", detour.SIDES)
@pytest.mark.parametrize("steps", [8, 16, 64])
def test_demonstrators_arrive_on_the_side_they_take(sides, steps):
    journeys = detour.demonstrate(400, 3, sides, steps)
    assert len(journeys) == 400 and journeys.chunk_NxSx2.shape == (400, steps, 2)
    assert detour.arrives(journeys.seen_Nx3, journeys.chunk_NxSx2).all()
    share = detour.over(journeys.seen_Nx3, journeys.chunk_NxSx2).mean()
    assert share == 1 if sides == "over" else 0.4 < share < 0.6


def test_the_shorter_side_follows_from_what_is_seen():
    journeys = detour.demonstrate(300, 0, "shorter")
    start, goal, disc = journeys.seen_Nx3.T
    clear = abs((start + goal) / 2 - disc) > 0.02
    over = detour.over(journeys.seen_Nx3, journeys.chunk_NxSx2)
    assert np.array_equal(over[clear], ((start + goal) / 2 > disc)[clear])


def test_a_seed_is_a_set_and_another_is_another():
    first, again, other = (detour.demonstrate(5, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.chunk_NxSx2, again.chunk_NxSx2) and np.array_equal(
        first.seen_Nx3, detour.scenes(5, 0)
    )
    assert not np.array_equal(first.seen_Nx3, other.seen_Nx3)
    here = detour.demonstrate(5, 1, seen_Nx3=first.seen_Nx3)
    assert np.array_equal(here.seen_Nx3, first.seen_Nx3) and not np.array_equal(
        here.chunk_NxSx2, first.chunk_NxSx2
    )


def straight(height: float, steps: int = 4) -> np.ndarray:
    """Up (or down) at once, straight on, and back to where it began."""
    first, last = [[0.0, height * (steps + 2)]], [[0.0, -height * (steps + 2)]]
    return np.array([first + [[2.0 * (steps + 2) / steps, 0.0]] * steps + last])


def test_who_arrives_by_hand():
    scene = np.array([[0.0, 0.0, 0.0]])
    assert np.allclose(
        detour.path(scene, straight(0.31))[0, [0, 1, -2, -1]], [[-1, 0], [-1, 0.31], [1, 0.31], [1, 0]]
    )
    for height, arrived, above in (
        (0.31, True, True),
        (-0.31, True, False),
        (0.29, False, True),
        (0.0, False, False),
    ):
        assert detour.arrives(scene, straight(height))[0] == arrived
        assert detour.over(scene, straight(height))[0] == above
    # one long step from side to side passes the disc's middle, though both its ends are far from it
    assert not detour.arrives(scene, np.array([[[2.0, 0.0]]]))[0]
    # past the disc, but not at the goal
    assert not detour.arrives(np.array([[0.0, 0.2, 0.0]]), straight(0.31))[0]
    assert not detour.arrives(scene, straight(0.31) * (0.9, 1.0))[0]


def test_standing_still_is_no_division_by_zero():
    assert not detour.arrives(np.zeros((1, 3)), np.zeros((1, 4, 2)))[0]


def test_roughness_is_how_far_velocities_jump():
    even, jumping = np.ones((1, 4, 2)), np.array([[[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]])
    assert detour.roughness(even)[0] == 0 and detour.roughness(jumping)[0] == pytest.approx(5)


def test_what_cannot_be_drawn():
    one_line(lambda: detour.scenes(0, 0), "count: expected a whole number")
    one_line(lambda: detour.demonstrate(3, 0, "left"), "sides: ", "got 'left'")
    one_line(lambda: detour.demonstrate(3, 0, steps=1), "steps: expected a whole number")
    one_line(
        lambda: detour.demonstrate(3, 0, seen_Nx3=np.zeros((2, 3))), "expected 3 × 3 heights, got (2, 3)"
    )
