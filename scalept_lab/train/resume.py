"""Going on with a run that was stopped: when checkpoints are taken, and what is read from the newest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import nn
from torch.optim import Optimizer

from scalept_lab.config import TrainConfig
from scalept_lab.data.corpora import Prepared
from scalept_lab.errors import InputError
from scalept_lab.parallel import checkpoint
from scalept_lab.train.outcome import Watch


@dataclass
class Keep:
    """Where to leave checkpoints, and after how many steps at least (they are taken where the loss is read).

    The loss scale of float16 is not kept: it starts high again and comes down within a few skipped steps.
    """

    folder: str | Path
    every: int = 100
    saved: int = field(default=0, init=False)  # steps in the newest checkpoint

    def resume(
        self, config: TrainConfig, corpus: Prepared, model: nn.Module, optimizer: Optimizer, watch: Watch
    ) -> None:
        """Load the newest checkpoint, if there is one, and let `watch` go on from there.

        Raises: InputError if it belongs to another run, or the text has changed since.
        """
        newest = checkpoint.latest(self.folder)
        if newest is None:
            return
        then = checkpoint.peek(newest).get("corpus", corpus.sha256)
        if then != corpus.sha256:
            raise InputError(
                f"{newest}: trained on other text: fingerprint {then[:12]}, corpus {corpus.name} has {corpus.sha256[:12]} now; "
                "put the text back, or give another folder to begin anew"
            )
        found = checkpoint.load(newest, model, optimizer, self._name(config))
        self.saved = found["step"]
        watch.go_on_from(self.saved, found)

    def save_if_due(
        self, config: TrainConfig, corpus: Prepared, model: nn.Module, optimizer: Optimizer, watch: Watch
    ) -> None:
        if watch.step - self.saved >= self.every or watch.step == config.steps:
            extra = {**watch.state(), "corpus": corpus.sha256}
            checkpoint.save(self.folder, watch.step, model, optimizer, self._name(config), extra)
            self.saved = watch.step

    @staticmethod
    def _name(config: TrainConfig) -> str:
        """The run's id without its strategy: another one may go on from here."""
        return config.replace(parallel=None).id()
