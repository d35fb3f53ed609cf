"""The failure lab's tables: each wrong cause of each run has its line, which names a piece and never the right cause."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scalept_lab.course.exercises import grade
from scalept_lab.course.sets import nb14, nb14_diagnoses
from scalept_lab.course.sets.nb14_diagnoses import CASES, CAUSES, WOULD
from scalept_lab.data.tokens import batches
from scalept_lab.laws import gathered

EACH = [pytest.param(name, cause, id=f"{name}: {cause}") for name in CASES for cause in CAUSES]
# words that would give a cause away in a line about another one
TELLING = {
    "skipped call": ("skip", "leaves out", "seventh"), "other weights": ("weights", "seed"),
    "underflow": ("underflow", "fp16"), "rate too low": ("run out", "schedule"), "leak": ("leak", "training text"),
    "rate too high": ("too high", "µP", "width 16"), "mean of means": ("mean", "unequal"),
    "repeated text": ("again", "repeat", "anew"), "easier text": ("easier", "sorted"), "other unit": ("unit", "bit", "nats"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "cause"), EACH)
def test_every_wrong_cause_is_told_what_speaks_against_it_and_not_the_answer(name, cause):
    case = CASES[name]
    causes, _ = case.checks()
    verdict = causes(cause)
    if cause == case.cause:
        assert verdict.ok and cause not in case.against
        return
    assert not verdict.ok and verdict.message == case.line(cause)
    assert verdict.message.startswith(f"“{cause}” ") and "\n" not in verdict.message
    assert "Look at piece " in verdict.message or verdict.message.endswith("Look at the log.")
    assert case.cause not in verdict.message
    said = verdict.message.removeprefix(f"“{cause}”").lower()
    assert not [word for word in TELLING[case.cause] if word in said], said


@pytest.mark.parametrize("name", CASES)
def test_a_piece_that_proves_nothing_is_told_so(name):
    case = CASES[name]
    _, proof = case.checks()
    letters = [letter for letter in case.kinds if letter != "the log"]
    assert {letter: proof(letter).ok for letter in letters} == {
        letter: letter == case.proof for letter in letters
    }
    assert all(proof(letter).message for letter in letters if letter != case.proof)


def test_no_sentence_is_there_for_nothing():
    used = {(cause, kind) for case in CASES.values() for cause, kind in case.against.items()}
    assert used == {(cause, kind) for cause, kinds in WOULD.items() for kind in kinds}


def test_a_hasty_diagnosis_fails_for_one_of_the_twins():
    """One cause for both runs, whichever it is, is wrong."""
    for number, cause in itertools.product((3, 7), CAUSES):
        x, y = CASES[f"{number}X"], CASES[f"{number}Y"]
        answer = {"X": cause, "proof_X": x.proof, "Y": cause, "proof_Y": y.proof}
        assert not grade(f"14.{number}", answer).ok


def test_the_letters_are_those_of_the_evidence():
    letters = [letter for letter in CASES["8"].kinds if letter != "the log"]
    assert letters == list(gathered.case().pieces)
    assert grade("14.8", {"cause": "Other unit", "proof": "b", "ratio": "1.44"}).ok


def test_the_loader_is_the_kits_where_an_epoch_ends_with_a_batch():
    """`data.tokens.batches` draws the same windows, by another rule for its orders after the first epoch."""
    stream = np.arange(0, 12 * 2 + 1)
    kit = [x[:, 0] // 2 for x, _ in batches(stream, batch=4, context=2, steps=3, seed=5)]
    mine = [nb14.rows_at(step, 12, 4, 5) for step in range(3)]
    assert np.array_equal(kit, mine)


def test_the_scale_is_the_smallest_that_serves():
    gradients = np.array([2.0**-30, 2.0**-26, 1.0])
    # fp16 makes 2^-25 zero and keeps 1.5 · 2^-25: 2^-30 needs 2^6
    assert [nb14.choose_scale(gradients, share) for share in (0.7, 0.34, 0.0)] == [1.0, 4.0, 64.0]


def test_a_rank_that_leaves_out_a_call_is_named():
    def alone(w, batches, rate):
        import torch.distributed as dist

        if sum(len(x) for x, _ in batches):
            dist.all_reduce(w)
        return w

    quick = nb14.ranked(nb14._in_one_process, [(2, _one_sided)], seconds=1.5)
    verdict = quick(alone)
    assert (
        not verdict.ok
        and "rank 0" in verdict.message
        and "rank 1" in verdict.message
        and "\n" not in verdict.message
    )


def _one_sided(rank: int, ranks: int):
    return nb14._start(), nb14._parts(rank, ranks, ((1,), (0,))), 0.1


def test_minutes_and_kinds():
    kinds = [exercise.kind for exercise in nb14.EXERCISES]
    assert kinds.count("read") == 8 and kinds.count("build") == 5 and len(kinds) == 16
    assert nb14_diagnoses.DIAGNOSES[0].id == "14.1" and nb14.MENDS[-1].id == "14.16"
