"""What is in a figure, for tests that look at it, and the runs that such tests draw."""

from __future__ import annotations

from itertools import combinations

import synthetic
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

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


def shown(fig: Figure) -> list[tuple[str, Bbox]]:
    """Every text that the figure shows, with its box in pixels. Draws it."""
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    render = canvas.get_renderer()
    found, legends, axes = list(fig.texts), list(fig.legends), list(fig.axes)
    for ax in axes:
        axes += ax.child_axes
        if not ax.axison:
            continue
        found += [ax.title, ax._left_title, ax._right_title, *ax.texts]
        for axis in (ax.xaxis, ax.yaxis):
            ticks = axis._update_ticks()  # those inside the view
            found += [
                axis.label,
                axis.offsetText,
                *(tick.label1 for tick in ticks if tick.label1.get_visible()),
            ]
        legends += filter(None, [ax.get_legend()])
    for legend in legends:
        found += [*legend.get_texts(), legend.get_title()]
    return [
        (text.get_text().replace("\n", " "), text.get_window_extent(render))
        for text in found
        if text.get_text().strip()
        and text.get_visible()
        and not (isinstance(text, Annotation) and not text._check_xy(render))
    ]


def crowded(fig: Figure, slack: float = 1.5) -> list[str]:
    """A line for each text that lies outside the figure, and for each two that overlap by more than `slack` pixels."""
    texts, (width, height) = shown(fig), fig.bbox.size
    said = [
        f"cut: {name!r}"
        for name, box in texts
        if min(box.x0, box.y0) < -slack or box.x1 > width + slack or box.y1 > height + slack
    ]
    for (one, a), (other, b) in combinations(texts, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if min(wide, high) > slack:
            said.append(f"overlap: {one!r} and {other!r}")
    return said
