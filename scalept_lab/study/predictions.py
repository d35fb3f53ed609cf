"""A prediction, sealed on disk before its run exists, and the score that it gets afterwards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from scalept_lab.config import HOW_IT_RUNS, TrainConfig
from scalept_lab.laws.fit import error_percent


class Shot(BaseModel):
    """A prediction, sealed: the run, the loss predicted, and the evidence it rests on. `seal` is a hash of all the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: TrainConfig
    flops: float
    predicted: float
    low: float
    high: float
    law: dict[str, float]
    status: str
    runs: list[str]
    sealed_at: str
    seal: str = ""

    def digest(self) -> str:
        """The hash to seal with. Fields of a config that came after the first seals count only where they are set, and those
        that say how a run is computed not at all."""
        unset = {name for name in ("distillation", "growth", "delayed") if getattr(self.config, name) is None}
        text = self.model_copy(update={"seal": ""}).model_dump_json(exclude={"config": unset | HOW_IT_RUNS})
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def id(self) -> str:
        return self.config.id()

    def __str__(self) -> str:
        model = self.config.model
        return (
            f"width {model.width}, depth {model.depth}, {self.config.tokens:,} tokens, {self.flops:.3g} FLOPs: predicted loss "
            f"{self.predicted:.4f} (95 % interval {self.low:.4f} to {self.high:.4f}), sealed {self.sealed_at}"
        )

    __repr__ = __str__


@dataclass(frozen=True)
class Score:
    """A prediction against what came."""

    shot: Shot
    measured: float

    @property
    def error_percent(self) -> float:
        """Positive when the model turned out worse than predicted."""
        return error_percent(self.measured, self.shot.predicted)

    @property
    def inside(self) -> bool:
        return self.shot.low <= self.measured <= self.shot.high

    def __str__(self) -> str:
        where = "inside" if self.inside else "OUTSIDE"
        return (
            f"predicted {self.shot.predicted:.4f}, measured {self.measured:.4f} nats per token: {self.error_percent:+.2f} %, "
            f"{where} the 95 % interval {self.shot.low:.4f} to {self.shot.high:.4f}"
        )

    __repr__ = __str__
