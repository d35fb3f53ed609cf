"""From a name to its documents: sources, rules, and two sides."""

from __future__ import annotations

from scalept_lab.data import documents


def test_a_handful_of_documents_still_has_two_sides():
    sides = documents.split(["a", "b", "c"], ["x/1", "x/2", "x/3"], heldout=1e-9)
    assert sorted(map(len, sides)) == [1, 2]
