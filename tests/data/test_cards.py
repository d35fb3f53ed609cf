"""Data cards say what is there."""

from __future__ import annotations

from scalept_lab.data import cards, clean, corpora, sources, wheels


def test_cards_are_up_to_date():
    """data/README.md is written by `python -m scalept_lab.data.corpora`; what it says of the pins is what the code
    says."""
    text = (sources.Path(__file__).parents[2] / "data" / "README.md").read_text(encoding="utf-8")
    for sha in corpora.FINGERPRINTS.values():
        assert sha in text
    for source in wheels.SOURCES.values():
        assert (
            f"{source.package} {source.version}" in text
            and source.licence in text
            and source.wheel_sha256 in text
        )


def test_a_card_by_hand():
    """Three documents of two sources, 3 + 5 + 7 bytes; the second is held out."""
    rows = [("abc", "mpmath", "m", "m/1", "BSD-3-Clause"), ("abcde", "mine", "", "x/1", "MIT"),
            ("abcdefg", "mine", "", "x/2", "MIT")]  # fmt: skip
    card = cards.describe(sources.table(rows), [1], None, "here")
    pin = wheels.SOURCES["mpmath"]
    assert card == {
        "origin": "here", "documents": 3, "train_documents": 2, "heldout_documents": 1, "bytes": 15, "cleaning": None,
        "sources": {
            "mine": {"licence": "MIT", "documents": 2, "bytes": 12, "heldout_bytes": 5},
            "mpmath": {"licence": "BSD-3-Clause", "documents": 1, "bytes": 3, "heldout_bytes": 0,
                       "version": pin.version, "wheel_sha256": pin.wheel_sha256},
        },
    }  # fmt: skip


def test_the_page_of_cards_by_hand():
    rows = [("abc " * 100, "mpmath", "m", "m/1", "BSD-3-Clause"), ("short", "mpmath", "m", "m/2", "BSD-3-Clause"),
            ("say to a@b.org what " + "xyz " * 95, "mpmath", "m", "m/3", "BSD-3-Clause")]  # fmt: skip
    table, report = clean.clean(
        sources.table(rows),
        near=None,
        rules=clean.quality_rules(min_ratio=0, max_mean_line=1000),
        progress=False,
    )
    card = cards.describe(table, [0], report, "here")
    card |= {"name": "python", "train_tokens": 12_345, "heldout_tokens": 400, "sha256": "ab12"}
    page = cards.data_card([card])
    lines = page.splitlines()
    assert "| `python` | 2 | 12,345 | 400 | `ab12` |" in lines and "### `python`" in lines
    # 400 bytes and, with <EMAIL> for an address of 7 bytes, as many again
    assert "| mpmath 1.3.0 | 2 | 800 | 100% | 400 | BSD-3-Clause |" in lines
    assert "Cleaning: 3 documents, 805 bytes before; 2 documents, 800 bytes after." in lines
    assert "| too_short | 1 | 5 | under 200 characters: no context to learn from |" in lines
    assert "Redacted: email 1." in lines
    assert page.endswith("\n") and "Entropy rate" not in page


def test_the_card_of_a_language_tells_its_entropies():
    card = {
        "name": "language", "documents": 0, "train_tokens": 8_000, "heldout_tokens": 500, "sha256": "cd34",
        "entropy_rate": 1.25, "window_entropy": {"64": 1.5, "128": 1.375}, "entropy_given": [3.0, 2.0],
    }  # fmt: skip
    page = cards.data_card([card])
    assert "| `language` | endless | 8,000 | 500 | `cd34` |" in page
    assert (
        "Entropy rate 1.250000 nats per token" in page and "windows of 64: 1.500000, 128: 1.375000." in page
    )
    assert "given the 0, 1, 2, … before it: 3.0000, 2.0000." in page and "a generated language" in page
