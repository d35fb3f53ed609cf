"""The order in which a pipeline's stages work, and what comes of it: who waits when, and how much is kept. No torch.

An order is a list of steps (kind, micro-batch), counted from 0, one list for each stage:

    F   the forward pass of a micro-batch
    B   its backward pass, or where the stage also has W steps the gradient of its input alone
    W   the gradient of its weights, which nobody waits for
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from scalept_lab.checks import whole
from scalept_lab.costs.traffic import Slot
from scalept_lab.errors import InputError

Step = tuple[str, int]
Order = Callable[[int, int, int], Iterable[Step]]  # of a stage, the stages, the micro-batches


def gpipe(stage: int, stages: int, microbatches: int) -> list[Step]:
    """All forward passes, then all backward passes (Huang et al. 2019)."""
    return [("F", m) for m in range(microbatches)] + [("B", m) for m in range(microbatches)]


def one_forward_one_backward(stage: int, stages: int, microbatches: int) -> list[Step]:
    """1F1B: forward passes until the first gradient can come, then one backward and one forward pass in turns
    (Narayanan et al. 2021, §2.2.1). Stage s of p keeps at most p − s micro-batches."""
    ahead = min(stages - stage, microbatches)
    steps = [("F", m) for m in range(ahead)]
    for m in range(microbatches):
        steps.append(("B", m))
        if m + ahead < microbatches:
            steps.append(("F", m + ahead))
    return steps


def zero_bubble(stage: int, stages: int, microbatches: int) -> list[Step]:
    """1F1B with the backward pass split: stage s puts s weight gradients off, and does them where it would wait at the end
    (ZB-H1, Qi et al. 2023, §2.1). No stage keeps more micro-batches than the first one does under 1F1B."""
    steps: list[Step] = []
    for kind, m in one_forward_one_backward(stage, stages, microbatches):
        steps.append((kind, m))
        if kind == "B" and m >= stage:
            steps.append(("W", m - stage))
    return steps + [("W", m) for m in range(max(0, microbatches - stage), microbatches)]


def one_stage_differs(stage: int, stages: int, microbatches: int) -> list[Step]:
    """1F1B, but for one stage, which begins with one forward pass more than it should: a timeline to read."""
    differs = stage == stages // 2
    return one_forward_one_backward(stage - differs, stages, microbatches)


def check(orders: Sequence[Sequence[Step]], microbatches: int) -> None:
    """Whether these orders, a list for each stage, can be run to the end. Raises: InputError with what is wrong first."""
    for stage, steps in enumerate(orders):
        seen: set[Step] = set()
        for step in steps:
            kind, m = _step(stage, step, microbatches)
            before = {"F": None, "B": "F", "W": "B"}[kind]
            if (kind, m) in seen:
                raise InputError(
                    f"stage {stage}: expected each step once, got {kind} of micro-batch {m} twice"
                )
            if before and (before, m) not in seen:
                raise InputError(
                    f"stage {stage}: expected {before} of micro-batch {m} before its {kind}, got it later or never"
                )
            seen.add((kind, m))
        split = any(kind == "W" for kind, _ in seen)
        wanted = {(kind, m) for kind in ("FBW" if split else "FB") for m in range(microbatches)}
        if missing := sorted(wanted - seen):
            kind, m = missing[0]
            raise InputError(
                f"stage {stage}: expected {kind} of each micro-batch, got none of micro-batch {m}"
            )


def play(orders: Sequence[Sequence[Step]], microbatches: int, unit: float = 1.0) -> list[Slot]:
    """The ideal timeline of these orders: each stage takes its steps in its order, as soon as what they need is there.

    A forward pass takes `unit`, a backward pass twice that, its halves B and W one each; messages take no time.
    Raises: InputError as `check`, and for orders in which stages wait for each other for ever.
    """
    check(orders, whole("microbatches", microbatches))
    last, clock = len(orders) - 1, [0.0] * len(orders)
    todo = [list(steps) for steps in orders]
    whole_backward = [not any(kind == "W" for kind, _ in steps) for steps in orders]
    ends: dict[tuple[str, int, int], float] = {}
    slots: list[Slot] = []
    while any(todo):
        moved = False
        for stage, steps in enumerate(todo):
            while steps:
                kind, m = steps[0]
                source = {"F": stage - 1, "B": stage + 1}.get(kind, stage)
                needs = (kind, source, m) if kind != "W" and 0 <= source <= last else None
                if needs and needs not in ends:
                    break
                start = max(clock[stage], ends[needs] if needs else 0.0)
                clock[stage] = end = start + unit * (2 if kind == "B" and whole_backward[stage] else 1)
                ends[kind, stage, m] = end
                slots.append(Slot(stage, m, kind, start, end))
                del steps[0]
                moved = True
        if not moved:
            stage = next(s for s, steps in enumerate(todo) if steps)
            kind, m = todo[stage][0]
            raise InputError(
                f"stage {stage}: waits for ever for what {kind} of micro-batch {m} needs; every stage waits for another"
            )
    return slots


def most_kept(steps: Iterable[Step]) -> int:
    """Micro-batches of which a stage keeps activations at once: from F to B, or to W where it has W steps."""
    steps = list(steps)
    end = "W" if any(kind == "W" for kind, _ in steps) else "B"
    kept = most = 0
    for kind, _ in steps:
        kept += (kind == "F") - (kind == end)
        most = max(most, kept)
    return most


def _step(stage: int, step: Any, microbatches: int) -> Step:
    try:
        kind, m = step
        known = kind in ("F", "B", "W") and int(m) == m and 0 <= m < microbatches
    except (TypeError, ValueError):
        known = False
    if not known:
        raise InputError(
            f'stage {stage}: expected steps such as ("F", 0), micro-batches 0 to {microbatches - 1}, got {step!r}'
        )
    return kind, int(m)
