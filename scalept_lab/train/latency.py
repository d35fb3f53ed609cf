"""How long a forward pass takes, measured properly: warmed up, in turns with the baseline, medians of ratios.

Seconds differ between machines and minutes. A ratio to the baseline within the same round means something: other load on the
machine hits both. On one thread of a CPU the clock is the processor's own, which stands still while other work runs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scalept_lab.checks import one_of, whole
from scalept_lab.train.throughput import in_turns

Arm = Callable[[], float]


@dataclass(frozen=True)
class Ratio:
    """Time over that of the baseline: median over rounds and quartiles. Below 1 is faster. `seconds`: a median, too."""

    median: float
    low: float
    high: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def timed(work: Callable[[], object], repeat: int = 1) -> Arm:
    """A function that does `work` `repeat` times and returns the seconds of one."""

    def arm() -> float:
        gpu = torch.cuda.is_available()
        clock = time.perf_counter if gpu else time.process_time
        started = clock()
        for _ in range(repeat):
            work()
        if gpu:
            torch.cuda.synchronize()
        return (clock() - started) / repeat

    return arm


def forward_pass(model: nn.Module, x_BxL: Tensor, repeat: int = 1) -> Arm:
    """An arm that runs the model on these tokens, without gradients."""
    model.eval()

    def work() -> None:
        with torch.inference_mode():
            model(x_BxL)

    return timed(work, repeat)


def against(arms: Mapping[str, Arm], baseline: str, rounds: int = 9) -> dict[str, Ratio]:
    """Each arm's time over the baseline's, round by round; a first round warms up and is not counted.

    Raises: InputError if the baseline is not among the arms, or there are fewer than two rounds.
    """
    one_of("baseline", baseline, arms)
    rounds = whole("rounds", rounds, 2, hint="one has no spread")
    seconds = in_turns(arms, rounds)
    found = {}
    for name, own in seconds.items():
        ratios = [a / b for a, b in zip(own, seconds[baseline], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        found[name] = Ratio(middle, low, high, statistics.median(own))
    return found


def by_threads(
    work: Callable[[], object], threads: Sequence[int] = (1, 2), rounds: int = 9
) -> dict[int, float]:
    """Median wall-clock seconds of `work` for each number of threads. Each has its rounds in a row, after three that warm up:
    in turns, threads would be started anew each time, which takes longer than the work. Other load on the machine shows."""
    before, found = torch.get_num_threads(), {}
    try:
        for number in threads:
            torch.set_num_threads(number)
            seconds = []
            for _ in range(rounds + 3):
                started = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - started)
            found[number] = statistics.median(seconds[3:])
    finally:
        torch.set_num_threads(before)
    return found
