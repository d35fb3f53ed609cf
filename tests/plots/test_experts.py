"""Figures of mixtures: named axes, every model, and one line where there is nothing to draw."""

from __future__ import annotations

import numpy as np
import pytest

from scalept_lab.costs import mixtures
from scalept_lab.errors import InputError
from scalept_lab.plots import experts


def test_loads_are_drawn_from_the_busiest_on_and_averaged_over_layers():
    fig = experts.plot_load({"a": [[1.0, 3.0], [2.0, 0.0]], "b": [1.0, 1.0]}, title="Who works")
    lines = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in fig.axes[0].lines}
    assert lines["a"] == [2.5, 0.5] and lines["b"] == [1.0, 1.0]
    assert (
        fig.axes[0].get_xlabel()
        and fig.axes[0].get_ylabel()
        and fig.axes[0].get_title(loc="left") == "Who works"
    )


def test_every_mixture_has_both_bars():
    rows = mixtures.table()
    ax = experts.plot_mixtures(rows).axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == [row["model"] for row in rows]
    assert sorted(bar.get_width() for bar in ax.patches) == sorted(
        row[k] for row in rows for k in ("total", "active")
    )


def test_nothing_to_draw_is_refused():
    for draw in (
        lambda: experts.plot_load({}),
        lambda: experts.plot_load({"a": [1, 1], "b": [1]}),
        lambda: experts.plot_mixtures([]),
    ):
        with pytest.raises(InputError, match="expected"):
            draw()
