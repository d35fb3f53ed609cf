"""Cleaning: quality filters, removal of secrets and addresses, exact and near duplicates, each with counts of what it did.

The order matters and is the usual one: drop what is not worth reading (rules of thumb, each with its reason and its number),
redact what must not be learned (a word for its kind takes its place), then remove copies. Every removed document keeps its
reason, so a learner can look at what a rule threw away before believing in it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scalept_lab.data.duplicates import exact_key, near_duplicates
from scalept_lab.data.redaction import redact
from scalept_lab.data.tokens import utf8
from scalept_lab.errors import InputError
from scalept_lab.screen import watched

if TYPE_CHECKING:
    import pandas as pd


_GENERATED = re.compile(
    r"\bauto-?generated|automatically generated|@generated|do not (?:edit|modify)|^[#\s]*generated (?:by|from)\b",
    re.I | re.M,
)
_LITERAL_LINE = re.compile(
    rb"^[ \t]*(?:\(?[\[('\"]*[-+]?[0-9.][^=\n]*|\(?u?b?r?['\"][^=\n]*)[,)\]}][ \t]*$", re.M
)
_LETTER = np.zeros(256, bool)  # by byte; those above 127 are letters of other scripts, mostly
_LETTER[[*range(65, 91), *range(97, 123), *range(128, 256)]] = True


@dataclass(frozen=True)
class Rule:
    """One reason to drop a document: ``drops(text, data)`` sees the text and its UTF-8 bytes."""

    name: str
    why: str
    drops: Callable[[str, bytes], bool]


def _longest_line(data: bytes) -> int:
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
    return int(np.diff(ends, prepend=-1, append=len(data)).max()) - 1


def letter_fraction(data: bytes) -> float:
    """Letters among all bytes that are not white space."""
    array = np.frombuffer(data, np.uint8)
    solid = array > 32
    return float(_LETTER[array].sum() / max(1, solid.sum()))


def compression_ratio(data: bytes) -> float:
    """Compressed size over size (zlib level 1, first 256 KiB): near 0 is repetition, near 1 is noise."""
    head = data[:262_144]
    return len(zlib.compress(head, 1)) / max(1, len(head))


def literal_lines(data: bytes) -> float:
    """Share of the lines that hold nothing but literals: what a table of data looks like inside a source
    file."""
    return len(_LITERAL_LINE.findall(data)) / max(1, data.count(b"\n"))


def quality_rules(
    *,
    min_chars: int = 200,
    min_bytes: int = 0,
    max_line: int = 1000,
    max_mean_line: float = 100,
    min_letters: float = 0.4,
    min_ratio: float = 0.12,
    max_ratio: float = 0.7,
    max_literal_lines: float = 0.6,
) -> tuple[Rule, ...]:
    """The rules in the order they are tried; a document is counted under the first that drops it.

    Line lengths, generated files and a low share of letters follow the filter of Chen et al. 2021 (Codex,
    section 3.1); the compression ratio stands for the repetition measures of Rae et al. 2021 (Gopher,
    appendix A.1).
    """
    return (
        Rule(
            "not_text",
            "wrong encoding or binary: holds U+FFFD or NUL",
            lambda t, d: "\ufffd" in t or "\0" in t,
        ),
        Rule(
            "too_short",
            f"under {f'{min_bytes} bytes' if min_bytes else f'{min_chars} characters'}: no context to learn from",
            lambda t, d: len(t.strip()) < min_chars or len(d.strip()) < min_bytes,
        ),
        Rule(
            "generated",
            "says in its first 1000 characters that a program wrote it",
            lambda t, d: _GENERATED.search(t, 0, 1000) is not None,
        ),
        Rule(
            "long_lines",
            f"a line over {max_line} or mean line over {max_mean_line:g} bytes: minified, or data",
            lambda t, d: _longest_line(d) > max_line or len(d) / (d.count(b"\n") + 1) > max_mean_line,
        ),
        Rule(
            "few_letters",
            f"under {min_letters:.0%} of its visible bytes are letters: numbers or encoded data",
            lambda t, d: letter_fraction(d) < min_letters,
        ),
        Rule(
            "data_table",
            f"over {max_literal_lines:.0%} of its lines are literals only: a table, not a text",
            lambda t, d: literal_lines(d) > max_literal_lines,
        ),
        Rule(
            "repetitive",
            f"compresses below {min_ratio:g} of its size: says the same thing over and over",
            lambda t, d: compression_ratio(d) < min_ratio,
        ),
        Rule(
            "noise",
            f"compresses to more than {max_ratio:g} of its size: random or encrypted",
            lambda t, d: len(d) > 1000 and compression_ratio(d) > max_ratio,
        ),
    )


CODE_RULES = quality_rules()
# Prose: paragraphs stand on one line, and a table row of a task set can be one short sentence. In bytes: a sentence of Chinese
# has about as many as one of English, and a third of the characters.
PROSE_RULES = quality_rules(
    min_chars=1, min_bytes=20, max_line=100_000, max_mean_line=100_000, max_literal_lines=1.1, max_ratio=0.9
)


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
    """Filter, redact and deduplicate a table of documents (``data.sources.table``); returns what is left of it, in
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
    rows = watched(documents.itertuples(), "filtering documents", len(documents), progress)
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
