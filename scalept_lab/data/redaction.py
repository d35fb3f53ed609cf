"""What must not be learned: addresses, keys and tokens, replaced by a word for their kind."""

from __future__ import annotations

import re

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
