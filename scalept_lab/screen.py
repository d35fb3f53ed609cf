"""What a learner sees besides figures: HTML in a notebook, plain text in a terminal; and how far long work is.

Plain HTML, no widgets: it is there on a page without a kernel, and when the notebook is opened again.
"""

from __future__ import annotations

import html
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")

FIRST, EVERY = 1.0, 0.3  # seconds until a bar appears, and between two looks of it
WIDTH = 30  # of the bar in plain text


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this, rather than a script, a terminal or a worker process."""
    if "IPython" not in sys.modules:
        return False
    return hasattr(sys.modules["IPython"].get_ipython(), "kernel")


def show(text: str, as_html: str, metadata: dict[str, Any] | None = None) -> None:
    """Show a piece of HTML in a notebook, `text` anywhere else."""
    if not in_notebook():
        print(text)
        return
    from IPython.display import display

    display({"text/plain": text, "text/html": as_html}, raw=True, metadata=metadata or {})


def duration(seconds: float) -> str:
    """4.2 -> "4 s", 200 -> "3 min 20 s", 7300 -> "2 h 2 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def watched(items: Iterable[Item], title: str, total: int, shown: bool = True) -> Iterator[Item]:
    """The items, one by one, with a bar that moves with them."""
    with Bar(title, shown) as bar:
        yield from bar.along(items, total)


class Bar:
    """How far a piece of work is, what it does now and how long it will still take. It never goes back.

    As a context: `with Bar("training 6 runs") as bar: … bar.at(0.4, "width 16, seed 1")`. It appears when the work takes more
    than a second; at the end one line stays, with the time it took. In a terminal the bar is tqdm's.
    """

    def __init__(self, title: str, shown: bool = True):
        self.title, self.share, self.now = title, 0.0, ""
        self._shown, self._place, self._next = shown, None, FIRST
        self._terminal: Any = None

    def __enter__(self) -> Bar:
        self._began = time.monotonic()
        return self

    def at(self, share: float, now: str = "") -> None:
        """`share` of the work is done, between 0 and 1 (a smaller one than before changes nothing); `now` is what goes on."""
        self.share = max(self.share, min(1.0, share))
        self.now = now or self.now
        took = time.monotonic() - self._began
        if self._shown and took >= self._next:
            self._next = took + EVERY
            self._draw(took, over=False)

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is None:
            self.share = 1.0
        if self._shown and (self._place is not None or self._terminal is not None):
            self._draw(time.monotonic() - self._began, over=True)

    def along(self, items: Iterable[Item], total: int) -> Iterator[Item]:
        """The items, one by one, the bar moving with them."""
        for place, item in enumerate(items):
            self.at(place / max(1, total))
            yield item

    def _draw(self, took: float, over: bool) -> None:
        if not in_notebook():
            self._draw_terminal(over)
            return
        from IPython.display import display

        done = over and self.share == 1.0
        if over:
            state = (
                f"done in {duration(took)}" if done else f"stopped at {self.share:.0%} after {duration(took)}"
            )
        else:
            left = (
                f", about {duration(took * (1 - self.share) / self.share)} left" if self.share > 0.02 else ""
            )
            state = f"{self.share:.0%}, {duration(took)}{left}"
        now = "" if over or not self.now else f" · {self.now}"
        filled = round(WIDTH * self.share)
        picture = (
            ""
            if over
            else '<div style="background:#8884;border-radius:4px;width:min(100%,34em);height:8px">'
            f'<div style="background:#0072B2;border-radius:4px;width:{100 * self.share:.1f}%;height:8px"></div></div>'
        )
        text = f"{self.title}: {state}{now}"
        bundle = {
            "text/html": f'<div role="status" style="font-size:0.95em">{html.escape(text)}{picture}</div>',
            "text/plain": text if over else f"{text} [{'#' * filled}{'.' * (WIDTH - filled)}]",
        }
        if self._place is None:
            self._place = display(bundle, raw=True, display_id=True)
        else:
            self._place.update(bundle, raw=True)

    def _draw_terminal(self, over: bool) -> None:
        from tqdm import tqdm

        if self._terminal is None:
            self._terminal = tqdm(
                total=1.0,
                desc=self.title,
                initial=0.0,
                bar_format="{l_bar}{bar}| {elapsed}<{remaining} {postfix}",
                file=sys.stderr,
            )
            self._terminal.start_t = time.time() - (time.monotonic() - self._began)
        self._terminal.set_postfix_str(self.now, refresh=False)
        self._terminal.update(self.share - self._terminal.n)
        self._terminal.refresh()
        if over:
            self._terminal.close()


def columns(text: str) -> int:
    """Columns that a text takes in a terminal, where Chinese letters are two wide and accents of their own none."""
    wide = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    return wide - sum(unicodedata.category(letter) in ("Mn", "Me", "Cf") for letter in text)


def padded(text: str, width: int) -> str:
    """`text` in `width` columns: cut with an ellipsis, or filled with blanks."""
    if columns(text) > width:
        while columns(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - columns(text))
