"""What collectives and strategies send, and pipeline schedules: formulas against pieces passed round a ring."""

from __future__ import annotations

import itertools

import pytest

from scalept_lab.costs import traffic as com
from scalept_lab.errors import InputError


def ring(kind: str, ranks: int, size: float) -> float:
    """The slow twin: numbers really passed round a ring in pieces until all have them; mean sent by a rank."""
    sent, piece = [0.0] * ranks, size / ranks
    steps = range(ranks - 1)
    if kind == "broadcast":  # down a chain
        return size * len(steps) / ranks
    held = [[float(rank + 1) * 10**part for part in range(ranks)] for rank in range(ranks)]
    whole = [sum(row[part] for row in held) for part in range(ranks)]
    if kind != "all_gather":  # pieces are added up on their way
        for step in steps:
            moving = [held[rank][(rank - step) % ranks] for rank in range(ranks)]
            for rank in range(ranks):
                held[(rank + 1) % ranks][(rank - step) % ranks] += moving[rank]
                sent[rank] += piece
        assert all(held[rank][(rank + 1) % ranks] == whole[(rank + 1) % ranks] for rank in range(ranks))
    else:  # each starts with its own piece, ready
        for rank in range(ranks):
            held[rank][(rank + 1) % ranks] = whole[(rank + 1) % ranks]
    if kind != "reduce_scatter":  # finished pieces go round once
        for step in steps:
            moving = [held[rank][(rank + 1 - step) % ranks] for rank in range(ranks)]
            for rank in range(ranks):
                held[(rank + 1) % ranks][(rank + 1 - step) % ranks] = moving[rank]
                sent[rank] += piece
        assert held == [whole] * ranks
    return sum(sent) / ranks


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("kind", ["all_reduce", "all_gather", "reduce_scatter", "broadcast"])
def test_wire_bytes_are_those_of_a_ring(kind, ranks):
    assert com.wire_bytes(kind, 1200, ranks) == pytest.approx(ring(kind, ranks, 1200))


def test_an_all_reduce_is_a_reduce_scatter_and_an_all_gather():
    for n in (2, 5, 64):
        both = com.wire_bytes("reduce_scatter", 7e9, n) + com.wire_bytes("all_gather", 7e9, n)
        assert com.wire_bytes("all_reduce", 7e9, n) == pytest.approx(both)
    assert com.wire_bytes("point_to_point", 10, 2) == 10 and com.wire_bytes("point_to_point", 10, 1) == 0


def test_zero_3_sends_half_as_much_again_as_data_parallel():
    plain = com.wire_total(com.data_parallel(1e6, 4))
    for zero, share in ((1, 1.0), (2, 1.0), (3, 1.5)):
        assert com.wire_total(com.sharded([2.5e5] * 4, 4, zero=zero)) == pytest.approx(share * plain)
    kept = com.wire_total(com.sharded([2.5e5] * 4, 4, reshard_after_forward=False))
    assert kept == pytest.approx(plain)


def test_fsdp_rows_by_hand():
    """Two blocks of 100 and a root of 30 parameters on 4 ranks, in 32 bits: the root is gathered once."""
    gather, scatter = com.sharded([100, 100], 4, root=30)
    assert (gather.calls, gather.payload) == (5, 4 * (230 + 200))
    assert (scatter.calls, scatter.payload) == (3, 4 * 230)
    assert com.table([scatter])[0]["wire"] == pytest.approx(0.75 * 4 * 230)
    gather, scatter = com.sharded([100, 100], 4, root=30, micro_batches=2)
    assert (gather.calls, scatter.calls, scatter.payload) == (10, 6, 2 * 4 * 230)
    gather, scatter = com.sharded(
        [100, 100], 4, zero=1, micro_batches=2, bytes_per_element=2, gradient_bytes=4
    )
    assert (gather.payload, scatter.payload) == (400, 800)


