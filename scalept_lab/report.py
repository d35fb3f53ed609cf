"""The report of a study: one HTML page that needs nothing else, to keep, to send, to hand in.

Styles and pictures stand in the page; there is no script and no address to load from, and a content policy in the page
forbids both. Whatever was read from a file is escaped.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from scalept_lab import page, plots
from scalept_lab.costs import shape
from scalept_lab.errors import InputError
from scalept_lab.fit import Law
from scalept_lab.runs import RunRecord, write_atomically

PARAMETERS = {
    "E": ("E", "loss that no size and no data removes (nats per token)"),
    "A": ("A", "scale of the term in N"),
    "B": ("B", "scale of the term in D"),
    "alpha": ("α", "how fast loss falls with parameters N"),
    "beta": ("β", "how fast loss falls with tokens D"),
    "R_D": ("R<sub>D</sub>", "repetitions of the data that are worth fresh tokens"),
}
FORMULAS = {
    "chinchilla": "L = E + A / N<sup>α</sup> + B / D<sup>β</sup>",
    "power": "L = E + A / x<sup>α</sup>",
    "data_constrained": "L = E + A / N<sup>α</sup> + B / D′<sup>β</sup>, D′ the fresh tokens that D tokens with "
    "repetitions are worth,",
}


def write_report(study: Any, path: str | Path, law: Law | None = None) -> Path:
    """Write the report of a `scalept_lab.study.Study` to `path` and return it.

    `law`: by default the study's own fit. What is missing (too few runs for a law, no prediction, a hero not trained, a
    broken seal) is said in the page. Raises: InputError if the study has no runs at all.
    """
    path = Path(path)
    records = study.store.records()
    if not records:
        raise InputError(f"study {study.name!r} has no runs yet; call study.run(sweep) first, then report")
    problem = ""
    if law is None:
        try:
            law = study.fit()
        except InputError as error:
            problem = str(error)
    scores, open_shots, broken = _shots(study)
    parts = [
        _opening(study, records, law, scores),
        _facts(study, records, scores),
        _predictions(scores, open_shots, broken),
        _frontier(records, law, scores, open_shots),
        _law(law, problem),
        _figures(records, law),
        _runs(records),
        _machine([*records, *study.heroes.records()]),
        _reproduce(study),
    ]
    write_atomically(path, page.document(f"Scaling study: {study.name}", "\n".join(parts)))
    return path


def _shots(study: Any) -> tuple[list, list, list[str]]:
    """Scores, sealed predictions still open, and what is wrong with the rest."""
    heroes = {record.id: record for record in study.heroes.records()}
    scored, waiting, broken = [], [], []
    for file in sorted((study.folder / "shots").glob("*.json")):
        try:
            shot = study.sealed(file.stem)
        except (InputError, ValueError) as error:
            broken.append(str(error).splitlines()[0])
            continue
        hero = heroes.get(shot.id)
        if hero is not None and hero.L is not None:
            scored.append((shot, hero))
        else:
            waiting.append((shot, hero))
    return scored, waiting, broken


# --- sections ---------------------------------------------------------------------------------------------------------


def _opening(study: Any, records: Sequence[RunRecord], law: Law | None, scores: list) -> str:
    done = [record for record in records if record.ok] or list(records)
    corpora = sorted({str(record.config.get("corpus", "unknown")) for record in records})
    first = (
        f"{len(records)} language models of {page.span([r.N for r in done], plots.short)} parameters were trained on "
        f"{page.span([r.D for r in done], plots.short)} tokens of the corpus {', '.join(map(escape, corpora))}."
    )
    if scores:
        shot, hero = scores[-1]
        inside = shot.low <= hero.L <= shot.high
        times = shot.flops / max([record.C for record in records if record.C > 0], default=shot.flops)
        second = (
            f"The law fitted to their losses foretold a model with {times:.3g} times the compute of the largest: "
            f"<strong>predicted {shot.predicted:.4f}, measured {hero.L:.4f} nats per token, "
            f"{_error(shot, hero)}</strong>, "
            + (page.good("inside") if inside else page.bad("outside"))
            + " the 95 % interval."
        )
    elif law is not None:
        second = "A law was fitted to their losses; no prediction has been scored yet."
    else:
        second = "No law could be fitted to their losses yet."
    return f"<p>{first} {second}</p>"


def _facts(study: Any, records: Sequence[RunRecord], scores: list) -> str:
    ok = sum(record.ok for record in records)
    counts = {status: sum(r.status == status for r in records) for status in ("diverged", "failed")}
    others = [f"{count} {status}" for status, count in counts.items() if count]
    share = study.spent / study.budget if study.budget else 0.0
    largest = max(record.C for record in records)
    smallest = min((record.C for record in records if record.C > 0), default=largest)
    decades = math.log10(largest / smallest) if smallest > 0 else 0.0
    facts = [  # name, value, more: HTML
        ("runs", f"{ok}", ", ".join(others) or "all finished"),
        ("compute budget", page.flops(study.budget), f"{share:.0%} spent: {page.flops(study.spent)}"),
        ("range of compute", f"{decades:.1f} decades", f"{page.flops(smallest)} to {page.flops(largest)}"),
        ("training time", page.duration(sum(record.seconds for record in records)), "sum over the runs"),
    ]
    if scores:
        shot, hero = scores[-1]
        more = f"hero: {page.flops(shot.flops)}, {page.duration(hero.seconds)}"
        facts.append(("error of the prediction", _error(shot, hero), more))
    cells = (
        f"<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>" for name, value, more in facts
    )
    return f'<dl class="facts">{"".join(cells)}</dl>'


def _predictions(scores: list, waiting: list, broken: list[str]) -> str:
    rows = []
    for shot, hero in scores:
        inside = shot.low <= hero.L <= shot.high
        verdict = page.good("inside") if inside else page.bad("outside")
        rows.append(_shot_cells(shot, f"{hero.L:.4f}", _error(shot, hero), verdict))
    for shot, hero in waiting:
        state = "not trained yet" if hero is None else page.bad(escape(hero.status))
        rows.append(_shot_cells(shot, state, "", ""))
    lines = "".join(f'<p class="bad">{escape(line)}</p>' for line in broken)
    if not rows:
        return page.section(
            "Sealed predictions", lines or "<p>None yet: <code>study.call_shot(flops=…)</code> makes one.</p>"
        )
    head = ["predicted", "measured", "error", "verdict", "95 % interval", "N", "D", "C (FLOPs)", "sealed"]
    note = '<p class="soft">Each was written to disk, with a hash over all of it, before its model was trained.</p>'
    return page.section(
        "Sealed predictions", note + page.table("Loss in nats per token", head, rows, left={8}) + lines
    )


def _shot_cells(shot: Any, measured: str, error: str, verdict: str) -> list[str]:
    N = shape(shot.config.model).non_embedding
    D = shot.config.steps * shot.config.tokens_per_step
    interval = f"{shot.low:.4f} to {shot.high:.4f}"
    when = escape(shot.sealed_at.replace("T", " ").replace("+00:00", " UTC"))
    size = [f"{N:,}", f"{D:,}", page.flops(shot.flops)]
    return [f"{shot.predicted:.4f}", measured, error, verdict, interval, *size, when]


def _frontier(records: Sequence[RunRecord], law: Law | None, scores: list, waiting: list) -> str:
    shot, hero = scores[-1] if scores else waiting[-1] if waiting else (None, None)
    measured = hero.L if hero is not None else None
    caption = "Every run by its compute"
    alt = "Held-out loss against training compute on logarithmic axes: the runs as points coloured by model size"
    if law is not None:
        caption += (
            ", the compute-optimal frontier of the fitted law with its 95 % band (dashed beyond the runs)"
        )
        alt += ", the fitted compute-optimal frontier as a line below them"
    if shot is not None:
        caption += ", and the sealed prediction with its interval"
        alt += f", and at {shot.flops:.2g} FLOPs the predicted loss {shot.predicted:.3f}"
        alt += f" ({shot.low:.3f} to {shot.high:.3f})"
    if measured is not None:
        caption += "; the star is what was measured"
        alt += f" beside the measured {measured:.3f}"
    return page.figure(lambda: plots.plot_frontier(records, law, shot, measured), alt + ".", caption + ".")


def _law(law: Law | None, problem: str) -> str:
    if law is None:
        return page.section("The fitted law", f'<p class="bad">No law: {escape(problem)}</p>')
    rows = []
    for name, value in law.params.items():
        symbol, meaning = PARAMETERS.get(name, (escape(name), ""))
        rows.append([symbol, f"{value:.4g}", _interval(law, name), meaning])
    if "a" in law.interval95:
        for name, value, meaning in (
            ("a", law.a, "the compute-optimal N grows as C<sup>a</sup>"),
            ("b", law.b, "the compute-optimal D grows as C<sup>b</sup>"),
        ):
            rows.append([name, f"{value:.4g}", _interval(law, name), meaning])
    mark = page.good if law.status == "converged" else page.bad
    status = f"<p>Status: {mark(escape(law.status))}: {escape(law.detail)}. "
    status += f"Scatter of the runs around the law: {100 * law.sigma:.2g} %.</p>"
    head = ["symbol", "value", "95 % interval", "meaning"]
    table = page.table("Parameters with 95 % bootstrap intervals", head, rows, left={0, 3})
    alt = "Parameters of the law relative to their estimates, with 95 % intervals: "
    alt += ", ".join(f"{name} {value:.3g}" for name, value in law.params.items()) + "."
    figures = page.figure(lambda: plots.plot_parameters(law), alt, "How well each parameter is determined.")
    figures += page.figure(
        lambda: plots.plot_residuals(law),
        "Residuals of the fit in percent against N and against D; their standard deviation is "
        f"{100 * law.sigma:.2g} percent.",
        "What the law leaves over. A trend would mean that its form does not fit.",
    )
    formula = f"<p>{FORMULAS[law.form]} in nats per token, by the sum of Huber terms on log loss.</p>"
    return page.section("The fitted law", formula + table + status + figures)


def _interval(law: Law, name: str) -> str:
    return "{:.4g} to {:.4g}".format(*law.interval95[name]) if name in law.interval95 else "not computed"


def _figures(records: Sequence[RunRecord], law: Law | None) -> str:
    lines = "lines of the fitted law" if law is not None else "lines joining the runs"
    jobs: list[tuple[Callable[[], Figure], str, str]] = [
        (
            lambda: plots.plot_sweep(records, law),
            f"Held-out loss against training tokens, a colour for each model size: points of the runs and {lines}.",
            "More data, for each model size.",
        ),
        (
            lambda: plots.plot_isoflop(records, law),
            "Held-out loss against model size for each budget of compute, with a parabola and its minimum where a "
            "budget has three sizes or more.",
            "Which size is best at equal compute.",
        ),
        (
            lambda: plots.plot_curves(records),
            "Training loss along every run, by tokens seen; a dot marks the held-out loss at the end.",
            "The runs as they went.",
        ),
    ]
    return page.section("The runs in pictures", "".join(page.figure(*job) for job in jobs))


def _runs(records: Sequence[RunRecord]) -> str:
    rows = []
    for r in records:
        status = "ok" if r.ok else page.bad(escape(r.status)) + (f": {escape(r.error)}" if r.error else "")
        loss = f"{r.L:.4f}" if r.L is not None else "–"
        model = r.config.get("model")
        width = escape(str(model.get("width", ""))) if isinstance(model, dict) else ""
        rate, seed = escape(str(r.config.get("lr", ""))), escape(str(r.config.get("seed", "")))
        rows.append([f"<code>{escape(r.id)}</code>", width, f"{r.N:,}", f"{r.D:,}", page.flops(r.C), loss, rate, seed,
                     f"{r.seconds:.1f}", status])  # fmt: skip
    head = ["run", "width", "N", "D", "C (FLOPs)", "L", "rate", "seed", "seconds", "status"]
    caption = "N: non-embedding parameters, D: training tokens, C: training compute, L: held-out loss in nats per token"
    return page.section("All runs", page.table(caption, head, rows, left={0, 9}))


def _machine(records: Sequence[RunRecord]) -> str:
    def seen(*path: str) -> str:
        found = set()
        for record in records:
            value: Any = record.provenance
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                found.add(str(value))
        return ", ".join(sorted(found)) or "not recorded"

    versions = [record.provenance.get("versions") for record in records]
    packages = sorted({str(name) for found in versions if isinstance(found, dict) for name in found})
    dates = sorted(str(r.provenance["created"]) for r in records if r.provenance.get("created"))
    rows = [
        ["machine", seen("machine")],
        ["device", f"{seen('device')}, threads per run: {seen('threads')}"],
        ["versions", "; ".join(f"{name} {seen('versions', name)}" for name in packages) or "not recorded"],
        ["commit", seen("commit")],
        ["corpus (sha256 of its tokens)", seen("corpus_sha256")],
        ["trained", " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "not recorded"],
        ["origin", ", ".join(sorted({record.origin for record in records}))],
    ]
    body = "".join(
        f'<tr><th scope="row" class="left">{escape(k)}</th><td class="left wrap">{escape(v)}</td></tr>'
        for k, v in rows
    )
    return page.section(
        "Where it was made", f'<div class="wide"><table class="facts"><tbody>{body}</tbody></table></div>'
    )


def _reproduce(study: Any) -> str:
    folder = f"results/{study.folder.name}"
    return page.section(
        "To do it again",
        f"<pre>scalept study --budget-flops {study.budget:g} --out {escape(shlex.quote(folder))}</pre>"
        f"<p>runs the standard study with this budget. Each run's whole configuration, curve and provenance stand in "
        f"<code>runs/</code>, one JSON file per run, the sealed predictions in <code>shots/</code>, what they foretold "
        f"in <code>hero/</code>. From Python:</p>"
        f"<pre>import scalept_lab as sl\n"
        f"study = sl.Study({escape(repr(study.name))}, folder={escape(repr(folder))})\n"
        f"law = study.fit()              # the same runs give the same law\n"
        f"study.scores()                 # every sealed prediction against its outcome</pre>",
    )


def _error(shot: Any, hero: RunRecord) -> str:
    assert hero.L is not None
    return f"{100 * (hero.L / shot.predicted - 1):+.2f}&nbsp;%".replace("-", "−")
