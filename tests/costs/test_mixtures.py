"""Published mixtures of experts: our counts against the published ones, to the digits that were printed."""

from __future__ import annotations

import pytest

from scalept_lab.costs import counts, mixtures
from scalept_lab.errors import InputError
from scalept_lab.runs import data_folder

PRINTED = {
    "mixtral-8x7b": (0.05, 0.05),
    "qwen3-30b-a3b": (0.05, 0.1),
    "qwen3-235b-a22b": (0.5, 0.5),
    "deepseek-v3": (0.5, 0.05),
}


@pytest.mark.parametrize("row", mixtures.table(), ids=lambda row: row["model"])
def test_counts_are_the_published_ones(row):
    """DeepSeek prints its active parameters without the token table, a lookup."""
    total, active = PRINTED[row["model"]]
    mine = row["active"] - (row["lookup"] if row["model"] == "deepseek-v3" else 0)
    assert abs(row["total"] - row["published total"]) < total and abs(mine - row["published active"]) < active


def test_bytes_a_token_sends_by_hand():
    """Layers · 2 ways · experts · width · 2 bytes; the first three layers of DeepSeek-V3 are dense."""
    sent = {row["model"]: row["sent"] for row in mixtures.table()}
    assert sent["mixtral-8x7b"] == 32 * 2 * 2 * 4096 * 2 and sent["deepseek-v3"] == 58 * 2 * 8 * 7168 * 2


TINY = dict(vocab_size=307, hidden_size=40, intermediate_size=72, num_hidden_layers=5, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, num_experts_per_tok=2)  # fmt: skip
FAMILIES = {
    "mixtral": [{"num_local_experts": 3}, {"num_local_experts": 4, "head_dim": 24, "tie_word_embeddings": True}],
    "qwen3_moe": [
        {"num_experts": 6, "moe_intermediate_size": 24, "head_dim": 24},
        {"num_experts": 6, "moe_intermediate_size": 24, "head_dim": 8, "decoder_sparse_step": 2, "mlp_only_layers": [3]},
    ],
    "deepseek_v3": [
        dict(n_routed_experts=6, n_shared_experts=shared, first_k_dense_replace=dense, moe_intermediate_size=24, q_lora_rank=14,
             kv_lora_rank=10, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=16, num_key_value_heads=4, n_group=2,
             topk_group=1)
        for shared, dense in ((1, 2), (2, 0))
    ],
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_they_count_as_the_real_models(family, tmp_path):
    """Total, and what idles: the experts that a token does not pass, from the sizes of the real ones' tensors."""
    import torch
    import transformers as hf

    for changes in FAMILIES[family]:
        config = hf.AutoConfig.for_model(family, **(TINY | changes))
        with torch.device("meta"):
            model = hf.AutoModelForCausalLM.from_config(config)
        routed = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
        number = next(
            config.to_dict()[key]
            for key in ("num_local_experts", "num_experts", "n_routed_experts")
            if key in config.to_dict()
        )
        config.save_pretrained(tmp_path)
        for given in ({"model_type": family, **TINY, **changes}, tmp_path / "config.json"):
            s = counts.shape(given)
            assert s.total == sum(p.numel() for p in model.parameters())
            assert s.idle == routed * (number - 2) // number
            assert counts.count(given)["active"] == s.total - s.idle


def test_our_own_mixture_counts_exactly():
    from scalept_lab.config import ModelConfig, TrainConfig
    from scalept_lab.model.transformer import Transformer

    config = ModelConfig.family(32, mlp_ratio=2, experts={"number": 8, "active": 2})
    s = counts.shape(config)
    assert s.total == sum(p.numel() for p in Transformer(config).parameters())
    assert s.active_non_embedding == 2 * (
        12 * 32**2 + 8 * 32
    )  # as many as a dense MLP of 4 · width, and the router
    assert counts.flops_per_token(config, "6N") == 6 * s.active_non_embedding
    dense = ModelConfig.family(32)
    assert counts.flops_per_token(config) == counts.flops_per_token(dense) + 6 * 2 * 8 * 32
    assert (
        counts.count(TrainConfig(model=config)) == counts.count(config) == counts.count(config.model_dump())
    )
    assert "active" not in counts.count(dense)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_experts_per_tok": 300}, "num_experts_per_tok: expected a whole number from 1 to 256, got 300"),
        ({"first_k_dense_replace": 99}, "first_k_dense_replace"),
        ({"n_routed_experts": 0}, "n_routed_experts"),
    ],
)
def test_bad_input_is_one_clear_line(changes, words):
    with pytest.raises(InputError, match=words) as caught:
        counts.count({"model_type": "deepseek_v3", **changes})
    assert "\n" not in str(caught.value)


def test_every_row_has_its_config():
    folder = data_folder() / "published" / "experts"
    assert {path.stem for path in folder.glob("*.json")} == {row["model"] for row in mixtures.table()}
