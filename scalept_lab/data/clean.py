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

import numpy as np
from tqdm.auto import tqdm

from scalept_lab.data.duplicates import exact_key, near_duplicates
from scalept_lab.data.filters import (
    CODE_RULES,
    Rule,
)
from scalept_lab.data.redaction import redact
from scalept_lab.data.tokens import utf8
from scalept_lab.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


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
    documents: pd.DataFrame,
    *,
    rules: Sequence[Rule] = CODE_RULES,
    redaction: bool = True,
    exact: bool = True,
    near: float | None = 0.7,
    progress: bool = True,
) -> tuple[pd.DataFrame, CleaningReport]:
    """Filter, redact and deduplicate a table of documents (``corpus.table``); returns what is left of it, in
    its order, and the report.

    ``near`` is the Jaccard similarity from which two documents count as the same (None: keep near
    duplicates). Of copies the first in the table's order stays.
    """
    if near is not None and not 0 < near <= 1:
        raise InputError(f"near={near}: expected a Jaccard similarity above 0 and at most 1, or None")
    report = CleaningReport(len(documents), int(documents["bytes"].sum()))
    kept = _filter(documents, rules, report, progress)
    if redaction:
        kept = _redact(kept, report)
    if exact:
        kept = _drop_copies(kept, report)
    if near is not None:
        kept = _drop_near_copies(kept, near, report, progress)
    report.documents_after, report.bytes_after = len(kept), int(kept["bytes"].sum())
    return kept.reset_index(drop=True), report


def _filter(
    documents: pd.DataFrame, rules: Sequence[Rule], report: CleaningReport, progress: bool
) -> pd.DataFrame:
    for rule in rules:
        report._step(rule.name, rule.why)
    kept = np.ones(len(documents), bool)
    rows = tqdm(documents.itertuples(), "quality filters", len(documents), disable=not progress, leave=False)
    for place, row in enumerate(rows):
        data = utf8(row.text)
        broken = next((rule for rule in rules if rule.drops(row.text, data)), None)
        if broken is not None:
            report._remove(broken.name, row.path, row.bytes)
            kept[place] = False
    return documents[kept]


def _redact(documents: pd.DataFrame, report: CleaningReport) -> pd.DataFrame:
    redacted = documents.copy()
    for row in documents.itertuples():
        text, counts = redact(row.text)
        if counts:
            redacted.loc[row.Index, ["text", "bytes"]] = text, len(utf8(text))
        for name, n in counts.items():
            report.redactions[name] = report.redactions.get(name, 0) + n
    return redacted


def _drop_copies(documents: pd.DataFrame, report: CleaningReport) -> pd.DataFrame:
    report._step("exact_copy", "the same text as an earlier document, white space aside")
    first: dict[str, str] = {}
    kept = np.ones(len(documents), bool)
    for place, row in enumerate(documents.itertuples()):
        key = exact_key(row.text)
        if key in first:
            report._remove("exact_copy", row.path, row.bytes, of=first[key])
            kept[place] = False
        else:
            first[key] = row.path
    return documents[kept]


def _drop_near_copies(
    documents: pd.DataFrame, near: float, report: CleaningReport, progress: bool
) -> pd.DataFrame:
    report._step("near_copy", f"shares at least {near:.0%} of its five-word runs with an earlier document")
    kept = np.ones(len(documents), bool)
    paths, sizes = documents["path"].tolist(), documents["bytes"].tolist()
    for copy, original, similarity in near_duplicates(documents["text"].tolist(), near, progress):
        of, similarity = paths[original], round(similarity, 3)
        report._remove("near_copy", paths[copy], sizes[copy], of=of, similarity=similarity)
        kept[copy] = False
    return documents[kept]
