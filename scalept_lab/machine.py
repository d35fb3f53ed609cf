"""What this machine is and how fast: for `scalept check`, for estimates, and for the provenance of a record."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from scalept_lab.checks import one_of
from scalept_lab.errors import InputError

ROOT = Path(__file__).resolve().parent.parent  # of the checkout, if it is one
PACKAGES = ("torch", "numpy", "transformers", "datasets")


def cores() -> int:
    """Cores this process may use (a container or a scheduler may have set fewer than the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Memory this process may use: the machine's, or the container's limit where that is smaller."""
    import psutil

    total = psutil.virtual_memory().total
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="utf-8") as file:
                total = min(total, int(file.read()))
        except (OSError, ValueError):
            continue
    return total


DEVICES = ("auto", "cpu", "cuda", "mps")


def device() -> str:
    """Where tensors go if nothing else is known: what `SCALEPT_DEVICE` asks for, else the GPU if there is one, else "cpu".

    `train.placement.device_for` says where a run is trained: with "auto", a small one on the CPU even beside a GPU.
    Raises: InputError if the variable names no device, or one that this machine does not have.
    """
    asked, here = choice(), devices()
    if asked == "auto":
        return here[-1]
    if asked not in here:
        raise InputError(
            f"SCALEPT_DEVICE: expected a device that this machine has ({', '.join(here)}), got {asked}; "
            "unset it, or take auto"
        )
    return asked


def choice() -> str:
    """What `SCALEPT_DEVICE` says: "auto" if it is not set. Raises: InputError if it says anything but one of `DEVICES`."""
    asked = os.environ.get("SCALEPT_DEVICE", "").strip().lower() or "auto"
    return one_of("SCALEPT_DEVICE", asked, DEVICES)


def devices() -> list[str]:
    """The kinds of device here, the CPU first."""
    import torch

    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return ["cpu", *(name for name, usable in found.items() if usable)]


def device_memory_bytes(where: str | None = None) -> int:
    """Memory of a device (`device()` if none is named)."""
    import torch

    if (where or device()) == "cuda":
        return torch.cuda.get_device_properties(0).total_memory
    return memory_bytes()  # a Mac's GPU shares it


def gflops(size: int = 256, seconds: float = 0.2) -> float:
    """Speed of one thread (or of the GPU) in billions of floating-point operations a second: a timed float32 product."""
    import torch

    where, threads = device(), torch.get_num_threads()
    size = size if where == "cpu" else 4096
    a = torch.randn(size, size, device=where)
    b = torch.randn(size, size, device=where)
    torch.set_num_threads(1)
    try:
        (a @ b).sum().item()
        started, products = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            (a @ b)[0, 0].item()
            products += 1
        return 2 * size**3 * products / (time.perf_counter() - started) / 1e9
    finally:
        torch.set_num_threads(threads)


def check() -> dict:
    """`scalept check`: what is here, and whether it is enough (Python, torch and 1.5 GB of memory)."""
    torch, memory = version("torch"), memory_bytes()
    choice()  # also where torch is missing, a wrong name is said
    return {
        "ok": sys.version_info >= (3, 11) and torch is not None and memory > 1.5e9,
        "python": platform.python_version(),
        "torch": torch,
        "cores": cores(),
        "memory_bytes": memory,
        "device": device() if torch else None,
        "gflops": round(gflops(), 1) if torch else None,
    }


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def provenance() -> dict:
    """Where a record was made: versions, machine, processor. Nothing that names a person."""
    from scalept_lab import __version__

    versions = {name: found for name in PACKAGES if (found := version(name))}
    return {
        **_commit(),
        "versions": {"scalept-lab": __version__, "python": platform.python_version(), **versions},
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}, {cores()} cores",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


def _commit() -> dict[str, str | bool | None]:
    """The commit of the checkout that this package runs from, and whether a tracked file differs from it ("dirty").

    Both are None where that is not known: the package is installed as a wheel, stands in another project's checkout, or
    git is missing.
    """
    found = None
    if _is_checkout(ROOT):
        # Inside a hook, git names the repository that it was called for in variables like GIT_DIR.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
        environment["GIT_OPTIONAL_LOCKS"] = "0"
        with suppress(OSError, subprocess.TimeoutExpired):
            found = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=5, env=environment
            ).stdout.strip()
    if not found:
        return {"commit": None, "dirty": None}
    return {"commit": found.removesuffix("-dirty"), "dirty": found.endswith("-dirty")}


def _is_checkout(root: Path) -> bool:
    """Whether this is a checkout of this very project."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return False
    return project.get("name") == "scalept-lab" and (root / ".git").exists()


def give_back() -> None:
    """Hand freed memory back to the system, after work whose many small pieces the allocator would keep: a corpus's text.

    With the GNU library only; elsewhere nothing happens.
    """
    import ctypes

    with suppress(OSError, AttributeError, TypeError):  # another C library; Windows has no unnamed one
        ctypes.CDLL(None).malloc_trim(0)


def peak_rss_bytes() -> int:
    """The most memory this process has held so far."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
