from types import SimpleNamespace

import numpy as np
import pytest

from scalept_lab.errors import InputError
from scalept_lab.laws.compare import Arm, Interval
from scalept_lab.plots import curriculum, explorers, style
from scalept_lab.train import pupils
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


def trajectory(choices, drawn, performance=(0.3, 0.5), every=4):
    names = ("level 1", "level 2")
    return SimpleNamespace(
        names=names,
        every=every,
        choices=choices,
        drawn=np.array(drawn),
        performance=list(performance),
        flops=1.0,
    )


@pytest.mark.parametrize(
    "choice",
    [0.5, 8, "level 2", {"level 1": 0.25, "level 2": 0.75}],
    ids=["share", "length", "pool", "weights"],
)
def test_a_live_run_has_three_panels(choice):
    run = trajectory([choice] * 10, [[4, 0]] * 4 + [[1, 3]] * 6)
    fig = curriculum.plot_live(run, "A title that says it", "what is open", promote=0.4, demote=0.2)
    top, middle, bottom = fig.axes
    assert middle.lines[0].get_xdata().tolist() == [4, 8] and middle.lines[0].get_ydata().tolist() == [
        0.3,
        0.5,
    ]
    heights = [path.vertices[:, 1].max() for path in (area.get_paths()[0] for area in bottom.collections)]
    assert heights == [1.0, 1.0] and bottom.get_xlim() == (0, 10)
    assert top.get_ylabel() == "what is open" and style.png(fig).startswith(b"\x89PNG")


def test_pupils_and_their_courses():
    courses = {"best": pupils.best(pupils.Pupil()), "linear": pupils.teach(pupils.Pupil(), pupils.linear)}
    left, right = curriculum.plot_pupils(courses, "Two courses").axes
    ahead, learned = left.lines[0].get_data()
    assert ahead[learned.argmax()] == pytest.approx(0.5) and learned.max() == pytest.approx(1)
    assert [line.get_ydata()[-1] for line in right.lines] == [course.skill[-1] for course in courses.values()]


def test_hard_text_is_taken_off_in_the_lower_panel():
    hard = np.sin(np.arange(60))
    fig = curriculum.plot_hard_text(
        {"plain": 3 + hard, "warm": 2 + hard}, hard, window=5, per_point=2, title="Bumps"
    )
    above, below = fig.axes
    assert len(above.lines) == 3 and len(below.lines) == 2
    at, own = below.lines[0].get_data()
    assert at[0] == 10 and at[-1] == 120 and np.ptp(own) == pytest.approx(0, abs=1e-9)


def test_nothing_to_draw_is_said():
    for draw, words in (
        (lambda: curriculum.plot_live(trajectory([], np.zeros((0, 2)))), "at least one step"),
        (lambda: curriculum.plot_pupils({}), "at least one"),
        (lambda: curriculum.plot_hard_text({}, [1.0], 1), "at least one run"),
        (lambda: curriculum.plot_hard_text({"a": [1.0, 2.0]}, [1.0], 1), "hardness: expected 2 numbers"),
        (lambda: curriculum.plot_schedule(root(5), 0), "steps"),
    ):
        with pytest.raises(InputError, match=words):
            draw()
