"""Going on with a run that was stopped: when checkpoints are taken, and what is read from the newest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalept_lab import checkpoint
from scalept_lab.outcome import Curve


@dataclass
class Keep:
    """Where to leave checkpoints, and after how many steps at least (they are taken where the loss is read).

    The loss scale of float16 is not kept: it starts high again and comes down within a few skipped steps.
    """

    folder: str | Path
    every: int = 100
    saved: int = field(default=0, init=False)  # steps in the newest checkpoint

    def resume(self, run: Any) -> tuple[int, Curve]:
        """Steps done and the curve so far: of the newest checkpoint, which is loaded, or 0 and an empty one."""
        newest = checkpoint.latest(self.folder)
        if newest is None:
            return 0, []
        found = checkpoint.load(newest, run.model, run.optimizer, self._name(run))
        self.saved = found["step"]
        return self.saved, [(step, seen, loss) for step, seen, loss in found["curve"]]

    def save_if_due(self, run: Any, steps: int, curve: Curve) -> None:
        if steps - self.saved >= self.every or steps == run.config.steps:
            checkpoint.save(self.folder, steps, run.model, run.optimizer, self._name(run), {"curve": curve})
            self.saved = steps

    @staticmethod
    def _name(run: Any) -> str:
        """The run's id without its strategy: another one may go on from here."""
        return run.config.replace(parallel=None).id()
