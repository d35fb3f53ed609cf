"""What a run leaves behind, as data: lettered pieces of evidence, each with a healthy run beside the broken one, and its log.

Whoever draws or judges it needs no more than this: `train.broken` and `laws.gathered` make it, `plots.failures` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Points = tuple[Sequence[Any], Sequence[Any]]  # x, y; y may be names of rows


@dataclass(frozen=True)
class Piece:
    """One piece of evidence: what it is, its axes, and name -> (x, y).

    look  "line", "dots" (no line between), "rows" (y are names of rows), or "bars" (x are names)
    log   which axes are logarithmic: "", "x", "y" or "xy"
    """

    about: str
    xlabel: str
    ylabel: str
    series: Mapping[str, Points]
    look: str = "line"
    log: str = ""


@dataclass(frozen=True)
class Evidence:
    """What is known of one case: the pieces A, B, … by letter, and `log`, what the broken run and the healthy one wrote down."""

    pieces: Mapping[str, Piece]
    log: Mapping[str, Mapping[str, Any]]  # run -> what it wrote down of itself
