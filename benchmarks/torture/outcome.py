"""What one part of the torture has found: how many cases were tried, and what became of each."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Break:
    """A case that did not end as it must: what was done, the seed that makes it again, the first line of what came."""

    what: str
    seed: int
    line: str


@dataclasses.dataclass
class Outcome:
    """One part, counted.

    A case ends in one of three ways: `fine` (a result), `refused` (an error of one line that says what to do), or it
    stands in `broken`. `hangs` counts those of the broken ones that did not end in time. `peak_bytes` is the most memory that
    one case took over what the process held before; 0 says that nobody measured.
    """

    name: str
    tried: int = 0
    fine: int = 0
    refused: int = 0
    broken: list[Break] = dataclasses.field(default_factory=list)
    hangs: int = 0
    peak_bytes: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict:
        """All fields, as JSON takes them."""
        return dataclasses.asdict(self)


def joined(name: str, outcomes: list[Outcome]) -> Outcome:
    """Several outcomes as one: sums, and the largest peak."""
    return Outcome(
        name,
        sum(o.tried for o in outcomes),
        sum(o.fine for o in outcomes),
        sum(o.refused for o in outcomes),
        [one for o in outcomes for one in o.broken],
        sum(o.hangs for o in outcomes),
        max((o.peak_bytes for o in outcomes), default=0),
        sum(o.seconds for o in outcomes),
    )


def table(outcomes: list[Outcome]) -> str:
    """One row of a Markdown table for each outcome, and one for all of them."""
    rows = [
        f"| {o.name} | {o.tried:,} | {o.fine:,} | {o.refused:,} | {len(o.broken):,} | {o.hangs:,} "
        f"| {o.peak_bytes / 1e6:,.0f} | {o.seconds:,.0f} |"
        for o in [*outcomes, joined("all", outcomes)]
    ]
    head = "| part | tried | fine | refused in one line | broken | of these hangs | peak, MB | seconds |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *rows])
