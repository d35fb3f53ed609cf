"""Measures each notebook while nbval runs it: seconds and peak memory, printed and held to the limits.

One execution gives both, the comparison of outputs and the measurement. It is a first run, the dearest one: each notebook has
an empty cache and empty results of its own. `--notebook-cache=kept` measures a later run, with the corpora that are there.
With SCALEPT_LIMITS=warn it only prints, for a machine that is slower than the two cores which the limits are meant for.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from unittest import mock

import pytest

from scalept_lab.course.memory import PeakMemory
from scalept_lab.course.notebooks import LIMIT_BYTES, LIMIT_SECONDS, first_run

MEASURED: dict[str, tuple[float, int]] = {}  # notebook -> (seconds, bytes)
_running: dict[str, tuple[float, PeakMemory, ExitStack]] = {}


def pytest_addoption(parser):
    parser.addoption(
        "--notebook-cache",
        choices=("empty", "kept"),
        default="empty",
        help="what notebooks find: nothing, as in a first run (the default), or the corpora and results that are there",
    )


def _notebook(item: pytest.Item | None) -> str | None:
    parent = getattr(item, "parent", None)
    return str(parent.path) if type(parent).__name__ == "IPyNbFile" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    name = _notebook(item)
    if name is None or name in _running:
        return (yield)
    start = time.perf_counter()
    with ExitStack() as folders:
        named = folders.enter_context(first_run()) if item.config.option.notebook_cache == "empty" else {}
        with mock.patch.dict(os.environ, named):
            result = yield  # nbval starts the kernel in the setup of a notebook's first cell
        _running[name] = start, PeakMemory(item.parent.kernel.km.provisioner.pid), folders.pop_all()
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item, nextitem):
    name = _notebook(item)
    if name in _running and _notebook(nextitem) != name:
        start, memory, folders = _running.pop(name)
        MEASURED[name] = time.perf_counter() - start, memory.stop()
        folders.close()


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
