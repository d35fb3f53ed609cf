"""What a plan is made of: models by name, a cluster of GPUs, and a layout that spreads one over the other. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from scalept_lab.checks import one_of, positive, whole
from scalept_lab.costs import counts
from scalept_lab.costs.counts import Shape
from scalept_lab.errors import InputError

# Llama 3: Dubey et al. 2024, table 3. Megatron: Narayanan et al. 2021, table 1. GPT-3: Brown et al. 2020, table 2.1.
_LLAMA3 = dict(model_type="llama", num_key_value_heads=8, vocab_size=128256, max_position_embeddings=8192)
_MEGATRON = dict(model_type="gpt2", vocab_size=51200, n_positions=2048)
MODELS: dict[str, Any] = {
    "gpt2-xl (1.6B)": dict(model_type="gpt2", n_embd=1600, n_layer=48, n_head=25),
    "llama-7b": dict(model_type="llama", num_attention_heads=32),
    "megatron-18b": dict(_MEGATRON, n_embd=6144, n_layer=40, n_head=48),
    "llama3-70b": dict(_LLAMA3, hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64),
    "megatron-76b": dict(_MEGATRON, n_embd=10240, n_layer=60, n_head=80),
    "gpt3-175b": dict(model_type="gpt2", n_embd=12288, n_layer=96, n_head=96, n_positions=2048),
    "llama3-405b": dict(_LLAMA3, hidden_size=16384, intermediate_size=53248, num_hidden_layers=126, num_attention_heads=128),
    "megatron-530b": dict(_MEGATRON, n_embd=20480, n_layer=105, n_head=128),
    "megatron-1t": dict(_MEGATRON, n_embd=25600, n_layer=128, n_head=160),
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """What the planner needs to know of a transformer."""

    name: str
    shape: Shape
    width: int
    heads: int
    context: int

    @property
    def depth(self) -> int:
        return self.shape.depth


def model(given: Any) -> Model:
    """A `Model` from a name of MODELS, a `ModelConfig`, a config.json's fields, or width, depth, heads, context.

    Raises: InputError for an unknown name or missing heads.
    """
    if isinstance(given, Model):
        return given
    if isinstance(given, str):
        found = given if given in MODELS else next((k for k in MODELS if k.startswith(given + " ")), "")
        return _named(one_of("model", found or given, MODELS, "or give its sizes"))
    fields = given if isinstance(given, Mapping) else {**vars(given)}
    if isinstance(fields.get("model"), Mapping):
        fields = fields["model"]
    built = counts.shape(fields)
    fields = {
        **counts.FAMILIES[fields.get("model_type", "scalept")][1],
        **fields,
    }  # what a sparse config leaves out
    heads = next((fields[k] for k in ("n_head", "num_attention_heads", "heads") if k in fields), None)
    if heads is None:
        raise InputError(
            "model: expected the number of heads (n_head, num_attention_heads or heads), got none"
        )
    width = next(fields[k] for k in ("n_embd", "hidden_size", "width") if k in fields)
    return Model(str(fields.get("name", "model")), built, width, whole("heads", heads), built.context)


@lru_cache
def _named(name: str) -> Model:
    return model({**MODELS[name], "name": name})


@dataclass(frozen=True)
class Cluster:
    """GPUs and what joins them: memory in bytes, peak in FLOP/s, rates in bytes per second each GPU can send.

    The defaults are an A100 with 80 GB in servers of 8: 312 TFLOP/s in 16 bits, NVLink (600 GB/s both ways together) and
    a 200 Gb/s network link each (Narayanan et al. 2021, §5).
    """

    gpus: int
    memory: float = 80e9
    peak: float = 312e12
    node: int = 8
    inside: float = 300e9
    between: float = 25e9
    efficiency: float = 0.57  # of the peak, in matrix products: see `published.calibrate`
    link_efficiency: float = 0.63  # of the links' rate, in collectives: see `published.calibrate`

    def __post_init__(self) -> None:
        whole("gpus", self.gpus)
        whole("node", self.node)
        for name in ("memory", "peak", "inside", "between", "efficiency", "link_efficiency"):
            positive(name, getattr(self, name), most=1 if name.endswith("efficiency") else math.inf)

    def rate(self, span: int) -> float:
        """Bytes per second that a rank of a group reaches; `span`: from its first to its last rank."""
        return (self.inside if span <= self.node else self.between) * self.link_efficiency


@dataclass(frozen=True)
class Layout:
    """data × tensor × pipeline ranks, with ZeRO over the data ranks, and how the work is cut."""

    data: int = 1
    tensor: int = 1
    pipeline: int = 1
    zero: int = 0
    recompute: str = "none"  # none, selective (attention only) or full
    micro_batch: int = 1  # sequences
    interleave: int = 1  # chunks a stage
    sequence: bool = False  # sequence parallel beside tensor parallel
    copies: int = 1  # of the state that ZeRO-3 shards: data / copies ranks share one (HSDP)

    @property
    def gpus(self) -> int:
        return self.data * self.tensor * self.pipeline

    @property
    def kind(self) -> str:
        """Which of the means it uses; data-parallel copies may stand beside tensor and pipeline."""
        if self.tensor > 1:
            return "tensor + pipeline" if self.pipeline > 1 else "tensor"
        return (
            "pipeline"
            if self.pipeline > 1
            else ("ZeRO-3" if self.zero == 3 else "ZeRO-1/2" if self.zero else "data")
        )

    def __str__(self) -> str:
        extras = [f"ZeRO-{self.zero}"] if self.zero else []
        extras += [f"{self.recompute} recompute"] if self.recompute != "none" else []
        return " ".join([f"d{self.data}·t{self.tensor}·p{self.pipeline}", f"b{self.micro_batch}", *extras])

    def check(self, m: Model, gpus: int, batch: int, uneven: bool = False) -> int:
        """Micro-batches per step. Raises: InputError if the layout does not divide GPUs, heads, layers or batch."""
        for name in ("data", "tensor", "pipeline", "micro_batch", "interleave"):
            whole(name, getattr(self, name))
        if self.gpus != gpus:
            raise InputError(
                f"gpus: {gpus} is not {self.data} data × {self.tensor} tensor × {self.pipeline} pipeline ranks"
            )
        if m.heads % self.tensor:
            raise InputError(
                f"tensor: {m.heads} heads do not divide over {self.tensor} ranks; take a divisor"
            )
        if m.depth % (self.pipeline * self.interleave) and not uneven:
            chunks = f" of {self.interleave} chunks" if self.interleave > 1 else ""
            raise InputError(
                f"pipeline: {m.depth} layers do not divide into {self.pipeline} stages{chunks}; take a divisor"
            )
        if whole("batch", batch) < self.data * self.micro_batch or batch % (self.data * self.micro_batch):
            raise InputError(
                f"batch: expected a multiple of {self.data} data ranks × {self.micro_batch} sequences, got {batch}"
            )
        if self.data % whole("copies", self.copies) or (self.copies > 1 and self.zero != 3):
            raise InputError(
                f"copies: expected a divisor of the {self.data} data ranks, with zero=3, got {self.copies} "
                f"and zero={self.zero}"
            )
        one_of("recompute", self.recompute, ("none", "selective", "full"))
        whole("zero", self.zero, 0, 3, "it is a stage")
        count = batch // (self.data * self.micro_batch)
        if self.interleave > 1 and count % self.pipeline:
            raise InputError(
                f"interleave: expected micro-batches in multiples of {self.pipeline} stages, got {count}"
            )
        return count
