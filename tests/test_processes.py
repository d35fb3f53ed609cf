"""Worker processes: one thread each, deaf to Ctrl-C, and gone when their block or their parent is."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time

import psutil
import pytest
import torch
from refusals import one_line

from scalept_lab import processes
from scalept_lab.processes import context, local_processes


def gone(pid: int, seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_an_interrupt_waits_until_a_process_has_started():
    done, before = [], signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), processes.starting():
            signal.raise_signal(signal.SIGINT)
            done.append("started")
        assert done == ["started"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_processes_are_never_forked_from_this_one(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["fork", "spawn"])
    assert context().get_start_method() == "spawn"
    monkeypatch.undo()
    if "forkserver" in multiprocessing.get_all_start_methods():
        assert context().get_start_method() == "forkserver"


def test_a_worker_has_one_thread_and_leaves_with_the_block():
    with local_processes(1) as pool:
        pid = pool.submit(os.getpid).result()
        assert pid != os.getpid() and pool.submit(torch.get_num_threads).result() == 1
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
    assert gone(pid)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_ends_the_workers_at_once_and_no_other_process(error):
    other = context().Process(target=time.sleep, args=(60,))
    other.start()
    begun = time.monotonic()
    try:
        with pytest.raises(error), local_processes(1) as pool:
            pid = pool.submit(os.getpid).result()
            later = [pool.submit(time.sleep, 30) for _ in range(4)]
            raise error
        assert gone(pid) and time.monotonic() - begun < 25
        while not all(one.done() for one in later) and time.monotonic() - begun < 25:
            time.sleep(0.01)  # the pool's own thread ends them, a moment later
        assert all(one.cancelled() or (one.done() and one.exception()) for one in later)
        assert other.is_alive()
    finally:
        other.terminate()


ALONE = """
import os, signal
from scalept_lab import processes

if __name__ == "__main__":
    processes.PRELOADED.clear()
    with processes.local_processes(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_a_worker_does_not_outlive_a_parent_that_was_killed(tmp_path):
    (tmp_path / "alone.py").write_text(ALONE)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "alone.py")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL and gone(int(done.stdout))


def test_what_workers_start_with_is_there():
    """The server of processes imports it once; a name that is wrong is passed over in silence, and each worker waits."""
    from importlib.util import find_spec

    assert all(find_spec(name) for name in processes.PRELOADED)


WRITING = """
import sys, time
from pathlib import Path
from scalept_lab import processes, runs

def write_slowly(path):
    runs.os.fsync = lambda _: time.sleep(60)
    runs.write_atomically(Path(path), "half a record")

if __name__ == "__main__":
    processes.PRELOADED.clear()
    folder = Path(sys.argv[1])
    with processes.local_processes(1) as pool:
        pool.submit(write_slowly, str(folder / "a.json"))
        while not list(folder.glob("*.tmp")) + list(folder.glob(".*.tmp")):
            time.sleep(0.01)
        raise KeyboardInterrupt
"""


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_a_worker_that_is_ended_leaves_no_half_record(tmp_path):
    (tmp_path / "writing.py").write_text(WRITING)
    (tmp_path / "runs").mkdir()
    command = [sys.executable, str(tmp_path / "writing.py"), str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "KeyboardInterrupt" in done.stderr
    end = time.monotonic() + 10
    while list((tmp_path / "runs").iterdir()) and time.monotonic() < end:
        time.sleep(0.02)
    assert not list((tmp_path / "runs").iterdir())


def loaded() -> set[str]:
    return set(sys.modules)


def taken_by_a_step() -> int:
    """Bytes that a worker has to itself after one step of an optimizer, beyond those that it had before."""
    before = psutil.Process().memory_full_info().uss
    model = torch.nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    return psutil.Process().memory_full_info().uss - before


needs_server = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="nothing is shared"
)


