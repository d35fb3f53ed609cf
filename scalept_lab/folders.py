"""Where the kit keeps what it writes, on machines where the usual place cannot be written to as well.

| what | where | else, with one line that says so |
|---|---|---|
| corpora, models (`cache`) | `$SCALEPT_CACHE` or `~/.cache/scalept-lab` | `scalept-lab-UID` in the temporary folder |
| studies and logs (`results`) | `$SCALEPT_RESULTS`, or `results` where you are | `results` in the cache, or in that other one |

What a variable names is taken at its word: where it cannot be written to, writing there fails, in one line (`writing`).
"""

from __future__ import annotations

import errno
import functools
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scalept_lab.errors import InputError

# names that Windows keeps for devices, with any ending
DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)),
}
NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def cache(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder for everything downloaded or prepared: `folder`, else as above. It may not be there yet.

    Raises: InputError for a `~` on a machine that knows no home of this user, and where there is no place at all.
    """
    if folder or os.environ.get("SCALEPT_CACHE"):
        return _named(folder or os.environ["SCALEPT_CACHE"], "SCALEPT_CACHE")
    usual = Path(os.path.expanduser("~/.cache/scalept-lab"))
    # one that is there serves even if it is read-only: somebody has filled it
    if usual.is_absolute() and (os.path.isdir(usual) or may_write(usual)):
        return usual
    instead = _temporary(usual)
    _say(
        f"{usual} cannot be written to: corpora go to {instead}; SCALEPT_CACHE=FOLDER chooses a place that lasts"
    )
    return instead


def results() -> Path:
    """The folder that studies and logs go to, as above. It may not be there yet.

    Raises: InputError as `cache`.
    """
    if named := os.environ.get("SCALEPT_RESULTS"):
        return _named(named, "SCALEPT_RESULTS")
    usual = Path("results")
    if may_write(usual):
        return usual
    instead = cache() / "results"
    if not may_write(instead):  # a cache that a class shares
        instead = _temporary(usual) / "results"
    _say(
        f"{_full(usual)} cannot be written to: results go to {instead}; SCALEPT_RESULTS=FOLDER chooses another place"
    )
    return instead


def may_write(folder: Path) -> bool:
    """Whether `folder` can be written to, or made if it is not there. Nothing is tried, so nothing is left behind."""
    place = _full(folder)
    there = next((path for path in (place, *place.parents) if os.path.lexists(path)), place)
    return place.is_absolute() and os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


def _full(folder: Path) -> Path:
    """The full path; as it stands where the folder that we are in was deleted."""
    with suppress(FileNotFoundError):
        return folder.absolute()
    return folder


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Tell in one line what keeps `path` from being written: no right, no room, a file where a folder should be.

    Raises: InputError.
    """
    try:
        if not _is_name(path):
            raise OSError(errno.EINVAL, "no file can have this name")
        yield
    except OSError as error:
        do = (
            "make room and run it again, what was finished is kept"
            if error.errno in NO_ROOM
            else "SCALEPT_RESULTS and SCALEPT_CACHE name folders for results and corpora that you may write to"
        )
        raise InputError(f"{path} cannot be written: {error.strerror or error}; {do}") from None


def portable(name: str) -> bool:
    """Whether a file or a folder can have this name on Linux, macOS and Windows alike, and means the same place there."""
    printable = bool(name) and name.isprintable() and not set(name) & set('<>:"/\\|?*')
    stem = name.partition(".")[0].strip().lower()
    return (
        printable
        and name == name.strip()
        and name[-1] != "."
        and stem not in DEVICES
        and len(name.encode()) <= 200
    )


def _is_name(path: str | os.PathLike[str]) -> bool:
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:  # half of a character
        return False


def _temporary(usual: Path) -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    with writing(usual):  # some machines have no temporary folder either
        place = Path(tempfile.gettempdir(), f"scalept-lab-{user}")
    with suppress(OSError):  # not there yet
        if hasattr(os, "getuid") and place.lstat().st_uid != user:
            raise InputError(
                f"{place}: expected a folder of this user, got somebody else's; SCALEPT_CACHE and SCALEPT_RESULTS name others"
            )
    return place


def _named(folder: str | os.PathLike[str], variable: str) -> Path:
    path = os.path.expanduser(folder)
    if path.startswith("~"):  # Python leaves it there where it knows no home
        raise InputError(
            f"{variable}: expected a folder, got {os.fspath(folder)!r}, and this user has no home; give a full path"
        )
    return Path(path)


def _say(line: str) -> None:
    if multiprocessing.parent_process() is None:  # a worker's parent has said it
        _said(line)


@functools.cache
def _said(line: str) -> None:
    print(line, file=sys.stderr)
