import numpy as np
import pytest

from scalept_lab.errors import InputError
from scalept_lab.laws.compare import Arm, Interval
from scalept_lab.plots import curriculum, explorers, style
from scalept_lab.train.curriculum import Adaptive, LengthWarmup, Mixture, SelfPaced, Stepwise, root

PERFORMANCE = [1 - np.exp(-k / 10) for k in range(40)]


@pytest.mark.parametrize(
    "schedule",
    [
        Stepwise(("easy", "hard"), (30,)),
        root(50),
        LengthWarmup(8, 64, 50),
        Mixture({"a": 1.0, "b": 0.0}, {"a": 0.5, "b": 0.5}, 80),
        SelfPaced(1.0, 1.5, 10, 5.0),
        Adaptive(("easy", "hard"), 0.8, 0.5, 2, 90),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_any_schedule_can_be_drawn(schedule):
    for performance in (None, PERFORMANCE):
        fig = curriculum.plot_schedule(schedule, 100, performance, "choice")
        assert len(fig.axes) == (1 if performance is None else 2)
        assert fig.axes[-1].get_xlabel() == "step" and fig.axes[-1].get_ylabel() == "choice"
        assert style.png(fig).startswith(b"\x89PNG")


def test_a_schedule_sees_only_the_evaluations_before_its_step():
    fig = curriculum.plot_schedule(Adaptive(("easy", "hard"), 0.9, patience=2), 100, [0.0] * 5 + [1.0] * 5)
    steps, levels = fig.axes[1].lines[0].get_data()
    assert levels[steps < 70].max() == 0 and levels[steps >= 70].min() == 1


def test_the_explorer_follows_its_sliders():
    box = explorers.schedule_explorer(PERFORMANCE)
    before = box.picture.value
    box.controls["patience"].value = 9
    assert box.picture.value != before and box.message.value == ""
    box.controls["demote"].value = 0.9  # above promote: drawn just below it
    assert box.message.value == ""


def test_arms_are_hollow_where_the_interval_holds_zero():
    base = Arm("plain", 5, 2.0, None, 1.0, 1.0)
    same, better = Interval(0.01, -0.01, 0.03), Interval(-0.1, -0.2, -0.05)
    table = [base, Arm("same", 5, 2.0, same, 1, 1), Arm("better", 5, 1.9, better, 1, 1)]
    ax = curriculum.plot_arms({"at equal tokens": table}).axes[0]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [True, False]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["same", "better"]
    with pytest.raises(InputError, match="at least one arm"):
        curriculum.plot_arms({"nothing": [base]})


def test_stability_has_both_panels():
    runs = {"plain": (np.linspace(5, 2, 50), np.linspace(1, 2, 50)), "warm": ([3.0] * 50, [1.0] * 50)}
    fig = curriculum.plot_stability(runs)
    assert [len(ax.lines) for ax in fig.axes] == [2, 2]
    with pytest.raises(InputError, match="at least one run"):
        curriculum.plot_stability({})
    with pytest.raises(InputError, match="steps"):
        curriculum.plot_schedule(root(5), 0)
