"""What every training loop watches while it runs, and the `RunRecord` it leaves at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from scalept_lab import machine
from scalept_lab.config import Parallel, TrainConfig, run_id
from scalept_lab.costs import counts
from scalept_lab.parallel import spread
from scalept_lab.runs import RunRecord
from scalept_lab.train import pacing

CURVE_POINTS = 100  # how often the loss is read: reading it makes a GPU wait
DIVERGED = 1.5  # times the loss of a uniform guess

Curve = list[tuple[int, int, float]]  # (step, tokens seen, training loss)


class Watch:
    """The curve of a run, its seconds, and whether its loss has left the range of a model.

    The loss is read about `CURVE_POINTS` times in `steps` steps; a point of the curve is the mean since the point before. The
    run has diverged where such a mean is no number, or not below `limit`: 1.5 times the loss of a uniform guess among
    `choices`. `per_step` is what the curve counts in a step (tokens, examples). `total` turns a sum of losses, as `note` gets
    them, into one number: over ranks, or over workers.

        watch.start()
        for …:
            loss = …
            if watch.note(loss):        # a point was added
                if watch.diverged: break
        watch.stop()
    """

    def __init__(
        self, steps: int, per_step: int, choices: int, total: Callable[[Tensor], Tensor] = lambda loss: loss
    ):
        self.steps, self.per_step, self.limit, self.total = (
            steps,
            per_step,
            DIVERGED * math.log(choices),
            total,
        )
        self.every = max(1, steps // CURVE_POINTS)
        self.step, self.curve, self.diverged = 0, Curve(), False
        self._sum: Any = 0.0
        self._counted = 0
        self.performance: list[float] = []  # evaluations that a live schedule was shown
        self._spent, self._since = 0.0, math.nan

    @classmethod
    def of(cls, config: TrainConfig, total: Callable[[Tensor], Tensor] = lambda loss: loss) -> Watch:
        return cls(config.steps, config.tokens_per_step, config.model.vocab_size, total)

    def note(self, loss: Tensor) -> bool:
        """Count a step and its loss. Whether the loss was read now: `curve` has a new point, or `diverged` is set."""
        self.step, self._counted, self._sum = self.step + 1, self._counted + 1, self._sum + loss
        if self._counted < self.every and self.step != self.steps:
            return False
        mean = float(self.total(self._sum)) / self._counted
        self._sum, self._counted = 0.0, 0
        self.diverged = not mean < self.limit  # also true for NaN
        if not self.diverged:
            self.curve.append((self.step, self.step * self.per_step, round(mean, 6)))
        return True

    def start(self) -> None:
        self._since = time.perf_counter()

    def stop(self) -> None:
        self._spent, self._since = self.seconds, math.nan

    @property
    def seconds(self) -> float:
        """Of training, all lives of the run together."""
        return self._spent + (0.0 if math.isnan(self._since) else time.perf_counter() - self._since)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        told = {"performance": self.performance} if self.performance else {}
        return {"curve": self.curve, "seconds": self.seconds, **told}

    def go_on_from(self, step: int, state: Mapping[str, Any]) -> None:
        self.step, self._spent = step, float(state.get("seconds", 0.0))
        self.curve = [(at, seen, loss) for at, seen, loss in state["curve"]]
        self.performance[:] = state.get("performance", ())

    def why(self, dtype: str = "float32") -> str:
        """Why a run is called diverged, and what helps."""
        advice = "take a lower rate"
        if dtype == "float16":
            advice = "float16 holds nothing above 65,504: take bfloat16, or a lower rate"
        return f"the loss left the range of a model at step {self.step}; {advice}"


def outcome(
    config: TrainConfig, corpus_sha256: str, watch: Watch, loss: float, *, device: str = "cpu", C: float | None = None,
    metrics: Mapping[str, float] | None = None, **more: Any,
) -> RunRecord:  # fmt: skip
    """The record of a run of `config` that `watch` saw, with its held-out `loss` (NaN if it diverged before).

    `C`: its FLOPs, where they are not those of the config's model on its tokens. `more` goes into the provenance.
    """
    shape = counts.shape(config.model)
    seen = watch.step * config.tokens_per_step
    speed = seen / max(watch.seconds, 1e-9)
    return record(
        config.model_dump(), loss, limit=watch.limit, why=watch.why(config.dtype), curve=watch.curve, seconds=watch.seconds,
        N=shape.active_non_embedding, N_total=shape.total, D=seen, C=pacing.flops(config, watch.step) if C is None else C,
        metrics={
            "tokens_per_second": round(speed, 1), "flops_per_second": shape.flops_per_token() * speed, **(metrics or {})
        },
        provenance=provenance(
            device, config.dtype, corpus_sha256=corpus_sha256,
            strategy=(config.parallel or Parallel()).strategy if spread.world() > 1 else "one process", **more,
        ),
    )  # fmt: skip


def record(
    config: Mapping[str, Any], loss: float, *, N: int, N_total: int, D: int, C: float, seconds: float,
    metrics: Mapping[str, float], provenance: Mapping[str, Any], curve: Sequence = (), limit: float = math.inf, why: str = "",
) -> RunRecord:  # fmt: skip
    """The record of a run of any kind, named by its whole `config`.

    One whose held-out loss is no number, or not below `limit`, has diverged, for the reason `why`: that is a result too.
    """
    ok = loss < limit
    return RunRecord(
        id=run_id(config), config=dict(config), N=N, N_total=N_total, D=D, C=C, L=loss if ok else None, curve=list(curve),
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
        seconds=seconds, peak_rss_bytes=machine.peak_rss_bytes(), status="ok" if ok else "diverged",
        error=None if ok else why or "the loss is no number; take a lower rate", provenance=dict(provenance),
    )  # fmt: skip


def provenance(device: str, dtype: str = "float32", **more: Any) -> dict[str, Any]:
    """Where and when a run was made: what `machine` says, how it ran, and `more`."""
    return {
        **machine.provenance(),
        "device": device,
        "threads": torch.get_num_threads(),
        "world_size": spread.world(),
        "dtype": dtype,
        **({"float32_products": torch.get_float32_matmul_precision()} if device == "cuda" else {}),
        **more,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
