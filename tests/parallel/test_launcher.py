"""Ranks from one call: results in order, failures told where they can be read, nothing left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist
from refusals import one_line

from scalept_lab import screen
from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.errors import InputError
from scalept_lab.parallel import launcher
from scalept_lab.parallel.launcher import RankError, launch, tell
from scalept_lab.train.trials import trial

LOCK = threading.Lock()


def children() -> list[psutil.Process]:
    """Ranks that still run: children of the process server, which itself stays."""
    return [
        p for p in psutil.Process().children(recursive=True) if "ranks" in p.name() or p.ppid() != os.getpid()
    ]


def test_a_temporary_folder_that_is_none_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    one_line(lambda: launch(int, 1), "the temporary folder (TMPDIR) cannot be written: ")


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    before = {p.pid for p in children()}
    yield
    left = [p for p in children() if p.pid not in before and p.is_running()]
    assert not psutil.wait_procs(left, timeout=5)[1]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_results_come_in_rank_order_and_ranks_reach_each_other(ranks):
    def summed(base: int, *, factor: int):
        mine = torch.tensor([float(base + factor * dist.get_rank())])
        dist.all_reduce(mine)
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), mine.item()

    total = sum(10 + 3 * rank for rank in range(ranks))
    assert launch(summed, ranks, 10, factor=3) == [(rank, ranks, total) for rank in range(ranks)]


def test_a_rank_has_one_thread_and_the_environment_of_the_call(monkeypatch):
    monkeypatch.setenv("SCALEPT_TEST", "seen")
    assert launch(lambda: (torch.get_num_threads(), os.environ["SCALEPT_TEST"]), 2) == [(1, "seen")] * 2


def _on_disk() -> list[bytes]:
    return [file.read_bytes() for file in Path(launcher._folder).iterdir() if file.is_file()]  # type: ignore[arg-type]


def test_no_secret_of_the_environment_lies_on_the_disk(monkeypatch):
    """A parent that is killed leaves its folder behind."""
    monkeypatch.setenv("SOME_TOKEN", "s3cr3t-of-the-shell")
    found = launch(_on_disk, 1)[0]
    assert not any(b"s3cr3t-of-the-shell" in content for content in found)


def _reached_at() -> tuple[set[str], str | None]:
    dist.all_reduce(torch.ones(1))
    found = psutil.Process().net_connections("inet")
    return {one.laddr.ip for one in found}, os.environ.get("GLOO_SOCKET_IFNAME")


def test_ranks_are_reached_on_this_machine_alone(monkeypatch):
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    for places, device in launch(_reached_at, 2):
        assert places == {"127.0.0.1"}
        assert any(one.address == "127.0.0.1" for one in psutil.net_if_addrs()[device])


def test_a_traceback_names_the_rank_and_starts_at_the_function():
    def fails():
        if dist.get_rank() == 1:
            raise ValueError("only here")
        dist.barrier()

    with pytest.raises(RankError) as caught:
        launch(fails, 2)
    text = str(caught.value)
    assert text.startswith("rank 1 of 2 raised:") and "in fails" in text and "ValueError: only here" in text
    assert "scalept_lab/parallel/launcher.py" not in text


def test_what_a_learner_can_mend_stays_one_line():
    def refuses():
        raise InputError("width: expected a multiple of 8, got 9")

    with pytest.raises(InputError, match=r"^width: expected a multiple of 8, got 9$"):
        launch(refuses, 2)


def test_a_rank_that_waits_for_ever_is_named_with_its_place():
    def hangs():
        if dist.get_rank() == 0:
            dist.barrier()  # the other rank never comes
        else:
            time.sleep(600)

    with pytest.raises(RankError) as caught:
        launch(hangs, 2, seconds=2)
    text = str(caught.value)
    assert "not finished after 2 s" in text and "same collective calls" in text
    if hasattr(signal, "SIGUSR1"):
        assert text.count("in hangs") == 2 and "test_launcher.py" in text


def test_a_killed_rank_is_told_from_those_that_lost_their_partner():
    def dies():
        if dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        dist.barrier()

    with pytest.raises(RankError, match=r"rank 1 of 2 was killed by signal 9"):
        launch(dies, 2)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: launch(lambda: LOCK, 2), "variable 'LOCK' cannot be sent"),
        (lambda: launch(print, 2, LOCK), "argument 0 cannot be sent"),
        (lambda: launch(print, 2, sep=LOCK), "argument 'sep' cannot be sent"),
        (
            lambda: launch(lambda: {"a": 1, "b": threading.Lock()}, 1),
            r"result of rank 0, its part 'b' \(dict\)",
        ),
        (lambda: launch(lambda: threading.Lock(), 1), r"result of rank 0 \(lock\)"),
        (lambda: launch(print, 0), "ranks: expected a whole number of at least 1, got 0"),
        (lambda: launch(print, 2.5), "ranks: expected a whole number"),
    ],
)
def test_bad_input_is_one_line_that_names_what_is_wrong(call, says):
    with pytest.raises(InputError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_closure_names_its_variable_too():
    lock = threading.Lock()
    with pytest.raises(InputError, match="variable 'lock' cannot be sent"):
        launch(lambda: lock.locked(), 2)


def test_the_bar_shows_what_the_first_rank_tells(capsys, monkeypatch):
    monkeypatch.setattr(screen, "FIRST", 0.0)

    def works():
        for step in range(5):
            tell(step + 1, 5)
            time.sleep(0.1)

    launch(works, 2, progress=True)
    shown = capsys.readouterr().err
    assert "2 ranks" in shown and "100%" in shown
    launch(works, 2)
    assert capsys.readouterr().err == ""
    tell(1, 2)  # outside a rank it does nothing


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_nothing_stays_open(tiny_corpus):
    """A long session launches hundreds of times, and looks at its sockets as often."""
    given = TrainConfig(model=ModelConfig(width=8, heads=1, context=8), corpus=tiny_corpus)

    def opened() -> int:
        for _ in range(3):
            launch(dist.get_rank, 2)
            trial(given, 1, 2)
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    opened()
    assert opened() == opened()


INTERRUPTED = """
import os, signal, sys, time, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
from scalept_lab.parallel.launcher import launch
def works():
    open(sys.argv[1] + os.environ["RANK"], "w").write(str(os.getpid()))
    time.sleep(600)
if __name__ == "__main__":
    threading.Timer(float(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    while True:
        try:
            launch(works, 2)
        except KeyboardInterrupt:
            sys.exit(7)
"""


def test_an_interrupt_ends_the_ranks(tmp_path):
    """The cell's stop button: a real script, a real SIGINT. `works` is importable only from that script's source."""
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED.replace("sys.argv[1]", repr(str(tmp_path / "pid"))))
    process = subprocess.Popen([sys.executable, str(script), "-", "20"])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("pid*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    pids = [int(path.read_text()) for path in tmp_path.glob("pid*")]
    assert len(pids) == 2
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 7
    time.sleep(0.5)
    assert not [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


@pytest.mark.parametrize(
    ("told", "share"), [("3 4", 0.75), ("5 4", 1.0), ("1 0", 0.0), ("x", 0.0), (None, 0.0)]
)
def test_the_share_that_is_done(tmp_path, told, share):
    if told:
        (tmp_path / "progress").write_text(told)
    assert launcher._share(tmp_path) == share
