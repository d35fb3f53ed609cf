"""Which documents are not worth reading: rules of thumb, each with its reason and its number."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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
