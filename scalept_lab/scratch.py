"""Temporary folders and drafts that do not stay for ever, however their process ends.

What a process needs for a while lies in one folder of its own in the temporary folder, whose file `owner` it keeps locked. The
system lifts a lock when its process is gone, a killed one too: a folder whose lock can be taken belongs to nobody any more, and
the next process removes it. Drafts lie beside what they are to become; those of an hour ago and earlier were left by a writer
that was killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing.util
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from scalept_lab.folders import writing

PREFIX = "scalept."  # of a process's folder; eight more letters follow
OWNER = "owner"
TEMPORARY = "the temporary folder (TMPDIR)"
OLD = 3600.0  # seconds; no draft takes that long to write
_own: dict[tuple[int, str], Path] = {}  # of this process: a forked one makes its own


def folder(prefix: str) -> tempfile.TemporaryDirectory[str]:
    """A folder for a `with` block, in this process's own. Raises: InputError where none can be made."""
    place = own()
    with writing(TEMPORARY):
        return tempfile.TemporaryDirectory(prefix=prefix, dir=place, ignore_cleanup_errors=True)


def own(base: str | None = None) -> Path:
    """This process's folder in `base` (by default the temporary folder), made at the first call, which also removes those of
    processes that are gone. It is removed when the process ends. Raises: InputError where it cannot be made."""
    with writing(TEMPORARY):
        base = base or tempfile.gettempdir()
        found = _own.get((os.getpid(), base))
        if found is None or not found.is_dir():
            _sweep_dead(Path(base))
            found = _own[os.getpid(), base] = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            _lock(found)
            # after multiprocessing's own (-100), which lies inside
            multiprocessing.util.Finalize(None, shutil.rmtree, args=(found, True), exitpriority=-200)
        return found


@contextlib.contextmanager
def appearing(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder to write into, which becomes `folder` when the block ends well, all of it at once, and else is removed.

    An empty folder may be there before. Raises: InputError as `writing`, also where by then another one holds something.
    """
    place = Path(folder)
    with writing(folder):
        place.parent.mkdir(parents=True, exist_ok=True)
        sweep(place.parent, r"\.draft-\w{8}")
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=place.parent))
        try:
            yield draft
            if place.is_dir():
                place.rmdir()  # empty; not everywhere may a folder take the place of another
            draft.chmod(0o777 & ~_umask())
            os.rename(draft, place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def sweep(place: Path, drafts: str) -> None:
    """Remove what lies in `place` under a name that matches `drafts` (a regular expression), if it is old."""
    named = re.compile(drafts)
    with contextlib.suppress(OSError):
        for draft in place.iterdir():
            if named.fullmatch(draft.name) and draft.lstat().st_mtime < time.time() - OLD:
                remove(draft)


def remove(place: Path) -> None:
    """A file or a folder, as far as that is allowed."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            place.unlink(missing_ok=True)


def _umask() -> int:
    """What this user's files are kept from others by; it can be read only by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _lock(place: Path) -> None:
    """Under another name until it is locked: nobody must see it free."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    draft = place / f"{OWNER}.new"
    number = os.open(draft, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)  # stays open: that holds the lock
    with contextlib.suppress(OSError):  # a file system without locks: nobody takes it, so it stays
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(draft, place / OWNER)


def _sweep_dead(base: Path) -> None:
    try:
        import fcntl
    except ImportError:
        return
    for place in base.glob(PREFIX + "????????"):
        with contextlib.suppress(OSError):
            about = place.lstat()
            if place.is_symlink() or about.st_uid != os.getuid():
                continue
            number = os.open(place / OWNER, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)
            finally:
                os.close(number)
