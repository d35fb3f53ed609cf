"""The report of a study, and that of a plan: one HTML page that needs nothing else, to keep, to send, to hand in.

`report.html.j2` is the page: all its words, its styles and its tables; `plan.html.j2` fills its frame for a plan. Pictures
stand in the page; there is no script and no address to load from, and a content policy in the page forbids both. Whatever was
read from a file is escaped.
"""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from scalept_lab.costs.counts import shape
from scalept_lab.errors import InputError
from scalept_lab.laws.fit import Law
from scalept_lab.plots import frontier, laws, plans, runs, style
from scalept_lab.plots.style import percent, png, shown_size
from scalept_lab.runs import RunRecord, write_atomically
from scalept_lab.study import plan as planning
from scalept_lab.study.judge import judge_of
from scalept_lab.study.miniature import Miniature
from scalept_lab.study.predictions import Score, Shot
from scalept_lab.study.review import check
from scalept_lab.study.rivals import naive, score

PARAMETERS = {
    "E": ("E", "loss that no size and no data removes (nats per token)"),
    "A": ("A", "scale of the term in N"),
    "B": ("B", "scale of the term in D"),
    "alpha": ("α", "how fast loss falls with parameters N"),
    "beta": ("β", "how fast loss falls with tokens D"),
    "kappa": ("κ", "how the two shortfalls combine: 1 adds them, below 1 the larger one rules"),
    "alpha_2": (Markup("α<sub>2</sub>"), "the exponent past the break"),
    "X_0": (Markup("x<sub>0</sub>"), "where the exponent changes"),
    "R_D": (Markup("R<sub>D</sub>"), "repetitions of the data that are worth fresh tokens"),
    "a": ("a", Markup("the compute-optimal N grows as C<sup>a</sup>")),
    "b": ("b", Markup("the compute-optimal D grows as C<sup>b</sup>")),
}
FORMULAS = {
    "chinchilla": Markup("L = E + A / N<sup>α</sup> + B / D<sup>β</sup>"),
    "tied": Markup("L = E + A / N<sup>α</sup> + B / D<sup>α</sup>"),
    "power_of_sum": Markup("L = E + (A / N<sup>α</sup> + B / D<sup>β</sup>)<sup>κ</sup>"),
    "power": Markup("L = E + A / x<sup>α</sup>"),
    "broken_power": Markup(
        "L = E + A / x<sup>α</sup> · (1 + (x/x<sub>0</sub>)<sup>2</sup>)<sup>(α − α<sub>2</sub>)/2</sup>"
    ),
    "data_constrained": Markup(
        "L = E + A / N<sup>α</sup> + B / D′<sup>β</sup>, D′ the fresh tokens that D tokens with repetitions are worth,"
    ),
}


def write_report(study: Any, path: str | Path, law: Law | None = None) -> Path:
    """Write the report of a `scalept_lab.study.study.Study` to `path` and return it.

    `law`: by default the study's own fit. What is missing (too few runs for a law, no prediction, a hero not trained) is
    said in the page, and so is a broken seal: no prediction is shown then. Raises: InputError if the study has no runs.
    """
    path = Path(path)
    records = study.store.records()
    if not records:
        raise InputError(f"study {study.name!r} has no runs yet; call study.run(sweep) first, then report")
    shots: list[Shot] = []
    scores: list[Score] = []
    problem = broken = ""
    if law is None:
        try:
            law = study.fit()
        except InputError as error:
            problem = str(error)
    try:
        shots, scores = study.shots(), study.scores()
    except InputError as error:
        broken = str(error)
    heroes = {record.id: record for record in study.heroes.records()}
    scored = {score.shot.id for score in scores}
    waiting = [shot for shot in shots if shot.id not in scored]
    score = scores[-1] if scores else None
    shot = score.shot if score else waiting[-1] if waiting else None
    folder = f"results/{study.folder.name}"
    page = _environment().get_template("report.html.j2").render(
        study=study, records=records, law=law, problem=problem, spent=study.spent, folder=folder,
        shots=shots, scores=scores, waiting=waiting, broken=broken, heroes=heroes, score=score, shot=shot,
        pictures=_pictures(records, law, shot, score.measured if score else None),
        formula=FORMULAS[law.form] if law else "", parameters=_parameters(law) if law else [],
        title=_title(study.name, records), made=_provenance([*records, *heroes.values()]), quoted_folder=shlex.quote(folder),
        **_extent(records, shot),
    )  # fmt: skip
    write_atomically(path, page)
    return path


def write_plan_report(plan: planning.Plan, path: str | Path, small: Miniature | None = None) -> Path:
    """Write the page of a plan to `path` and return it: checks, bill, standing, its miniature if there is one, assumptions.

    A plan that cannot run has its page, too, which says why it is not scored. Raises: InputError where it cannot be written.
    """
    path, case = Path(path), plan.case
    checks = check(plan)
    divides = checks[0].ok
    law, standing, problem = judge_of(case.name), None, ""
    try:
        standing = score(plan)
    except InputError as error:
        problem = str(error)
    drawn: dict[str, Callable[[], Figure]] = {}
    if standing is not None:
        rival = naive(case.name)
        gains = law.draws(rival.N, rival.tokens) - law.draws(plan.N, plan.tokens)
        drawn["draws"] = lambda: plans.plot_draws(gains, title=f"The plan is {standing.verdict}")
    if small is not None:
        drawn["small"] = lambda: plans.plot_miniature(
            small.losses, small.naive_losses, title=f"In small, {small.verdict}"
        )
    page = _environment().get_template("plan.html.j2").render(
        plan=plan, case=case, checks=checks, missed=sum(not each.ok for each in checks), law=law, standing=standing,
        problem=problem, cost=planning.bill(plan) if divides else None, small=small, facts=case.facts(),
        sealed=plan.seal == plan.digest(), assumptions=planning.ASSUMPTIONS,
        pictures={name: _picture(draw) for name, draw in drawn.items()},
    )  # fmt: skip
    write_atomically(path, page)
    return path


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters |= {"form": format, "percent": percent, "flops": _flops, "duration": _duration, "repr": repr}
    made.globals |= {"shape": shape, "found": _found}
    return made


