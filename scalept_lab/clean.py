"""Cleaning: quality filters, removal of secrets and addresses, exact and near duplicates, each with counts
of what it did and why.

The order matters and is the usual one: drop what is not worth reading, redact what must not be learned,
then remove copies. Every removed document keeps its reason, so a learner can look at what a rule threw away
before believing in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from scalept_lab.duplicates import BANDS, ROWS, SHINGLE, exact_key, jaccard, near_duplicates, shingles
from scalept_lab.errors import InputError
from scalept_lab.filters import (
    CODE_RULES,
    PROSE_RULES,
    Rule,
    compression_ratio,
    letter_fraction,
    literal_lines,
    quality_rules,
)
from scalept_lab.mixture import mix
from scalept_lab.redaction import redact

if TYPE_CHECKING:
    import datasets
    import pandas as pd

__all__ = [
    "BANDS",
    "CODE_RULES",
    "PROSE_RULES",
    "ROWS",
    "SHINGLE",
    "CleaningReport",
    "Rule",
    "clean",
    "compression_ratio",
    "exact_key",
    "jaccard",
    "letter_fraction",
    "literal_lines",
    "mix",
    "near_duplicates",
    "quality_rules",
    "redact",
    "shingles",
]


@dataclass
class CleaningReport:
    """What cleaning did. ``steps`` holds one row per rule: documents, bytes, why; ``removed`` each
    document's fate."""

    documents_before: int = 0
    bytes_before: int = 0
    documents_after: int = 0
    bytes_after: int = 0
    steps: dict[str, dict] = field(default_factory=dict)
    redactions: dict[str, int] = field(default_factory=dict)
    removed: list[dict] = field(default_factory=list)

    def _step(self, rule: str, why: str) -> None:
        self.steps[rule] = {"documents": 0, "bytes": 0, "why": why}

    def _remove(self, rule: str, path: str, size: int, **more) -> None:
        self.steps[rule]["documents"] += 1
        self.steps[rule]["bytes"] += size
        self.removed.append({"path": path, "rule": rule, "bytes": size, **more})

    def examples(self, rule: str, n: int = 5) -> list[dict]:
        """The largest documents that a rule removed: path, bytes, and for near duplicates what they
        resemble and how much."""
        own = [r for r in self.removed if r["rule"] == rule]
        return sorted(own, key=lambda r: (-r["bytes"], r["path"]))[:n]

    def table(self) -> pd.DataFrame:
        """One row per rule with documents and bytes removed, the share of all bytes, the reason, and one
        example."""
        import pandas as pd

        rows = [
            {
                "rule": rule,
                "documents": step["documents"],
                "bytes": step["bytes"],
                "share": step["bytes"] / max(1, self.bytes_before),
                "why": step["why"],
                "example": next((r["path"] for r in self.examples(rule, 1)), ""),
            }
            for rule, step in self.steps.items()
        ]
        columns = ["rule", "documents", "bytes", "share", "why", "example"]
        return pd.DataFrame(rows, columns=columns).set_index("rule")

    def summary(self) -> dict:
        """The counts alone, ready for a corpus card (JSON)."""
        return {
            "documents_before": self.documents_before,
            "bytes_before": self.bytes_before,
            "documents_after": self.documents_after,
            "bytes_after": self.bytes_after,
            "removed": {rule: dict(step) for rule, step in self.steps.items()},
            "redactions": dict(self.redactions),
        }


def clean(
    dataset: datasets.Dataset,
    *,
    rules: Sequence[Rule] = CODE_RULES,
    redaction: bool = True,
    exact: bool = True,
    near: float | None = 0.7,
    progress: bool = True,
) -> tuple[datasets.Dataset, CleaningReport]:
    """Filter, redact and deduplicate; returns the cleaned dataset (same columns, order kept) and the
    report.

    ``near`` is the Jaccard similarity from which two documents count as the same (None: keep near
    duplicates). Of copies the first in the dataset's order stays.
    """
    if near is not None and not 0 < near <= 1:
        raise InputError(f"near={near}: expected a Jaccard similarity above 0 and at most 1, or None")
    report = CleaningReport()
    texts, paths = list(dataset["text"]), list(dataset["path"])
    kept = _filter(texts, paths, rules, report, progress)
    if redaction:
        _redact(texts, kept, report)
    if exact:
        kept = _drop_copies(texts, paths, kept, report)
    if near is not None:
        kept = _drop_near_copies(texts, paths, kept, near, report, progress)
    report.documents_after = len(kept)
    report.bytes_after = sum(_size(texts[i]) for i in kept)
    return _subset(dataset, kept, texts), report


def _filter(
    texts: list[str], paths: list[str], rules: Sequence[Rule], report: CleaningReport, progress: bool
) -> list[int]:
    kept = []
    for rule in rules:
        report._step(rule.name, rule.why)
    for row, text in enumerate(tqdm(texts, desc="quality filters", disable=not progress, leave=False)):
        data = text.encode("utf-8", errors="replace")
        report.documents_before += 1
        report.bytes_before += len(data)
        broken = next((rule for rule in rules if rule.drops(text, data)), None)
        if broken is None:
            kept.append(row)
        else:
            report._remove(broken.name, paths[row], len(data))
    return kept


def _redact(texts: list[str], kept: list[int], report: CleaningReport) -> None:
    for row in kept:
        texts[row], counts = redact(texts[row])
        for name, n in counts.items():
            report.redactions[name] = report.redactions.get(name, 0) + n


def _drop_copies(texts: list[str], paths: list[str], kept: list[int], report: CleaningReport) -> list[int]:
    report._step("exact_copy", "the same text as an earlier document, white space aside")
    first: dict[str, int] = {}
    for row in kept:
        original = first.setdefault(exact_key(texts[row]), row)
        if original != row:
            report._remove("exact_copy", paths[row], _size(texts[row]), of=paths[original])
    return list(first.values())


def _drop_near_copies(
    texts: list[str], paths: list[str], kept: list[int], near: float, report: CleaningReport, progress: bool
) -> list[int]:
    report._step("near_copy", f"shares at least {near:.0%} of its five-word runs with an earlier document")
    gone = set()
    for copy, original, similarity in near_duplicates([texts[i] for i in kept], near, progress):
        row, of = kept[copy], paths[kept[original]]
        report._remove("near_copy", paths[row], _size(texts[row]), of=of, similarity=round(similarity, 3))
        gone.add(row)
    return [row for row in kept if row not in gone]


def _size(text: str) -> int:
    return len(text.encode("utf-8", errors="replace"))


def _subset(dataset: datasets.Dataset, rows: Sequence[int], texts: Sequence[str]) -> datasets.Dataset:
    """The rows as a dataset of its own, in memory, with their text replaced."""
    import datasets

    columns = {c: texts if c == "text" else list(dataset[c]) for c in dataset.column_names}
    return datasets.Dataset.from_dict(
        {c: [v[i] for i in rows] for c, v in columns.items()}, features=dataset.features
    )
