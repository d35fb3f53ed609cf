"""What was done to a model once can be done again, or is refused in one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import untrained
from refusals import one_line

from scalept_lab.compress import distill, prune, quantize, variants
from scalept_lab.compress.copies import masked, plain_copy
from scalept_lab.config import TrainConfig
from scalept_lab.data.corpora import prepare
from scalept_lab.model.transformer import Transformer

CUTS: dict[str, Callable[[Transformer], Transformer]] = {
    "unstructured": lambda model: prune.unstructured(model, 0.5),
    "2:4": prune.two_of_four,
    "units": lambda model: prune.fewer_units(model, 0.5),
    "heads": lambda model: prune.fewer_heads(model, 0.5),
}


def pruned() -> Transformer:
    """Once, and after a pass with gradients: the masked weight is then no parameter, and cannot be copied as it is."""
    model = prune.unstructured(untrained.model(), 0.25)
    model(untrained.tokens()).sum().backward()
    return model


@pytest.mark.parametrize("first", CUTS)
@pytest.mark.parametrize("second", CUTS)
def test_what_was_pruned_can_be_pruned_again(first, second):
    made = CUTS[first](untrained.model())
    made(untrained.tokens()).sum().backward()
    again = CUTS[second](made)
    assert torch.isfinite(again(untrained.tokens())).all()
    if second == "unstructured":
        assert prune.sparsity(again) >= 0.5 - 1e-3


def test_pruning_twice_takes_the_larger_share_and_the_first_zeros_are_among_them():
    first = pruned()
    second = prune.unstructured(first, 0.75)
    assert prune.sparsity(second) == pytest.approx(0.75, abs=1e-3)
    before, after = (m.blocks[0].mlp.up.weight for m in (first, second))
    assert not after[before == 0].any() and masked(first.blocks[0].mlp.up)  # the model given is left alone
    same = prune.unstructured(untrained.model(), 0.75)
    assert torch.equal(after, same.blocks[0].mlp.up.weight)


def test_a_plain_copy_has_zeros_and_no_masks():
    model = pruned()
    made = plain_copy(model, "copying")
    assert not any(map(masked, made.modules())) and prune.sparsity(made) == pytest.approx(0.25, abs=1e-3)
    assert torch.equal(made(untrained.tokens()), model(untrained.tokens()))


def test_what_was_pruned_is_quantized_and_keeps_its_zeros():
    model = pruned()
    made, _ = quantize.rounded(model, 4)
    assert prune.sparsity(made) >= 0.25 - 1e-3
    for method in ("weights", "builtin"):
        assert torch.isfinite(quantize.int8(model, method)(untrained.tokens())).all()


def test_a_pruned_model_teaches(tiny_corpus):
    config = TrainConfig(
        model=untrained.SMALL.replace(width=16, heads=2), corpus=tiny_corpus, tokens=1_000, eval_windows=4
    )
    _, record = distill.fit_student(config, pruned(), corpus=prepare(tiny_corpus))
    assert record.status == "ok"


def test_a_cut_model_gets_a_longer_context():
    for cut in CUTS.values():
        model, x = cut(untrained.model()), untrained.tokens(2, 48)
        with torch.no_grad():
            assert torch.allclose(variants.longer(model, 100)(x), model(x), atol=1e-5)
            assert variants.longer(model, 100)(untrained.tokens(1, 90)).shape == (1, 90, 256)


@pytest.mark.parametrize("method", ["weights", "dynamic", "builtin"])
def test_a_model_in_8_bits_is_done(method, tiny_corpus):
    eight, corpus = quantize.int8(untrained.model(), method), prepare(tiny_corpus)
    config = TrainConfig(model=untrained.SMALL.replace(width=16, heads=2), corpus=tiny_corpus, tokens=1_000)
    for work, what in (
        (lambda: prune.unstructured(eight, 0.5), "pruning"),
        (lambda: prune.two_of_four(eight), "pruning"),
        (lambda: prune.fewer_units(eight, 0.5), "pruning"),
        (lambda: prune.fewer_heads(eight, 0.5), "pruning"),
        (lambda: prune.fine_tune(eight, corpus, 1_000), "fine-tuning"),
        (lambda: quantize.rounded(eight, 4), "quantization"),
        (lambda: quantize.int8(eight), "quantization"),
        (lambda: variants.longer(eight, 100), "a longer context"),
        (lambda: distill.fit_student(config, eight, corpus=corpus), "distillation"),
    ):
        one_line(
            work,
            f"{what} expects floating-point weights, got a model in 8 bits by a library; do it before int8()",
        )


def test_models_with_experts_are_refused_where_most_weights_would_stay():
    mixture = untrained.model(untrained.SMALL.replace(experts={"number": 2, "active": 1}))
    for work in (
        lambda: quantize.rounded(mixture, 4),
        lambda: quantize.int8(mixture),
        lambda: prune.fewer_units(mixture, 0.5),
    ):
        one_line(work, "expects a dense model, got one with 2 experts; take one without")


def test_a_student_with_experts_keeps_them_balanced(tiny_corpus, monkeypatch):
    """The balance loss is part of what a taught student minimises, too."""
    shape = untrained.SMALL.replace(
        width=16, heads=2, mlp_ratio=1, experts={"number": 2, "active": 1, "strength": 5.0}
    )
    config = TrainConfig(model=shape, corpus=tiny_corpus, tokens=1_000, eval_windows=4)
    taken: list[float] = []
    true = distill.auxiliary_loss
    monkeypatch.setattr(distill, "auxiliary_loss", lambda model: taken.append(1.0) or true(model))
    _, record = distill.fit_student(config, untrained.model(), corpus=prepare(tiny_corpus))
    assert record.status == "ok" and len(taken) == record.D // config.tokens_per_step
