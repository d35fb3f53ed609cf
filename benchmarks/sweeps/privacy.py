"""What a fine-tuned model gives away about its training pairs: the attack by loss against epochs (notebook 09)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from scalept_lab.runs import RunRecord
from scalept_lab.transfer.measure import task
from scalept_lab.transfer.membership import attacked, described
from sweeps.jobs import Job, Rounds, sweep
from sweeps.transfer import MOST, fingerprint

PAIRS, EPOCHS = 320, (1, 3, 10, 30)


@sweep(
    "epochs of fine-tuning on 320 pairs, and what three attacks then tell about membership, beside their null",
    minutes=6, metrics=("accuracy", "loss auc", "loss null"), seeds=range(5), alone=True,
)  # fmt: skip
def membership(seeds: Sequence[int]) -> Rounds:
    """A seed deals the functions into members, others, strangers and those of the reference model, and draws the classifier.

    L is the loss on the test pairs, of other modules. The metrics are those of `transfer.membership.attacked`.
    """
    yield [
        Job(described(MOST, "corpus", PAIRS, epochs, seed), partial(run, epochs, seed), partial(fingerprint, "corpus"))
        for seed in seeds
        for epochs in EPOCHS
    ]  # fmt: skip


def run(epochs: int, seed: int) -> RunRecord:
    return attacked(MOST, task(), PAIRS, epochs, seed)
