"""How the course answers a learner: a card with colour, icon and word in a notebook, the same words in a terminal.

Every card is plain HTML and stays readable when the notebook is opened without a kernel. The buttons under it are widgets of
their own, so that a frontend without widgets loses nothing but them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scalept_lab import screen
from scalept_lab.course.server import WIDGET_VIEW

GOOD, BAD, OPEN = ("#1B7F3B", "✓"), ("#B3261E", "✗"), ("#5F6368", "○")  # colours at 4.5:1 and more on white
CODE = re.compile(r"`([^`]+)`|((?:hint|solution|reset)\(\"[^\"]+\"\))")


@dataclass(frozen=True)
class Card:
    """What is said: `word` is the verdict after the name, `lines` the text, `rows` a small table (case, found, agrees)."""

    name: str
    look: tuple[str, str]
    word: str
    lines: tuple[str, ...] = ()
    rows: Sequence[tuple[str, str, bool]] = ()
    below: str = ""

    def show(self) -> None:
        screen.show(self.text(), self.html())

    def text(self) -> str:
        """For terminals, and for the comparison of saved outputs."""
        said = " ".join(line.replace("`", "") for line in self.lines if line)
        out = [f"{self.name}: {self.word}{said}".rstrip()]
        if any(not agrees for *_, agrees in self.rows):
            width = max(len(case) for case, *_ in self.rows)
            out += [
                f"  {'✓' if agrees else '✗'} {case:<{width}}  {found}" for case, found, agrees in self.rows
            ]
        return "\n".join([*out, self.below]) if self.below else "\n".join(out)

    def html(self) -> str:
        color, icon = self.look
        said = " ".join(_code(line) for line in self.lines if line)
        table = ""
        if self.rows:
            cells = "".join(
                f'<tr><td style="text-align:left">{"✓" if agrees else "✗"} <code>{html.escape(case)}</code></td>'
                f'<td style="text-align:left;color:{GOOD[0] if agrees else BAD[0]}">{html.escape(found)}</td></tr>'
                for case, found, agrees in self.rows
            )
            table = f'<table style="margin:0.4em 0">{cells}</table>'
        below = f'<pre style="margin:0.4em 0">{html.escape(self.below)}</pre>' if self.below else ""
        word = html.escape(self.word.rstrip(" .-:"))
        return (
            f'<div role="status" style="border-left:5px solid {color};padding:0.3em 0.8em;margin:0.2em 0">'
            f'<b style="color:{color}">{icon} {html.escape(self.name)}: {word}</b> {said}{table}{below}</div>'
        )


def _code(line: str) -> str:
    return CODE.sub(lambda found: f"<code>{found[1] or found[2]}</code>", html.escape(line, quote=False))


def buttons(id: str, hint: Callable[[], str], solution: Callable[[], str]) -> None:
    """A button for the next hint and one for the solution, where a notebook shows them; what they say appears below."""
    if not screen.in_notebook():
        return
    import ipywidgets as ipw
    from IPython.display import display

    told = ipw.HTML()

    def pressed(answer: Callable[[], str]) -> Callable[[object], None]:
        def press(_: object) -> None:
            told.value = f'<pre style="white-space:pre-wrap;line-height:1.4">{html.escape(answer())}</pre>'

        return press

    row = []
    for name, answer in (("Hint", hint), ("Solution", solution)):
        button = ipw.Button(description=name, tooltip=f"{name} for exercise {id}")
        button.on_click(pressed(answer))
        row.append(button)
    box = ipw.VBox([ipw.HBox(row), told])
    view = box._repr_mimebundle_()[WIDGET_VIEW]
    display(
        {
            WIDGET_VIEW: view,
            "text/html": f'<code>hint("{id}")</code> · <code>solution("{id}")</code>',
            "text/plain": f'hint("{id}"), solution("{id}")',
        },
        raw=True,
    )
