"""Data cards say what is there."""

from __future__ import annotations

from scalept_lab.data import corpora, sources, wheels


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
