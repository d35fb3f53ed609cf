"""The bar never goes back, appears only for work that takes a while, and ends as one line."""

from __future__ import annotations

import re

import pytest

from scalept_lab import screen
from scalept_lab.screen import Bar, duration, watched


class Place:
    """What IPython's display gives for a display_id: it keeps every picture."""

    def __init__(self):
        self.shown = []

    def update(self, bundle, raw):
        self.shown.append(bundle)


@pytest.fixture
def notebook(monkeypatch):
    import IPython.display

    place = Place()

    def display(bundle, raw, display_id):
        place.shown.append(bundle)
        return place

    monkeypatch.setattr(screen, "in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(screen, "FIRST", 0.0)
    monkeypatch.setattr(screen, "EVERY", 0.0)
    return place


def test_it_only_grows_and_ends_as_one_line(notebook):
    with Bar("training 6 runs") as bar:
        for share in (0.1, 0.5, 0.2, 0.0, 0.7):
            bar.at(share, "width 16 <b>")
    percent = [
        float(re.search(r"width:([\d.]+)%;height", one["text/html"])[1]) for one in notebook.shown[:-1]
    ]
    assert percent == sorted(percent) == [10, 50, 50, 50, 70]
    assert "width 16 &lt;b&gt;" in notebook.shown[0]["text/html"]
    assert notebook.shown[-1]["text/plain"] == "training 6 runs: done in 0 s"
    assert "height" not in notebook.shown[-1]["text/html"]


def test_an_interrupt_says_how_far_it_came(notebook):
    with pytest.raises(KeyboardInterrupt), Bar("x") as bar:
        bar.at(0.4)
        raise KeyboardInterrupt
    assert notebook.shown[-1]["text/plain"] == "x: stopped at 40% after 0 s"


def test_short_work_shows_nothing(notebook, monkeypatch):
    monkeypatch.setattr(screen, "FIRST", 60.0)
    assert list(watched([1, 2], "x", 2)) == [1, 2]
    with Bar("quiet", shown=False) as bar:
        bar.at(0.5)
    assert not notebook.shown


def test_in_a_terminal_it_writes_to_stderr(monkeypatch, capsys):
    monkeypatch.setattr(screen, "FIRST", 0.0)
    assert list(watched("ab", "letters", 2)) == ["a", "b"]
    out, err = capsys.readouterr()
    assert not out and "letters" in err and "100%" in err


@pytest.mark.parametrize(
    ("seconds", "said"), [(4.2, "4 s"), (200, "3 min 20 s"), (180, "3 min"), (7320, "2 h 2 min")]
)
def test_duration(seconds, said):
    assert duration(seconds) == said


def test_names_are_padded_by_the_columns_they_take():
    """Two Chinese letters are four columns wide; an accent that stands by itself takes none."""
    from scalept_lab.screen import columns, padded

    assert (columns("Anna"), columns("陈伟"), columns("e\u0301")) == (4, 4, 1)
    assert (
        padded("陈伟", 6) == "陈伟  "
        and padded("陈伟陈伟", 6) == "陈伟… "
        and padded("Annabel", 5) == "Anna…"
    )
