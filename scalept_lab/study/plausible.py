"""What a record may say: what no run can have measured is a slip of the pen, or worse.

A loss has a ceiling, the uniform guess, and a floor, the entropy of the text where it is known. The size, the tokens and the
compute of a plain run follow from its config, and so does its id. No machine computes faster than it can.
"""

from __future__ import annotations

import functools
import json
import math
from typing import Any

from scalept_lab.checks import shown
from scalept_lab.config import ModelConfig, TrainConfig, run_id
from scalept_lab.costs import counts
from scalept_lab.data.language import Language
from scalept_lab.errors import InputError
from scalept_lab.runs import RunRecord

FASTEST = 1e16  # FLOPs a second of one process; the fastest processors reach a tenth of it in training
LANGUAGES = 32  # whose entropy is worked out, a quarter of a second each


def plausible(record: RunRecord) -> bool:
    """Refuse what no run can have measured. Returns: what `as_configured` returns.

    Raises: InputError for a loss far above the uniform guess, or below what any text or the language allows; more FLOPs a second
    than any machine computes; a finished run of nothing; what `as_configured` refuses; and an id that is not that of the config.
    """
    config = record.config
    if record.id != (named := _named(config)):
        raise InputError(
            f"id: expected {named or 'the hash of a config'}, that of its config, got {record.id}"
        )
    model = config.get("model")
    vocabulary = model.get("vocab_size") if isinstance(model, dict) else None
    if not isinstance(vocabulary, int) or not 2 <= vocabulary <= 10**9:
        vocabulary = 256
    uniform = math.log(vocabulary)
    if (record.L or 0.0) > 2 * uniform:
        raise InputError(f"L: expected at most {2 * uniform:.2f} nats per token, got {record.L}")
    text = config.get("corpus")
    if record.L and record.L < uniform / 20 and isinstance(text, str) and not text.startswith("language"):
        raise InputError(
            f"L: expected at least {uniform / 20:.2f} nats per token, as no text is known better, got {record.L}"
        )
    if record.L and record.L < (floor := _floor(config)):
        raise InputError(
            f"L: expected at least {floor:.3f} nats per token, the entropy of {shown(text)}, got {record.L}"
        )
    processes = record.provenance.get("world_size")
    processes = processes if isinstance(processes, int) and 1 <= processes <= 10**6 else 1
    if record.seconds and record.C > FASTEST * processes * record.seconds:
        raise InputError(
            f"seconds: expected at least {record.C / FASTEST / processes:.3g} for {record.C:.3g} FLOPs on any machine, "
            f"got {record.seconds:.3g}"
        )
    if record.ok and not (record.N and record.D and record.C):
        raise InputError(
            f"expected N, D and C above 0 of a finished run, got {record.N}, {record.D} and {record.C:g}"
        )
    return as_configured(record)


_entropies: dict[str, float] = {}


def _floor(config: dict[str, Any]) -> float:
    """The entropy of a generated language, less six standard errors of a loss on so many tokens; 0 where it is not known."""
    name, model = config.get("corpus"), config.get("model")
    if not isinstance(name, str) or not isinstance(model, dict) or name.partition("/")[0] != "language":
        return 0.0
    if name not in _entropies and len(_entropies) < LANGUAGES:
        try:
            _entropies[name] = Language.named(name).entropy_rate
        except InputError:  # of somebody's own
            return 0.0
    windows, context = config.get("eval_windows"), model.get("context")
    known = name in _entropies and all(
        isinstance(each, int) and 0 < each < 10**9 for each in (windows, context)
    )
    # the logarithm of a letter's probability has a standard deviation of about 1.5
    return _entropies[name] - 6 * 1.5 / math.sqrt(windows * context) if known else 0.0  # type: ignore[operator]


def settings_of(record: RunRecord) -> str:
    """The name that the run would have without its seed: the same for runs that differ in nothing else."""
    return _named({name: value for name, value in record.config.items() if name != "seed"})


def as_configured(record: RunRecord) -> bool:
    """A plain run's size and tokens follow from its config, and its compute from these. Returns: whether it is a plain run.

    Raises: InputError where the record says otherwise.
    """
    if not record.ok or not {"model", "tokens"} <= record.config.keys():
        return False
    try:
        config = TrainConfig.model_validate(record.config)
    except ValueError:  # a run of another kind: a policy, a fine-tuning
        return False
    if config.id() != record.id:
        raise InputError(
            f"config: expected it as this kit writes it, with the id {config.id()}, got the same run in other words"
        )
    wanted = {"N": _size(json.dumps(record.config["model"])), "D": config.steps * config.tokens_per_step}
    for name, value in wanted.items():
        if getattr(record, name) != value:
            raise InputError(f"{name}: expected {value:,}, as its config says, got {getattr(record, name):,}")
    if record.C < 0.9 * 6 * record.N * record.D:
        raise InputError(
            f"C: expected at least 6 N D = {6.0 * record.N * record.D:.3g} FLOPs, got {record.C:.3g}"
        )
    return True


@functools.lru_cache(1000)
def _size(model: str) -> int:
    return counts.shape(ModelConfig.model_validate_json(model)).active_non_embedding


def _named(config: dict[str, Any]) -> str:
    try:
        return run_id(config)
    except (TypeError, ValueError, RecursionError):
        return ""
