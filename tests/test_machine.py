"""What the machine says of itself: numbers in range, and nothing that names a person."""

from __future__ import annotations

import ctypes
import getpass
import itertools
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch
from refusals import one_line

from scalept_lab import machine


def test_cores_are_those_this_process_may_use(monkeypatch):
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert machine.cores() == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.cores() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.cores() == 1


def test_memory_is_at_most_what_the_machine_has():
    assert 1e8 < machine.memory_bytes() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("limit", "bytes_"), [("max\n", None), ("500000000\n", 500_000_000), ("9223372036854771712\n", None)]
)
def test_a_containers_limit_counts(tmp_path, monkeypatch, limit, bytes_):
    (tmp_path / "limit").write_text(limit)

    def redirect(path, *args, real=open, **more):
        return real(tmp_path / "limit" if str(path).startswith("/sys/fs/cgroup") else path, *args, **more)

    monkeypatch.setattr("builtins.open", redirect)
    expected = bytes_ or psutil.virtual_memory().total
    assert machine.memory_bytes() == expected


def test_speed_is_measured_and_leaves_the_threads_as_they_were():
    threads = torch.get_num_threads()
    assert 0.01 < machine.gflops(size=64, seconds=0.02) < 1e6
    assert torch.get_num_threads() == threads


def test_check_has_the_keys_of_the_command_line():
    found = machine.check()
    assert list(found) == ["ok", "python", "torch", "cores", "memory_bytes", "device", "gflops"]
    assert found["python"] == platform.python_version() and torch.__version__.startswith(
        found["torch"].split("+")[0]
    )
    assert found["device"] in ("cpu", "cuda") and found["gflops"] > 0
    json.dumps(found)


def test_a_machine_without_torch_or_memory_is_not_ready(monkeypatch):
    monkeypatch.setattr(machine, "memory_bytes", lambda: 10**9)
    assert machine.check()["ok"] is False
    monkeypatch.undo()
    monkeypatch.setattr(machine, "version", lambda package: None)
    found = machine.check()
    assert (found["ok"], found["torch"], found["device"], found["gflops"]) == (False, None, None, None)


def test_speed_by_hand(monkeypatch):
    """A clock that goes on by 10 ms whenever it is read: three products of 8 × 8 before 35 ms are over, read out after 50."""
    from torch.utils.flop_counter import FlopCounterMode

    clock = itertools.count()
    monkeypatch.setattr(machine, "device", lambda: "cpu")
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock) / 100)
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    with FlopCounterMode(display=False) as counter:
        found = machine.gflops(size=8, seconds=0.035)
    assert found == pytest.approx(3 * 2 * 8**3 / 0.05 / 1e9)
    assert counter.get_total_flops() == 4 * 2 * 8**3  # one to warm up
    assert threads == [1, torch.get_num_threads()]


def test_the_device_is_the_gpu_unless_another_is_asked_for(monkeypatch):
    monkeypatch.delenv("SCALEPT_DEVICE", raising=False)
    assert machine.devices()[0] == "cpu"
    monkeypatch.setattr(machine, "devices", lambda: ["cpu", "cuda"])
    assert (machine.choice(), machine.device()) == ("auto", "cuda")
    for said, meant in (("cpu", "cpu"), (" CUDA", "cuda"), ("", "cuda"), ("auto", "cuda")):
        monkeypatch.setenv("SCALEPT_DEVICE", said)
        assert machine.device() == meant


def test_a_device_that_is_none_is_said_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(machine, "gflops", lambda: pytest.fail("measured"))
    monkeypatch.setenv("SCALEPT_DEVICE", "tpu")
    one_line(machine.check, "SCALEPT_DEVICE: expected one of auto, cpu, cuda, mps, got 'tpu'")
    monkeypatch.setenv("SCALEPT_DEVICE", "cuda")
    monkeypatch.setattr(machine, "devices", lambda: ["cpu"])
    one_line(
        machine.device,
        "SCALEPT_DEVICE: expected a device that this machine has (cpu), got cuda; unset it, or take auto",
    )


def test_the_memory_of_the_device(monkeypatch):
    monkeypatch.setattr(machine, "memory_bytes", lambda: 5)
    monkeypatch.setattr(machine, "device", lambda: "cpu")
    assert machine.device_memory_bytes() == 5
    monkeypatch.setattr(machine, "device", lambda: "cuda")
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(total_memory=7 + index)
    )
    assert machine.device_memory_bytes() == 7


