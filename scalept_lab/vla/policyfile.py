"""A trained policy on disk: its weights, with its shape and its vocabulary beside them, in one safetensors file."""

from __future__ import annotations

from pathlib import Path

import pydantic
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from scalept_lab.errors import InputError
from scalept_lab.vla.model import Policy, PolicyConfig
from scalept_lab.vla.worlds import WORDS


def save(policy: Policy, path: str | Path) -> None:
    save_file(policy.state_dict(), path, metadata={"config": policy.config.model_dump_json()})


def load(path: str | Path, words: tuple[str, ...] = WORDS) -> Policy:
    """A saved policy. Raises: InputError if there is none at `path`, or it reads another vocabulary than `words`."""
    try:
        with safe_open(path, "pt") as file:
            values = (file.metadata() or {}).get("config")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (OSError, SafetensorError):
        raise InputError(f"{path}: expected a saved policy, found none or a damaged one") from None
    if values is None:
        raise InputError(f"{path}: expected a policy saved by policyfile.save, got weights without a config")
    try:
        config = PolicyConfig.model_validate_json(values)
    except pydantic.ValidationError as error:
        raise InputError(
            f"{path}: expected the config of a policy, got one with {error.error_count()} faults; save it anew"
        ) from None
    if config.words != words:
        raise InputError(
            f"{path}: expected a policy for the vocabulary in use ({len(words)} words), got one for {len(config.words)} "
            "other words; load it with its own, or train one anew"
        )
    policy = Policy(config)
    try:
        policy.load_state_dict(weights)
    except RuntimeError:
        raise InputError(
            f"{path}: expected the weights that its config asks for, got others; save it anew"
        ) from None
    return policy
