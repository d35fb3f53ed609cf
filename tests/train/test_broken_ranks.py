"""Two broken runs on two ranks: where they part, and since when they are apart."""

from __future__ import annotations

import pytest

from scalept_lab.train import broken_ranks, miniature


@pytest.fixture(autouse=True)
def small(word_corpus, monkeypatch):
    monkeypatch.setattr(miniature, "text", lambda: (word_corpus.train, word_corpus.heldout))


def lines(found, letter: str) -> dict[str, list]:
    return {name: list(y) for name, (_, y) in found.pieces[letter].series.items()}


def test_two_ranks_part_at_the_last_batch_and_the_healthy_ones_return():
    found = broken_ranks.stands_still(patience=0.5)
    calls: dict[str, list] = {}
    for kind, (at, rows) in found.pieces["B"].series.items():
        for place, row in zip(at, rows, strict=True):
            calls.setdefault(row, []).append((place, kind))
    reduced = [(turn, "all_reduce") for turn in range(1, 8)]
    ended = [*reduced, (8, "barrier"), (9, "the function returns")]
    assert sorted(calls["healthy, rank 0"]) == sorted(calls["healthy, rank 1"]) == ended
    assert sorted(calls["broken, rank 0"]) == reduced
    assert sorted(calls["broken, rank 1"]) == [*reduced[:6], (7, "barrier")]
    losses = lines(found, "A")
    assert losses["broken"] == losses["healthy"][:6] and len(losses["healthy"]) == 7
    assert "gave up" in found.log["broken"]["end"] and "returned" in found.log["healthy"]["end"]


def test_ranks_stay_apart_from_the_first_step_on():
    found = broken_ranks.ranks_learn_little(steps=10)
    apart = lines(found, "B")
    assert apart["healthy"] == [0.0] * 10 and min(apart["broken"]) > 1
    assert max(lines(found, "C")["both ranks"]) < 0.3 and len(lines(found, "A")["broken"]) == 1