def test_tensor_parallel_rows_by_hand():
    (row,) = com.tensor_parallel(2, 8, 16, 3, 4)
    assert (row.kind, row.calls, row.payload) == ("all_reduce", 12, 12 * 2 * 8 * 16 * 4)
    gather, scatter = com.tensor_parallel(2, 8, 16, 3, 4, sequence_parallel=True)
    assert (gather.kind, scatter.kind, gather.calls) == ("all_gather", "reduce_scatter", 12)
    assert gather.wire + scatter.wire == pytest.approx(row.wire)
    assert com.tensor_parallel(2, 8, 16, 3, 4, separate_qkv=True)[0].calls == 18
    (half,) = com.tensor_parallel(2, 8, 16, 3, 4, micro_batches=2, bytes_per_element=2)
    assert half.calls == 24 and half.payload == row.payload / 2
    # Narayanan et al. 2021, §3.2: 8·b·s·h·(t−1)/t elements per layer, device and micro-batch
    assert row.wire == pytest.approx(3 * 8 * 2 * 8 * 16 * 3 / 4 * 4)


def test_every_message_of_a_pipeline_is_counted_once():
    for p, v in itertools.product((2, 3, 4), (1, 2)):
        sent = [com.pipeline(8, 4, 16, p, 4, interleave=v, stage=stage)[0] for stage in range(p)]
        # forward and backward over every boundary
        assert sum(row.calls for row in sent) == 2 * 4 * (p * v - 1)
        assert max(row.calls for row in sent) == com.pipeline(8, 4, 16, p, 4, interleave=v)[0].calls
        assert sent[0].payload / sent[0].calls == 2 * 4 * 16 * 4
    assert com.pipeline(8, 4, 16, 1, 4)[0].calls == 0


def test_messages_of_each_stage_by_hand():
    """Four micro-batches over three stages: the ends send one way, the middle both; with two chunks, three ways of four."""
    assert [com.pipeline(8, 4, 16, 3, 4, stage=stage)[0].calls for stage in range(3)] == [4, 8, 4]
    assert [com.pipeline(8, 4, 16, 2, 4, interleave=2, stage=stage)[0].calls for stage in range(2)] == [
        12,
        12,
    ]
    (row,) = com.pipeline(8, 4, 16, 3, 4, bytes_per_element=2)
    assert (row.payload, row.ranks, row.wire) == (8 * 2 * 4 * 16 * 2, 2, row.payload)


def test_sharded_rows_by_hand():
    """Blocks of 100 and 70 and a root of 30 parameters, two micro-batches."""
    blocks, common = [100, 70], dict(root=30, micro_batches=2, bytes_per_element=2)

    def rows(**options):
        return [(row.calls, row.payload) for row in com.sharded(blocks, 4, **common, **options)]

    assert rows() == [((3 + 2) * 2, (200 + 170) * 2 * 2), (6, 200 * 2 * 2)]
    assert rows(root_kept=False) == [((3 + 3) * 2, 400 * 2 * 2), (6, 200 * 2 * 2)]
    assert rows(reshard_after_forward=False) == [(6, 200 * 2 * 2), (6, 200 * 2 * 2)]
    assert rows(zero=2, gradient_bytes=4) == [(3, 200 * 2), (6, 200 * 4 * 2)]
    assert rows(zero=1) == [(3, 200 * 2), (3, 200 * 2)]
    reduced, sent = com.sharded_optimizer(230, 4, bytes_per_element=2, buckets=3, tensors=7)
    assert (reduced.kind, reduced.calls, reduced.payload) == ("all_reduce", 3, 460)
    assert (sent.kind, sent.calls, sent.payload, sent.ranks) == ("broadcast", 7, 460, 4)


def test_extra_all_reduces_and_the_ends_by_hand():
    tensor = 2 * 8 * 16 * 4
    assert com.tensor_parallel(2, 8, 16, 3, 4, recompute=True)[0].payload == 6 * 3 * tensor
    assert (
        com.tensor_parallel(2, 8, 16, 3, 4, ends=2)[0].calls == 12
    )  # only sequence parallelism gathers there
    gather, scatter = com.tensor_parallel(2, 8, 16, 3, 4, sequence_parallel=True, micro_batches=2, ends=2)
    assert (gather.calls, gather.payload) == (4 * 3 * 2 + 2 * 2, (12 + 2) * tensor)
    assert (scatter.calls, scatter.payload) == (24, 12 * tensor)


def test_idle_share_by_hand():
    """Two stages from 2 to 12: busy 4 + 3 of 20."""
    assert com.idle_share([(0, 0, "F", 2, 6), (1, 0, "F", 9, 12)]) == pytest.approx(13 / 20)


