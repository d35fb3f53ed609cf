"""What is in a figure, for tests that look at it, and the runs that such tests draw."""

from __future__ import annotations

import synthetic
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ISO = synthetic.isoflop_records()
GRID = synthetic.grid_records()
LOST = synthetic.record(synthetic.config(64, 1e6, lr=0.5), status="diverged")
FAILED = synthetic.record(synthetic.config(64, 2e6, lr=0.4), status="failed", D=0, C=0.0, curve=[])


class Shot:
    flops, predicted, low, high = 5e12, 1.46, 1.44, 1.48


def main_axes(fig: Figure) -> Axes:
    return fig.axes[0]


def dots(ax: Axes, marker: str = "o") -> int:
    return sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == marker)


def lines(ax: Axes) -> list:
    return [line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]


def texts(fig: Figure) -> str:
    found = [text.get_text() for text in fig.findobj(lambda artist: hasattr(artist, "get_text"))]
    return "\n".join(found)
