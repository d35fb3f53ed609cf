"""Data cards: what a prepared corpus holds, from where, under which licence, and what cleaning took away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from scalept_lab.data.documents import CORPORA
from scalept_lab.data.wheels import SOURCES

if TYPE_CHECKING:
    import pandas as pd

    from scalept_lab.data.clean import CleaningReport


def describe(
    documents: pd.DataFrame, heldout: Sequence[int], report: CleaningReport | None, origin: str
) -> dict[str, Any]:
    """The part of a card that is known from the documents: counts, sources and cleaning. ``heldout`` are
    row numbers."""
    held = documents.assign(out=documents.index.isin(heldout))
    sources: dict[str, dict[str, Any]] = {
        str(package): {
            "licence": rows["licence"].iloc[0],
            "documents": len(rows),
            "bytes": int(rows["bytes"].sum()),
            "heldout_bytes": int(rows.loc[rows["out"], "bytes"].sum()),
        }
        for package, rows in held.groupby("package")
    }
    for package in sources.keys() & SOURCES.keys():
        pin = SOURCES[package]
        sources[package] |= {"version": pin.version, "wheel_sha256": pin.wheel_sha256}
    return {
        "origin": origin,
        "documents": len(documents),
        "train_documents": len(documents) - len(heldout),
        "heldout_documents": len(heldout),
        "bytes": int(documents["bytes"].sum()),
        "sources": sources,
        "cleaning": report.summary() if report else None,
    }


def data_card(cards: Sequence[dict[str, Any]]) -> str:
    """The Markdown of data/README.md from prepared corpora's cards."""
    pins = (
        (
            f"{s.package} {s.version}",
            s.licence,
            f"`{s.wheel}`",
            f"`{s.wheel_sha256}`",
            f"`{s.content_sha256}`",
        )
        for s in SOURCES.values()
    )
    corpora = (
        (
            f"`{c['name']}`",
            c["documents"] or "endless",
            f"{c['train_tokens']:,}",
            f"{c['heldout_tokens']:,}",
            f"`{c['sha256']}`",
        )
        for c in cards
    )
    lines = [
        "# Data cards",
        "",
        "Written by `python -m scalept_lab.data.corpora data/README.md`; do not edit by hand. None of the text is in the",
        "repository: it is built from the pinned wheels on first use (read, never imported or executed) and is the",
        "same bytes on every machine, which the fingerprint proves. Tokens are bytes; byte 0 ends a document; a hash",
        "of its path puts each document on one side.",
        "",
        "Demonstrations of BabyAI missions are data of another kind: `demonstrations/README.md` has their card.",
        "",
        "## Sources",
        "",
        "| source | licence | wheel | sha256 of the wheel | sha256 of the selected files |",
        "|---|---|---|---|---|",
        *_rows(pins),
        "",
        "Test files are left out. Where a pinned package is not installed and its wheel cannot be fetched, the",
        "interpreter's standard library (PSF-2.0) serves instead; the card and a warning say so, and its",
        "fingerprint is another.",
        "",
        "## Corpora",
        "",
        "| corpus | documents | train tokens | held-out tokens | fingerprint (sha256) |",
        "|---|--:|--:|--:|---|",
        *_rows(corpora),
    ]
    for card in cards:
        about = (
            CORPORA[card["name"]].about
            if card["name"] in CORPORA
            else "a generated language of known entropy"
        )
        lines += ["", f"### `{card['name']}`", "", f"{about}.", ""]
        if "entropy_rate" in card:
            lines += [_entropy(card)]
        else:
            lines += _sources(card)
            lines += _cleaning(card["cleaning"]) if card["cleaning"] else []
    return "\n".join(lines) + "\n"


def _entropy(card: dict[str, Any]) -> str:
    windows = ", ".join(f"{k}: {v:.6f}" for k, v in card["window_entropy"].items())
    letters = ", ".join(f"{h:.4f}" for h in card["entropy_given"])
    return (
        f"Entropy rate {card['entropy_rate']:.6f} nats per token, from its stationary distribution. "
        f"Irreducible loss of a model that sees windows of {windows}. "
        f"Entropy of a letter given the 0, 1, 2, … before it: {letters}."
    )


def _sources(card: dict[str, Any]) -> list[str]:
    rows = (
        (
            f"{package} {source['version']}",
            source["documents"],
            f"{source['bytes']:,}",
            f"{source['bytes'] / card['bytes']:.0%}",
            f"{source['heldout_bytes']:,}",
            source["licence"],
        )
        for package, source in card["sources"].items()
    )
    head = [
        "| source | documents | bytes | share | of these held out | licence |",
        "|---|--:|--:|--:|--:|---|",
    ]
    return [*head, *_rows(rows)]


def _cleaning(cleaning: dict[str, Any]) -> list[str]:
    steps = (
        (rule, f"{step['documents']:,}", f"{step['bytes']:,}", step["why"])
        for rule, step in cleaning["removed"].items()
    )
    redacted = ", ".join(f"{kind} {n}" for kind, n in sorted(cleaning["redactions"].items()))
    return [
        "",
        f"Cleaning: {cleaning['documents_before']:,} documents, {cleaning['bytes_before']:,} bytes before; "
        f"{cleaning['documents_after']:,} documents, {cleaning['bytes_after']:,} bytes after.",
        "",
        "| removed by | documents | bytes | why |",
        "|---|--:|--:|---|",
        *_rows(steps),
        "",
        f"Redacted: {redacted or 'nothing'}.",
    ]


def _rows(rows: Iterable[Sequence[Any]]) -> list[str]:
    return ["| " + " | ".join(map(str, row)) + " |" for row in rows]