@needs_server
def test_a_worker_loads_nothing_large_by_itself():
    """torch's optimizers load its compiler at their first step; by itself, a worker had 50 MB of it."""
    with local_processes(1) as pool:
        assert {"torch._dynamo", "torch.distributed.fsdp", "scalept_lab.parallel.checkpoint"} <= pool.submit(
            loaded
        ).result()
        assert pool.submit(taken_by_a_step).result() < 20e6


def servers() -> set[int]:
    mine = psutil.Process().children()
    return {process.pid for process in mine if "forkserver" in " ".join(process.cmdline())}


@needs_server
def test_the_server_ends_when_told_and_starts_again():
    with local_processes(1) as pool:
        assert pool.submit(os.getpid).result()
        before = servers()
        processes.end_server()  # not while there is a worker: it would be cut off
        assert len(before) == 1 and servers() == before and pool.submit(os.getpid).result()
    processes.end_server()
    assert servers() == set()
    processes.end_server()  # there is none
    with local_processes(1) as pool:
        assert pool.submit(os.getpid).result()
        assert len(servers()) == 1 and servers() != before


LONG = """if True:
    import tempfile
    from scalept_lab import processes
    if __name__ == "__main__":
        processes.PRELOADED = []  # torch is not needed to see a process start
        child = processes.context().Process(target=print, args=("started",))
        child.start()
        child.join()
        print(len(tempfile.gettempdir()))
"""


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="uses no sockets")
def test_a_long_temporary_folder_is_no_hindrance(tmp_path):
    """A Unix socket's path has about a hundred characters, and multiprocessing puts its sockets there."""
    deep = tmp_path / ("d" * (130 - len(str(tmp_path))))
    deep.mkdir()
    code = tmp_path / "long.py"
    code.write_text(LONG)
    environment = {**os.environ, "TMPDIR": str(deep), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, str(code)], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.stdout.splitlines() == ["started", "131"], done.stderr[-2000:]
    assert list(deep.iterdir()) == []


def test_a_long_temporary_folder_without_a_shorter_one_is_one_line(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/" + "d" * 111)
    monkeypatch.setattr(processes, "SHORT_FOLDERS", ("/nowhere",))
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn", "forkserver"])
    one_line(
        context, "TMPDIR: expected a path of at most 53 characters, got 112", "set TMPDIR to a shorter one"
    )


def frozen() -> int:
    return gc.get_freeze_count()


@needs_server
def test_what_the_server_has_loaded_stays_shared_with_its_workers():
    with local_processes(1) as pool:
        assert pool.submit(frozen).result() > 100_000


STARTER = """
import os, signal, sys, time
from scalept_lab import processes
from scalept_lab.errors import InputError

if __name__ == "__main__":
    processes.PRELOADED.clear()
    from multiprocessing.forkserver import _forkserver
    if sys.argv[1] == "early":
        whole = _forkserver.ensure_running

        def ensure_running():  # it is gone after it was asked for, before it answers
            whole()
            os.kill(_forkserver._forkserver_pid, signal.SIGKILL)

        _forkserver.ensure_running = ensure_running
    try:
        with processes.local_processes(1) as pool:
            print(pool.submit(os.getpid).result(), flush=True)
            os.kill(_forkserver._forkserver_pid, signal.SIGKILL)
            time.sleep(60)
    except InputError as error:
        print(error)
"""


def started(tmp_path, how: str) -> subprocess.Popen:
    (tmp_path / "starter.py").write_text(STARTER)
    command = [sys.executable, str(tmp_path / "starter.py"), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="there is no starter")
def test_a_starter_that_is_ended_early_is_one_line(tmp_path):
    out, err = started(tmp_path, "early").communicate(timeout=60)
    assert out.startswith("worker processes could not be started: ") and out.count("\n") == 1
    assert not err


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="there is no starter")
def test_a_worker_does_not_outlive_its_starter(tmp_path):
    """The parent hears of it through the starter alone, and could not end it any more."""
    process = started(tmp_path, "late")
    worker = int(process.stdout.readline())
    assert gone(worker)
    process.kill()
    process.communicate()
