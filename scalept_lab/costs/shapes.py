"""Where the parameters of a model sit: one formula per architecture, and the published models by name.

Conventions, stated once:

* **embedding** parameters are those of lookups and of the vocabulary: token, position and segment (or
  class-token) tables, and an output layer over the vocabulary where it is not tied. **non-embedding** is the
  rest, the N of Kaplan et al. 2020 (§2.1) and of the Pythia table (Biderman et al. 2023, table 1).
* **FLOPs**: one multiply and one add are two; the backward pass costs twice the forward pass, so training is
  three times the forward pass. Softmax, norms and activations are left out.
* **"full"** counts every matrix product: weights, the output layer (tied or not), and the two products of
  attention over the whole context, 12 · depth · width · context per token in training (Kaplan et al. 2020,
  table 1, times three; Chowdhery et al. 2022, appendix B). A causal mask is not discounted. **"6N"** is 6 ·
  non-embedding parameters (Kaplan et al. 2020, §2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scalept_lab.checks import one_of


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

    @property
    def non_embedding(self) -> int:
        return self.matmul + self.once + self.other

    @property
    def total(self) -> int:
        return self.embedding + self.non_embedding

    def flops_per_token(self, convention: str = "full", context: int | None = None) -> float:
        """Training FLOPs (forward and backward) per token. `context`: tokens per sequence, the model's by
        default.
        """
        if one_of("convention", convention, ("full", "6N")) == "6N":
            return 6.0 * self.non_embedding
        length = self.context if context is None else context
        weights = self.matmul + self.vocabulary + self.once / length
        return 6.0 * weights + 12.0 * self.depth * self.attention_width * length


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
    return Shape(v * d * (1 if tied else 2) + s * d, matmul, other + 2 * d, v * d, 0, depth, d, s)


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
    tables = v * d * (1 if c["tie_word_embeddings"] else 2)
    return Shape(tables, matmul, other + 2 * d, v * d, 0, depth, d, c["max_position_embeddings"])


def _llama(c: Mapping[str, Any]) -> Shape:
    d, f, v, depth, heads = (
        c[key]
        for key in (
            "hidden_size",
            "intermediate_size",
            "vocab_size",
            "num_hidden_layers",
            "num_attention_heads",
        )
    )
    kv_heads, size = c.get("num_key_value_heads") or heads, c.get("head_dim") or d // heads
    q, kv = heads * size, kv_heads * size
    matmul = depth * (2 * d * q + 2 * d * kv + 3 * d * f)  # gate, up and down
    other = depth * 2 * d + d  # RMS norms have a gain and no bias
    other += depth * (q + 2 * kv + d) if c["attention_bias"] else 0
    other += depth * (2 * f + d) if c["mlp_bias"] else 0
    tables = v * d * (1 if c["tie_word_embeddings"] else 2)
    return Shape(tables, matmul, other, v * d, 0, depth, q, c["max_position_embeddings"])


def _own(c: Mapping[str, Any]) -> Shape:
    """`scalept_lab.config.ModelConfig`: no biases, norms without parameters, untied output layer."""
    d, v, s, depth = c["width"], c["vocab_size"], c["context"], c["depth"]
    matmul, _ = _blocks(depth, d, c["mlp_ratio"] * d)
    tables = v * d * (1 if c.get("tie_embeddings") else 2) + (s * d if c["positions"] == "learned" else 0)
    return Shape(tables, matmul, 0, v * d, 0, depth, d, s)


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
    "llama": (_llama, dict(vocab_size=32000, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32,
                           intermediate_size=11008, max_position_embeddings=2048, tie_word_embeddings=False,
                           attention_bias=False, mlp_bias=False)),
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
