"""Start several ranks from one call, as `torchrun` does from a shell: in a notebook cell, a script or a test.

    def mean_rank():                                  # runs once in every rank
        x = torch.tensor([float(dist.get_rank())])
        dist.all_reduce(x)
        return x.item() / dist.get_world_size()

    launch(mean_rank, ranks=4)                        # [1.5, 1.5, 1.5, 1.5]

Functions may come from a cell: they travel by cloudpickle, and results come back, through a temporary folder that only this
user can open; nothing from anywhere else is unpickled. What a rank prints is not shown: return it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cloudpickle

from scalept_lab import scratch
from scalept_lab.checks import whole
from scalept_lab.errors import InputError
from scalept_lab.processes import become_worker, context, starting
from scalept_lab.screen import Bar

UNKNOWN = 255  # the exit status of a process whose starter is gone
START_SECONDS = 60.0  # on top of the time limit: importing torch on a cold machine
_folder: Path | None = None  # of this rank's launch; None outside one


class RankError(RuntimeError):
    """A rank raised, died or did not finish; the message holds its traceback, or where it stands."""


def launch(
    function: Callable[..., Any],
    ranks: int,
    *args: Any,
    seconds: float = 300.0,
    progress: bool = False,
    backend: str = "gloo",
    **kwargs: Any,
) -> list[Any]:
    """Call `function(*args, **kwargs)` in `ranks` processes that form one process group; return their results in order.

    In each, `torch.distributed` is initialised and RANK, LOCAL_RANK and WORLD_SIZE are set as `torchrun` sets them.
    `seconds` is the time limit for all of it; `progress` shows a bar of what `tell` is told by the first rank.

    Raises: InputError for a function, argument or result that cannot be sent (it is named), a temporary folder that cannot be
    written, or what a rank raised as InputError; RankError with the traceback of the rank that failed first, or with the place
    where each stands when the time is up. No process is left behind in any case, an interrupt included.
    """
    ranks = whole("ranks", ranks)
    with scratch.folder("ranks-") as name:
        folder = Path(name)
        # through a pipe: on disk the environment, with whatever is secret in it, would outlive a parent that is killed
        task = _packed(function, args, kwargs)
        method = context()
        group = [
            method.Process(target=_rank, args=(name, rank, ranks, backend, task), name=f"rank {rank}")  # type: ignore[attr-defined]
            for rank in range(ranks)
        ]
        try:
            with starting():
                for process in group:
                    process.start()
            _wait(group, folder, seconds, progress)
        finally:
            _end(group)
        return [cloudpickle.loads((folder / f"{rank}.result").read_bytes()) for rank in range(ranks)]


def tell(done: float, total: float = 1.0) -> None:
    """Say from inside a rank how far it is, for the bar of `launch(…, progress=True)`. Elsewhere it does nothing."""
    if _folder is not None and os.environ.get("RANK") == "0":
        _write(_folder / "progress", f"{done} {total}".encode())


# --- in the parent


def _wait(group: Sequence[BaseProcess], folder: Path, seconds: float, progress: bool) -> None:
    started, limit = time.monotonic(), None
    with Bar(f"{len(group)} ranks", shown=progress) as bar:
        while True:
            running = [process for process in group if process.is_alive()]
            if failed := _failed(group, folder):
                raise failed
            if not running:
                return
            ready = all((folder / f"{rank}.ready").exists() for rank in range(len(group)))
            if limit is None and (ready or time.monotonic() - started > START_SECONDS):
                limit = time.monotonic() + seconds  # the clock starts when all ranks have met
            if limit is not None and time.monotonic() > limit:
                raise RankError(_where_they_stand(group, folder, seconds))
            running[0].join(0.05)
            if progress:
                bar.at(_share(folder))


def _failed(group: Sequence[BaseProcess], folder: Path) -> Exception | None:
    """Why the launch failed, if it did: a rank that was killed, else the error that came first (others follow from it)."""
    if not list(folder.glob("*.error")) and not _lost(group, folder):
        return None
    time.sleep(0.2)  # a rank whose partner was killed may report a broken connection before the kill is seen
    for rank in _lost(group, folder):
        code = group[rank].exitcode
        if code and code < 0:
            why = f"was killed by signal {-code}" + (" (often: memory ran out)" if code == -9 else "")
            output = folder / f"{rank}.output"
            last = (
                output.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
                if output.exists()
                else []
            )
            return RankError("\n".join([f"rank {rank} of {len(group)} {why} before it had finished", *last]))
    for path in sorted(folder.glob("*.error"), key=lambda path: path.stat().st_mtime_ns):
        kind, text = cloudpickle.loads(path.read_bytes())
        told = f"rank {path.stem} of {len(group)} raised:\n{text}"
        return InputError(text) if kind == "input" else RankError(told)
    codes = [process.exitcode for process in group]
    if UNKNOWN in codes:
        return RankError(
            "the process that starts the ranks was ended from outside (out of memory?); run it again"
        )
    guard = "in a script, call launch under `if __name__ == '__main__':`"
    return RankError(f"a rank ended without a word (exit statuses {codes}); {guard}")


def _lost(group: Sequence[BaseProcess], folder: Path) -> list[int]:
    """Ranks that ended and left no result: it is written before the exit."""
    ended = (rank for rank, process in enumerate(group) if process.exitcode is not None)
    return [rank for rank in ended if not (folder / f"{rank}.result").exists()]


def _where_they_stand(group: Sequence[BaseProcess], folder: Path, seconds: float) -> str:
    """Ask each rank for its stack: what one waits for is usually a call that another never makes."""
    lines = [
        f"not finished after {seconds:g} s; does every rank make the same collective calls, in the same order?"
    ]
    for process in group:
        if process.is_alive() and process.pid and hasattr(signal, "SIGUSR1"):
            os.kill(process.pid, signal.SIGUSR1)
    time.sleep(0.5)
    for rank, process in enumerate(group):
        stack = folder / f"{rank}.stack"
        frames = stack.read_text(encoding="utf-8", errors="replace").splitlines() if stack.exists() else []
        frames = [line.strip() for line in frames if line.startswith("  File")]
        own = [
            line for line in frames if f"{os.sep}torch{os.sep}" not in line and "multiprocessing" not in line
        ]
        if not process.is_alive():
            lines.append(f"  rank {rank} has finished")
        elif own:
            lines.append(f"  rank {rank} stands at {own[0]}")
        else:
            lines.append(f"  rank {rank} is running")
    return "\n".join(lines)


def _end(group: Sequence[BaseProcess]) -> None:
    for process in group:
        if process.is_alive():
            process.kill()
    for process in group:
        if process.pid is not None:
            process.join()
        process.close()  # its pipe, too: a long session launches hundreds


def _share(folder: Path) -> float:
    try:
        done, total = map(float, (folder / "progress").read_text(encoding="utf-8").split())
        return min(1.0, done / total)
    except (OSError, ValueError, ZeroDivisionError):
        return 0.0


def _packed(function: Callable, args: tuple, kwargs: dict) -> bytes:
    try:
        return cloudpickle.dumps((function, args, kwargs, dict(os.environ)))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    used = {f"argument {index}": value for index, value in enumerate(args)}
    used |= {f"argument {name!r}": value for name, value in kwargs.items()}
    code = getattr(function, "__code__", None)
    if code is not None:
        seen = {name: function.__globals__.get(name) for name in code.co_names}
        seen |= dict(
            zip(code.co_freevars, (cell.cell_contents for cell in function.__closure__ or ()), strict=False)
        )
        used |= {f"variable {name!r}": value for name, value in seen.items()}
    what = next((name for name, value in used.items() if not _travels(value)), "the function")
    raise InputError(
        f"{what} cannot be sent to another process ({reason}); make it inside the function, or send what it is made from"
    )


def _travels(value: Any) -> bool:
    try:
        cloudpickle.dumps(value)
    except Exception:
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    """All or nothing: the parent looks while ranks write."""
    draft = path.with_name(path.name + ".tmp")
    draft.write_bytes(content)
    os.replace(draft, path)


# --- in a rank


def _rank(name: str, rank: int, ranks: int, backend: str, task: bytes) -> None:
    import torch.distributed as dist

    global _folder
    _folder = folder = Path(name)
    become_worker()
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, open(folder / f"{rank}.stack", "wb"), all_threads=False)  # noqa: SIM115
    with open(folder / f"{rank}.output", "wb") as output:  # shown where a rank dies without a traceback
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    try:
        result = _packed_result(_call(folder, rank, ranks, backend, task), rank)
        _write(folder / f"{rank}.result", result)
        # nobody leaves while another may still need it; late, no failure counts
        with contextlib.suppress(RuntimeError):
            dist.barrier()
    except InputError as error:
        _write(folder / f"{rank}.error", cloudpickle.dumps(("input", str(error))))
    except BaseException:
        _write(folder / f"{rank}.error", cloudpickle.dumps(("raised", _own_traceback())))
    os._exit(0)  # gloo's threads can hold up, or abort, a normal exit when a partner is gone


def _call(folder: Path, rank: int, ranks: int, backend: str, task: bytes) -> Any:
    import torch
    import torch.distributed as dist

    function, args, kwargs, environment = cloudpickle.loads(task)
    os.environ |= environment  # as the caller has it now, not as it was when the server of processes started
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
    if backend == "nccl":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    elif (
        device := _loopback()
    ):  # else gloo listens where the machine's name leads, which may be the network of a workshop
        os.environ.setdefault("GLOO_SOCKET_IFNAME", device)
    store = dist.FileStore(str(folder / "store"), ranks)  # a file needs no free port
    dist.init_process_group(backend, store=store, rank=rank, world_size=ranks)
    (folder / f"{rank}.ready").touch()
    return function(*args, **kwargs)


def _loopback() -> str | None:
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == "127.0.0.1" for address in addresses):
            return name
    return None


def _packed_result(result: Any, rank: int) -> bytes:
    try:
        return cloudpickle.dumps(result)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    parts = dict(result) if isinstance(result, dict) else {}
    if isinstance(result, (list, tuple)):
        parts = dict(enumerate(result))
    bad = next((f", its part {key!r}" for key, value in parts.items() if not _travels(value)), "")
    raise InputError(
        f"the result of rank {rank}{bad} ({type(result).__name__}) cannot be sent back ({reason}); return numbers, "
        "arrays or tensors"
    )


def _own_traceback() -> str:
    """The traceback from the function on: what the launcher did before is of no interest."""
    kind, error, trace = sys.exc_info()
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return "".join(traceback.format_exception(kind, error, trace)).rstrip()
