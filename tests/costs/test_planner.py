"""The planner against numbers worked by hand, against published runs, and what it says of bad input."""

from __future__ import annotations

import pytest

from scalept_lab.config import ModelConfig
from scalept_lab.costs import counts, planner
from scalept_lab.costs.layouts import Cluster, Layout, model
from scalept_lab.costs.planner import estimate, plan
from scalept_lab.errors import InputError

OWN = ModelConfig(width=64, depth=4, heads=8, context=32, vocab_size=128)


def test_an_estimate_by_hand():
    """GPT-3 on 8 tensor × 4 pipeline × 2 data ranks, full recomputation, micro-batch 1, 64 sequences."""
    m, cluster = model("gpt3-175b"), Cluster(64)
    e = estimate(m, Layout(2, 8, 4, 1, "full"), cluster, 64)
    s = m.shape
    here = (s.non_embedding / 4 + s.embedding) / 8
    assert e.states == pytest.approx(here * (2 + 2 + 12 / 2), rel=1e-6)
    sbh = 2048 * 12288
    layer = sbh * (10 + 24 / 8 + 5 * 96 * 2048 / (12288 * 8))  # one is in full while it is done again
    assert e.activations == pytest.approx(4 * 24 * 2 * sbh + layer, rel=1e-6)
    done = (s.flops_per_token() * 4 - 6 * s.vocabulary) / 3 * 64 * 2048
    assert e.compute == pytest.approx(done / (64 * 312e12 * cluster.efficiency), rel=1e-9)
    wire = 6 * 24 * 2 * 7 / 8 * 32 * sbh * 2  # 6 all-reduces, 24 layers, ring, 32 sequences, 2 bytes
    assert e.tensor == pytest.approx(wire / (300e9 * cluster.link_efficiency), rel=1e-9)
    assert e.pipeline == pytest.approx(2 * 32 * sbh * 2 / 8 / (25e9 * cluster.link_efficiency), rel=1e-9)
    assert e.bubble == pytest.approx(3 / 32 * (e.compute + e.tensor + e.pipeline), rel=1e-9)
    assert e.mfu == pytest.approx(s.flops_per_token() * 64 * 2048 / (64 * 312e12 * e.seconds), rel=1e-9)
    assert e.data == 0 and e.hfu > e.mfu


@pytest.mark.parametrize(
    ("layout", "batch", "kept"),
    [
        (Layout(micro_batch=2), 8, 4 * 221_184 + 32_768),
        (Layout(1, 4, micro_batch=2), 8, 4 * 4096 * (10 + 6 + 5) + 8_192),
        (Layout(1, 4, micro_batch=2, sequence=True), 8, 4 * 221_184 / 4 + 8_192),
        (Layout(micro_batch=2, recompute="selective"), 8, 4 * 4096 * 34 + 32_768),
        (Layout(micro_batch=2, recompute="full"), 8, 4 * 8_192 + 221_184 + 32_768),
        (Layout(1, 4, micro_batch=2, recompute="full", sequence=True), 8, 8_192 + 221_184 / 4 + 8_192),
        (Layout(pipeline=2, micro_batch=2), 8, 2 * 2 * 221_184),
        (Layout(pipeline=2, micro_batch=2), 2, 1 * 2 * 221_184),
        (Layout(pipeline=2, micro_batch=2, interleave=2), 8, 2.5 * 2 * 221_184),
    ],
    ids=str,
)
def test_activations_by_hand(layout, batch, kept):
    """2 sequences of 32 in width 64: 4096 · (34 + 5·8·32/64) bytes a layer; the logits 4 · 64 · 128, without a pipeline."""
    assert estimate(OWN, layout, Cluster(layout.gpus), batch).activations == pytest.approx(kept)


def test_under_zero_3_two_blocks_are_whole():
    s = counts.shape(OWN)
    found = estimate(OWN, Layout(2, zero=3), Cluster(2), 8).states
    assert found == pytest.approx(16 * s.total / 2 + 2 * s.non_embedding / 4 * 2, abs=4)
    assert estimate(OWN, Layout(zero=3), Cluster(1), 8).states == 16 * s.total


