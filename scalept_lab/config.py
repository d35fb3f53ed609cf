"""What a run is: the model, the data, the recipe. Plain data, no torch, so that everything can read it.

A config is frozen and validated, and its hash names the run: the same config is the same run, trained once. `recommend` gives
the measured recipe of a width and a number of tokens: the runs that chose its batch and rate are in
`data/records/recipe.jsonl` (`benchmarks/record.py recipe` makes them again).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from scalept_lab.checks import LARGEST, positive, shown, whole
from scalept_lab.errors import InputError

Config = TypeVar("Config", bound=BaseModel)

HEAD_DIM = 8  # every family member has heads of this width, so that only their number grows


class Frozen(BaseModel):
    """A config: cannot be changed, and refuses unknown fields and numbers that are none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _fits_an_array(cls, value: Any) -> Any:
        if isinstance(value, int) and value > LARGEST:
            raise ValueError(f"expected at most {LARGEST:,}")
        return value

    def replace(self, **changes: Any):
        """A copy with `changes`, validated again (pydantic's own `model_copy` does not validate)."""
        return parse(type(self), {**self.model_dump(), **changes})


class Experts(Frozen):
    """Each block has `number` MLPs, and a router sends each token through `active` of them (see `model.experts`).

    `capacity`: an expert takes at most this many times its even share of a batch's tokens, the rest is dropped; None: all.
    `balance`, with its `strength`: "auxiliary" adds a loss that is least where the experts have equal work, "bias" moves a number
    for each expert that counts in the choice alone.
    """

    number: int = Field(8, ge=2)
    active: int = Field(2, ge=1)
    capacity: float | None = Field(None, gt=0)
    balance: Literal["none", "auxiliary", "bias"] = "auxiliary"
    strength: float = Field(0.01, gt=0)  # weight of the auxiliary loss, or step of the bias

    @model_validator(mode="after")
    def _enough_experts(self) -> Experts:
        if self.active > self.number:
            raise ValueError(f"a token cannot pass {self.active} of {self.number} experts; lower active")
        return self


