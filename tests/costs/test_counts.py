"""Counts against the real models, built without memory; the memory table of the ZeRO paper; bad input."""

import json

import pytest

from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.costs import counts
from scalept_lab.errors import InputError

PUBLISHED = {  # (total, non-embedding where a paper prints it)
    "gpt2": (124_439_808, None),
    "gpt2-xl": (1_557_611_200, None),
    "bert-base": (109_482_240, None),
    "vit-b16": (86_567_656, None),
    "pythia-410m": (405_334_016, 302_311_424),  # Biderman et al. 2023, table 1
    "llama-7b": (6_738_415_616, None),
}


def real_count(name):
    """Parameters of the `transformers` model of that name, on the meta device: shapes without memory."""
    import torch
    import transformers as hf

    large = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
    build = {
        "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config()),
        "gpt2-medium": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=1024, n_layer=24, n_head=16)),
        "gpt2-large": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=1280, n_layer=36, n_head=20)),
        "gpt2-xl": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=1600, n_layer=48, n_head=25)),
        "gpt3-175b": lambda: hf.GPT2LMHeadModel(
            hf.GPT2Config(n_embd=12288, n_layer=96, n_head=96, n_positions=2048)
        ),
        "bert-base": lambda: hf.BertModel(hf.BertConfig()),
        "bert-large": lambda: hf.BertModel(hf.BertConfig(**large)),
        "vit-b16": lambda: hf.ViTForImageClassification(hf.ViTConfig(num_labels=1000)),
        "vit-l16": lambda: hf.ViTForImageClassification(hf.ViTConfig(num_labels=1000, **large)),
        "pythia-410m": lambda: hf.GPTNeoXForCausalLM(
            hf.GPTNeoXConfig(vocab_size=50304, max_position_embeddings=2048, **large)
        ),
        "llama-7b": lambda: hf.LlamaForCausalLM(hf.LlamaConfig()),
    }
    with torch.device("meta"):
        model = build[name]()
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", counts.MODELS)
def test_named_models_count_as_the_real_ones(name):
    found = counts.count(name)
    assert list(found) == ["total", "non_embedding", "embedding", "flops_per_token"]
    assert found["total"] == real_count(name)
    assert found["embedding"] + found["non_embedding"] == found["total"]
    total, non_embedding = PUBLISHED.get(name, (None, None))
    assert total in (None, found["total"])
    assert non_embedding in (None, found["non_embedding"])


