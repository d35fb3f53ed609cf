"""Cleaning: quality filters, removal of secrets and addresses, exact and near duplicates, each with counts
of what it did and why.

The order matters and is the usual one: drop what is not worth reading, redact what must not be learned,
then remove copies. Every removed document keeps its reason, so a learner can look at what a rule threw away
before believing in it.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from scalept_lab.errors import InputError

if TYPE_CHECKING:
    import datasets
    import pandas as pd

_GENERATED = re.compile(
    r"\bauto-?generated|automatically generated|@generated|do not (?:edit|modify)|^[#\s]*generated (?:by|from)\b",
    re.I | re.M,
)
_LITERAL_LINE = re.compile(
    rb"^[ \t]*(?:\(?[\[('\"]*[-+]?[0-9.][^=\n]*|\(?u?b?r?['\"][^=\n]*)[,)\]}][ \t]*$", re.M
)
_LETTER = np.zeros(256, bool)
_LETTER[[*range(65, 91), *range(97, 123), *range(128, 256)]] = (
    True  # bytes above 127 are letters of other scripts, mostly
)


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
            f"under {min_chars} characters: no context to learn from",
            lambda t, d: len(t.strip()) < min_chars,
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
# Prose: paragraphs stand on one line, and a table row of a task set can be one short sentence.
PROSE_RULES = quality_rules(
    min_chars=20, max_line=100_000, max_mean_line=100_000, max_literal_lines=1.1, max_ratio=0.9
)


# ---------------------------------------------------------------- redaction

# name, pattern, replacement, and a literal that must be in the text for the pattern to be worth running
_REDACTIONS: tuple[tuple[str, re.Pattern[str], str, re.Pattern[str]], ...] = (
    (
        "private_key",
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.S),
        "<PRIVATE_KEY>",
        re.compile("PRIVATE KEY-----"),
    ),
    (
        "email",
        re.compile(r"(?<![\w.%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,12}\b"),
        "<EMAIL>",
        re.compile(r"\w@\w"),
    ),
    (
        "access_token",
        re.compile(
            r"\b(?:AKIA[0-9A-Z]{16}|gh[opsu]_[A-Za-z0-9]{36}|github_pat_\w{40,}|hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{20,}"
            r"|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[\w-]{35}|glpat-[\w-]{20}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"
        ),
        "<SECRET>",
        re.compile("AKIA|gh[opsu]_|github_pat_|hf_|sk-|xox|AIza|glpat-|eyJ"),
    ),
    (
        "assigned_secret",
        re.compile(
            r"(?i)((?:api_?key|secret(?:_key)?|access_?token|auth_?token|passw(?:or)?d)[\"']?\s*[=:]\s*[\"'])"
            r"(?=[^\"'\s]*[0-9])[A-Za-z0-9+/_=-]{16,}(?=[\"'])"
        ),
        r"\1<SECRET>",
        re.compile("(?i)key|secret|token|passw"),
    ),
    (
        "long_hex",
        re.compile(r"\b(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{40,}\b"),
        "<HEX>",
        re.compile("[0-9a-f]{40}"),
    ),
)


def redact(text: str) -> tuple[str, dict[str, int]]:
    """Text with e-mail addresses, private keys, access tokens, assigned secrets and long hex strings
    replaced, and the counts."""
    counts: dict[str, int] = {}
    for name, pattern, replacement, hint in _REDACTIONS:
        if hint.search(text):
            text, found = pattern.subn(replacement, text)
            if found:
                counts[name] = found
    return text, counts


# ---------------------------------------------------------------- duplicates

_WORD = re.compile(rb"\w+")
_MIX = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD],
    np.uint64,
)
SHINGLE = 5
BANDS, ROWS = (
    16,
    4,
)  # 64 permutations; a pair of Jaccard J becomes a candidate with probability 1 - (1 - J^4)^16


def exact_key(text: str) -> str:
    """sha256 of the text with every run of white space made one blank."""
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", errors="replace")).hexdigest()


def shingles(text: str) -> np.ndarray:
    """Sorted unique uint32 hashes of all runs of five words; a text of fewer words has one shingle."""
    words = _WORD.findall(text.encode("utf-8", errors="replace"))
    hashes = np.fromiter(map(zlib.crc32, words), dtype=np.uint64, count=len(words))
    size = min(SHINGLE, len(words))
    if size == 0:
        return np.zeros(0, np.uint32)
    mixed = np.zeros(len(words) - size + 1, np.uint64)
    for j in range(size):  # wraps modulo 2^64, as a polynomial hash should
        mixed += hashes[j : j + len(mixed)] * _MIX[j]
    mixed ^= mixed >> np.uint64(29)
    return np.unique((mixed * _MIX[0] >> np.uint64(32)).astype(np.uint32))


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Jaccard similarity of two sorted arrays of unique shingles; two empty ones count as different."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / max(1, len(a) + len(b) - both)


def near_duplicates(
    texts: Sequence[str], threshold: float = 0.7, progress: bool = False
) -> list[tuple[int, int, float]]:
    """(removed, kept, Jaccard) for every document that is nearly an earlier, kept one.

    MinHash signatures in a locality-sensitive hash (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of
    Massive Datasets, chapter 3) find candidates without comparing all pairs; the true Jaccard similarity of
    the shingles then decides, so the result has no false positives, and misses a pair of similarity 0.7
    with probability 0.012, one of 0.8 with 0.0002.
    """
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    blank = MinHash(num_perm=BANDS * ROWS, seed=1, hashfunc=int)
    sets: dict[int, np.ndarray] = {}
    found: list[tuple[int, int, float]] = []
    for index, text in enumerate(tqdm(texts, desc="near duplicates", disable=not progress, leave=False)):
        shingle_set = shingles(text)
        if not len(shingle_set):
            continue
        signature = blank.copy()
        signature.update_batch(shingle_set.tolist())
        best = max(((jaccard(shingle_set, sets[k]), -k) for k in lsh.query(signature)), default=(0.0, 0))
        if best[0] >= threshold:
            found.append((index, -best[1], best[0]))
        else:
            lsh.insert(index, signature, check_duplication=False)
            sets[index] = shingle_set
    return found


# ---------------------------------------------------------------- the whole step


@dataclass
class CleaningReport:
    """What cleaning did. ``steps`` holds one row per rule: name, documents, bytes, why; ``removed`` each
    document's fate."""

    documents_before: int = 0
    bytes_before: int = 0
    documents_after: int = 0
    bytes_after: int = 0
    steps: dict[str, dict] = field(default_factory=dict)
    redactions: dict[str, int] = field(default_factory=dict)
    removed: list[dict] = field(default_factory=list)

    def _count(self, rule: str, why: str, path: str, size: int, **more) -> None:
        step = self.steps.setdefault(rule, {"documents": 0, "bytes": 0, "why": why})
        step["documents"] += 1
        step["bytes"] += size
        self.removed.append({"path": path, "rule": rule, "bytes": size, **more})

    def examples(self, rule: str, n: int = 5) -> list[dict]:
        """The largest documents that a rule removed: path, bytes, and for near duplicates what they
        resemble and how much."""
        return sorted((r for r in self.removed if r["rule"] == rule), key=lambda r: (-r["bytes"], r["path"]))[
            :n
        ]

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
        return pd.DataFrame(
            rows, columns=["rule", "documents", "bytes", "share", "why", "example"]
        ).set_index("rule")

    def summary(self) -> dict:
        """The counts alone, ready for a corpus card (JSON)."""
        return {
            "documents_before": self.documents_before,
            "bytes_before": self.bytes_before,
            "documents_after": self.documents_after,
            "bytes_after": self.bytes_after,
            "removed": {
                k: {"documents": v["documents"], "bytes": v["bytes"], "why": v["why"]}
                for k, v in self.steps.items()
            },
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
    report = CleaningReport(
        steps={rule.name: {"documents": 0, "bytes": 0, "why": rule.why} for rule in rules}
    )
    texts, paths = list(dataset["text"]), list(dataset["path"])
    kept: list[int] = []
    for index, text in enumerate(tqdm(texts, desc="quality filters", disable=not progress, leave=False)):
        data = text.encode("utf-8", errors="replace")
        report.documents_before += 1
        report.bytes_before += len(data)
        for rule in rules:
            if rule.drops(text, data):
                report._count(rule.name, rule.why, paths[index], len(data))
                break
        else:
            kept.append(index)
            if redaction:
                texts[index], counts = redact(text)
                for name, n in counts.items():
                    report.redactions[name] = report.redactions.get(name, 0) + n
    if exact:
        first: dict[str, int] = {}
        unique = []
        report.steps["exact_copy"] = {
            "documents": 0,
            "bytes": 0,
            "why": "the same text as an earlier document, white space aside",
        }
        for index in kept:
            original = first.setdefault(exact_key(texts[index]), index)
            if original == index:
                unique.append(index)
            else:
                report._count("exact_copy", "", paths[index], len(texts[index].encode()), of=paths[original])
        kept = unique
    if near is not None:
        if not 0 < near <= 1:
            raise InputError(f"near={near}: expected a Jaccard similarity above 0 and at most 1, or None")
        why = f"shares at least {near:.0%} of its five-word runs with an earlier document"
        report.steps["near_copy"] = {"documents": 0, "bytes": 0, "why": why}
        pairs = near_duplicates([texts[i] for i in kept], near, progress)
        for removed, original, similarity in pairs:
            report._count(
                "near_copy",
                why,
                paths[kept[removed]],
                len(texts[kept[removed]].encode()),
                of=paths[kept[original]],
                similarity=round(similarity, 3),
            )
        gone = {removed for removed, _, _ in pairs}
        kept = [index for position, index in enumerate(kept) if position not in gone]
    report.documents_after = len(kept)
    report.bytes_after = sum(len(texts[i].encode("utf-8", errors="replace")) for i in kept)
    return _subset(dataset, kept, texts), report


def _subset(dataset: datasets.Dataset, rows: Sequence[int], texts: Sequence[str]) -> datasets.Dataset:
    """The rows as a dataset of its own, in memory, with their text replaced."""
    import datasets

    columns = {c: texts if c == "text" else list(dataset[c]) for c in dataset.column_names}
    return datasets.Dataset.from_dict(
        {c: [v[i] for i in rows] for c, v in columns.items()}, features=dataset.features
    )


def mix(
    dataset: datasets.Dataset, weights: dict[str, float], total_bytes: int | None = None, seed: int = 0
) -> datasets.Dataset:
    """A subset in which each package has about its share of the bytes: ``weights`` maps package to relative
    weight.

    Documents of a package are taken whole, in a seeded order, until its share is reached, and keep the
    dataset's order. Without ``total_bytes`` the mix is as large as it can be without repeating any
    document. Raises InputError for a package that the dataset does not have, weights that are not positive,
    or a total that the documents cannot fill.
    """
    packages = np.array(dataset["package"])
    if not weights or any(not np.isfinite(w) or w <= 0 for w in weights.values()):
        raise InputError(f"weights {weights}: expected a positive number for each package")
    if missing := sorted(set(weights) - set(packages.tolist())):
        raise InputError(
            f"no documents of {missing[0]!r}; the packages are {', '.join(sorted(set(packages.tolist())))}"
        )
    sizes = np.array([len(t.encode("utf-8", errors="replace")) for t in dataset["text"]])
    share = {p: w / sum(weights.values()) for p, w in weights.items()}
    largest = int(min(sizes[packages == p].sum() / s for p, s in share.items()))
    if total_bytes is None:
        total_bytes = largest
    elif not 0 < total_bytes <= largest:
        raise InputError(
            f"total_bytes {total_bytes}: these weights allow 1 to {largest} without repeating a document"
        )
    chosen: list[int] = []
    for package in sorted(share):
        rows = np.flatnonzero(packages == package)
        rows = np.random.default_rng([seed, zlib.crc32(package.encode())]).permutation(rows)
        before = np.cumsum(sizes[rows]) - sizes[rows]
        chosen += rows[
            before + sizes[rows] / 2 <= share[package] * total_bytes
        ].tolist()  # to the nearest document
    return _subset(dataset, sorted(chosen), list(dataset["text"]))
