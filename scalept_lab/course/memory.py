"""The memory that a process and all that it started take together, sampled in a thread.

A classroom machine or a container of 2 GB has to hold exactly this, so a page that several of these processes share counts once:

    pages of their own    what a process wrote, also before it was forked: each one that shares it counts its share (`Pss_Anon`)
    pages of files        libraries and corpora, as far as they are in memory: again by shares (`Pss_File`). The share shrinks
                          when a stranger, such as a second notebook, maps the same library; then the process that has most of
                          such pages counts, with all of them.

The sum of resident sizes (RSS) counts what is shared once per process: about twice as much for a kernel with four ranks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path


class PeakMemory:
    """Samples the memory of a process and its descendants in a thread, and keeps the largest sum, in bytes.

    On Linux what they share counts once, as the module says. Elsewhere it is the sum of resident sizes (RSS), an upper bound.
    A process that lives for less than one interval can be missed. `interval`: seconds.
    """

    def __init__(self, pid: int, interval: float = 0.2):
        import psutil

        self.bytes = 0
        self._process = psutil.Process(pid)
        self._interval = interval
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)
        self._thread.start()

    def sample(self) -> int:
        """Memory now, in bytes; 0 when the process is gone."""
        import psutil

        try:
            family = [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return 0
        return held_by(process.pid for process in family)

    def stop(self) -> int:
        """Take a last sample, end the thread, return the peak in bytes."""
        self._done.set()
        self._thread.join()
        self.bytes = max(self.bytes, self.sample())
        return self.bytes

    def _watch(self) -> None:
        took = 0.0
        while not self._done.wait(max(self._interval, 9 * took)):  # at most a tenth of one core's time
            started = time.perf_counter()
            self.bytes = max(self.bytes, self.sample())
            took = time.perf_counter() - started


def held_by(pids: Iterable[int]) -> int:
    """Bytes that these processes hold together; one that is gone holds nothing."""
    own = shares = largest = 0
    for pid in pids:
        try:
            pages = _rollup(pid)
            own += pages["Pss_Anon"]
            shares += pages["Pss_File"] + pages["Pss_Shmem"]
            largest = max(largest, pages["Rss"] - pages["Anonymous"])
        except (OSError, KeyError):  # another system, an old kernel, no right to look; or the process is gone
            own += _resident(pid)
    return own + max(shares, largest)


def _rollup(pid: int) -> dict[str, int]:
    """Bytes of a process's pages by kind. Raises: OSError where the system does not tell."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    return {name: 1024 * int(kilo) for name, kilo, _ in (line.replace(":", " ").split() for line in lines)}


def _resident(pid: int) -> int:
    import psutil

    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0
