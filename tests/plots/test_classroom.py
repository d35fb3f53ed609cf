"""The figure of a class: everybody is drawn, and those who stand out are named."""

from __future__ import annotations

from types import SimpleNamespace

from refusals import one_line

from scalept_lab.plots.classroom import plot_offsets


def offset(learner: str, percent: float, stands_out: bool = False):
    return SimpleNamespace(
        learner=learner, percent=percent, low=percent - 0.2, high=percent + 0.3, stands_out=stands_out
    )


def test_a_small_class_is_named_from_the_lowest_to_the_highest():
    fig = plot_offsets([offset("ben", 0.1), offset("eve", -3.0, True), offset("$anna$", 0.0)])
    (ax,) = fig.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["eve", r"\$anna\$", "ben"]
    assert ax.get_title("left") == "1 of 3 learners stand out" and "%" in ax.get_xlabel()
    marks = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert marks["stands out: median and 95 % interval"] == [[-3.0, 0]]
    assert marks["learner: median and 95 % interval"] == [[0.0, 1], [0.1, 2]]
    ends = [sorted(segment[:, 0]) for group in ax.collections for segment in group.get_segments()]
    assert [-3.2, -2.7] in ends and len(ends) == 3


def test_of_a_large_class_those_are_named_who_stand_out():
    many = [offset(f"learner {k}", k / 1000) for k in range(100)]
    (ax,) = plot_offsets([*many, offset("陈" * 50, 5.0, True)]).axes
    (name,) = [text.get_text() for text in ax.texts]
    assert name == "no. 101 of the table" or name.startswith("陈陈")  # as the fonts of this machine allow
    assert len(ax.get_yticks()) == 0
    assert plot_offsets(many).axes[0].get_title("left") == "None of 100 learners stands out"
    one_line(lambda: plot_offsets([]), "at least one learner")