class ModelConfig(Frozen):
    """The shape of a transformer.

    `width` is the residual stream (d_model), `depth` the number of blocks, `context` the window in tokens.
    `causal=True` is a decoder (GPT), `False` an encoder (BERT). With `experts`, `mlp_ratio` is the size of each of them.
    `kv_heads`: heads of keys and values, each shared by heads / kv_heads heads of queries (grouped-query attention, Ainslie et
    al. 2023); None: as many as there are heads.
    """

    vocab_size: int = Field(256, ge=2)
    context: int = Field(64, ge=2)
    width: int = Field(32, ge=4)
    depth: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    mlp_ratio: int = Field(4, ge=1)
    positions: Literal["rotary", "learned"] = "rotary"
    causal: bool = True
    experts: Experts | None = None
    kv_heads: int | None = Field(None, ge=1)

    @model_serializer(mode="wrap")
    def _plain_as_before(self, handler: Any) -> dict[str, Any]:
        """A field that changes nothing is left out: a plain model is written and its runs are named as before there were any."""
        unused = {"experts": not self.experts, "kv_heads": self.kv_heads in (None, self.heads)}
        return {key: value for key, value in handler(self).items() if not unused.get(key)}

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.positions == "rotary" and (self.width // self.heads) % 2:
            raise ValueError(f"rotary positions need an even head size, got {self.width // self.heads}")
        if self.kv_heads and self.heads % self.kv_heads:
            raise ValueError(
                f"heads {self.heads} cannot share {self.kv_heads} kv_heads equally; take a divisor of {self.heads}"
            )
        return self

    @property
    def kv_width(self) -> int:
        """Numbers of all keys of one position: the width, unless heads share them."""
        return self.width // self.heads * (self.kv_heads or self.heads)

    @classmethod
    def family(cls, width: int, **changes: Any) -> ModelConfig:
        """Our family by one dial: heads of 8 channels, and a block for every 64 channels, but at least two.

        Width 16 has 6,144 parameters, 96 has 221,184. GPT-2 has the same 64 channels per block; Kaplan et al. 2020
        (§3.1, fig. 5) find that at a given parameter count the shape matters little.
        """
        if whole("width", width) % HEAD_DIM:
            raise InputError(
                f"width: expected a multiple of {HEAD_DIM}, got {width}; take {round_width(width)}"
            )
        shape = {"width": width, "heads": width // HEAD_DIM, "depth": max(2, round(width / 64))}
        return parse(cls, {**shape, **changes})


class Parallel(Frozen):
    """How one run is spread over processes ("ranks"); how many there are is said by whoever starts them.

    `ddp`, `zero1`, `zero2` and `fsdp` split the batch over all ranks, and from `zero1` on ever more of the training state;
    `tensor` and `sequence` split every matrix; `pipeline` splits the blocks into stages; `fsdp_tensor` is a mesh: groups of
    `tensor` ranks share a layer, and the batch is split over the groups. `hsdp` is a mesh, too: all ranks split the batch, groups
    of `shard` ranks hold one copy of the training state, each a slice. `microbatches` and `schedule` are the pipeline's.
    """

    strategy: Literal[
        "ddp", "zero1", "zero2", "fsdp", "hsdp", "tensor", "sequence", "pipeline", "fsdp_tensor"
    ] = "ddp"
    tensor: int = Field(2, ge=1)
    shard: int = Field(2, ge=1)
    microbatches: int = Field(4, ge=1)
    schedule: Literal["gpipe", "1f1b", "interleaved"] = "1f1b"


class Curriculum(Frozen):
    """What a run reads first (`pacing` turns it into batches); from the share `until` of its steps on, everything.

    `length`: windows of `start` times the context that double in length, the tokens of a step staying the same.
    `easy`, `hard`, `random`: from the share `start` of the run's windows to all of them, the easiest first, the hardest first, or
    in random order; the share grows as the `power`-th root. `sorted`: each window once, easiest first.
    """

    order: Literal["length", "easy", "hard", "random", "sorted"] = "length"
    measure: Literal["compression", "rarity", "loss"] = "loss"
    start: float = Field(0.125, gt=0, le=1)
    until: float = Field(0.5, gt=0, lt=1)
    power: float = Field(2.0, gt=0)


class Distillation(Frozen):
    """A teacher looks on (`distill`): its fingerprint, its weight beside the text's, and the temperature of the comparison."""

    teacher: str = Field(pattern=r"^[0-9a-f]{16}$")
    weight: float = Field(0.5, gt=0, le=1)  # without weight it is a plain run
    temperature: float = Field(1.0, gt=0)


class Growth(Frozen):
    """The run begins with the model `start` and spends `share` of `flops` on it; its own model gets the rest (`growth`)."""

    start: ModelConfig
    flops: float = Field(gt=0)
    share: float = Field(0.5, ge=0, lt=1)  # 0: the large model from the start
    how: str | None = None  # None: the way that leaves the outputs as they were


class Delayed(Frozen):
    """How `workers` train together: what is averaged, and after how many steps (`every`, H). See `delayed`."""

    method: Literal["gradients", "local", "diloco"] = "gradients"
    workers: int = Field(4, ge=1)
    every: int = Field(1, ge=1)
    outer_lr: float = Field(0.7, gt=0)  # of diloco: 0.7 and 0.9 are the paper's
    outer_momentum: float = Field(0.9, ge=0, lt=1)


class Live(Frozen):
    """A schedule looks at the model as it trains (`live`): what it is, the fingerprint or the name of the texts that it chooses
    among, after how many steps it is shown an evaluation, and of how many windows."""

    schedule: str = Field(min_length=1)
    texts: str = Field(min_length=1)
    every: int = Field(50, ge=1)
    judged: int = Field(64, ge=1)


class TrainConfig(Frozen):
    """One run: model, data and recipe. `tokens` is the budget D; the schedule ends exactly there."""

    model: ModelConfig = ModelConfig()
    corpus: str = Field("python", min_length=1)
    tokens: int = Field(500_000, ge=1)
    unique_tokens: int | None = Field(None, ge=1)  # None: no token twice (while the corpus lasts)
    batch: int = Field(4, ge=1)  # sequences per step
    lr: float = Field(0.01, gt=0)  # peak; optim.param_groups says what each tensor makes of it
    parametrization: Literal["mup", "standard"] = "mup"
    optimizer: Literal["adamw", "sgd", "momentum", "muon"] = "adamw"
    beta2: float = Field(0.99, gt=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["linear", "cosine", "wsd", "constant"] = "linear"
    warmup: float = Field(0.1, ge=0, lt=1)  # share of the steps
    clip: float = Field(1.0, gt=0)  # largest gradient norm
    seed: int = Field(0, ge=0, lt=2**63)
    eval_windows: int = Field(1024, ge=1)  # held-out windows of `context` tokens, the same for every run
    dtype: Literal["float32", "bfloat16", "float16"] = (
        "float32"  # of matrix products (autocast); weights stay 32-bit
    )
    accumulate: int = Field(1, ge=1)  # parts in which a step's batch is computed, one after the other
    compile: bool = False  # torch.compile: same numbers to rounding, so it is no part of the name
    recompute: bool = False  # keep only the input of each block for the backward pass
    parallel: Parallel | None = None
    curriculum: Curriculum | None = None
    distillation: Distillation | None = None
    growth: Growth | None = None
    delayed: Delayed | None = None
    live: Live | None = None

    @model_serializer(mode="wrap")
    def _plain_as_before(self, handler: Any) -> dict[str, Any]:
        """Without `live` where it is not set, as configs were written, also inside others, before there was one."""
        return {key: value for key, value in handler(self).items() if key != "live" or value is not None}

    @model_validator(mode="after")
    def _parts_of_a_batch(self) -> TrainConfig:
        if self.accumulate > self.batch:
            raise ValueError(
                f"a batch of {self.batch} cannot be cut into {self.accumulate} parts (accumulate)"
            )
        return self

    @model_validator(mode="after")
    def _a_step_of_experts_is_one_piece(self) -> TrainConfig:
        """Their load is counted over a whole batch, once: parts, ranks and a second forward pass would each count their own."""
        fields = ("accumulate", "recompute", "compile", "parallel", "growth", "delayed", "live")
        changed = [name for name in fields if getattr(self, name) != type(self).model_fields[name].default]
        if self.model.experts and self.optimizer == "muon":
            raise ValueError("muon steps matrices, and experts are stacks of them; take adamw")
        if self.model.experts and changed:
            raise ValueError(f"experts are trained in whole steps by one process; leave {changed[0]} out")
        if self.model.experts and self.model.experts.number > self.tokens_per_step:
            raise ValueError(
                f"{self.model.experts.number} experts share the {self.tokens_per_step} tokens of a step, so that some learn "
                "nothing; take fewer experts or a larger batch"
            )
        return self

    @property
    def tokens_per_step(self) -> int:
        return self.batch * self.model.context

    @property
    def steps(self) -> int:
        return max(1, round(self.tokens / self.tokens_per_step))

    def id(self) -> str:
        return run_id(self.model_dump())


LATER = {
    "accumulate": 1, "recompute": False, "parallel": None, "curriculum": None,
    "distillation": None, "growth": None, "delayed": None, "live": None,
}  # fmt: skip
"""Fields that came after the first recorded runs, with their defaults: they count in a name only where they are set."""


HOW_IT_RUNS = {"compile"}
"""Fields that say how a run is computed, not what: with or without them it is the same run, to rounding."""


def run_id(config: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that name a run of any kind: the hash of the canonical JSON of its whole config.

    What makes a run what it is stands in its config, or it has the name of another run and hides it in a store.
    """
    values = {
        name: value
        for name, value in config.items()
        if name not in HOW_IT_RUNS and (name not in LATER or value != LATER[name])
    }
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def round_width(width: float) -> int:
    """The nearest width of the family (a multiple of 8, at least 8)."""
    return max(HEAD_DIM, HEAD_DIM * round(width / HEAD_DIM))


def parse(cls: type[Config], values: Any) -> Config:
    """Validate `values` as a `cls`, and say in one line what is wrong with them if they are not.

    Raises: InputError.
    """
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise InputError(first_line(error, cls.__name__)) from None


def first_line(error: ValidationError, what: str) -> str:
    """pydantic's report of a failed validation, shortened to the first fault in one line."""
    fault = error.errors()[0]
    where = "".join(f"{part}." for part in fault["loc"])[:-1]
    got = fault.get("input")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    seen = "" if isinstance(got, dict) else f", got {shown(got)}"
    said = fault["msg"].removeprefix("Value error, ")
    return " ".join(f"{what}: {where + ': ' if where else ''}{said}{seen}{more}".split())


def recommend(
    width: int, tokens: float, *, context: int = 64, vocab_size: int = 256, **changes: Any
) -> TrainConfig:
    """The `TrainConfig` for a family member of `width` on `tokens` tokens; `changes` override single fields.

    Raises: InputError if the width is not one of the family or the tokens do not fill a step.
    """
    model = changes.pop("model", None) or ModelConfig.family(width, context=context, vocab_size=vocab_size)
    tokens = positive("tokens", tokens)
    fields = {"model": model, "tokens": round(tokens), "batch": batch(tokens), "lr": rate(tokens), **changes}
    if fields["tokens"] < fields["batch"] * model.context:
        raise InputError(
            f"tokens: expected at least one step of {fields['batch']} × {model.context}, got {tokens:g}; ask for more"
        )
    return parse(TrainConfig, fields)


def batch(tokens: float) -> int:
    """Sequences per step. Few tokens need many small steps; from 1.5 million on, 8 sequences did better than 4."""
    return 4 if tokens < 1.5e6 else 8


def rate(tokens: float) -> float:
    """Peak learning rate (per tensor: see `optim.param_groups`). The same at every size: that is what `mup` is for."""
    return 0.01
