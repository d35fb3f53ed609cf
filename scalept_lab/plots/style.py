"""How a figure looks and how it is shown: style, names beside lines, PNG.

Every `plot_…` function of the course is pure: values in, a matplotlib `Figure` out. Nothing here touches
`pyplot`, whose global list of figures would grow with every redraw of an explorer.
"""

from __future__ import annotations

import base64
import html
import io
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from PIL import Image

from scalept_lab.errors import InputError

# Okabe & Ito's palette: its colours stay apart for every common form of colour blindness.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#6B6B6B"
COLORS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # a second way to tell series apart

LOSS = "held-out loss (nats per token)"
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 9.5, "title_fontsize": 9.5}
HALO = [withStroke(linewidth=3, foreground="white")]  # keeps a name readable where it crosses a line

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
TOKENS, PARAMETERS, FLOPS = "training tokens D", "non-embedding parameters N", "training compute C (FLOPs)"


class Picture(Figure):
    """A figure that appears in a notebook as PNG, whether or not a matplotlib backend for notebooks is set."""

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        return png(self), shown_size(self)


def shown_size(fig: Figure) -> dict[str, Any]:
    """Width and height to show it at, in CSS pixels: fewer than its PNG has, so that it is sharp on any screen."""
    width, height = (round(100 * inches) for inches in fig.get_size_inches())
    return {"width": width, "height": height}


def canvas(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (7.0, 4.2), **shared: Any
) -> tuple[Figure, Any]:
    """A figure and its axes (one, or an array), in the style of the course."""
    fig = Picture(figsize=size, layout="constrained")
    axes = fig.subplots(rows, columns, **shared)
    for ax in np.atleast_1d(axes).ravel():
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#e3e3e3", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=9.5)
    return fig, axes


def label(ax: Axes, x: str, y: str, title: str = "") -> None:
    ax.set_xlabel(x, fontsize=10.5)
    ax.set_ylabel(y, fontsize=10.5)
    if title:
        # matplotlib looks for a place above the axis' "1e6", measuring all labels again; a log axis never has one
        place = None if ax.get_yscale() == "linear" else 1.0
        ax.set_title(title, loc="left", fontsize=11, y=place)


def headed(title: str, note: str) -> str:
    """What a figure shows, and below it what its lines are; the note alone where there is no title."""
    return f"{title}\n{note}" if title else note


def short(value: float) -> str:
    """6144 -> "6.1k", 4.04e10 -> "40B": how sizes of models and data are spoken of."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:
            scaled = float(f"{value / unit:.2g}") if value < 99.5 * unit else round(value / unit)
            return f"{scaled:g}{name}"
    return f"{value:.3g}"


def percent(value: float) -> str:
    """-0.214 -> "−0.21 %": a difference with its sign, which no line break parts from its unit."""
    return f"{value:+.2f}\N{NO-BREAK SPACE}%".replace("-", "−")


def power_of_ten(value: float) -> str:
    """3e11 -> 3×10¹¹, in letters: matplotlib takes as long to set one formula as to draw a curve."""
    if not value > 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    mantissa = mantissa.removesuffix(".0")
    power = "10" + str(int(exponent)).translate(RAISED)
    return power if mantissa == "1" else f"{mantissa}×{power}"


def log_axis(axis: Any, form: Callable[[float], str] = short) -> None:
    """A log scale whose labels are `form`ed, at 1, 2 and 5 where less than two decades are shown."""
    axis.axes.set_xscale("log") if axis.axis_name == "x" else axis.axes.set_yscale("log")
    low, high = axis.get_view_interval()
    decades = np.log10(high / low) if low > 0 else 9.0
    if decades < 0.8:  # a loss between 1.4 and 2.6: round numbers say more than powers of ten
        axis.set_major_locator(ticker.MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]))
        axis.set_minor_locator(ticker.NullLocator())
    else:
        axis.set_major_locator(
            ticker.LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,), numticks=12)
        )
        # few small marks: of many, each takes as long to draw as a curve, and tells nothing more
        axis.set_minor_locator(
            ticker.LogLocator(subs=(2.0, 5.0), numticks=12) if 2 <= decades <= 3 else ticker.NullLocator()
        )
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: form(value)))
    axis.set_minor_formatter(ticker.NullFormatter())


def size_colors(count: int) -> list[Any]:
    """`count` colours from dark to light for ordered things such as model sizes; the palest end stays unused."""
    return [mpl.colormaps["viridis"](i) for i in np.linspace(0.0, 0.78, max(2, count))[:count]]


def ink(color: Any) -> tuple[float, float, float]:
    """The colour, darkened as far as text on white needs it: a contrast of 4.5 to 1 (WCAG 2.1, criterion 1.4.3)."""
    rgb = np.array(to_rgb(color))
    while 1.05 / (_luminance(rgb) + 0.05) < 4.5:
        rgb = rgb * 0.97
    return tuple(float(part) for part in rgb)  # type: ignore[return-value]


def _luminance(rgb: np.ndarray) -> float:
    """Relative luminance of sRGB (WCAG 2.1): 0 for black, 1 for white."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def widen(ax: Axes, share: float, log: bool = True) -> None:
    """Leave the last `share` of the x axis free, so that names at the ends of lines stay inside. The axis line and its ticks end
    where they did: an empty part with ticks would look like data that are missing."""
    low, high = ax.get_xlim()
    ticks = [at for at in ax.get_xticks() if low <= at <= high]
    ax.set_xlim(low, low * (high / low) ** (1 / (1 - share)) if log else low + (high - low) / (1 - share))
    ax.xaxis.set_major_locator(ticker.FixedLocator(ticks))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.spines["bottom"].set_bounds(low, high)


