"""What a finished run leaves: its `RunRecord`, with what it cost and where it was made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import torch

from scalept_lab import costs, group, machine, pacing
from scalept_lab.config import Parallel, TrainConfig
from scalept_lab.runs import RunRecord

Curve = list[tuple[int, int, float]]  # (step, tokens seen, training loss)


def outcome(
    config: TrainConfig,
    corpus_sha256: str,
    curve: Curve,
    steps: int,
    loss: float | None,
    seconds: float,
    *,
    steps_here: int | None = None,
    device: str = "cpu",
) -> RunRecord:
    """The record of a run of `config` that ended after `steps` with the held-out `loss` (None: it diverged).

    `steps_here`: how many of them took these `seconds`, where a run was resumed.
    """
    shape = costs.shape(config.model)
    seen = steps * config.tokens_per_step
    speed = (steps if steps_here is None else steps_here) * config.tokens_per_step / seconds
    return RunRecord(
        id=config.id(),
        config=config.model_dump(),
        N=shape.non_embedding,
        N_total=shape.total,
        D=seen,
        C=pacing.flops(config, steps),
        L=loss,
        curve=curve,
        metrics={
            "tokens_per_second": round(speed, 1),
            "flops_per_second": shape.flops_per_token() * speed,
        },
        seconds=seconds,
        peak_rss_bytes=machine.peak_rss_bytes(),
        status="ok" if loss is not None else "diverged",
        error=None if loss is not None else _why_diverged(config, steps),
        provenance=provenance(
            device,
            config.dtype,
            strategy=(config.parallel or Parallel()).strategy if group.world() > 1 else "one process",
            corpus_sha256=corpus_sha256,
        ),
    )


def provenance(device: str, dtype: str = "float32", **more: Any) -> dict[str, Any]:
    """Where and when a run was made: what `machine` says, how it ran, and `more`."""
    return {
        **machine.provenance(),
        "device": device,
        "threads": torch.get_num_threads(),
        "world_size": group.world(),
        "dtype": dtype,
        **more,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _why_diverged(config: TrainConfig, steps: int) -> str:
    advice = "take a lower rate"
    if config.dtype == "float16":
        advice = "float16 holds nothing above 65,504: take bfloat16, or a lower rate"
    return f"the loss left the range of a language model at step {steps}; {advice}"
