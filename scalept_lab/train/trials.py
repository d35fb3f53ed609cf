"""A few steps of one run on some ranks, with everything looked at: losses, weights, bytes sent, bytes held.

What notebook 05 and the tests of `parallel.spread` compare: the same run in one process and in many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from scalept_lab.config import TrainConfig
from scalept_lab.model.activations import states_bytes
from scalept_lab.model.optim import learning_rate, set_rate
from scalept_lab.parallel import spread
from scalept_lab.parallel.launcher import launch
from scalept_lab.parallel.ledger import Ledger, sent_bytes
from scalept_lab.train import pacing
from scalept_lab.train.loop import prepared
from scalept_lab.train.step import set_up, to


@dataclass(frozen=True)
class Trial:
    """What came of it. `rows` are of one step, the last, on the first rank: kind -> (calls, payload bytes)."""

    losses: list[float]  # of each step, mean over the whole batch
    parameters: dict[str, Tensor]  # after the last step, whole
    rows: dict[str, tuple[int, int]]
    wire: list[int | None]  # bytes each rank sent in the last step, None where it cannot be seen
    # bytes of parameters, gradients and optimizer on each rank, before the last update
    held: list[dict[str, int]]


def trial(config: TrainConfig, ranks: int = 1, steps: int = 10, seconds: float = 120.0) -> Trial:
    """Train `steps` steps of `config` in `ranks` processes (1: in this one). Raises: InputError as `launch` and `train`."""
    (found,) = trial_each({"": config}, ranks, steps, seconds).values()
    return found


def trial_each(
    configs: Mapping[str, TrainConfig], ranks: int, steps: int = 10, seconds: float = 120.0
) -> dict[str, Trial]:
    """`trial` of each config, one after the other by the same ranks: to start them takes longer than the steps."""
    for config in configs.values():
        spread.check(config, ranks)
    runs = list(configs.values())
    parts = launch(_all, ranks, runs, steps, seconds=seconds) if ranks > 1 else [_all(runs, steps)]
    return {name: _trial(found) for name, found in zip(configs, zip(*parts, strict=True), strict=True)}


def _trial(found: Sequence[dict]) -> Trial:
    """One run from what each rank saw of it."""
    first = found[0]
    return Trial(first["losses"], first["parameters"], first["rows"],
                 [one["wire"] for one in found], [one["held"] for one in found])  # fmt: skip


def _all(configs: Sequence[TrainConfig], steps: int) -> list[dict]:
    return [_steps(config, steps) for config in configs]


def _steps(config: TrainConfig, steps: int) -> dict:
    run = set_up(config, "cpu")
    held: dict[str, int] = {}
    end_of_forward = getattr(run.model, "head", None)  # only the last stage of a pipeline has one
    if end_of_forward is not None:
        end_of_forward.register_forward_hook(
            lambda *_: held.update(gathered=states_bytes(run.model, run.optimizer)["parameters"])
        )
    hook = run.optimizer.register_step_pre_hook(
        lambda optimizer, *_: held.update(states_bytes(run.model, optimizer))
    )
    stream = pacing.stream(config, prepared(config.corpus).train, steps=steps)
    losses, ledger, before, after = [], Ledger(), None, None
    for step, (x_BxL, y_BxL) in enumerate(stream):
        set_rate(run.optimizer, learning_rate(step, config))
        batch = to(x_BxL, "cpu"), to(y_BxL, "cpu")
        if step < steps - 1:
            loss = run.step(*batch)
        else:  # the last step is looked at: the first ones also set up connections and buckets
            before = sent_bytes()
            with ledger:
                loss = run.step(*batch)
            after = sent_bytes()
        losses.append(run.ranks.total(loss).item())
    hook.remove()
    wire = None if before is None or after is None else after - before
    whole = spread.full_parameters(run.model, run.ranks)
    return {"losses": losses, "parameters": whole, "rows": ledger.rows, "wire": wire, "held": held}


def largest_difference(one: Trial, other: Trial) -> tuple[float, float]:
    """(largest difference of a step's loss in nats; largest relative difference of a weight matrix, in the 2-norm).

    Raises: ValueError if the two do not have the same parameters: what is missing must not count as equal.
    """
    if set(one.parameters) != set(other.parameters):
        raise ValueError(f"other parameters: {sorted(set(one.parameters) ^ set(other.parameters))}")
    loss = max(abs(a - b) for a, b in zip(one.losses, other.losses, strict=True))
    weights = max(
        ((other.parameters[name] - whole).norm() / whole.norm()).item()
        for name, whole in one.parameters.items()
    )
    return loss, weights