def name_lines(ax: Axes, ends: Sequence[tuple[float, float, str, Any]], title: str = "") -> None:
    """Name lines by (x, y, name, colour) of their ends: beside them if they end together, else in a legend.

    Call it last: what would overlap is judged by the limits of the axes.
    """
    to_axes = ax.transData + ax.transAxes.inverted()
    places = np.array([to_axes.transform((x, y)) for x, y, *_ in ends])
    if np.ptp(places[:, 0]) > 0.06 and len(ends) > 1:
        key(
            ax, [Line2D([], [], color=end[3], marker="o", linewidth=1.5, label=end[2]) for end in ends], title
        )
        return
    names = [name for *_, name, _ in ends]
    if title:
        top = int(places[:, 1].argmax())
        names[top] = f"{title.split()[-1]} = {names[top]}"
    name_ends(ax, [(x, y, name, color) for (x, y, _, color), name in zip(ends, names, strict=True)])


def key(ax: Axes, handles: Sequence[Any], title: str = "", most: int = 8) -> None:
    """A legend in the upper right, below the crosses of `mark_lost`; of many entries, `most` from first to last."""
    kept = np.unique(np.linspace(0, len(handles) - 1, min(most, len(handles))).round().astype(int))
    top = 0.93 if any(line.get_gid() == "lost" for line in ax.lines) else 1.0
    columns = 2 if len(kept) > 3 else 1
    shown = [handles[i] for i in kept]
    ax.legend(handles=shown, title=title, loc="upper right", bbox_to_anchor=(1, top), ncols=columns, **LEGEND)


def name_ends(
    ax: Axes, ends: Sequence[tuple[float, float, str, Any]], away: float = 6, gap: float = 0.052
) -> None:
    """Write each name right of the end of its line, moved up where two would overlap."""
    to_axes = ax.transData + ax.transAxes.inverted()
    height = ax.get_position().height * ax.figure.get_size_inches()[1] * 72  # type: ignore[union-attr]
    placed: list[tuple[float, float]] = []
    for x, y, name, color in sorted(ends, key=lambda end: end[1]):
        u, v = to_axes.transform((x, y))
        up = v
        while clash := [b for a, b in placed if abs(a - u) < 0.15 and abs(b - up) < gap * 0.999]:
            up = max(clash) + gap
        placed.append((u, up))
        ax.annotate(name, (x, y), (away, (up - v) * height), textcoords="offset points", va="center", color=ink(color),
                    fontsize=9.5, path_effects=HALO)  # fmt: skip


