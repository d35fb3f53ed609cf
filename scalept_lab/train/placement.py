"""Where a run is trained: on the GPU where that is sooner done, else on the CPU. Timed once per kind of step, not assumed.

A step of a small model is all launch overhead on a GPU (3.9 ms at width 64 and a batch of 4 on one H100, as long as a much
larger one), while a sweep on the CPU has a core for each of its runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from scalept_lab import folders, machine
from scalept_lab.config import TrainConfig
from scalept_lab.costs import counts, footprint
from scalept_lab.errors import InputError
from scalept_lab.parallel import spread
from scalept_lab.runs import write_atomically
from scalept_lab.train.step import set_up

TOO_SLOW = 20e9  # FLOPs of a step that no CPU needs to be asked about
TIMED = ("batch", "optimizer", "dtype", "accumulate", "recompute", "compile")


def device_for(config: TrainConfig, workers: int = 1) -> str:
    """The device that a run is trained on: the one that `SCALEPT_DEVICE` names, or with "auto" the faster one.

    workers: runs that the CPU takes at once, one thread each; a GPU takes one after the other.
    Raises: InputError if the variable names what is not here.
    """
    if spread.many():
        return spread.device()
    device = machine.device()
    if device == "cpu" or machine.choice() != "auto":
        return device
    if counts.flops_per_token(config.model) * config.tokens_per_step > TOO_SLOW:
        return device
    on_cpu, on_gpu = (seconds_per_step(config, where) for where in ("cpu", device))
    return device if on_gpu < on_cpu / workers else "cpu"


def seconds_per_step(config: TrainConfig, device: str | None = None, steps: int = 4) -> float:
    """What one step of this run takes on one thread of this machine (as in a sweep) or on its GPU: the median of a few.

    On a machine with a GPU the answer is kept in the cache folder, by the kind of step, the processors and the torch.
    """
    device = device or machine.device()
    key = _key(config, device)
    known = _known()
    if key in known:
        return known[key]
    if device == "cpu":  # a GPU says itself that it is full, and takes nothing from others
        check_memory(config, device)
    times, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with memory_of(device, config):
            run = set_up(config, device)
            x_BxL = torch.randint(
                config.model.vocab_size, (config.batch, config.model.context), device=device
            )
            for _ in range(steps + 1):
                started = time.perf_counter()
                run.step(x_BxL, x_BxL).item()
                times.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    seconds = sorted(times[1:])[steps // 2]
    if len(machine.devices()) > 1:  # a CPU alone is asked for minutes, and those change with its load
        with suppress(InputError):
            write_atomically(_path(), json.dumps({**known, key: seconds}, indent=1))
    return seconds


def kind_of_step(config: TrainConfig) -> str:
    """What decides how long a step takes: two runs that agree in it need timing once."""
    values = config.model_dump()
    return json.dumps([values["model"], {name: values[name] for name in TIMED}], sort_keys=True)


def why(config: TrainConfig, device: str) -> dict[str, Any]:
    """What the choice of `device` was made by, for the provenance of a record; empty where there was none to make."""
    if device == "cpu" and not torch.cuda.is_initialized():
        return {}  # a worker on the CPU: to ask the GPU for its name would open it here as well
    known = _known()
    timed = {device: known[key] for device in machine.devices() if (key := _key(config, device)) in known}
    return {"seconds_per_step": timed} if len(timed) > 1 else {}


def check_memory(config: TrainConfig, device: str) -> None:
    """Raises: InputError, before anything is built, for a run that the device cannot hold.

    Alone a run takes its whole footprint; each of several ranks builds at least the whole model before it shards it.
    """
    shape, have = counts.shape(config.model), machine.device_memory_bytes(device)
    need = 4 * shape.total if spread.world() > 1 else footprint.footprint(config)["total"]
    if need > have:
        where = "this machine" if device == "cpu" else f"its {device} device"
        raise InputError(
            f"model: expected a run that fits into the {have / 1e9:,.1f} GB of {where}, got one of {need / 1e9:,.1f} GB "
            f"({shape.total:,} parameters, batch {config.batch:,}); take a smaller model or batch"
        )


@contextmanager
def memory_of(device: str, config: TrainConfig) -> Iterator[None]:
    """Inside, a device that runs out of memory says so in one line. Raises: InputError."""
    try:
        yield
    except torch.OutOfMemoryError:
        have = machine.device_memory_bytes(device)
        raise InputError(
            f"batch: expected a step that fits into the {have / 1e9:.1f} GB of this {device} device beside what is there "
            f"already, got one of {config.batch} × {config.model.context} tokens; take a smaller batch, more parts "
            f"(accumulate, now {config.accumulate}) or recompute"
        ) from None


def _key(config: TrainConfig, device: str) -> str:
    chip = torch.cuda.get_device_name(0) if device == "cuda" else machine.provenance()["machine"]
    return f"{device}, {chip}, torch {torch.__version__}: {kind_of_step(config)}"


def _path():
    return folders.cache() / "seconds_per_step.json"


def _known() -> dict[str, float]:
    if len(machine.devices()) == 1:
        return {}
    try:
        return {
            str(key): float(value) for key, value in json.loads(_path().read_text(encoding="utf-8")).items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