def _title(name: str, records: Sequence[RunRecord]) -> str:
    """The study's own name; where it is the one that `scalept study` gives, what was studied."""
    sizes = _span([record.N for record in records])
    return f"Scaling study: {name if name != 'study' else f'{len(records)} models of {sizes} parameters'}"


def _extent(records: Sequence[RunRecord], shot: Shot | None) -> dict[str, Any]:
    """How many runs, how large, over how much compute."""
    done = [record for record in records if record.ok] or records
    counts = {status: sum(r.status == status for r in records) for status in ("diverged", "failed")}
    spent = [record.C for record in records if record.C > 0]
    smallest, largest = min(spent, default=0.0), max(spent, default=0.0)
    return {
        "finished": sum(record.ok for record in records),
        "lost": ", ".join(f"{count} {status}" for status, count in counts.items() if count),
        "corpora": ", ".join(sorted({str(record.config.get("corpus", "unknown")) for record in records})),
        "sizes": _span([record.N for record in done]),
        "tokens": _span([record.D for record in done]),
        "smallest": smallest,
        "largest": largest,
        "decades": math.log10(largest / smallest) if spent else 0.0,
        "times": shot.flops / largest if shot and spent else 1.0,
    }


def _parameters(law: Law) -> list[tuple[str, float, tuple[float, float] | None, str]]:
    """Symbol, value, interval and meaning of each parameter, and of the exponents a and b where they are known."""
    values = law.params | ({"a": law.a, "b": law.b} if "a" in law.interval95 else {})
    rows = []
    for name, value in values.items():
        symbol, meaning = PARAMETERS.get(name, (name, ""))
        rows.append((symbol, value, law.interval95.get(name), meaning))
    return rows


def _pictures(
    records: Sequence[RunRecord], law: Law | None, shot: Shot | None, measured: float | None
) -> dict[str, dict[str, Any]]:
    draw: dict[str, Callable[[], Figure]] = {
        "frontier": lambda: frontier.plot_frontier(records, law, shot, measured),
        "sweep": lambda: runs.plot_sweep(records, law),
        "isoflop": lambda: runs.plot_isoflop(records, law),
        "curves": lambda: runs.plot_curves(records),
    }
    if law is not None:
        draw |= {
            "parameters": lambda: laws.plot_parameters(law),
            "residuals": lambda: laws.plot_residuals(law),
        }
    return {name: _picture(each) for name, each in draw.items()}


def _picture(draw: Callable[[], Figure]) -> dict[str, Any]:
    """The figure as PNG in text, with its size and a narrow twin for phones; or, with nothing to draw, the line that says so."""
    try:
        fig = draw()
    except InputError as error:
        return {"data": "", "problem": str(error)}
    size, wide = shown_size(fig), png(fig)
    twins = {name: base64.b64encode(data).decode() for name, data in
             (("data", wide), ("narrow", png(style.narrow(fig))))}  # fmt: skip
    return twins | size


def _provenance(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Where and with what the runs were made: name and all that was seen."""

    def seen(*path: str) -> list[str]:
        return sorted(
            {str(value) for r in records if (value := _found(r.provenance, *path)) not in (None, "")}
        )

    def listed(*path: str) -> str:
        return ", ".join(seen(*path)) or "not recorded"

    versions = [_found(record.provenance, "versions") for record in records]
    packages = sorted({str(name) for found in versions if isinstance(found, dict) for name in found})
    dates = seen("created")
    return [
        ("machine", listed("machine")),
        ("device", f"{listed('device')}, threads per run: {listed('threads')}"),
        ("versions", "; ".join(f"{name} {listed('versions', name)}" for name in packages) or "not recorded"),
        ("commit", listed("commit")),
        ("corpus (sha256 of its tokens)", listed("corpus_sha256")),
        ("trained", " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "not recorded"),
        ("origin", ", ".join(sorted({record.origin for record in records}))),
    ]


def _found(tree: Any, *path: str) -> Any:
    """What stands at `path` in nested dicts, "" where nothing does: records of others may lack anything."""
    for key in path:
        tree = tree.get(key, "") if isinstance(tree, dict) else ""
    return tree


def _flops(value: float) -> str:
    """3e11 -> 3 × 10^11, in HTML."""
    if not value > 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    lead = "" if mantissa == "1" else f"{mantissa}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}"
    return Markup("{}10<sup>{}</sup>").format(lead, int(exponent))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _span(values: Sequence[float]) -> str:
    low, high = style.short(min(values)), style.short(max(values))
    return low if low == high else f"{low} to {high}"