# --- showing ----------------------------------------------------------------------------------------------------------


def png(fig: Figure, dpi: int = 140) -> bytes:
    """The figure as PNG. The same figure gives the same bytes."""
    before, drawn, out = fig.dpi, FigureCanvasAgg(fig), io.BytesIO()
    fig.set_dpi(dpi)
    try:
        drawn.draw()
    finally:
        fig.set_dpi(before)
    picture = Image.fromarray(np.asarray(drawn.buffer_rgba())).convert("RGB")
    # 256 colours serve for lines, bands and text, in a third of the bytes
    picture = picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    picture.save(out, "png", compress_level=3)
    return out.getvalue()


def places(fig: Figure) -> list[Any]:
    """Size of a figure that was drawn, and where it has its panels and its titles: for `arrange`."""
    size = tuple(fig.get_size_inches())
    return [size, [ax.get_position() for ax in fig.axes], [text.get_position() for text in fig.texts]]


def arrange(fig: Figure, like: list[Any] | None) -> bool:
    """Put panels and titles where those of another figure are, in place of working the layout out: a third of a drawing's time.

    False, and nothing is done, if there is no such figure or it has another size or other panels.
    """
    if like is None:
        return False
    size, panels, titles = like
    if (*fig.get_size_inches(), len(fig.axes), len(fig.texts)) != (*size, len(panels), len(titles)):
        return False
    fig.set_layout_engine("none")
    for ax, place in zip(fig.axes, panels, strict=True):
        ax.set_position(place)
        ax.set_in_layout(True)
    for text, place in zip(fig.texts, titles, strict=True):
        text.set_position(place)
    return True


def narrow(fig: Figure, width: float = 4.2) -> Figure:
    """The same figure for the screen of a phone: `width` inches wide, panels below each other, long titles on several lines.

    It changes `fig` and returns it. Text keeps its size, so that it can be read where the wide figure would be shrunk.
    """
    panels = [ax for ax in fig.axes if ax.get_subplotspec() is not None]
    height = fig.get_size_inches()[1]
    if len(panels) > 1 and all(ax.get_subplotspec().get_gridspec().nrows == 1 for ax in panels):  # type: ignore[union-attr]
        grid = fig.add_gridspec(len(panels), 1)
        for row, ax in enumerate(panels):
            ax.set_subplotspec(grid[row])
            ax.set_ylabel(ax.get_ylabel() or panels[0].get_ylabel(), fontsize=10.5)
            ax.tick_params(labelleft=True)
        height *= 0.8 * len(panels)
    fig.set_size_inches(width, height)
    letters = round(9 * width)
    for ax in panels:
        ax.set_title(_folded(ax.get_title(loc="left"), letters), loc="left", fontsize=10.5)
        ax.set_xlabel(_folded(ax.get_xlabel(), letters), fontsize=10.5)
        if isinstance(ticks := ax.xaxis.get_major_locator(), ticker.MaxNLocator):
            ticks.set_params(nbins=4)
        for inset in ax.child_axes:
            inset.tick_params(labelsize=7)
        rows = [_folded(label.get_text(), 24) for label in ax.get_yticklabels()]
        if max(map(len, rows), default=0) > 24:
            ax.set_yticks(ax.get_yticks(), rows, fontsize=7)
            fig.set_size_inches(width, 1.5 * height)
        if legend := ax.get_legend():
            (x0, y0), (x1, y1) = ax.transAxes.inverted().transform(legend.get_bbox_to_anchor().get_points())
            _fold_legend(ax.legend, legend, bbox_to_anchor=(x0, y0, x1 - x0, y1 - y0), loc=legend._loc)  # type: ignore[attr-defined]
    for legend in list(fig.legends):
        legend.remove()
        _fold_legend(fig.legend, legend, loc="outside lower center")
    if title := fig.get_suptitle():
        fig.suptitle(_folded(title, letters + 4), x=0.02, ha="left", fontsize=10.5)
    return fig


