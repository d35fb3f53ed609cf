"""What must not be learned: addresses, numbers and secrets, each replaced by a word for its kind.

What is looked for is written in ASCII, so a word of another script may stand right beside it (`re.A` makes a boundary there), and
its letters and digits may be those of another width or script: they are compared as ASCII, one character for one. Numbers count
only where their check digits are right or a + says what they are. IP addresses stay: the number of a section looks the same.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from scalept_lab.data.duplicates import CHARACTER, MARK


class Kind(NamedTuple):
    """What to look for, the word that takes its place (a group `stays` is left before it), a literal that must be in the text for
    the pattern to be worth running, and how much of what was found is one (0: none of it)."""

    name: str
    pattern: re.Pattern[str]
    mark: str
    hint: re.Pattern[str]
    size: Callable[[str], int] = len


def _checked(right: Callable[[str], bool]) -> Callable[[str], int]:
    """The length of what was found up to the last blank before which its check digits are right."""

    def size(found: str) -> int:
        while found and not right("".join(filter(str.isalnum, found))):
            found = found.rpartition(" ")[0]
        return len(found)

    return size


def luhn(digits: str) -> bool:
    """Whether the last digit of a card's number is the one that the others ask for (ISO/IEC 7812-1, annex B)."""
    doubled = (
        int(d) if place % 2 == 0 else 2 * int(d) - 9 * (d > "4") for place, d in enumerate(reversed(digits))
    )
    return len(digits) > 14 and sum(doubled) % 10 == 0


def mod_97(iban: str) -> bool:
    """Whether the check digits of an account's number are right (ISO 13616): its country's letters and they go to the end,
    letters count from A = 10, and 1 is left of a division by 97."""
    return len(iban) > 14 and int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


_LETTER = rf"[^\W{CHARACTER}]|[{MARK}]"  # of the scripts that part their words by blanks: there an address ends where it seems to

KINDS = (
    Kind(
        "private_key",
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----).)*+-----END [A-Z ]*PRIVATE KEY-----", re.S
        ),
        "<PRIVATE_KEY>",
        re.compile("PRIVATE KEY-----"),
    ),
    Kind(
        "email",
        re.compile(
            r"(?<![\w.%+-])[a-z0-9._%+-]{1,64}@(?:[a-z0-9-]{1,63}\.){1,4}(?:xn--[a-z0-9-]{2,59}|[a-z]{2,24})\b",
            re.A | re.I,
        ),
        "<EMAIL>",
        re.compile(r"\w@\w"),
    ),
    Kind(
        "email",
        re.compile(
            rf"(?<![\w.%+-])(?:{_LETTER}|[.%+-]){{1,64}}@(?:(?:{_LETTER}|-){{1,63}}\.){{1,4}}(?:[^\W\d_{CHARACTER}]|[{MARK}]){{2,24}}(?!\w)"
        ),
        "<EMAIL>",
        re.compile(r"\w@\w"),
    ),
    Kind(
        "access_token",
        re.compile(
            r"\b(?:AKIA[0-9A-Z]{16}|gh[opsu]_[A-Za-z0-9]{36}|github_pat_\w{40,}|hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{20,}"
            r"|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[\w-]{35}|glpat-[\w-]{20}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})",
            re.A,
        ),
        "<SECRET>",
        re.compile("AKIA|gh[opsu]_|github_pat_|hf_|sk-|xox|AIza|glpat-|eyJ"),
    ),
    Kind(
        "assigned_secret",
        re.compile(
            r"(?i)(?P<stays>(?:api_?key|secret(?:_key)?|access_?token|auth_?token|passw(?:or)?d)[\"']?\s*[=:]\s*[\"'])"
            r"(?=[^\"'\s]*[0-9])[A-Za-z0-9+/_=-]{16,}(?=[\"'])"
        ),
        "<SECRET>",
        re.compile("(?i)key|secret|token|passw"),
    ),
    Kind(
        "long_hex",
        re.compile(r"\b(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{40,}\b", re.A),
        "<HEX>",
        re.compile("[0-9a-f]{40}"),
    ),
    Kind(
        "iban",
        re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.A),
        "<IBAN>",
        re.compile("[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}"),
        _checked(mod_97),
    ),
    Kind(
        "card",
        re.compile(
            r"(?<![\w.-])(?:[3-6][0-9]{3}([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{4}|3[47][0-9]{2}([ -]?)[0-9]{6}\2[0-9]{5})"
            r"(?!\w|[.,-][0-9])",
            re.A,
        ),
        "<CARD>",
        re.compile("[3-6][0-9]{3}[ -]?[0-9]{4}"),
        _checked(luhn),
    ),
    Kind(
        "phone",
        re.compile(r"(?<![\w+.)\]])\+[1-9][0-9]{0,2}(?:[ .()-]{0,2}[0-9]){6,13}(?!\w)", re.A),
        "<PHONE>",
        re.compile(r"\+[1-9]"),
    ),
)


def redact(text: str) -> tuple[str, dict[str, int]]:
    """Text with e-mail addresses, private keys, access tokens, assigned secrets, long hex strings and the numbers of accounts,
    cards and telephones (with their country's) replaced, and the counts."""
    counts: dict[str, int] = {}
    plain = _as_ascii(text)
    for kind in KINDS:
        if not kind.hint.search(plain):
            continue
        pieces, end = [], 0
        for found in kind.pattern.finditer(plain):
            if size := kind.size(found[0]):
                start = found.end("stays") if "stays" in kind.pattern.groupindex else found.start()
                pieces += [text[end:start], kind.mark]
                end = found.start() + size
        if pieces:
            text = "".join([*pieces, text[end:]])
            plain = _as_ascii(text)
            counts[kind.name] = counts.get(kind.name, 0) + len(pieces) // 2
    return text, counts


def _as_ascii(text: str) -> str:
    """As long as the text, with those of its characters that are written for one of ASCII as that one."""
    return text if text.isascii() else text.translate(_written_for())


@functools.cache
def _written_for() -> dict[int, str]:
    """Characters of full width, digits of all scripts, blanks and hyphens that keep a line together -> ASCII."""
    digits = {
        code: str(unicodedata.decimal(chr(code))) for code in range(128, 0x1FC00) if chr(code).isdecimal()
    }
    wide = {code + 0xFEE0: chr(code) for code in range(0x21, 0x7F)}
    return (
        digits
        | wide
        | dict.fromkeys((0xA0, 0x202F, 0x2007, 0x3000), " ")
        | dict.fromkeys((0x2010, 0x2011), "-")
    )
