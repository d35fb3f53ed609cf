"""Running a learner's code so that whatever it does, the notebook goes on.

It may loop for ever, exit, wait for a lock that nobody opens, print a megabyte or start processes: the call ends after its time,
processes that it left are ended, what it printed is kept up to a limit, and any exception becomes one line that names the
learner's own line of code.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import linecache
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType, TracebackType
from typing import Any

PRINTED = 2000  # characters of what a call printed that are shown
AGAIN = 0.2  # seconds until a call that swallowed the first alarm is stopped once more
KIT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class TimeUp(BaseException):
    """The call has had its time. No Exception, so that a learner's `except Exception` does not take it for its own."""


@dataclass(frozen=True)
class Outcome:
    """What became of a call: its value, or `error`, one line; and what it printed, at most `PRINTED` characters of it."""

    value: Any = None
    error: str | None = None
    printed: str = ""


def guarded(call: Callable[[], Any], seconds: float) -> Outcome:
    """Call it, for at most `seconds`. Raises nothing, whatever `call` raises.

    In the main thread of Linux and macOS waits are interrupted, too; elsewhere a call ends at its next line of Python.
    """
    said = _Bounded()
    before = _children()
    error = None
    value = None
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), _no_exit():
            value = _within(call, seconds)
    except TimeUp:
        error = (
            f"was not done after {seconds:g} seconds: does a loop never end, or does it wait for something?"
        )
    except KeyboardInterrupt:
        error = "was stopped (KeyboardInterrupt)"
    except SystemExit:
        error = "ended the program (exit or SystemExit): return a value instead"
    except BaseException as raised:
        where = place_of(raised.__traceback__)
        error = f"raised {one_line(raised)}{f', at {where}' if where else ''}"
    if error is not None:
        _end(_children() - before)
    return Outcome(value, error, said.shown())


def one_line(error: BaseException) -> str:
    """An error as one line of at most 200 characters, without its traceback."""
    try:
        text = str(error)
    except BaseException:  # an exception of the learner's own may fail to say what it is
        text = "(its text could not be read)"
    line = " ".join(f"{type(error).__name__}: {text}".split()).removesuffix(":").removesuffix(".")
    return line if len(line) <= 200 else line[:197] + "..."


# --- time ---------------------------------------------------------------------------------------------------


def _within(call: Callable[[], Any], seconds: float) -> Any:
    alarm = _alarm if _signals() else _watchdog
    with alarm(seconds):
        return call()


def _signals() -> bool:
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    armed = True

    def ring(number: int, frame: FrameType | None) -> None:
        if armed:
            raise TimeUp

    old = signal.signal(signal.SIGALRM, ring)
    began = time.monotonic()
    outer, again = signal.getitimer(
        signal.ITIMER_REAL
    )  # a check that guards its cases one by one is guarded itself
    try:
        signal.setitimer(signal.ITIMER_REAL, min(seconds, outer or seconds), AGAIN)
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        if outer:
            signal.setitimer(signal.ITIMER_REAL, max(0.01, outer - (time.monotonic() - began)), again)


@contextlib.contextmanager
def _watchdog(seconds: float) -> Iterator[None]:
    done = threading.Event()
    thread = ctypes.c_ulong(threading.get_ident())

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TimeUp))
            wait = AGAIN

    watcher = threading.Thread(target=watch, name="guard", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


# --- leaving ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _no_exit() -> Iterator[None]:
    """`exit()` in a notebook asks the kernel to end, and `os._exit` ends it at once: both become SystemExit here."""
    mine, really = os.getpid(), os._exit

    def leave(code: int = 0) -> Any:
        if os.getpid() != mine:  # a forked child has to end this way
            really(code)
        raise SystemExit(code)

    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    os._exit = leave  # type: ignore[assignment]
    outer = vars(shell).get("ask_exit") if shell is not None else None
    if shell is not None:
        shell.ask_exit = leave
    try:
        yield
    finally:
        os._exit = really
        if shell is not None and outer is not None:
            shell.ask_exit = outer
        elif shell is not None:
            del shell.ask_exit  # the class's own comes back


def _children() -> set[Any]:
    import psutil

    try:
        return {child for child in psutil.Process().children(recursive=True) if not _serves(child)}
    except psutil.Error:
        return set()


def _serves(process: Any) -> bool:
    """Whether it is one of Python's own helpers, which later processes still need."""
    import psutil

    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return True
    return "resource_tracker" in line or "forkserver" in line


def _end(processes: set[Any]) -> None:
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(list(processes), timeout=3)


# --- what it printed, and where it failed -------------------------------------------------------------------


class _Bounded(io.TextIOBase):
    """A stream that keeps its first characters and counts the rest."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._room = PRINTED
        self._all = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._all += len(text)
        if self._room > 0:
            self._kept.append(text[: self._room])
            self._room -= len(text)
        return len(text)

    def shown(self) -> str:
        text = "".join(self._kept).rstrip()
        return text if self._all <= PRINTED else f"{text}\n… ({self._all:,} characters in all)"


@dataclass(frozen=True)
class Place:
    """A line of the learner's own code."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        """`your line 3: "return a / b"`, where the text of that line is known here."""
        source = linecache.getline(self.file, self.line).strip()
        return (
            f'your line {self.line}: "{source[:100]}"' if source else f"line {self.line} of {self.function}"
        )


def place_of(traceback: TracebackType | None) -> Place | None:
    """Where an exception was raised: the deepest line that is neither the kit's nor a library's."""
    found = None
    while traceback is not None:
        found = _own(traceback.tb_frame.f_code, traceback.tb_lineno) or found
        traceback = traceback.tb_next
    return found


def place_of_call() -> Place | None:
    """The learner's line that is being run: the nearest frame of his."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not (found := _own(frame.f_code, frame.f_lineno)):
        frame = frame.f_back
    return found if frame is not None else None


def _own(code: CodeType, line: int) -> Place | None:
    name = code.co_filename
    foreign = name.startswith((KIT, os.path.dirname(os.__file__), "<frozen")) or "site-packages" in name
    return None if foreign else Place(name, line, code.co_name)