# GPipe on two stages with three micro-batches, played by hand: a forward pass takes 1, a backward pass 2.
BY_HAND = [
    *[(0, m, "F", m, m + 1) for m in range(3)],
    *[(1, m, "F", m + 1, m + 2) for m in range(3)],
    *[(1, m, "B", 4 + 2 * m, 6 + 2 * m) for m in range(3)],
    *[(0, m, "B", 6 + 2 * m, 8 + 2 * m) for m in range(3)],
]


def test_the_bubble_of_a_schedule_played_by_hand_is_the_formula():
    """Twelve long, nine of them work on either stage."""
    assert com.idle_share(BY_HAND) == com.bubble(2, 3) == 1 / 4
    assert com.bubble(2, 3, of="ideal") == 1 / 3
    assert com.bubble(4, 8, 2) == 3 / 19 and com.bubble(4, 8, 2, of="ideal") == 3 / 16
    assert com.bubble(1, 5) == 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: com.wire_bytes("gossip", 1, 2), "kind: expected one of all_reduce"),
        (lambda: com.wire_bytes("all_reduce", -1, 2), "payload"),
        (lambda: com.wire_bytes("all_reduce", 1, 0), "ranks: expected a whole number of at least 1"),
        (lambda: com.sharded([1], 2, zero=4), "zero: expected a whole number from 1 to 3, got 4"),
        (lambda: com.pipeline(4, 1, 1, 2, 2, stage=2), "stage: expected 0 to 1"),
        (lambda: com.bubble(4, 0), "microbatches"),
        (lambda: com.bubble(4, 2, of="half"), "of: expected"),
        (lambda: com.idle_share([]), "rows"),
    ],
)
def test_bad_input_is_one_clear_line(call, says):
    with pytest.raises(InputError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_context_parallel_rows_by_hand():
    """64 positions of width 32 in one layer on 4 ranks, 32 bits: 2,048 bytes of queries a rank, 4,096 of keys and values."""

    def rows(how, **more):
        return [
            (row.kind, row.calls, row.payload, row.wire)
            for row in com.context_parallel(1, 64, 32, 1, 4, how, **more)
        ]

    assert rows("ring", backward=False) == [("point_to_point", 3, 3 * 4096, 3 * 4096)]
    assert rows("ring") == [("point_to_point", 10, 10 * 4096, 10 * 4096)]
    assert rows("gather", backward=False) == [("all_gather", 1, 16384, 3 * 4096)]
    assert rows("gather") == [("all_gather", 2, 32768, 6 * 4096), ("reduce_scatter", 1, 16384, 3 * 4096)]
    assert rows("heads", backward=False) == [("all_to_all", 2, 8192, 6144)]
    assert rows("heads") == [("all_to_all", 4, 16384, 12288)]
    assert rows("ring", backward=False, key_share=0.25) == [("point_to_point", 3, 3 * 1024, 3 * 1024)]
    assert rows("heads", backward=False, key_share=0.25) == [("all_to_all", 2, 4096 + 1024, 0.75 * 5120)]
    (deep,) = com.context_parallel(3, 64, 32, 5, 4, bytes_per_element=2)
    assert (deep.calls, deep.payload) == (50, 50 * 3 * 4096 / 2)
    assert com.wire_total(com.context_parallel(1, 64, 32, 1, 1)) == 0
    with pytest.raises(InputError, match=r"how: expected .*, got 'star'"):
        com.context_parallel(1, 64, 32, 1, 4, "star")


def test_a_hop_is_hidden_from_the_length_at_which_work_and_message_take_as_long():
    """Liu et al. 2023, §3: F / B positions, for 16 bits, as many heads of keys as of queries, and no mask."""
    assert com.hidden_from(3e14, 1e11, causal=False) == 3000
    c = com.hidden_from(4e14, 5e10, key_share=0.125)
    assert c == 2000
    for width in (512, 4096):  # half of 4·c²·D FLOPs, against keys and values in 2 bytes
        assert 2 * c**2 * width / 4e14 == pytest.approx(2 * c * width * 0.125 * 2 / 5e10)
    with pytest.raises(InputError, match="bandwidth"):
        com.hidden_from(1e14, 0)
