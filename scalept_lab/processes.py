"""Worker processes: started quickly, one thread each, and never left behind. For sweeps and for ranks alike."""

from __future__ import annotations

import concurrent.futures as futures
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext

from scalept_lab.runs import discard_drafts

# Imported once, by the server that all workers are forked from: they start in a tenth of a second and share its memory.
PRELOADED = ["scalept_lab.train.loop", "torch.distributed.fsdp", "torch.distributed.tensor.parallel"]


def context() -> BaseContext:
    """How processes are started here. Never `fork`: a child of a process with threads can wait for ever.

    `forkserver` where there is one, else (Windows) `spawn`, which imports torch anew in each process: some seconds.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(PRELOADED)
    return chosen


@contextmanager
def local_processes(workers: int) -> Iterator[futures.ProcessPoolExecutor]:
    """Worker processes with one thread each, ended when the block is left by an error or an interrupt."""
    before = set(multiprocessing.active_children())
    pool = futures.ProcessPoolExecutor(workers, mp_context=context(), initializer=_become_writer)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    pool.shutdown()


def become_worker() -> None:
    """One thread, deaf to Ctrl-C (the parent ends its workers), gone when the parent is."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:  # a worker whose parent was killed would otherwise wait for work for ever
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _become_writer() -> None:
    """A worker that leaves no half record when it is told to end."""
    become_worker()
    signal.signal(signal.SIGTERM, lambda *_: _end(143))


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    _end(1)


def _end(status: int) -> None:
    discard_drafts()
    os._exit(status)