def test_what_is_enough(monkeypatch):
    """Python 3.11, torch, and more than 1.5 GB."""
    monkeypatch.setattr(machine, "gflops", lambda: 12.34)
    for memory, version, ok in (
        (1_500_000_001, (3, 11), True), (1_500_000_000, (3, 11), False), (2e9, (3, 10, 14), False), (2e9, (3, 14, 0), True),
    ):  # fmt: skip
        monkeypatch.setattr(machine, "memory_bytes", lambda memory=memory: memory)
        monkeypatch.setattr(machine.sys, "version_info", version)
        found = machine.check()
        assert (found["ok"], found["memory_bytes"], found["gflops"]) == (ok, memory, 12.3)
        monkeypatch.undo()
        monkeypatch.setattr(machine, "gflops", lambda: 12.34)


def test_a_processor_has_a_name_also_where_there_is_no_list_of_them(tmp_path, monkeypatch):
    listed = tmp_path / "cpuinfo"
    monkeypatch.setattr("builtins.open", lambda path, *args, real=open, **more: real(listed, *args, **more))
    listed.write_text("vendor_id\t: x\nmodel name\t: Nice: CPU 7 \nmodel name\t: other\n")
    assert machine._processor() == "Nice: CPU 7"
    listed.write_text("vendor_id\t: x\n")
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert machine._processor() == "arm"
    listed.unlink()
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert machine._processor() == "unknown processor"


def test_provenance_names_versions_and_the_machine_but_nobody():
    found = machine.provenance()
    text = json.dumps(found)
    assert {"scalept-lab", "python", "torch", "numpy"} <= set(found["versions"])
    assert str(machine.cores()) in found["machine"] and platform.machine() in found["machine"]
    assert found["commit"] is None or int(found["commit"], 16) >= 0
    assert found["dirty"] in ((None,) if found["commit"] is None else (True, False))
    assert os.path.expanduser("~") not in text
    assert socket.gethostname() not in text
    user = getpass.getuser()
    assert len(user) < 5 or user not in text


def git(folder, *arguments):
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit of a file and the project's name, from which the package seems to run."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "scalept-lab"\n')
    (tmp_path / "a.py").write_text("a = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    git(tmp_path, "tag", "v1")
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    return tmp_path


def test_provenance_says_whether_the_code_is_that_of_its_commit(checkout):
    head = git(checkout, "rev-parse", "--short", "HEAD")
    assert machine._commit() == {"commit": head, "dirty": False}
    (checkout / "notes.txt").write_text("git does not know this file")
    assert machine._commit() == {"commit": head, "dirty": False}
    (checkout / "a.py").write_text("a = 2\n")
    assert machine._commit() == {"commit": head, "dirty": True}
    git(checkout, "add", "a.py")
    assert machine._commit() == {"commit": head, "dirty": True}


def test_no_commit_where_there_is_none_to_name(checkout, monkeypatch):
    unknown = {"commit": None, "dirty": None}
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as inside a hook of another repository
    assert machine._commit()["dirty"] is False
    (checkout / "pyproject.toml").write_text('[project]\nname = "their-project"\n')
    assert machine._commit() == unknown
    (checkout / "pyproject.toml").write_text("[project")
    assert machine._commit() == unknown
    (checkout / "pyproject.toml").write_text('[project]\nname = "scalept-lab"\n')
    monkeypatch.setenv("PATH", str(checkout))  # no git
    assert machine._commit() == unknown
    monkeypatch.undo()
    monkeypatch.setattr(machine, "ROOT", checkout / "nothing")
    assert machine._commit() == unknown


PIECES = """
import psutil
from scalept_lab import machine
pieces = [bytes(1000) for _ in range(100_000)]
last = pieces[-1]  # on top of all the others, so that the allocator keeps what is below
del pieces
before = psutil.Process().memory_info().rss
machine.give_back()
print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another library gives memory back, or not")
def test_freed_memory_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True, timeout=60)
    assert int(done.stdout) > 80e6, done.stderr


def test_where_the_library_cannot_nothing_happens(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    machine.give_back()


def test_peak_memory_grows_and_never_shrinks():
    before = machine.peak_rss_bytes()
    block = bytearray(before)  # twice as much as ever
    block[::4096] = b"x" * len(block[::4096])
    during, now = machine.peak_rss_bytes(), psutil.Process().memory_info().rss
    del block
    assert during >= 1.5 * before > 0 and during == pytest.approx(now, rel=0.25)
    assert machine.peak_rss_bytes() >= during
