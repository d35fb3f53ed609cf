"""What processes hold together: shared pages once, whoever else maps the same files."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from scalept_lab.course import memory

BLOCK = 100_000_000
linux = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system tells RSS alone")

# Each says that it is ready, and waits for its standard input to end.
FORKED = f"""
import os, sys
block = bytearray(b"x") * {BLOCK}
child = os.fork()
if child:
    print(child, flush=True)
sys.stdin.read()
"""
MAPPING = """
import mmap, sys
file = open(sys.argv[1], "rb")
pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sum(pages[::4096])
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def started(code: str, *arguments: object):
    child = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child.pid, child.stdout.readline().strip()
    finally:
        child.communicate()


@linux
def test_what_was_written_before_a_fork_counts_once():
    with started(FORKED) as (parent, child):
        pids = [parent, int(child)]
        assert BLOCK < memory.held_by(pids) < 1.5 * BLOCK
        assert sum(psutil.Process(pid).memory_info().rss for pid in pids) > 2 * BLOCK
        watched = memory.PeakMemory(parent)  # finds the child by itself
        assert BLOCK < watched.stop() < 1.5 * BLOCK


@linux
def test_a_stranger_who_maps_the_same_file_makes_nothing_smaller(tmp_path):
    path = tmp_path / "library"
    path.write_bytes(os.urandom(BLOCK))
    with started(MAPPING, path) as (one, _):
        alone = memory.held_by([one])
        with started(MAPPING, path) as (other, _), started(MAPPING, path) as (third, _):
            assert memory.held_by([one]) > alone - BLOCK / 10 > 0.9 * BLOCK
            together = memory.held_by([one, other, third])
        assert BLOCK < together < 1.5 * BLOCK


def test_elsewhere_it_is_the_resident_size(monkeypatch):
    def not_told(pid: int) -> dict[str, int]:
        raise FileNotFoundError

    monkeypatch.setattr(memory, "_rollup", not_told)
    held, resident = memory.held_by([os.getpid()]), psutil.Process().memory_info().rss
    assert held == pytest.approx(resident, rel=0.1)


def test_a_process_that_is_gone_holds_nothing():
    with started("print('ready', flush=True)") as (pid, _):
        pass
    assert memory.held_by([pid]) == 0
