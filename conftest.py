"""Measures each notebook while nbval runs it: seconds and peak memory, printed and held to the limits.

One execution gives both, the comparison of outputs and the measurement. With SCALEPT_LIMITS=warn it only
prints, for a machine that is slower than the two cores which the limits are meant for.
"""

from __future__ import annotations

import os
import time

import pytest

from scalept_lab.course.notebooks import LIMIT_BYTES, LIMIT_SECONDS, PeakMemory

MEASURED: dict[str, tuple[float, int]] = {}  # notebook -> (seconds, bytes)
_running: dict[str, tuple[float, PeakMemory]] = {}


def _notebook(item: pytest.Item | None) -> str | None:
    parent = getattr(item, "parent", None)
    return str(parent.path) if type(parent).__name__ == "IPyNbFile" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    start = time.perf_counter()
    result = yield  # nbval starts the kernel in the setup of a notebook's first cell
    name = _notebook(item)
    if name and name not in _running:
        _running[name] = start, PeakMemory(item.parent.kernel.km.provisioner.pid)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item, nextitem):
    name = _notebook(item)
    if name in _running and _notebook(nextitem) != name:
        start, memory = _running.pop(name)
        MEASURED[name] = time.perf_counter() - start, memory.stop()


def _over(seconds: float, peak: int) -> bool:
    return seconds > LIMIT_SECONDS or peak > LIMIT_BYTES


def _fails(seconds: float, peak: int) -> bool:
    """Memory fails at the limit. Time is printed as over, and fails at twice it: a busy machine is no fault of ours."""
    return seconds > 2 * LIMIT_SECONDS or peak > LIMIT_BYTES


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):  # under xdist: what a worker measured
    MEASURED.update(getattr(node, "workeroutput", {}).get("notebooks", {}))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["notebooks"] = MEASURED
    elif any(_fails(*found) for found in MEASURED.values()) and os.environ.get("SCALEPT_LIMITS") != "warn":
        session.exitstatus = exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    if not MEASURED:
        return
    terminalreporter.section(f"notebooks (limits: {LIMIT_SECONDS:g} s, {LIMIT_BYTES / 1e6:g} MB)")
    terminalreporter.line(f"{'notebook':<40} {'seconds':>8} {'peak_MB':>8}")
    for name, (seconds, peak) in sorted(MEASURED.items()):
        mark = "  OVER THE LIMIT" if _over(seconds, peak) else ""
        terminalreporter.line(
            f"{os.path.basename(name):<40} {seconds:8.1f} {peak / 1e6:8.0f}{mark}", red=bool(mark)
        )
