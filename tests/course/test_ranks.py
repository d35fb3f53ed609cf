"""Code that runs on ranks, judged: right versions, wrong versions, and ranks that do not agree."""

from __future__ import annotations

import psutil
import pytest
import torch
import torch.distributed as dist

from scalept_lab.course.ranks import ranked

X = torch.arange(12.0).reshape(3, 4)


def inputs(rank, ranks):
    return (X * (rank + 1),)


def reference(ranks, _):
    return [X * sum(range(1, ranks + 1)) / ranks] * ranks


def allowed(ranks, _):
    return {"all_reduce": (1, 48)}


def mean(x):
    x = x.clone()
    dist.all_reduce(x)
    return x / dist.get_world_size()


def total(x):
    x = x.clone()
    dist.all_reduce(x)
    return x


check = ranked(
    reference,
    [(2, inputs), (4, inputs)],
    ledger=allowed,
    diagnoses=[(total, "a sum, not divided")],
)
hasty = ranked(reference, [(2, inputs)], seconds=3)  # for ranks that wait for each other for ever


def test_the_right_function_passes_with_a_row_for_results_and_one_for_what_was_sent():
    verdict = check(mean)
    assert verdict.ok and len(verdict.rows) == 4 and verdict.rows[0] == ("2 ranks", "agrees", True)


def test_a_known_slip_is_named_and_an_unknown_one_is_shown():
    assert check(total).message == "a sum, not divided"
    verdict = check(lambda x: mean(x) + 1)
    assert verdict.message.startswith("2 ranks: rank 0 returns something else: ") and not verdict.ok


def test_too_many_calls_are_told_with_what_was_asked_for():
    def twice(x):
        return torch.stack([mean(row) for row in x])

    assert check(twice).message == (
        "2 ranks: sent: rank 0 sends 3 × all_reduce (48 bytes); asked for: 1 × all_reduce (48 bytes)."
    )


def empty(x):
    """What is to be done."""
    ...


def nothing(x): ...


def returns_dots(x):
    return ...


@pytest.mark.parametrize("blank", [empty, nothing, returns_dots])
def test_three_dots_are_no_answer_and_start_nothing(blank, monkeypatch):
    monkeypatch.setattr("scalept_lab.parallel.launcher.launch", None)
    assert not check(blank).answered


def alone(x):
    if dist.get_rank() == 0:
        dist.all_reduce(x)
    return x


def shapes(x):
    dist.all_reduce(x if dist.get_rank() == 0 else x[:2].clone())
    return x


def order(x):
    if dist.get_rank() == 0:
        dist.all_reduce(x)
        dist.broadcast(x, 0)
    else:
        dist.broadcast(x, 0)
        dist.all_reduce(x)
    return x


def raises(x):
    if dist.get_rank() == 1:
        raise ValueError("no such shard")
    dist.all_reduce(x)
    return x


def no_partner(x):
    if dist.get_rank() == 0:
        dist.recv(x, 1)
    return x


def other_lengths(x):
    if dist.get_rank() == 0:
        dist.send(x, 1)
    else:
        dist.recv(x[:1].clone(), 0)
    return x


def early(x):
    dist.all_reduce(x)
    if dist.get_rank() == 1:
        return x
    dist.broadcast(x, 0)
    return x


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (alone, "with 2 ranks, the ranks part at call 1: rank 0 makes all_reduce of [3, 4], at your line"),
        (shapes, "rank 1 makes all_reduce of [2, 4], at your line"),
        (order, "call 1: rank 0 makes all_reduce of [3, 4], at your line"),
        (raises, "with 2 ranks, rank 1 raised ValueError: no such shard, at your line"),
        (no_partner, "rank 0 waits in call 1, recv of [3, 4], at your line"),
        (other_lengths, "recv of [1, 4], at your line"),
        (early, "call 2: rank 0 makes broadcast of [3, 4], at your line"),
    ],
)
def test_ranks_that_do_not_agree_are_told_in_one_line_and_none_is_left(wrong, said):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    verdict = hasty(wrong)
    assert not verdict.ok and said in verdict.message and "\n" not in verdict.message
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert [
        child
        for child in left
        if "forkserver" not in " ".join(child.cmdline()) and "tracker" not in " ".join(child.cmdline())
    ] == []


def test_no_function_is_told():
    assert check(3).message == "a function is asked for, this is a number."


def bump(answer, model):
    return answer(model) + 1


def test_a_harness_drives_the_answer_in_the_rank():
    harnessed = ranked(lambda ranks, _: [3.0] * ranks, [(2, (2.0,))], harness=bump)
    assert harnessed(lambda model: model).ok
    assert not harnessed(lambda model: model + 1).ok
