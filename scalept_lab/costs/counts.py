"""Parameters and FLOPs of a model before it is built: one formula per architecture, and the published models by name.

Arithmetic only, no torch. Conventions, stated once:

* **embedding** parameters are those of lookups and of the vocabulary: token, position and segment (or class-token) tables, and
  an output layer over the vocabulary where it is not tied. **non-embedding** is the rest, the N of Kaplan et al. 2020 (§2.1)
  and of the Pythia table (Biderman et al. 2023, table 1).
* **FLOPs**: one multiply and one add are two; the backward pass costs twice the forward pass, so training is three times the
  forward pass. Softmax, norms and activations are left out.
* **"full"** counts every matrix product: weights, the output layer (tied or not), and the two products of attention over the
  whole context, 12 · depth · width · context per token in training (Kaplan et al. 2020, table 1, times three; Chowdhery et al.
  2022, appendix B). A causal mask is not discounted. A layer with a sliding window of w tokens sees min(context, w) of them.
  **"6N"** is 6 · non-embedding parameters (Kaplan et al. 2020, §2.1).
* A mixture of experts computes with the experts that a token passes: both conventions count those and the router.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from scalept_lab import outside
from scalept_lab.checks import one_of, positive, shown, whole
from scalept_lab.errors import InputError


def shape(model: Any) -> Shape:
    """The `Shape` of a known name, a path to a `config.json`, a dict of its fields, or a `ModelConfig`.

    A config.json needs `model_type` (one of FAMILIES: gpt2, llama, qwen3, …); without it, the fields of our own
    ModelConfig.
    Raises: InputError for an unknown name, an unreadable file, a size that is not a positive whole number, or layer
    types that are not one for each layer.
    """
    if isinstance(model, (str, Path)):
        name = str(model)
        if name not in MODELS and (name.endswith(".json") or Path(name).is_file()):
            return _build(outside.json_value(name, "a model's name or its config.json"), name)
        family, fields = MODELS[one_of("model", name, MODELS, "or give the path of a config.json")]
        return _build({"model_type": family, **fields}, name)
    if isinstance(model, Mapping):
        return _build(model, "config")
    if hasattr(model, "model") and not hasattr(model, "width"):  # a TrainConfig
        model = model.model
    fields = {
        key: getattr(model, key)
        for key in (*FAMILIES["scalept"][1], "tie_embeddings", "experts", "heads", "kv_heads")
        if hasattr(model, key)
    }
    return _build(fields, type(model).__name__)


def count(model: Any) -> dict[str, int]:
    """`scalept count`: total, non_embedding and embedding parameters, and "full" training FLOPs per token.

    Of a mixture of experts also `active`: those of the parameters that a token passes, tables included.
    """
    s = shape(model)
    return {
        "total": s.total,
        "non_embedding": s.non_embedding,
        "embedding": s.embedding,
        "flops_per_token": round(s.flops_per_token()),
        **({"active": s.active} if s.idle else {}),
    }


def count_params(config: Any) -> dict[str, int]:
    """Parameters of a model by formula: `total`, `non_embedding`, `embedding`."""
    s = shape(config)
    return {"total": s.total, "non_embedding": s.non_embedding, "embedding": s.embedding}


def flops_per_token(config: Any, convention: str = "full", context: int | None = None) -> float:
    """Training FLOPs per token, "full" or "6N" (see the module's text)."""
    return shape(config).flops_per_token(convention, context)


def _build(fields: Mapping[str, Any], where: str) -> Shape:
    if not isinstance(fields, Mapping):
        raise InputError(f"{where}: expected a JSON object of model fields, got {type(fields).__name__}")
    if isinstance(fields.get("model"), Mapping) and "model_type" not in fields:  # a TrainConfig's JSON
        fields = fields["model"]
    if "model_type" not in fields and not {"width", "depth"} <= set(fields):
        raise InputError(
            f"{where}: expected 'model_type' ({', '.join(_countable())}) or the fields width and depth, got neither"
        )
    family = fields.get("model_type", "scalept")
    if family != "scalept":
        one_of(f"{where}: model_type", family, _countable())
    formula, defaults = FAMILIES[family]
    merged = {**defaults, **fields}
    optional = ("n_inner", "num_key_value_heads", "head_dim", "sliding_window", "num_local_experts")
    for key in dict.fromkeys((*defaults, *optional)):
        value, default = merged.get(key), defaults.get(key, 1)
        if isinstance(default, (bool, str)) or (value is None and key in optional):
            continue
        merged[key] = whole(f"{where}: {key}", value, 0 if key in MAY_BE_ZERO else 1)
    kinds = merged.get("layer_types")
    if kinds is not None:
        if not isinstance(kinds, list) or len(kinds) != merged.get("num_hidden_layers"):
            raise InputError(
                f"{where}: layer_types: expected a list of one name for each of the "
                f"{merged.get('num_hidden_layers')} layers, got {shown(kinds)}"
            )
        for kind in kinds:
            one_of(f"{where}: layer_types", kind, LAYER_TYPES)
    return formula(merged)


MAY_BE_ZERO = ("max_window_layers", "first_k_dense_replace", "n_shared_experts")


def _countable() -> list[str]:
    """The model types that a config.json may name."""
    return [name for name in FAMILIES if name != "scalept"]


# --- memory, time, money

# Bytes per parameter: (parameters, gradients, optimizer). Adam keeps two moments; mixed precision keeps a
# 32-bit copy of the parameters as well, the K = 12 of Rajbhandari et al. 2020 (§3.1). Frameworks that train in bf16
# often sum the gradients of micro-batches and ranks in 32 bits, and keep them so: "mixed-fp32-grads".
BYTES = {"mixed": (2, 2, 12), "mixed-fp32-grads": (2, 4, 12), "fp32": (4, 4, 8), "bf16": (2, 2, 4)}
MOST = 1e18  # parameters; more would be a slip, and soon overflow


def memory(params: float, gpus: int = 1, zero: int = 0, precision: str = "mixed") -> dict[str, int]:
    """Bytes per GPU for the model's states under Adam: params, grads, optimizer, total. Activations are not
    in it.

    `zero` shards over the GPUs: 1 the optimizer, 2 and the gradients, 3 and the parameters (Rajbhandari et
    al. 2020, fig. 1: 7.5e9 parameters on 64 GPUs take 120, 31.4, 16.6, 1.9 GB). `precision`: mixed (16-bit
    with a 32-bit copy), mixed-fp32-grads (the same with gradients in 32 bits, as with Megatron's and DeepSpeed's bf16),
    fp32, or bf16 (everything in 16 bits). Raises: InputError.
    """
    params = positive("params", params, most=MOST)
    gpus, zero = whole("gpus", gpus), whole("zero", zero, 0, 3, "it is a stage")
    each = BYTES[one_of("precision", precision, BYTES)]
    sizes = dict(zip(("params", "grads", "optimizer"), each, strict=True))
    sharded_from = {"params": 3, "grads": 2, "optimizer": 1}
    used = {
        key: ceil(params * size / (gpus if zero >= sharded_from[key] else 1)) for key, size in sizes.items()
    }
    return {**used, "total": sum(used.values())}


def activation_bytes(
    context: int,
    batch: int,
    width: int,
    heads: int,
    depth: int = 1,
    *,
    tensor_parallel: int = 1,
    flash: bool = False,
) -> float:
    """Bytes of activations kept for the backward pass in 16 bits, per GPU (Korthikanti et al. 2022, eq. 1 and
    2).

    Per layer s·b·h·(34 + 5·a·s/h); over t tensor-parallel GPUs s·b·h·(10 + 24/t + 5·a·s/(h·t)).
    `flash=True` drops the attention matrices (the term in s²), which a fused kernel never stores.
    """
    sizes = {"context": context, "batch": batch, "width": width, "heads": heads, "depth": depth,
             "tensor_parallel": tensor_parallel}  # fmt: skip
    s, b, h, heads, depth, t = (whole(name, value) for name, value in sizes.items())
    quadratic = 0.0 if flash else 5 * heads * s / (h * t)
    return depth * s * b * h * (10 + 24 / t + quadratic)


def seconds(flops: float, peak_flops: float, utilisation: float = 0.4, gpus: int = 1) -> float:
    """Time for `flops` on `gpus` devices of `peak_flops` per second each, of which a share `utilisation` is
    reached.
    """
    reached = positive("peak_flops", peak_flops) * positive("utilisation", utilisation, most=1)
    return positive("flops", flops) / (reached * whole("gpus", gpus))


def price(run_seconds: float, per_gpu_hour: float, gpus: int = 1) -> float:
    """Cost of holding `gpus` devices for `run_seconds` each, in the currency of `per_gpu_hour`."""
    hours = positive("run_seconds", run_seconds, zero=True) / 3600
    return hours * positive("per_gpu_hour", per_gpu_hour, zero=True) * whole("gpus", gpus)


@dataclass(frozen=True)
class Shape:
    """Where the parameters of one model sit; every cost below follows from it."""

    embedding: int  # lookups and the vocabulary, see the module's text
    matmul: int  # weights that multiply every token, the output layer over the vocabulary left out
    other: int  # biases, norms
    vocabulary: int  # width x vocabulary if every token passes an output layer, tied or not, else 0
    once: int  # weights that multiply one token of each sequence (a pooler, a classifier)
    depth: int
    attention_width: int  # heads x head size
    context: int  # tokens in a full window
    tied: bool = False  # the output layer is the token table, so that `embedding` has it once
    windowed: int = 0  # layers that look back no further than `window` tokens
    window: int = 0
    idle: int = 0  # of `matmul`: weights of experts that a token does not pass

    @property
    def non_embedding(self) -> int:
        return self.matmul + self.once + self.other

    @property
    def active_non_embedding(self) -> int:
        """The N of a mixture of experts: what a token passes. Of a dense model, all of `non_embedding`."""
        return self.non_embedding - self.idle

    @property
    def total(self) -> int:
        return self.embedding + self.non_embedding

    @property
    def active(self) -> int:
        """What a token passes, the tables included, as model cards say it."""
        return self.total - self.idle

    def flops_per_token(self, convention: str = "full", context: int | None = None) -> float:
        """Training FLOPs (forward and backward) per token. `context`: tokens per sequence, the model's by
        default.
        """
        if one_of("convention", convention, ("full", "6N")) == "6N":
            return 6.0 * self.active_non_embedding
        length = self.context if context is None else whole("context", context)
        weights = self.matmul - self.idle + self.vocabulary + self.once / length
        return 6.0 * weights + self.attention_flops(length)

    def attention_flops(self, context: int | None = None) -> float:
        """The part of `flops_per_token` that is the two products of attention."""
        length = self.context if context is None else context
        keys = (self.depth - self.windowed) * length + self.windowed * min(length, self.window)
        return 12.0 * self.attention_width * keys


# --- one formula per architecture; d width, f hidden units of the MLP, v vocabulary, s context


def _blocks(
    depth: int, d: int, f: int, *, bias: bool = True, norms: int = 2, qkv_bias: bool = True
) -> tuple[int, int]:
    """(matmul, other) of `depth` standard blocks: query, key, value, output (4d²) and the MLP (2df)."""
    other = norms * 2 * d + (3 * d if qkv_bias else 0) + (d + f + d if bias else 0)
    return depth * (4 * d * d + 2 * d * f), depth * other


def _gpt2(c: Mapping[str, Any]) -> Shape:
    d, v, s, depth = c["n_embd"], c["vocab_size"], c["n_positions"], c["n_layer"]
    matmul, other = _blocks(depth, d, c.get("n_inner") or 4 * d)
    tied = c["tie_word_embeddings"]
    return Shape(v * d * (1 if tied else 2) + s * d, matmul, other + 2 * d, v * d, 0, depth, d, s, tied)


def _bert(c: Mapping[str, Any]) -> Shape:
    """The encoder with its pooler (`BertModel`); a head for a task comes on top."""
    d, s, depth = c["hidden_size"], c["max_position_embeddings"], c["num_hidden_layers"]
    matmul, other = _blocks(depth, d, c["intermediate_size"])
    tables = (c["vocab_size"] + s + c["type_vocab_size"]) * d
    return Shape(tables, matmul, other + 2 * d + d, 0, d * d, depth, d, s)


def _vit(c: Mapping[str, Any]) -> Shape:
    """`ViTForImageClassification`; a token is a patch, and the projection of the patches counts as a
    layer.
    """
    d, depth = c["hidden_size"], c["num_hidden_layers"]
    patches = (c["image_size"] // c["patch_size"]) ** 2
    matmul, other = _blocks(depth, d, c["intermediate_size"], qkv_bias=c["qkv_bias"])
    stem = c["num_channels"] * c["patch_size"] ** 2 * d
    labels = len(c["id2label"]) if c.get("id2label") else c["num_labels"]
    other += d + 2 * d + labels  # biases of stem and classifier, the last norm
    return Shape((patches + 2) * d, matmul + stem, other, 0, labels * d, depth, d, patches + 1)


def _gpt_neox(c: Mapping[str, Any]) -> Shape:
    d, v, depth = c["hidden_size"], c["vocab_size"], c["num_hidden_layers"]
    matmul, other = _blocks(depth, d, c["intermediate_size"], qkv_bias=c["attention_bias"])
    if not c["attention_bias"]:
        other -= depth * d  # the output projection has none either
    tied = c["tie_word_embeddings"]
    tables = v * d * (1 if tied else 2)
    return Shape(tables, matmul, other + 2 * d, v * d, 0, depth, d, c["max_position_embeddings"], tied)


def _decoder(
    c: Mapping[str, Any], *, norms: int = 2, qk_norms: bool = False, qkv_bias: bool = False
) -> Shape:
    """Llama and its relatives: rotary positions, grouped queries of any head size, a gated MLP, RMS norms (gains alone).

    They differ in the norms of a block, in norms over each query's and key's head, and in biases: `attention_bias` of
    their configs means all four projections, `qkv_bias` all but the output's (Qwen2).
    """
    sizes = ("hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers", "num_attention_heads")
    d, f, v, depth, heads = (c[key] for key in sizes)
    kv_heads, size = c.get("num_key_value_heads") or heads, c.get("head_dim") or d // heads
    q, kv = heads * size, kv_heads * size
    other = norms * d + (2 * size if qk_norms else 0)
    if c["attention_bias"] or qkv_bias:
        other += q + 2 * kv + (0 if qkv_bias else d)
    if c["mlp_bias"]:
        other += 2 * f + d
    matmul = 2 * d * q + 2 * d * kv + 3 * d * f  # gate, up and down
    tied, windowed = c["tie_word_embeddings"], _windowed(c)
    return Shape(
        v * d * (1 if tied else 2), depth * matmul, depth * other + d, v * d, 0, depth, q,
        c["max_position_embeddings"], tied, windowed, c["sliding_window"] if windowed else 0,
    )  # fmt: skip


def _mixture(c: Mapping[str, Any], *, hidden: str = "moe_intermediate_size", **decoder: bool) -> Shape:
    """A relative of Llama in whose blocks a router sends each token through some of many gated MLPs of `hidden` units.

    Qwen3's config may leave single layers dense (`mlp_only_layers`), or all but each so many (`decoder_sparse_step`).
    """
    s, d, layers = _decoder(c, **decoder), c["hidden_size"], range(c["num_hidden_layers"])
    step, left_out = c.get("decoder_sparse_step") or 1, c.get("mlp_only_layers") or ()
    sparse = sum((layer + 1) % step == 0 and layer not in left_out for layer in layers)
    dense, expert = 3 * d * c["intermediate_size"], 3 * d * c[hidden]
    E = c.get("num_local_experts") or c["num_experts"]  # newer files of Qwen3 have the first name, too
    k = whole("num_experts_per_tok", c["num_experts_per_tok"], 1, E)
    return replace(s, matmul=s.matmul + sparse * (E * expert + E * d - dense), idle=sparse * (E - k) * expert)


def _deepseek_v3(c: Mapping[str, Any]) -> Shape:
    """Multi-head latent attention: queries, and keys with values, come out of two small vectors (DeepSeek-AI 2024, §2.1.1).

    The first `first_k_dense_replace` layers are dense; the others have routed experts and one shared by all tokens. The module
    for multi-token prediction is not counted, as in the published number.
    """
    d, depth, heads, v = (
        c[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    )
    nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    q_rank, kv_rank = c["q_lora_rank"], c["kv_lora_rank"]
    attention = d * q_rank + q_rank * heads * (nope + rope) + d * (kv_rank + rope)
    attention += kv_rank * heads * (nope + value) + heads * value * d
    E, k = (
        c["n_routed_experts"],
        whole("num_experts_per_tok", c["num_experts_per_tok"], 1, c["n_routed_experts"]),
    )
    dense = whole("first_k_dense_replace", c["first_k_dense_replace"], 0, depth)
    expert, sparse = 3 * d * c["moe_intermediate_size"], depth - dense
    matmul = depth * attention + dense * 3 * d * c["intermediate_size"]
    matmul += sparse * ((E + c["n_shared_experts"]) * expert + E * d)
    other = depth * (2 * d + q_rank + kv_rank) + d
    mixed = heads * (nope + rope + value) // 2  # scores over the wide keys, sums over the narrower values
    tied = c["tie_word_embeddings"]
    return Shape(
        v * d * (1 if tied else 2), matmul, other, v * d, 0, depth, mixed, c["max_position_embeddings"], tied,
        idle=sparse * (E - k) * expert,
    )  # fmt: skip


LAYER_TYPES = ("full_attention", "sliding_attention")


def _windowed(c: Mapping[str, Any]) -> int:
    """How many layers use the sliding window: those that the config lists, else by its family's rule, else all."""
    depth = c["num_hidden_layers"]
    if c.get("sliding_window") is None or c.get("use_sliding_window") is False:
        return 0
    if c.get("layer_types") is not None:
        return c["layer_types"].count("sliding_attention")
    if c.get("max_window_layers") is not None:  # Qwen: the first so many look at everything
        return max(0, depth - c["max_window_layers"])
    pattern = c.get("sliding_window_pattern")  # Gemma: the last of so many looks at everything
    return depth - depth // pattern if pattern else depth


def _own(c: Mapping[str, Any]) -> Shape:
    """`scalept_lab.config.ModelConfig`: no biases, norms without parameters, untied output layer."""
    d, v, s, depth = c["width"], c["vocab_size"], c["context"], c["depth"]
    matmul, _ = _blocks(depth, d, c["mlp_ratio"] * d)
    matmul -= depth * 2 * d * (d - _kv_width(c))
    idle = 0
    if (experts := c.get("experts")) is not None:
        number, active = (_field(experts, name) for name in ("number", "active"))
        expert = 2 * c["mlp_ratio"] * d * d
        matmul += depth * ((number - 1) * expert + number * d)
        idle = depth * (number - active) * expert
    tied = bool(c.get("tie_embeddings"))
    tables = v * d * (1 if tied else 2) + (s * d if c["positions"] == "learned" else 0)
    return Shape(tables, matmul, 0, v * d, 0, depth, d, s, tied, idle=idle)


def _kv_width(c: Mapping[str, Any]) -> int:
    """Numbers of all keys of a token. Raises: InputError where `kv_heads` do not divide the heads."""
    if c.get("kv_heads") is None:
        return c["width"]
    heads, kv_heads = whole("heads", c.get("heads")), whole("kv_heads", c["kv_heads"])
    if heads % kv_heads:
        raise InputError(
            f"kv_heads: expected a divisor of the {heads} heads, got {kv_heads}; heads share keys and values in equal groups"
        )
    return c["width"] // heads * kv_heads


def _field(experts: Any, name: str) -> int:
    """Of a `config.Experts`, or of its fields as they stand in a file. Raises: InputError."""
    value = experts.get(name) if isinstance(experts, Mapping) else getattr(experts, name, None)
    return whole(f"experts.{name}", value)


_DECODER: dict[str, Any] = dict(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32,
                                tie_word_embeddings=False, attention_bias=False, mlp_bias=False)  # fmt: skip
_QWEN: dict[str, Any] = dict(
    _DECODER, vocab_size=151936, intermediate_size=22016, num_key_value_heads=32, max_position_embeddings=32768,
    use_sliding_window=False, sliding_window=4096, max_window_layers=28,
)  # fmt: skip
_GEMMA: dict[str, Any] = dict(
    _DECODER, vocab_size=256000, hidden_size=3072, intermediate_size=24576, num_hidden_layers=28, head_dim=256,
    num_attention_heads=16, num_key_value_heads=16, max_position_embeddings=8192, tie_word_embeddings=True,
)  # fmt: skip
_GEMMA2: dict[str, Any] = dict(
    _GEMMA, hidden_size=2304, intermediate_size=9216, num_hidden_layers=26, num_attention_heads=8,
    num_key_value_heads=4, sliding_window=4096, sliding_window_pattern=2,
)  # fmt: skip
# Formula and defaults: those of the `transformers` config classes, so that a sparse config.json counts right.
FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "gpt2": (_gpt2, dict(vocab_size=50257, n_positions=1024, n_embd=768, n_layer=12,
                         tie_word_embeddings=True)),
    "bert": (_bert, dict(vocab_size=30522, hidden_size=768, num_hidden_layers=12, intermediate_size=3072,
                         max_position_embeddings=512, type_vocab_size=2)),
    "vit": (_vit, dict(hidden_size=768, num_hidden_layers=12, intermediate_size=3072, image_size=224,
                       patch_size=16, num_channels=3, qkv_bias=True, num_labels=2)),
    "gpt_neox": (_gpt_neox, dict(vocab_size=50432, hidden_size=6144, num_hidden_layers=44,
                                 intermediate_size=24576, max_position_embeddings=2048,
                                 attention_bias=True, tie_word_embeddings=False)),
    "llama": (_decoder, dict(_DECODER, vocab_size=32000, intermediate_size=11008, max_position_embeddings=2048)),
    "mistral": (_decoder, dict(_DECODER, vocab_size=32000, intermediate_size=14336, num_key_value_heads=8,
                               max_position_embeddings=131072, sliding_window=4096)),
    "qwen2": (partial(_decoder, qkv_bias=True), _QWEN),
    "qwen3": (partial(_decoder, qk_norms=True), dict(_QWEN, head_dim=128)),
    "mixtral": (partial(_mixture, hidden="intermediate_size"), dict(
        _DECODER, vocab_size=32000, intermediate_size=14336, num_key_value_heads=8, max_position_embeddings=131072,
        sliding_window=None, num_local_experts=8, num_experts_per_tok=2)),
    "qwen3_moe": (partial(_mixture, qk_norms=True), dict(
        _DECODER, vocab_size=151936, hidden_size=2048, intermediate_size=6144, num_hidden_layers=24, num_key_value_heads=4,
        max_position_embeddings=32768, use_sliding_window=False, sliding_window=4096, moe_intermediate_size=768,
        num_experts=128, num_experts_per_tok=8)),
    "deepseek_v3": (_deepseek_v3, dict(
        vocab_size=129280, hidden_size=7168, intermediate_size=18432, moe_intermediate_size=2048, num_hidden_layers=61,
        num_attention_heads=128, n_shared_experts=1, n_routed_experts=256, kv_lora_rank=512, q_lora_rank=1536,
        qk_rope_head_dim=64, v_head_dim=128, qk_nope_head_dim=128, num_experts_per_tok=8, first_k_dense_replace=3,
        max_position_embeddings=4096, tie_word_embeddings=False)),
    "gemma": (_decoder, _GEMMA),
    "gemma2": (partial(_decoder, norms=4), _GEMMA2),
    "gemma3_text": (partial(_decoder, norms=4, qk_norms=True), dict(
        _GEMMA2, vocab_size=262208, max_position_embeddings=131072, sliding_window_pattern=6)),
    "scalept": (_own, dict(vocab_size=256, context=128, width=32, depth=2, mlp_ratio=4, positions="rotary")),
}  # fmt: skip

_LARGE = dict(hidden_size=1024, num_hidden_layers=24, intermediate_size=4096)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {}),
    "gpt2-medium": ("gpt2", dict(n_embd=1024, n_layer=24)),
    "gpt2-large": ("gpt2", dict(n_embd=1280, n_layer=36)),
    "gpt2-xl": ("gpt2", dict(n_embd=1600, n_layer=48)),
    "gpt3-175b": ("gpt2", dict(n_embd=12288, n_layer=96, n_positions=2048)),  # Brown et al. 2020, table 2.1
    "bert-base": ("bert", {}),
    "bert-large": ("bert", _LARGE),
    "vit-b16": ("vit", dict(num_labels=1000)),
    "vit-l16": ("vit", dict(num_labels=1000, **_LARGE)),
    "pythia-410m": ("gpt_neox", dict(vocab_size=50304, **_LARGE)),  # Biderman et al. 2023, table 1
    "llama-7b": ("llama", {}),
}
