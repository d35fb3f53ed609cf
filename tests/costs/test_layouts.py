"""Models by name and by size, clusters and their links, and layouts that divide or say in one line what does not."""

from __future__ import annotations

import pytest
from refusals import one_line

from scalept_lab.config import ModelConfig
from scalept_lab.costs import counts
from scalept_lab.costs.layouts import MODELS, Cluster, Layout, model

OWN = ModelConfig(width=64, depth=4, heads=8, context=32, vocab_size=128)


def test_models_by_name_config_and_sizes():
    assert model("gpt3-175b").shape.total == pytest.approx(175e9, rel=0.01)
    assert model("llama3-405b").shape.total == pytest.approx(405e9, rel=0.005)
    assert model("llama3-70b").shape.total == pytest.approx(70e9, rel=0.015)
    assert model("gpt2-xl").heads == 25 and model("megatron-1t").depth == 128
    assert model(OWN) == model(OWN.model_dump()) and model(OWN).heads == 8
    assert model(dict(width=64, depth=4, heads=8, context=32, vocab_size=128)).shape == counts.shape(OWN)
    assert model(model(OWN)) is not None and model({"model": OWN.model_dump(), "tokens": 1}) == model(OWN)
    assert (
        model("gpt2-xl").name == "gpt2-xl (1.6B)"
        and model({**OWN.model_dump(), "name": "mine"}).name == "mine"
    )


def test_a_sparse_config_has_the_sizes_of_its_family():
    m = model({"model_type": "qwen3", "num_hidden_layers": 2})
    assert (m.width, m.heads, m.depth, m.context) == (4096, 32, 2, 32_768)


@pytest.mark.parametrize("name", MODELS)
def test_named_models_are_as_large_as_their_names_say(name):
    m = model(name)
    size = name.removesuffix(")").split("-")[-1].split("(")[-1].upper()
    scale = {"B": 1e9, "T": 1e12}[size[-1]]
    assert m.shape.total == pytest.approx(float(size[:-1]) * scale, rel=0.04)
    assert m.width % m.heads == 0 and m.width // m.heads in (64, 80, 128, 160)


def test_the_sizes_that_the_papers_print():
    """Brown et al. 2020, table 2.1; Dubey et al. 2024, table 3; Touvron et al. 2023, table 2."""
    sizes = {name: (m.depth, m.width, m.heads, m.context) for name in MODELS if (m := model(name))}
    assert sizes["gpt3-175b"] == (96, 12288, 96, 2048) and sizes["llama3-405b"] == (126, 16384, 128, 8192)
    assert sizes["llama-7b"] == (32, 4096, 32, 2048) and sizes["megatron-1t"] == (128, 25600, 160, 2048)


def test_a_link_by_hand():
    """Ranks 1 to 4 of servers of 4 talk inside one, 1 to 5 across two: a half of 300 or of 25 GB/s."""
    cluster = Cluster(16, node=4, inside=300e9, between=25e9, link_efficiency=0.5)
    assert (cluster.rate(4), cluster.rate(5)) == (150e9, 12.5e9)


@pytest.mark.parametrize(
    ("layout", "kind", "text"),
    [
        (Layout(4), "data", "d4·t1·p1 b1"),
        (Layout(4, zero=2, micro_batch=8), "ZeRO-1/2", "d4·t1·p1 b8 ZeRO-2"),
        (Layout(4, zero=3, recompute="full"), "ZeRO-3", "d4·t1·p1 b1 ZeRO-3 full recompute"),
        (Layout(4, 2, zero=3), "tensor", "d4·t2·p1 b1 ZeRO-3"),
        (Layout(1, 1, 8, zero=1), "pipeline", "d1·t1·p8 b1 ZeRO-1"),
        (Layout(3, 2, 4), "tensor + pipeline", "d3·t2·p4 b1"),
    ],
)
def test_a_layout_names_its_kind(layout, kind, text):
    assert (layout.kind, str(layout)) == (kind, text)
    assert layout.gpus == layout.data * layout.tensor * layout.pipeline


def test_micro_batches_by_hand():
    m = model(OWN)
    assert Layout(2, 2, 2, micro_batch=3).check(m, 8, 24) == 4
    assert Layout(pipeline=3).check(m, 3, 5, uneven=True) == 5
    assert Layout(2, micro_batch=4).check(m, 2, 8) == 1
    assert Layout(pipeline=2, interleave=2).check(m, 2, 6) == 6


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Layout(2, 2).check(model(OWN), 8, 8), "gpus: 8 is not 2 data × 2 tensor × 1 pipeline"),
        (lambda: Layout(tensor=3).check(model(OWN), 3, 8), "tensor: 8 heads do not divide over 3 ranks"),
        (
            lambda: Layout(pipeline=3).check(model(OWN), 3, 8),
            "pipeline: 4 layers do not divide into 3 stages;",
        ),
        (lambda: Layout(pipeline=2, interleave=4).check(model(OWN), 2, 8), "2 stages of 4 chunks"),
        (
            lambda: Layout(4, micro_batch=4).check(model(OWN), 4, 8),
            "multiple of 4 data ranks × 4 sequences, got 8",
        ),
        (
            lambda: Layout(2, micro_batch=2).check(model(OWN), 2, 6),
            "multiple of 2 data ranks × 2 sequences, got 6",
        ),
        (lambda: Layout(pipeline=2, interleave=2).check(model(OWN), 2, 5), "in multiples of 2 stages, got 5"),
        (
            lambda: Layout(4, zero=3, copies=3).check(model(OWN), 4, 8),
            "copies: expected a divisor of the 4 data",
        ),
        (lambda: Layout(4, zero=1, copies=2).check(model(OWN), 4, 8), "with zero=3, got 2 and zero=1"),
        (lambda: Layout(micro_batch=0).check(model(OWN), 1, 8), "micro_batch: expected a whole number"),
        (lambda: Layout(interleave=0).check(model(OWN), 1, 8), "interleave: expected a whole number"),
        (lambda: Layout(recompute="some").check(model(OWN), 1, 8), "recompute: expected one of none"),
        (lambda: Layout(zero=4).check(model(OWN), 1, 8), "zero: expected a whole number from 0 to 3"),
        (lambda: Cluster(8, between=-1), "between: expected a positive number, got -1"),
        (lambda: Cluster(8, node=0), "node: expected a whole number of at least 1"),
        (lambda: Cluster(0), "gpus: expected a whole number of at least 1"),
        (lambda: Cluster(8, efficiency=1.5), "at most 1"),
        (lambda: Cluster(8, link_efficiency=1.01), "at most 1"),
        (lambda: model("gpt-9"), "model: expected one of gpt2-xl"),
        (lambda: model({"width": 64, "depth": 4}), "number of heads"),
        (lambda: model({**OWN.model_dump(), "heads": 2.5}), "heads: expected a whole number"),
    ],
)
def test_what_does_not_divide_is_one_clear_line(call, says):
    one_line(call, says)
