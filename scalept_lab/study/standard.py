"""The study that `make run` makes: five slices of equal compute, one law, one sealed prediction, one hero."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalept_lab.errors import InputError
from scalept_lab.laws.fit import Law
from scalept_lab.laws.formulas import FORMULAS
from scalept_lab.plots import frontier, runs, style
from scalept_lab.runs import RunRecord, write_atomically
from scalept_lab.study.predictions import Score
from scalept_lab.study.study import Study
from scalept_lab.study.sweep import Sweep

# FLOPs of each slice and the widths tried in it: the best one inside its list, but for 3.16e10, where
# it is the smallest tried (data/records/standard.jsonl, notebook 08)
SLICES: dict[float, tuple[int, ...]] = {
    1e10: (8, 16, 24),
    3.16e10: (16, 24, 32),
    1e11: (16, 24, 32, 40),
    3.16e11: (24, 40, 56),
    1e12: (32, 48, 64),
}
FIT_FROM = 3e10  # FLOPs: smaller runs lie 2 to 4 % below a law fitted to the rest, so they are left out
HERO_FACTOR = 5.0  # times the compute of the largest run fitted
DEFAULT_BUDGET = 6e12


@dataclass(frozen=True)
class Done:
    """What the study found: its runs, its law, and the hero's score."""

    records: list[RunRecord]
    law: Law
    score: Score
    report: Path
    figures: list[Path]

    def as_json(self) -> dict[str, Any]:
        """The keys of `scalept study --json`."""
        shot = self.score.shot
        return {
            "runs": len(self.records),
            "form": self.law.form,
            "law": self.law.params,
            "interval95": {name: list(pair) for name, pair in self.law.interval95.items()},
            "status": self.law.status,
            "hero": {
                "flops": shot.flops,
                "predicted": shot.predicted,
                "low": shot.low,
                "high": shot.high,
                "measured": self.score.measured,
                "error_percent": self.score.error_percent,
            },
            "report": str(self.report),
            "figures": [str(path) for path in self.figures],
        }

    def __str__(self) -> str:
        lines = [
            "",
            f"{'width':>6} {'parameters':>11} {'tokens':>11} {'FLOPs':>9} {'loss':>7} {'seconds':>8}",
        ]
        for record in self.records:
            loss = f"{record.L:.4f}" if record.L is not None else record.status
            width = record.config["model"]["width"]
            lines.append(
                f"{width:>6} {record.N:>11,} {record.D:>11,} {record.C:>9.2g} {loss:>7} {record.seconds:>8.1f}"
            )
        lines += ["", FORMULAS[self.law.form]]
        for name, value in self.law.params.items():
            low, high = self.law.interval95[name]
            lines.append(f"  {name:<6} {value:>10.4g}   95 % interval {low:.4g} to {high:.4g}")
        lines += [f"  {self.law.status}: {self.law.detail}", "", f"the prediction: {self.score.shot}"]
        lines += [f"the score:      {self.score}", "", f"report: {self.report}, with the figures beside it"]
        return "\n".join(lines)


def standard_sweep(budget: float, seed: int = 0, **fields: Any) -> Sweep:
    """The largest standard sweep that a budget pays for: whole slices, from the smallest up.

    Raises: InputError if the budget does not pay for three slices, the fewest a law can be fitted to.
    """
    for count in range(len(SLICES), 2, -1):
        sweep = Sweep.isoflop(dict(list(SLICES.items())[:count]), seed=seed, **fields)
        if sweep.flops <= budget:
            return sweep
    raise InputError(
        f"budget_flops: expected at least {sweep.flops * 1.01:.3g}, what the smallest study costs, got {budget:g}; "
        f"the whole study takes {DEFAULT_BUDGET:g}"
    )


def run_standard_study(
    out: str | Path, budget: float | None = None, seed: int = 0, quiet: bool = False
) -> Done:
    """Sweep, fit, seal, hero, report, each step told as it happens. Run again after a kill, it goes on where it was."""
    folder = Path(out)
    if budget is None and not (folder / "study.json").exists():
        budget = DEFAULT_BUDGET
    study = Study(folder.name, budget_flops=budget, folder=folder)
    sweep = standard_sweep(study.budget, seed=seed)
    say = (lambda *_: None) if quiet else print
    say(f"1. plan     {study.estimate(sweep)}")
    records = study.run(sweep, progress=not quiet)
    diverged = [record for record in records if not record.ok]
    if diverged:
        say(f"            {len(diverged)} of {len(records)} runs diverged and are left out")
    law = study.fit(from_flops=FIT_FROM)
    say(f"2. fit      {len(law.points)} runs from {FIT_FROM:g} FLOPs on, {law.status}: {law.detail}")
    shot = study.call_shot(HERO_FACTOR * max(record.C for record in records), law)
    say(f"3. predict  {shot}")
    score = study.run_hero(shot, progress=not quiet)
    say(f"4. score    {score}")
    figures = save_figures(folder, records, law, score)
    return Done(records, law, score, study.report(law=law), figures)


def save_figures(folder: Path, records: list[RunRecord], law: Law, score: Score) -> list[Path]:
    """The three figures that tell the story, as PNG files in the study's folder."""
    drawn = {
        "frontier": frontier.plot_frontier(records, law, score.shot, score.measured),
        "sweep": runs.plot_sweep(records, law),
        "isoflop": runs.plot_isoflop(records, law),
    }
    for name, figure in drawn.items():
        write_atomically(folder / f"{name}.png", style.png(figure))
    return [folder / f"{name}.png" for name in drawn]