def test_the_two_tables_are_on_two_stages():
    """Llama-3-8B: 32 layers of 218,112,000, 4,096 for the last norm, and two tables of 128,256 · 4,096."""
    llama = dict(
        model_type="llama", num_key_value_heads=8, vocab_size=128256, intermediate_size=14336,
        num_attention_heads=32,
    )  # fmt: skip
    layers, table = 32 * 218_112_000 + 4096, 128_256 * 4096
    assert planner.fullest_stage(llama, 1) == (layers, 2 * table)
    assert planner.fullest_stage(llama, 8) == (layers / 8, table)
    assert planner.fullest_stage(llama, 5) == (layers * 7 / 32, table)  # 7 + 7 + 7 + 7 + 4
    tied = {**llama, "tie_word_embeddings": True}
    assert planner.fullest_stage(tied, 1)[1] == planner.fullest_stage(tied, 8)[1] == table
    gpt2 = dict(model_type="gpt2", n_head=12)  # tied, with 1,024 positions on the first stage
    assert planner.fullest_stage(gpt2, 4)[1] == (50_257 + 1024) * 768
    here = layers / 8 + table
    assert here == pytest.approx(1.398e9, rel=1e-3)
    found = estimate(llama, Layout(pipeline=8), Cluster(8), 8)
    assert found.states == pytest.approx(16 * here)
    wide = estimate(llama, Layout(2, pipeline=8, zero=1), Cluster(16), 16, "mixed-fp32-grads")
    assert wide.states == pytest.approx((2 + 4 + 12 / 2) * here)
    narrow = estimate(llama, Layout(2, pipeline=8, zero=1), Cluster(16), 16)
    sent = [row.payload for row in wide.traffic if row.kind == "reduce_scatter"]
    assert sent == [2 * row.payload for row in narrow.traffic if row.kind == "reduce_scatter"]


def test_time_by_hand_where_the_last_stage_is_smaller_and_links_are_slow():
    s = counts.shape(OWN)
    work = s.flops_per_token() * 8 * 32
    alone = estimate(OWN, Layout(), Cluster(1, efficiency=0.5, peak=1e12), 8)
    assert alone.seconds == alone.compute == pytest.approx(work / 5e11) and alone.mfu == pytest.approx(0.5)
    stages = estimate(OWN, Layout(pipeline=3), Cluster(3, efficiency=0.5, peak=1e12), 8, uneven=True)
    assert stages.compute == pytest.approx(work / 3 / 5e11 * 6 / 4)  # 2 + 2 layers, where 4/3 would be even
    slow = estimate(OWN, Layout(2), Cluster(2, efficiency=0.5, peak=1e12, inside=1e6, link_efficiency=0.5), 8)
    # an all-reduce over two sends as much as it reduces, in 16 bits; what computation hides is off
    assert slow.data == pytest.approx(2 * s.total / 5e5 - slow.compute)
    assert slow.seconds == pytest.approx(2 * s.total / 5e5)
    again = estimate(OWN, Layout(recompute="selective"), Cluster(1), 8)
    assert again.hfu / again.mfu == pytest.approx(1 + 12 * 4 * 64 * 32 / 3 / s.flops_per_token())
    assert [row.kind for row in slow.traffic] == ["all_reduce"] and alone.traffic == ()


def test_what_fills_memory_to_the_last_byte_fits():
    need = estimate(OWN, Layout(), Cluster(1), 8).memory
    assert estimate(OWN, Layout(), Cluster(1, memory=need), 8).fits
    assert not estimate(OWN, Layout(), Cluster(1, memory=need - 1), 8).fits


def test_the_best_of_each_kind():
    roomy, tight = Cluster(8), Cluster(8, memory=1e5)
    table = plan(OWN, roomy, 16)
    best = planner.best_of_each(OWN, roomy, 16)
    for kind in planner.KINDS:
        mine = [each for each in table if each.layout.kind == kind]
        assert best[kind].seconds == min(each.seconds for each in mine)
        assert plan(OWN, roomy, 16, only=kind) == mine
    for kind, each in planner.best_of_each(OWN, tight, 16).items():
        assert not each.fits and each.memory == min(e.memory for e in plan(OWN, tight, 16, only=kind))


def test_why_a_kind_is_not_there():
    assert planner.why_none("tensor", OWN, 1, 8) == "one GPU: nothing to spread"
    assert planner.why_none("tensor + pipeline", OWN, 9, 8) == "8 heads have no divisor in common with 9 GPUs"
    three = OWN.replace(depth=3)
    assert planner.why_none("pipeline", three, 4, 8) == "3 layers have no divisor in common with 4 GPUs"
    assert planner.why_none("ZeRO-3", OWN, 6, 8) == "a batch of 8 does not divide over 6 GPUs"
    assert (
        planner.why_none("tensor", OWN, 6, 8)
        == "a batch of 8 does not divide over the data ranks that are left"
    )