def configs():
    import transformers as hf

    return {
        "gpt2": (hf.GPT2LMHeadModel, hf.GPT2Config(n_embd=64, n_layer=3, n_head=4, n_inner=96, vocab_size=300)),
        "gpt2 untied": (hf.GPT2LMHeadModel, hf.GPT2Config(n_embd=64, n_layer=2, n_head=4, tie_word_embeddings=False)),
        "bert": (hf.BertModel, hf.BertConfig(hidden_size=48, num_attention_heads=4, intermediate_size=100)),
        "vit": (hf.ViTForImageClassification, hf.ViTConfig(hidden_size=48, num_attention_heads=4, qkv_bias=False,
                                                           image_size=32, patch_size=8, num_labels=7)),
        "gpt_neox": (hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig(
            hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=100, vocab_size=99)),
        "gpt_neox tied": (hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig(
            hidden_size=64, num_hidden_layers=2, num_attention_heads=4, tie_word_embeddings=True,
            attention_bias=False)),
        "llama": (hf.LlamaForCausalLM, hf.LlamaConfig(
            hidden_size=64, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2, head_dim=16,
            intermediate_size=100, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["gpt2", "gpt2 untied", "bert", "vit", "gpt_neox", "gpt_neox tied", "llama"])
def test_config_files_count_as_the_real_models(name, tmp_path):
    import torch

    architecture, config = configs()[name]
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        real = sum(p.numel() for p in architecture(config).parameters())
    assert counts.count(tmp_path / "config.json")["total"] == real


ASYMMETRIC = dict(vocab_size=307, hidden_size=40, intermediate_size=72, num_hidden_layers=5, num_attention_heads=4,
                  num_key_value_heads=2, sliding_window=16, max_position_embeddings=64)  # fmt: skip
RELATIVES = {
    "llama": [{}, {"head_dim": 24, "mlp_bias": True}, {"tie_word_embeddings": True, "attention_bias": True}],
    "mistral": [{}, {"head_dim": 24}, {"sliding_window": None, "tie_word_embeddings": True}],
    "qwen2": [{}, {"tie_word_embeddings": True}, {"use_sliding_window": True, "max_window_layers": 2}],
    "qwen3": [{"head_dim": 24}, {"attention_bias": True}, {"use_sliding_window": True, "max_window_layers": 0}],
    "gemma": [{"head_dim": 24}, {"attention_bias": True, "num_key_value_heads": 1}],
    "gemma2": [{"head_dim": 24}, {"attention_bias": True, "tie_word_embeddings": False}],
    "gemma3_text": [{"head_dim": 24}, {"sliding_window_pattern": 2}, {"layer_types": ["full_attention"] * 5}],
}  # fmt: skip


def embeddings(model):
    """Parameters of the tables, the output layer where it is not the token table."""
    tables = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    return sum(table.numel() for table in {id(t): t for t in tables}.values())


@pytest.mark.parametrize("family", RELATIVES)
def test_relatives_of_llama_count_as_the_real_models(family, tmp_path):
    """Wide heads, norms over queries and keys, biases, tied tables, windows: from what was given, and from the saved file."""
    import torch
    import transformers as hf

    for changes in RELATIVES[family]:
        config = hf.AutoConfig.for_model(family, **(ASYMMETRIC | changes))
        with torch.device("meta"):
            model = hf.AutoModelForCausalLM.from_config(config)
        real = (sum(p.numel() for p in model.parameters()), embeddings(model))
        sparse = counts.shape({"model_type": family, **ASYMMETRIC, **changes})
        config.save_pretrained(tmp_path)
        assert (sparse.total, sparse.embedding) == real
        assert counts.shape(tmp_path / "config.json") == sparse
        kinds = getattr(config, "layer_types", None)
        if family in ("qwen2", "qwen3", "gemma2", "gemma3_text"):
            assert sparse.windowed == kinds.count("sliding_attention")


@pytest.mark.parametrize("family", RELATIVES)
def test_a_sparse_config_has_the_defaults_of_its_family(family):
    import transformers as hf

    theirs = hf.AutoConfig.for_model(family)
    for key, ours in counts.FAMILIES[family][1].items():
        if key in ("sliding_window_pattern", "sliding_window") or (key == "mlp_bias" and family != "llama"):
            continue  # not kept by all of their classes; the windowed layers below are
        assert ours == getattr(theirs, key, ours), key
    s = counts.shape({"model_type": family})
    if family not in ("llama", "gemma"):
        layers = [k for k in getattr(theirs, "layer_types", None) or () if k == "sliding_attention"]
        assert (s.windowed, s.window) == (
            len(layers) or (32 if family == "mistral" else 0),
            4096 if s.windowed else 0,
        )


def test_a_window_costs_its_own_width_by_hand():
    """Llama's 7e9 at 32,768 tokens of context: 6 · 6.6e9 and 12 · 32 · 4096 · (32,768 or 4,096) FLOPs per token."""
    long = {"model_type": "llama", "max_position_embeddings": 32_768}
    weights = 6 * (32 * (4 * 4096**2 + 3 * 4096 * 11008) + 32000 * 4096)
    full = counts.count(long)["flops_per_token"]
    short = counts.count({**long, "sliding_window": 4096})["flops_per_token"]
    assert full == weights + 12 * 32 * 4096 * 32_768 and short == weights + 12 * 32 * 4096 * 4096
    four = {
        **long,
        "sliding_window": 4096,
        "layer_types": ["sliding_attention"] * 4 + ["full_attention"] * 28,
    }
    assert counts.count(four)["flops_per_token"] == weights + 12 * 4096 * (4 * 4096 + 28 * 32_768)
    # shorter than the window, it costs nothing less
    assert counts.flops_per_token(four, context=1000) == weights + 12 * 32 * 4096 * 1000


@pytest.mark.parametrize(
    ("fields", "windowed"),
    [
        ({"model_type": "mistral", "sliding_window": 7}, 32),
        ({"model_type": "mistral", "sliding_window": None}, 0),
        ({"model_type": "llama"}, 0),
        ({"model_type": "qwen2"}, 0),
        ({"model_type": "qwen2", "use_sliding_window": True}, 4),
        ({"model_type": "qwen3", "use_sliding_window": True, "max_window_layers": 40}, 0),
        ({"model_type": "gemma2", "num_hidden_layers": 7}, 4),
        ({"model_type": "gemma3_text"}, 22),
        ({"model_type": "gemma3_text", "sliding_window_pattern": 3}, 18),
        ({"model_type": "gemma"}, 0),
    ],
)
def test_layers_with_a_window(fields, windowed):
    assert counts.shape(fields).windowed == windowed


@pytest.mark.parametrize(
    "changes",
    [{}, {"positions": "learned"}, {"causal": False, "mlp_ratio": 2}, {"kv_heads": 3}, {"kv_heads": 1}],
)
def test_own_model_counts_and_flops_are_exact(changes):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from scalept_lab.model.transformer import Transformer

    config = ModelConfig.family(48, vocab_size=300, context=64, **changes)
    model = Transformer(config)
    found = counts.count_params(config)
    assert found["total"] == sum(p.numel() for p in model.parameters())
    blocks = sum(p.numel() for p in model.blocks.parameters())
    assert found["non_embedding"] == blocks
    assert (
        counts.count(TrainConfig(model=config)) == counts.count(config) == counts.count(config.model_dump())
    )
    assert counts.count({"model": config.model_dump(), "tokens": 1}) == counts.count(config)

    model.head.weight.data.normal_()
    with (
        FlopCounterMode(display=False) as counter,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        model(torch.zeros(2, 64, dtype=torch.long))
    assert counts.flops_per_token(config) == 3 * counter.get_total_flops() / (2 * 64)
    assert counts.flops_per_token(config, "6N") == 6 * blocks


def test_width_and_depth_are_enough_for_our_own_model():
    """256 bytes in and out, and 12 · 64² in each of 4 blocks; with tied tables they count once."""
    assert counts.count_params({"width": 64, "depth": 4}) == {
        "total": 2 * 256 * 64 + 4 * 12 * 64**2, "non_embedding": 4 * 12 * 64**2, "embedding": 2 * 256 * 64,
    }  # fmt: skip
    tied = {"width": 64, "depth": 4, "tie_embeddings": True, "positions": "learned", "context": 10}
    assert counts.count_params(tied)["embedding"] == 256 * 64 + 10 * 64
    with pytest.raises(InputError, match="width and depth, got neither"):
        counts.count({"width": 64})


def test_gpt2_flops_by_hand():
    weights = 12 * 12 * 768**2 + 50257 * 768
    assert counts.count("gpt2")["flops_per_token"] == 6 * weights + 12 * 12 * 768 * 1024
    assert counts.flops_per_token("gpt2", context=512) == 6 * weights + 12 * 12 * 768 * 512
    assert counts.flops_per_token("gpt2", "6N") == 6 * 85_056_000


def test_memory_is_the_zero_table():
    """Rajbhandari et al. 2020, figure 1: 7.5B parameters, 64 GPUs."""
    gigabytes = [counts.memory(7.5e9, gpus=64, zero=stage)["total"] / 1e9 for stage in range(4)]
    assert [round(g, 1) for g in gigabytes] == [120.0, 31.4, 16.6, 1.9]
    assert counts.memory(1000, precision="fp32") == {
        "params": 4000,
        "grads": 4000,
        "optimizer": 8000,
        "total": 16000,
    }
    assert counts.memory(1000, precision="bf16")["total"] == 8000


def test_memory_with_gradients_in_32_bits():
    """7e9 parameters, ZeRO-1 over 8 GPUs: 2 + 4 bytes whole and 12 in eight parts; with 16-bit gradients 38.5 GB."""
    assert counts.memory(7e9, gpus=8, zero=1, precision="mixed-fp32-grads")["total"] == 52.5e9
    assert counts.memory(7e9, gpus=8, zero=1)["total"] == 38.5e9


def test_memory_by_hand():
    """Five parameters on three GPUs: 10, 10 and 60 bytes; first the last, then the others are cut in three, rounded up."""
    cut = [counts.memory(5, gpus=3, zero=stage) for stage in range(4)]
    assert [list(each.values()) for each in cut] == [
        [10, 10, 60, 80],
        [10, 10, 20, 40],
        [10, 4, 20, 34],
        [4, 4, 20, 28],
    ]


def test_flops_of_what_multiplies_one_token_of_each_sequence():
    """BERT's pooler, 768², once for each sequence; ViT's classifier, 1000 · 768, once for 197 tokens of an image."""
    inside = 12 * 12 * 768**2
    assert (
        counts.flops_per_token("bert-base", context=128) == 6 * (inside + 768**2 / 128) + 12 * 12 * 768 * 128
    )
    vit = 6 * (inside + 3 * 16 * 16 * 768 + 1000 * 768 / 197) + 12 * 12 * 768 * 197
    assert counts.flops_per_token("vit-b16") == pytest.approx(vit)


def test_activations_follow_korthikanti():
    s, b, h, a = 2048, 1, 12288, 96
    assert counts.activation_bytes(s, b, h, a) == s * b * h * (34 + 5 * a * s / h)
    assert counts.activation_bytes(s, b, h, a, tensor_parallel=8) == s * b * h * (
        10 + 24 / 8 + 5 * a * s / (h * 8)
    )
    assert counts.activation_bytes(s, b, h, a, depth=2, flash=True) == 2 * s * b * h * 34


def test_time_and_money():
    assert counts.seconds(1e18, peak_flops=1e12, utilisation=0.5, gpus=4) == 5e5
    assert counts.seconds(6e18, 3e12) == pytest.approx(5e6)  # 40 % of the peak
    assert counts.price(7200, per_gpu_hour=2.5, gpus=8) == 40


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: counts.count("gpt2-xxl"), "did you mean gpt2-xl"),
        (lambda: counts.count("nonsense"), "bert-base"),
        (lambda: counts.count("no/such/config.json"), "no such file"),
        (
            lambda: counts.count({"model_type": "mamba"}),
            "model_type: expected one of gpt2, bert, vit, gpt_neox, llama, mistral, qwen2, .*, got 'mamba'",
        ),
        (lambda: counts.count({"model_type": "mistral", "sliding_window": 0}), "sliding_window"),
        (lambda: counts.count({"model_type": "qwen2", "max_window_layers": -1}), "max_window_layers"),
        (
            lambda: counts.count({"model_type": "gemma2", "layer_types": ["full_attention"]}),
            "layer_types: expected a list of one name for each of the 26 layers",
        ),
        (
            lambda: counts.count({"model_type": "gemma2", "num_hidden_layers": 1, "layer_types": ["mamba"]}),
            "layer_types: expected one of full_attention, sliding_attention",
        ),
        (lambda: counts.flops_per_token("gpt2", context=0), "context"),
        (lambda: counts.memory(1e308), "params: expected a positive number of at most"),
        (lambda: counts.count({"model_type": "gpt2", "n_inner": 0}), "n_inner"),
        (lambda: counts.count([1]), "model|width"),
        (lambda: counts.seconds(1e9, 1e9, utilisation=0), "utilisation"),
        (lambda: counts.count({"n_embd": 3}), "model_type"),
        (lambda: counts.count({"model_type": "gpt2", "n_layer": 0}), "n_layer"),
        (lambda: counts.count({"model_type": "gpt2", "n_embd": "768"}), "n_embd"),
        (lambda: counts.flops_per_token("gpt2", "half"), "convention"),
        (
            lambda: counts.count({"width": 32, "depth": 2, "heads": 4, "kv_heads": 3}),
            "kv_heads: expected a divisor of the 4",
        ),
        (lambda: counts.count({"width": 32, "depth": 2, "kv_heads": 2}), "heads: expected a whole number"),
        (lambda: counts.memory(-1), "params"),
        (lambda: counts.memory(float("nan")), "params"),
        (lambda: counts.memory(1e9, zero=4), "zero"),
        (lambda: counts.memory(1e9, gpus=0), "gpus"),
        (lambda: counts.memory(1e9, precision="fp7"), "precision"),
        (lambda: counts.seconds(1e9, 1e9, utilisation=2), "utilisation"),
    ],
)
def test_bad_input_is_one_clear_line(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_config_file_that_is_not_json(tmp_path):
    path = tmp_path / "config.json"
    for text in ("{", "[1, 2]", json.dumps({"model_type": "gpt2", "n_embd": 1.5})):
        path.write_text(text)
        with pytest.raises(InputError, match=r"config\.json"):
            counts.count(path)
    path.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(InputError, match=r"config\.json: .*nested too deep"):
        counts.count(path)
