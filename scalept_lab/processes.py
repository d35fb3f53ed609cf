"""Worker processes: started quickly, one thread each, and never left behind. For sweeps and for ranks alike."""

from __future__ import annotations

import concurrent.futures as futures
import functools
import multiprocessing
import multiprocessing.connection
import multiprocessing.util
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Any

from scalept_lab import scratch
from scalept_lab.errors import InputError
from scalept_lab.runs import discard_drafts

# Imported once, by the server that all workers are forked from: they start in a tenth of a second and share its memory.
# What a worker imports by itself it has to itself, and it copies what the import touches: torch's compiler, which wrappers
# over ranks load at their first step, was 50 MB in each.
PRELOADED = [
    "scalept_lab.train.loop",
    "scalept_lab.parallel.checkpoint",
    "torch._dynamo",
    "torch.distributed.fsdp",
    "torch.distributed.pipelining",
    "torch.distributed.tensor.parallel",
]
# The path of a Unix socket may have 103 characters on macOS and 107 on Linux; multiprocessing puts 32 of its own behind
# the temporary folder, and ours (`scratch`) is 17.
LONGEST_TMPDIR = 53
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


def context() -> BaseContext:
    """How processes are started here. Never `fork`: a child of a process with threads can wait for ever.

    `forkserver` where there is one, else (Windows) `spawn`, which imports torch anew in each process: some seconds.
    Raises: InputError where the temporary folder's path is too long for a socket, and no shorter one can be written to.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload([*PRELOADED, "scalept_lab.shared"])
    _find_sockets_a_place(tempfile.gettempdir())
    return chosen


@functools.cache
def _find_sockets_a_place(usual: str) -> None:
    """multiprocessing makes a folder for its sockets in the temporary one, once: here it makes it in this process's own, which
    does not outlive it. Where the temporary one is too deep, elsewhere."""
    short = (folder for folder in SHORT_FOLDERS if os.access(folder, os.W_OK | os.X_OK))
    base = usual if len(os.fsencode(usual)) <= LONGEST_TMPDIR else next(short, None)
    if base is None:
        raise InputError(
            f"TMPDIR: expected a path of at most {LONGEST_TMPDIR} characters, got {len(usual)} ({usual}); "
            "set TMPDIR to a shorter one that you may write to"
        )
    before, tempfile.tempdir = tempfile.tempdir, str(scratch.own(base))
    try:
        multiprocessing.util.get_temp_dir()
    finally:
        tempfile.tempdir = before


def end_server() -> None:
    """End the idle server that workers are forked from, which holds 240 MB; the next worker starts it again, in some seconds.

    For what starts large processes of another kind, such as torchrun. Nothing happens while a worker is alive, or where there
    is no server.
    """
    if "forkserver" in multiprocessing.get_all_start_methods() and not multiprocessing.active_children():
        from multiprocessing.forkserver import _forkserver

        _forkserver._stop()  # type: ignore[attr-defined]


@contextmanager
def starting() -> Iterator[None]:
    """Tell in one line that a process could not be started, as its starter was ended. Raises: InputError.

    An interrupt waits until it has started: of one that is half started nobody knows, so that nobody could end it.
    """
    try:
        with _uninterrupted():
            yield
    except (EOFError, ConnectionError, FileNotFoundError):  # at whichever step of asking it
        raise InputError(
            "worker processes could not be started: the process that starts them was ended from outside (out of memory?); "
            "run it again"
        ) from None


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C, where this thread hears it, takes effect at the end of the block."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came: list[tuple[Any, ...]] = []
    signal.signal(signal.SIGINT, lambda *told: came.append(told))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(*came[0])


class _Pool(futures.ProcessPoolExecutor):
    def submit(self, *args: Any, **kwargs: Any) -> futures.Future:
        with starting():
            return super().submit(*args, **kwargs)


@contextmanager
def local_processes(workers: int) -> Iterator[futures.ProcessPoolExecutor]:
    """Worker processes with one thread each, ended when the block is left by an error or an interrupt."""
    before = set(multiprocessing.active_children())
    pool = _Pool(workers, mp_context=context(), initializer=_become_writer)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        children = set(multiprocessing.active_children()) - before
        for child in children:
            child.terminate()
        for (
            child
        ) in children:  # one that is just starting would look for what goes with the pool, and complain
            child.join(5)
        raise
    pool.shutdown()


def become_worker() -> None:
    """One thread, deaf to Ctrl-C (the parent ends its workers), gone when the parent or the process that started it is."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:  # a worker whose parent was killed would otherwise wait for work for ever
        threading.Thread(target=_end_with, args=(parent.sentinel, os.getppid()), daemon=True).start()


def _become_writer() -> None:
    """A worker that leaves no half record when it is told to end."""
    become_worker()
    signal.signal(signal.SIGTERM, lambda *_: _end(143))


def _end_with(sentinel: int, starter: int) -> None:
    """When the parent has gone, or the starter, by whom alone the parent hears of this process and can end it."""
    while not multiprocessing.connection.wait([sentinel], timeout=1.0) and os.getppid() == starter:
        pass
    _end(1)


def _end(status: int) -> None:
    discard_drafts()
    os._exit(status)