def test_plan_is_sorted_complete_and_never_beaten_by_what_it_left_out():
    cluster = Cluster(16, memory=1e9, node=8)
    found = plan(OWN, cluster, 32)
    fits = [each for each in found if each.fits]
    assert [each.seconds for each in fits] == sorted(each.seconds for each in fits)
    assert found[: len(fits)] == fits
    assert all(each.layout.gpus == 16 for each in found)
    seen = {(e.layout.data, e.layout.tensor, e.layout.pipeline) for e in found}
    assert seen == {
        (16 // t // p, t, p)
        for t in (1, 2, 4, 8)
        for p in (1, 2, 4)
        if 16 % (t * p) == 0 and 32 % (16 // t // p) == 0
    }
    again = {e.layout: e.seconds for e in found}
    assert len(again) == len(found)
    assert again[fits[0].layout] == estimate(OWN, fits[0].layout, cluster, 32).seconds


def test_what_helps_in_the_planner_is_what_helps_in_the_papers():
    cluster = Cluster(64)

    def run(**changes):
        return estimate("megatron-18b", Layout(**{"data": 8, "tensor": 8, **changes}), cluster, 64)

    full, none = run(recompute="full"), run()
    assert full.memory < none.memory and full.seconds > none.seconds
    assert run(zero=1).states < run().states and run(zero=1).seconds == pytest.approx(run().seconds, rel=0.1)
    inside = estimate("gpt3-175b", Layout(8, 8), cluster, 64)
    across = estimate("gpt3-175b", Layout(2, 32), cluster, 64)  # four servers
    assert across.tensor > 10 * inside.tensor
    deep = estimate("megatron-18b", Layout(2, 8, 4), Cluster(64), 64)
    chunks = estimate("megatron-18b", Layout(2, 8, 4, interleave=2), Cluster(64), 64)
    assert chunks.bubble < 0.6 * deep.bubble and chunks.pipeline > 1.9 * deep.pipeline


def rows_of(layout, **options):
    made = planner.toy(OWN, layout, 8, **options)
    return [(row["kind"], row["calls"], row["payload"]) for row in made["traffic"]]


def test_toy_states_by_hand():
    s = counts.shape(OWN)
    for zero, share in ((0, 16), (1, 4 + 4 + 8 / 4), (2, 4 + 12 / 4), (3, 16 / 4)):
        layout = Layout(4, zero=zero, micro_batch=2)
        assert planner.toy(OWN, layout, 8)["states"]["total"] == pytest.approx(share * s.total, abs=4)
    split = planner.toy(OWN, Layout(tensor=4, micro_batch=8), 8)["states"]
    assert split["params"] == 4 * (s.non_embedding / 4 + s.embedding)
    stage = planner.toy(OWN, Layout(pipeline=4), 8)
    assert stage["states"]["params"] == 4 * (s.non_embedding / 4 + 128 * 64)  # a block, and one end
    assert stage["bubble"] == pytest.approx(3 / 11)
    tied = OWN.model_dump() | {"tie_embeddings": True, "positions": "learned"}
    first = planner.toy(tied, Layout(pipeline=4), 8)["states"]["params"]
    assert first == 4 * (s.non_embedding / 4 + (128 + 32) * 64)  # the one table, and the positions


def test_toy_traffic_is_what_torch_issues():
    """Counted in real runs of this model on 4 ranks with gloo (8 sequences of 32, one step): calls and payload bytes."""
    assert rows_of(Layout(zero=1, micro_batch=8)) == rows_of(Layout(zero=3, micro_batch=8)) == []
    assert rows_of(Layout(4, micro_batch=2)) == [("all_reduce", 1, 851968)]
    assert rows_of(Layout(4, zero=1, micro_batch=2), tensors=18)[1] == ("broadcast", 18, 851968)
    assert rows_of(Layout(4, zero=2, micro_batch=2)) == [
        ("all_gather", 5, 851968),
        ("reduce_scatter", 5, 851968),
    ]
    assert rows_of(Layout(4, zero=3, micro_batch=2), root_kept=False) == [
        ("all_gather", 10, 1703936), ("reduce_scatter", 5, 851968)
    ]  # fmt: skip
    assert rows_of(Layout(tensor=4, micro_batch=8)) == [("all_reduce", 16, 1048576)]
    assert rows_of(Layout(tensor=4, micro_batch=8, sequence=True)) == [
        ("all_gather", 18, 1179648), ("reduce_scatter", 16, 1048576)
    ]  # fmt: skip
    assert rows_of(Layout(2, 2, zero=3, micro_batch=4), root_kept=False) == [
        ("all_reduce", 16, 524288), ("all_gather", 10, 917504), ("reduce_scatter", 5, 458752)
    ]  # fmt: skip
    assert rows_of(Layout(pipeline=4, micro_batch=2)) == [("point_to_point", 8, 131072)]


def test_toy_with_everything_computed_again_sends_two_more_a_block():
    made = planner.toy(OWN, Layout(2, 2, zero=1, micro_batch=4, recompute="full"), 8)
    rows = [(row["kind"], row["calls"]) for row in made["traffic"]]
    assert rows == [("all_reduce", 6 * 4), ("all_reduce", 1), ("broadcast", 1)]
    assert (
        made["wire_bytes"] == pytest.approx(sum(row["wire"] for row in made["traffic"]))
        and made["bubble"] == 0
    )
    assert planner.toy(OWN, Layout(pipeline=2, interleave=2, micro_batch=2), 8)["bubble"] == pytest.approx(
        1 / 9
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: estimate(OWN, Layout(), Cluster(1), 8, "int3"), "precision: expected one of"),
        (lambda: plan(OWN, Cluster(7), 8), "no layout of 7 GPUs divides 8 heads, 4 layers"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(call, says):
    with pytest.raises(InputError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
