"""Claims: what a notebook says it has shown, and against which rival.

    claim("Fresh text teaches more than the same text again", again - fresh, than="the same text again")

The difference is positive where the claim is true. Several numbers are repeats, paired by seed where seeds are shared: the claim
holds if the 95 % interval of their mean (Student's t) lies above zero. One number is taken as exact: a count, or a sum without
noise. `null` is the same difference computed from data in which there is nothing to find, or with the rival's numbers in the
winner's place; a claim that holds there as well says nothing.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalept_lab import screen
from scalept_lab.course.answers import SECONDS
from scalept_lab.course.cards import BAD, GOOD, OPEN
from scalept_lab.course.guard import guarded
from scalept_lab.errors import InputError
from scalept_lab.laws.compare import Interval, paired

LOOKS = {"HOLDS": GOOD, "FAILS": BAD, "NOT SHOWN": OPEN, "EMPTY": BAD}


@dataclass(frozen=True)
class Claim:
    """One claim with its verdict. `interval` is of the mean difference, `null` that of the null data."""

    text: str
    verdict: str
    than: str
    interval: Interval | None = None
    null: Interval | None = None
    detail: str = ""

    def cells(self) -> tuple[str, str, str, str, str]:
        difference, null = ("" if found is None else _shown(found) for found in (self.interval, self.null))
        return self.verdict.lower(), self.text, difference, self.than, null


_claims: dict[str, Claim] = {}


def claim(
    text: str,
    difference: Any,
    than: str,
    *,
    at_least: float = 0.0,
    null: Any = None,
    detail: str = "",
) -> None:
    """State what a notebook has shown, and print `CLAIM HOLDS: text`, `… FAILS`, `… NOT SHOWN` or `… EMPTY`.

    difference  by how much it is true: one exact number, or one for each repeat. Positive: true
    than        the rival that is beaten, in words: "no change", "the same FLOPs in one large model"
    at_least    how large the difference has to be
    null        the same difference on null data (a number, several, or a function that computes it): the claim is
                EMPTY where it would hold there, too
    detail      further measured numbers, for `evidence()`

    HOLDS: the 95 % interval of the mean difference lies above `at_least`; FAILS: it lies below; else NOT SHOWN. A
    difference that holds a NaN is not shown.

    The text must hold no measured number, so that the line is the same on every machine. Nothing is raised for a claim that
    fails: the notebook goes on, and its test sees the different line. Raises: InputError for a `difference` that is no number.
    """
    found = _judge(text, difference, than, at_least, null, detail)
    _claims.pop(text, None)
    _claims[text] = found
    against = f' <span style="opacity:0.75">(than {html.escape(than)})</span>'
    color, icon = LOOKS[found.verdict]
    screen.show(
        f"CLAIM {found.verdict}: {text}",
        f'<div style="border-left:5px solid {color};padding:0.2em 0.8em;margin:0.2em 0"><b style="color:{color}">{icon} '
        f"claim {found.verdict.lower()}</b>: {html.escape(text)}{against}</div>",
        {"scalept": _kept(found, difference, null, at_least)},
    )


def verdict_of(difference: Any, at_least: float = 0.0) -> tuple[str, Interval | None]:
    """The verdict on a difference, and its interval. Raises: InputError for what is no number."""
    values = _numbers(difference)
    if not len(values) or not np.isfinite(values).all():
        return "NOT SHOWN", None
    if len(values) == 1:
        value = float(values[0])
        return ("HOLDS" if value > at_least else "FAILS"), Interval(value, value, value)
    interval = paired(values.tolist(), [0.0] * len(values))
    if interval.low > at_least:
        return "HOLDS", interval
    return ("FAILS" if interval.high < at_least else "NOT SHOWN"), interval


def _judge(text: str, difference: Any, than: str, at_least: float, null: Any, detail: str) -> Claim:
    verdict, interval = verdict_of(difference, at_least)
    without = None
    if null is not None:
        empty, without = verdict_of(null() if callable(null) else null, at_least)
        if verdict == "HOLDS" and empty == "HOLDS":
            verdict = "EMPTY"
    return Claim(text, verdict, than, interval, without, detail)


def _numbers(values: Any) -> np.ndarray:
    looked = guarded(
        lambda: np.atleast_1d(np.asarray(values, float)).ravel(), SECONDS
    )  # it may be any object
    if looked.error:
        raise InputError(f"difference: expected a number, or one for each seed, got {type(values).__name__}")
    return looked.value


def _kept(found: Claim, difference: Any, null: Any, at_least: float) -> dict[str, Any]:
    """What a test needs to feed the claim other data; it goes into the output's metadata, which nobody compares."""
    kept: dict[str, Any] = {"claim": found.text, "than": found.than, "at_least": at_least}
    kept["difference"] = [float(value) for value in _numbers(difference)]
    kept["null"] = None if found.null is None else [found.null.mean, found.null.low, found.null.high]
    return kept


def _shown(interval: Interval) -> str:
    if interval.low == interval.high:
        return f"{interval.mean:+.4g}"
    return f"{interval.mean:+.4g} ({interval.low:+.4g} to {interval.high:+.4g})"


class Evidence:
    """The measured numbers behind claims, as a table in a notebook or a terminal."""

    def __init__(self, claims: Sequence[Claim]):
        self.claims = claims

    def __repr__(self) -> str:
        if not self.claims:
            return "no claim so far"
        lines = []
        for found in self.claims:
            verdict, text, difference, than, null = found.cells()
            parts = [
                difference and f"{difference}",
                than and f"than {than}",
                null and f"null {null}",
                found.detail,
            ]
            lines.append(f"{verdict:<9} {text}: " + ", ".join(part for part in parts if part))
        return "\n".join(line.removesuffix(": ") for line in lines)

    def _repr_html_(self) -> str:
        names = ("verdict", "claim", "difference (95 % interval)", "than", "on null data", "detail")
        head = "".join(f'<th style="text-align:left">{name}</th>' for name in names)
        body = ""
        for found in self.claims:
            cells = (*found.cells(), found.detail)
            body += (
                "<tr>"
                + "".join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in cells)
                + "</tr>"
            )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def evidence(last: int | None = None) -> Evidence:
    """Differences, intervals and details of all claims so far (or the last), for a cell that no test compares."""
    claims = list(_claims.values())
    return Evidence(claims if last is None else claims[-last:])