def _fold_legend(draw: Callable[..., Any], old: Any, **place: Any) -> None:
    """The same legend in fewer columns; matplotlib lays a legend out when it is made, and not again."""
    names = [text.get_text() for text in old.get_texts()]
    half = -(-len(names) // 2)
    letters = sum(max(map(len, each), default=0) for each in (names[:half], names[half:]))
    columns = 1 if letters > 36 else 2  # what fits beside each other
    title = old.get_title().get_text() or None
    draw(old.legend_handles, names, ncols=min(old._ncols, columns), title=title, **place, **LEGEND)


def _folded(text: str, letters: int) -> str:
    return "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, letters))


def image(picture: bytes, alt: str, width: int, least: str = "0") -> str:
    """An `<img>` that holds the PNG itself and its alternative text. JupyterLab and nbconvert read that text nowhere else.

    `width` in CSS pixels, less on a narrow screen, but not less than `least`, a length in CSS.
    """
    data = base64.b64encode(picture).decode()
    return (
        f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}" '
        f'style="width:{width}px;max-width:{"100%" if least == "0" else f"max(100%,{least})"};height:auto">'
    )


def described(fig: Figure) -> dict[str, Any]:
    """Title and axis labels of a figure's panels, for a test that cannot see it."""
    panels = [ax for ax in fig.axes if ax.axison]
    return {
        "title": fig.get_suptitle() or next((title for ax in panels for title in _titles(ax) if title), ""),
        "axes": [
            [ax.get_xlabel() or fig.get_supxlabel(), ax.get_ylabel() or fig.get_supylabel()] for ax in panels
        ],
    }


def _titles(ax: Axes) -> list[str]:
    return [ax.get_title(loc=place) for place in ("left", "center", "right")]


def show(fig: Figure, alt: str) -> None:
    """Show a figure in a notebook, with `alt`: a sentence for those who cannot see it. Sharp on any screen.

    The picture goes out twice: as HTML, whose `alt` a screen reader finds, and as PNG for pages that show no HTML.
    Raises: InputError if `alt` says next to nothing.
    """
    if not isinstance(alt, str) or len(alt.strip()) < 20:
        raise InputError(f"alt: expected a sentence that says what the figure shows, got {alt!r}")
    from IPython.display import display

    picture, size = png(fig), shown_size(fig)
    display(
        {
            "text/html": image(picture, alt.strip(), size["width"]),
            "image/png": picture,
            "text/plain": repr(fig),
        },
        raw=True,
        metadata={"image/png": {"alt": alt.strip(), **size, **described(fig)}},
    )


# --- what several figures of records share ----------------------------------------------------------------------------


def arrays(points: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """N, D, L of points, of a law's points, or of the finished runs among records. Raises: InputError if none."""
    points = getattr(points, "points", points)
    if isinstance(points, Sequence):
        runs = [run for run in points if run.L is not None and run.N > 0 and run.D > 0]
        columns = [[getattr(run, name) for run in runs] for name in ("N", "D", "L")]
    else:
        columns = [getattr(points, name) for name in ("N", "D", "L")]
    if any(column is None or not len(column) for column in columns):
        raise InputError("expected at least one finished run with N, D and L, got none")
    N, D, L = (np.asarray(column, float) for column in columns)
    return N, D, L


def mark_lost(ax: Axes, records: Sequence[Any], name: str) -> None:
    """Diverged runs, by their N, D or C: crosses at the top of the axes. Call it before the limits are set."""
    if places := [
        getattr(run, name) for run in records if run.status == "diverged" and getattr(run, name) > 0
    ]:
        ax.plot(places, [0.97] * len(places), "x", transform=ax.get_xaxis_transform(), color=VERMILLION, markersize=9,
                markeredgewidth=2.2, gid="lost")  # fmt: skip
        ax.annotate("diverged", (min(places), 0.97), (-8, 0), xycoords=("data", "axes fraction"), va="center",
                    ha="right", textcoords="offset points", color=VERMILLION, fontsize=9.5)  # fmt: skip
