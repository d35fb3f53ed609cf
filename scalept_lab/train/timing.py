"""How long a training step or a forward pass takes: warmed up, in turns with a baseline, as medians of ratios.

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

from scalept_lab import machine
from scalept_lab.checks import one_of, whole
from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.costs import counts
from scalept_lab.errors import InputError
from scalept_lab.model.precision import dtype_of
from scalept_lab.model.transformer import device_of
from scalept_lab.train.step import set_up

INSTRUCTIONS = {  # name: (torch's name, Linux's name): matrix arithmetic in 16 bits
    "AVX512-BF16": ("avx512_bf16", "avx512_bf16"),
    "AMX-BF16": ("amx_bf16", "amx_bf16"),
    "AVX512-FP16": ("avx512_fp16", "avx512_fp16"),
    "AMX-FP16": ("amx_fp16", "amx_fp16"),
}


def instructions() -> dict[str, bool]:
    """Which instructions for 16-bit arithmetic this processor has. Without them, 16 bits are computed in detours."""
    asked: dict = getattr(torch.cpu, "get_capabilities", dict)()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((set(line.split()) for line in file if line.startswith("flags")), set())
    except OSError:
        flags = set()
    return {name: bool(asked.get(a)) or b in flags for name, (a, b) in INSTRUCTIONS.items()}


def step_function(config: TrainConfig, device: str | None = None) -> Callable[[], float]:
    """A function that does one training step of this config on random tokens and returns the seconds it took.

    It is the step of the training loop, fp16 with loss scaling. On the CPU these are seconds of the processor, which
    leave out the time that other work took it away; on a GPU it waits for the step to be done.
    """
    device = device or machine.device()
    run = set_up(config, device)
    x_BxL = torch.randint(config.model.vocab_size, (config.batch, config.model.context), device=device)
    clock = time.process_time if device == "cpu" else time.perf_counter

    def step() -> float:
        started = clock()
        run.step(x_BxL, x_BxL).item()  # a GPU works ahead: reading a number waits for it
        return clock() - started

    return step


def in_turns(arms: Mapping[str, Callable[[], float]], rounds: int = 7) -> dict[str, list[float]]:
    """Seconds of each arm in each round, the arms taking turns on one thread, after one round that does not count.

    Other load on the machine then hits all arms alike, and a ratio within a round means something.
    Raises: InputError without arms or rounds.
    """
    if not arms:
        raise InputError("arms: expected at least one, got none")
    rounds = whole("rounds", rounds)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        every = [{name: arm() for name, arm in arms.items()} for _ in range(rounds + 1)][1:]
    finally:
        torch.set_num_threads(threads)
    return {name: [one[name] for one in every] for name in arms}


def speedups(
    widths: Sequence[int], dtypes: Sequence[str] = ("bfloat16",), *, batch: int = 8, context: int = 64, rounds: int = 7,
    device: str | None = None,
) -> list[dict[str, float]]:  # fmt: skip
    """For each width of our family: seconds of a float32 step, and how many times faster each dtype is.

    The speed-up is the median over rounds of the ratio within a round; `low` and `high` are its quartiles.
    """
    rows = []
    for width in widths:
        model = ModelConfig.family(width, context=context)
        arms = {
            dtype: step_function(TrainConfig(model=model, batch=batch, dtype=dtype), device)
            for dtype in ("float32", *dtypes)
        }
        seconds = in_turns(arms, rounds)
        row: dict[str, float] = {"width": width, "seconds": statistics.median(seconds["float32"])}
        for dtype in dtypes:
            ratios = [a / b for a, b in zip(seconds["float32"], seconds[dtype], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4) if rounds > 1 else 3 * ratios
            row |= {dtype: middle, f"{dtype} low": low, f"{dtype} high": high}
        rows.append(row)
    return rows


def product_flops(dtype: str, size: int = 512, seconds: float = 0.2, device: str | None = None) -> float:
    """FLOPs a second of a bare matrix product of `size` in this dtype: the peak that a training step can aim at.

    On the CPU on one thread, in seconds of the processor; on a GPU the size is 8,192.
    """
    device = device or machine.device()
    size = size if device == "cpu" else 8192
    a = torch.randn(size, size, device=device).to(dtype_of(dtype))

    clock = time.process_time if device == "cpu" else time.perf_counter

    def product() -> float:
        started = clock()
        (a @ a)[0, 0].item()
        return clock() - started

    threads = torch.get_num_threads()
    times: list[float] = []
    torch.set_num_threads(1)
    try:
        product()
        while sum(times) < seconds or len(times) < 3:
            times.append(product())
    finally:
        torch.set_num_threads(threads)
    return 2 * size**3 / statistics.median(times)


def utilisation(
    config: TrainConfig, rounds: int = 5, peak: float | None = None, device: str | None = None
) -> dict[str, float]:
    """Tokens and FLOPs a second of a training step, and the share of `peak` (a bare product's, if not given)."""
    seconds = statistics.median(in_turns({"step": step_function(config, device)}, rounds)["step"])
    flops = counts.flops_per_token(config.model) * config.tokens_per_step / seconds
    peak = peak or product_flops(config.dtype, device=device)
    return {
        "tokens/s": config.tokens_per_step / seconds,
        "FLOP/s": flops,
        "peak": peak,
        "utilisation": flops / peak,
    }


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
    x_BxL = x_BxL.to(device_of(model))

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
