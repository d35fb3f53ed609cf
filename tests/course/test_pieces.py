"""Builds held to oracles that are not the kit's own code, and the pieces that sets are made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from scalept_lab.config import recommend
from scalept_lab.course.sets import nb00, nb02, pieces
from scalept_lab.laws.compare import paired
from scalept_lab.model.optim import param_groups
from scalept_lab.model.transformer import Transformer

# --- 02: what transformers builds, what torch counts, what the optimizer does -----------------------------------------


@pytest.fixture(scope="module")
def real():
    """The five decoders as `transformers` has them, on the meta device."""
    import transformers as hf

    configs = {
        "gpt2": hf.GPT2Config(),
        "pythia-410m": hf.GPTNeoXConfig(vocab_size=50304, hidden_size=1024, num_hidden_layers=24,
                                        num_attention_heads=16, intermediate_size=4096),
        "llama3-8b": hf.LlamaConfig(vocab_size=128256, intermediate_size=14336, num_key_value_heads=8),
        "qwen2-0.5b": hf.Qwen2Config(hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
                                     num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True),
        "gemma-7b": hf.GemmaConfig(),
    }  # fmt: skip
    with torch.device("meta"):
        return {name: hf.AutoModelForCausalLM.from_config(config) for name, config in configs.items()}


@pytest.mark.parametrize("name", nb02.SIZES)
def test_parameters_and_flops_are_those_of_the_real_model(real, name):
    from torch.utils.flop_counter import FlopCounterMode

    sizes, context = nb02.SIZES[name], 64
    assert nb02.parameters(sizes) == sum(p.numel() for p in real[name].parameters())
    with torch.device("meta"):
        inputs = {
            "input_ids": torch.zeros(1, context, dtype=torch.long),
            "attention_mask": torch.zeros(1, 1, context, context),
            "position_ids": torch.arange(context)[None],
        }
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        real[name](**inputs, use_cache=False)
    assert sum(nb02.training_flops(sizes, context).values()) == 3 * counter.get_total_flops() / context


@pytest.mark.parametrize(("width", "positions"), [(8, "rotary"), (32, "learned"), (64, "learned")])
def test_mup_rates_are_those_of_the_optimizer(width, positions):
    config = recommend(width, 2e5, lr=0.01)
    config = config.replace(model=config.model.replace(positions=positions).model_dump())
    model = Transformer(config.model)
    rates = nb02.mup_rates({name: tuple(p.shape) for name, p in model.named_parameters()}, 0.01)
    used = {id(p): group["lr"] for group in param_groups(model, config) for p in group["params"]}
    assert rates == pytest.approx({name: used[id(p)] for name, p in model.named_parameters()})


def test_paired_interval_is_students_and_leaves_missing_pairs_out():
    a, b = [2.1, 2.2, 2.4, 2.3], [2.0, 2.15, 2.3, 2.28]
    low, high = nb02.paired_interval([*a, float("nan")], [*b, 1.0])
    assert (low, high) == pytest.approx(stats.ttest_rel(a, b).confidence_interval(0.95))
    assert (low, high) == pytest.approx((paired(a, b).low, paired(a, b).high))


def test_coordinates_tell_the_rules_apart():
    batches = np.random.default_rng(1).integers(0, 20, (3, 4, 33))  # few letters: steps that pull one way

    def growth(rule):
        near, far = (nb02.coordinate_check(width, rule, batches) for width in (16, 64))
        return {layer: far[layer] / near[layer] for layer in near}

    def colleague(who):
        def rule(tensors, lr):
            tables, inside, output = nb02.COLLEAGUES[who](tensors["embed.weight"][1] / 32)
            kind = {"embed": 10 * tables, "head": 3 * output}
            return {name: lr * kind.get(name.split(".")[0], inside) for name in tensors}

        return rule

    mup = growth(nb02.mup_rates)
    standard = growth(lambda tensors, lr: nb02.mup_rates(tensors, lr, tensors["embed.weight"][1]))
    assert all(0.6 < ratio < 1.6 for ratio in mup.values()), mup
    assert all(standard[layer] > 2 for layer in ("block 1", "block 2", "logits"))
    assert growth(colleague("A"))["logits"] > 2 and growth(colleague("A"))["block 1"] < 1.6
    assert growth(colleague("B"))["embedding"] < 0.4 and growth(colleague("B"))["logits"] < 1.6


# --- 00 ----------------------------------------------------------------------------------------------------------------


def test_the_bigram_model_is_counted_by_hand():
    """After a 0 came 1, 1 and 2: with 1 added to each of three counts, p(1 | 0) = 3/6 and p(2 | 0) = 2/6."""
    found = nb00.bigram_loss(np.array([0, 1, 0, 1, 0, 2]), np.array([0, 1, 0, 2]), vocab=3, smoothing=1.0)
    assert found == pytest.approx(-(np.log(3 / 6) + np.log(3 / 5) + np.log(2 / 6)) / 3)


def test_nats_per_byte_counts_bytes_of_utf8():
    assert nb00.nats_per_byte([-3.0, -4.0], ["é", "学习"]) == pytest.approx(7 / 8)


def test_a_line_goes_on_by_equal_ratios():
    assert nb00.continue_line([1e6, 2e6], [4.0, 3.0], 8e6) == pytest.approx(4.0 * 0.75**3)


# --- the pieces --------------------------------------------------------------------------------------------------------


def test_a_slip_is_the_solution_with_one_piece_changed():
    half = pieces.slip(nb00.nats_per_byte, "nats / length", "nats / length / 2")
    assert half([-2.0], ["a"]) == 1.0 and nb00.nats_per_byte([-2.0], ["a"]) == 2.0
    with pytest.raises(ValueError, match="'no such code' is not in it"):
        pieces.slip(nb00.nats_per_byte, "no such code", "")


def test_a_skeleton_has_the_text_and_no_body():
    text = pieces.skeleton(nb00.nats_per_byte)
    assert text.startswith("def nats_per_byte(") and text.endswith('"""\n    ...') and "sum(" not in text
    assert pieces.source(nb00.nats_per_byte).endswith("answer = nats_per_byte")
