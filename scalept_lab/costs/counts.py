"""What a model costs before it is built: parameters, FLOPs, memory, time, money. Arithmetic only, no torch.

The conventions of counting stand in `scalept_lab.costs.shapes`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

from scalept_lab.checks import one_of, positive, whole
from scalept_lab.costs.shapes import FAMILIES, MODELS, Shape
from scalept_lab.errors import InputError


def shape(model: Any) -> Shape:
    """The `Shape` of a known name, a path to a `config.json`, a dict of its fields, or a `ModelConfig`.

    A config.json needs `model_type` (gpt2, bert, vit, gpt_neox or llama); without it, the fields of our own
    ModelConfig.
    Raises: InputError for an unknown name, an unreadable file, or a size that is not a positive whole number.
    """
    if isinstance(model, (str, Path)):
        name = str(model)
        if name not in MODELS and (name.endswith(".json") or Path(name).is_file()):
            return _build(_read_json(Path(name)), name)
        family, fields = MODELS[one_of("model", name, MODELS, "or give the path of a config.json")]
        return _build({"model_type": family, **fields}, name)
    if isinstance(model, Mapping):
        return _build(model, "config")
    if hasattr(model, "model") and not hasattr(model, "width"):  # a TrainConfig
        model = model.model
    fields = {
        key: getattr(model, key) for key in (*FAMILIES["scalept"][1], "tie_embeddings") if hasattr(model, key)
    }
    return _build(fields, type(model).__name__)


def count(model: Any) -> dict[str, int]:
    """`scalept count`: total, non_embedding and embedding parameters, and "full" training FLOPs per token."""
    s = shape(model)
    return {
        "total": s.total,
        "non_embedding": s.non_embedding,
        "embedding": s.embedding,
        "flops_per_token": round(s.flops_per_token()),
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
    optional = ("n_inner", "num_key_value_heads", "head_dim")
    for key in (*defaults, *optional):
        value, default = merged.get(key), defaults.get(key, 1)
        if isinstance(default, (bool, str)) or (value is None and key in optional):
            continue
        merged[key] = whole(f"{where}: {key}", value)
    return formula(merged)


def _countable() -> list[str]:
    """The model types that a config.json may name."""
    return [name for name in FAMILIES if name != "scalept"]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"no such file: {path}; expected a model's name or a path to its config.json"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable JSON file ({str(error).splitlines()[0]})") from None


# --- memory, time, money

# Bytes per parameter: (parameters, gradients, optimizer). Adam keeps two moments; mixed precision keeps a
# 32-bit copy of the parameters as well, the K = 12 of Rajbhandari et al. 2020 (§3.1).
BYTES = {"mixed": (2, 2, 12), "fp32": (4, 4, 8), "bf16": (2, 2, 4)}


def memory(params: float, gpus: int = 1, zero: int = 0, precision: str = "mixed") -> dict[str, int]:
    """Bytes per GPU for the model's states under Adam: params, grads, optimizer, total. Activations are not
    in it.

    `zero` shards over the GPUs: 1 the optimizer, 2 and the gradients, 3 and the parameters (Rajbhandari et
    al. 2020, fig. 1: 7.5e9 parameters on 64 GPUs take 120, 31.4, 16.6, 1.9 GB). `precision`: mixed (16-bit
    with a 32-bit copy), fp32, or bf16 (everything in 16 bits). Raises: InputError.
    """
    params = positive("params", params)
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
