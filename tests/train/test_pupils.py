"""Planted learners: the best course is the best of all, and the fixed schedules are what the text says of them."""

import itertools

import pytest

from scalept_lab.errors import InputError
from scalept_lab.train import pupils
from scalept_lab.train.pupils import Pupil


def test_a_round_by_hand():
    pupil = Pupil(speed=0.2)
    assert pupil.after(2.5, 3, 0) == pytest.approx(2.7)  # half a level ahead: the most
    assert pupil.after(3.0, 4, 0) == pytest.approx(3.0 + 0.2 * 0.70665, abs=1e-5)  # e^(−(0.5/0.6)²/2)
    assert pupil.after(0.0, 8, 0) == pytest.approx(0.0, abs=1e-9)
    assert pupil.shows(3.0, 3, 0) == 0.5 and pupil.shows(2.0, 3, 0) == pytest.approx(0.1192, abs=1e-4)
    assert Pupil(forgets=5).after(3.0, 1, 5) == pytest.approx(1.0 + 0.12 * 0.70665, abs=1e-5)


@pytest.mark.parametrize(
    "pupil", [Pupil(speed=0.8), Pupil(speed=0.6, start=1.2), Pupil(speed=0.7, forgets=3)]
)
def test_no_course_of_a_few_rounds_ends_higher_than_the_best(monkeypatch, pupil):
    monkeypatch.setattr(pupils, "TOP", 3)
    ends = [
        pupils.teach(pupil, lambda turn, told, levels=levels: levels[turn], rounds=5).skill[-1]
        for levels in itertools.product(range(4), repeat=5)
    ]
    assert pupils.best(pupil, rounds=5).skill[-1] == pytest.approx(max(ends))


def test_a_straight_line_suits_one_pupil_and_loses_another():
    share = {
        speed: pupils.teach(Pupil(speed=speed), pupils.linear).skill[-1]
        / pupils.best(Pupil(speed=speed)).skill[-1]
        for speed in (0.07, 0.12)
    }
    assert share[0.12] == pytest.approx(0.94, abs=0.01) and share[0.07] < 0.5
    assert pupils.teach(Pupil(), pupils.hardest).skill[-1] < 0.1


def test_a_schedule_sees_what_was_found_before_its_round():
    seen = []
    pupils.teach(Pupil(), lambda turn, told: seen.append((turn, len(told))) or 0, rounds=4)
    assert seen == [(0, 0), (1, 1), (2, 2), (3, 3)]
    noisy = [pupils.teach(Pupil(noise=0.1), pupils.linear).performance for _ in range(2)]
    assert noisy[0] == noisy[1] != pupils.teach(Pupil(), pupils.linear).performance


@pytest.mark.parametrize("level", [9, -1, 0.5, True, None, "easy"])
def test_a_level_that_is_none_is_refused_in_one_line(level):
    with pytest.raises(
        InputError, match=r"schedule: expected a whole level from 0 to 8 in round 0, got"
    ) as error:
        pupils.teach(Pupil(), lambda turn, told: level)
    assert "\n" not in str(error.value)
