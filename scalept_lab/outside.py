"""Files that come from outside: a class's, a colleague's, a download. What one may cost is bounded before it is read.

Only regular files are opened: a pipe would wait for ever, a device never ends. Their size is asked first. What is decoded may
take so much memory and no more, whatever the file says of itself: 600 bytes of Parquet can hold a list of 600 million zeros.
Whatever goes wrong ends in one line.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from scalept_lab.checks import shown
from scalept_lab.errors import InputError, printable

FILE = 2 * 10**9  # bytes of a file
SMALL = 10**7  # bytes of one that is read in one piece: a config, a law, a manifest
MEMORY = 8 * 10**8  # bytes that decoding may take: with what is mapped beside it, it stays below 1 GB


@contextmanager
def opened(
    path: str | os.PathLike[str], expected: str, most: int = FILE, unpacks: bool = False
) -> Iterator[IO[bytes]]:
    """A regular file of at most `most` bytes, open for reading. `expected` says what it should be: "a file of run records".

    With `unpacks`, for a format that can hold far more than it is long, what happens in the block may take `MEMORY`.

    Raises: InputError, in one line that names the file, for whatever goes wrong inside the block as well: a file that is
    cut short, damaged, nested too deep, or that unpacks to more than `MEMORY`.
    """
    try:
        with unwaiting(path) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise InputError(f"{path}: expected {expected}, got {_kind(about.st_mode)}; give a file")
            if about.st_size > most:
                raise InputError(
                    f"{path}: expected {expected} of at most {_size(most)}, got {_size(about.st_size)}; give a smaller one"
                )
            with _memory() if unpacks else nullcontext():
                yield file
    except InputError as error:
        named = str(error).startswith(printable(str(path), None))
        raise InputError(str(error) if named else f"{path}: {error}") from None
    except IsADirectoryError:  # what opening one says, before it can be asked for its kind
        raise InputError(f"{path}: expected {expected}, got a folder; give a file") from None
    except FileNotFoundError:
        raise InputError(f"{path}: expected {expected}, found no such file") from None
    except OSError as error:
        if error.errno is None:  # pyarrow tells damage so
            raise _damaged(path, expected, error) from None
        raise InputError(f"{path}: expected {expected}, got {error.strerror}") from None
    except MemoryError:
        raise InputError(
            f"{path}: expected {expected}, got one that unpacks to more than {_size(MEMORY)}; give one with fewer rows"
        ) from None
    except RecursionError:
        raise InputError(f"{path}: expected {expected}, got one nested too deep to read") from None
    except Exception as error:  # the libraries have many kinds for a damaged file
        raise _damaged(path, expected, error) from None


def unwaiting(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Any file, open for reading. A pipe that nobody writes to would not come back from being opened: this one is at its end.

    Raises: OSError.
    """
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if hasattr(os, "set_blocking"):
        os.set_blocking(number, True)  # what somebody does write is waited for
    return open(number, "rb")


def text(path: str | os.PathLike[str], expected: str, most: int = SMALL) -> str:
    """The text of a file in UTF-8, with or without a byte order mark. Raises: InputError as `opened`, and where it is none."""
    with opened(path, expected, most) as file:
        return _decoded(path, expected, file.read(most + 1))


def json_value(path: str | os.PathLike[str], expected: str, most: int = SMALL) -> Any:
    """What a JSON file holds. Raises: InputError as `opened`, and for what is no JSON."""
    with opened(path, expected, most) as file:
        content = _decoded(path, expected, file.read(most + 1))
        try:
            return json.loads(content)
        except ValueError as error:
            raise InputError(f"{path}: expected {expected}, got what is not JSON ({error})") from None


def json_object(path: str | os.PathLike[str], expected: str, most: int = SMALL) -> dict[str, Any]:
    """The same, where it has to be an object. Raises: InputError as `json_value`."""
    found = json_value(path, expected, most)
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected {expected}, a JSON object, got {shown(found)}")
    return found


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The sha256 of a file's bytes, read piece by piece. Raises: OSError."""
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def digest(values: dict[str, Any]) -> str:
    """The sha256 of a JSON object, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def marked(values: dict[str, Any], name: str = "sha256") -> dict[str, Any]:
    """The object with its own digest in it, under `name`, by which `unmarked` finds every change."""
    return {**values, name: digest(values)}


def unmarked(
    path: str | os.PathLike[str], values: dict[str, Any], name: str = "sha256", needed: bool = True
) -> dict[str, Any]:
    """What was given to `marked`. Without a digest it is refused if one is `needed`; files of older versions have none.

    Raises: InputError, where `path` is named, if it is not what was written.
    """
    values = dict(values)
    mark = values.pop(name, None)
    if mark != digest(values) and (needed or mark is not None):
        raise InputError(f"{path}: damaged, its content is not what was saved")
    return values


def _decoded(path: str | os.PathLike[str], expected: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        got = "UTF-16" if wide else f"bytes that are none, the first at {error.start:,}"
        raise InputError(f"{path}: expected {expected} in UTF-8, got {got}; save it as UTF-8") from None


_turn = threading.Lock()
_inside = 0  # how many blocks are being read now: the limit is the process's, so the first sets it and the last lifts it
_before: Any = None


@contextmanager
def _memory() -> Iterator[None]:
    """Let the process take `MEMORY` bytes more than now, where the system can say so: beyond that, MemoryError."""
    try:
        import resource

        used = int(Path("/proc/self/statm").read_bytes().split()[5]) * resource.getpagesize()
    except (ImportError, OSError, ValueError):  # no Linux
        yield
        return
    global _inside, _before
    with _turn:
        if not _inside:
            _before = resource.getrlimit(resource.RLIMIT_DATA)
            ends = [limit for limit in _before if limit != resource.RLIM_INFINITY]
            resource.setrlimit(resource.RLIMIT_DATA, (min([used + MEMORY, *ends]), _before[1]))
        _inside += 1
    try:
        yield
    finally:
        with _turn:
            _inside -= 1
            if not _inside:
                resource.setrlimit(resource.RLIMIT_DATA, _before)


def _kind(mode: int) -> str:
    return "a pipe" if stat.S_ISFIFO(mode) else "a folder" if stat.S_ISDIR(mode) else "a device"


def _size(count: float) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def _damaged(path: str | os.PathLike[str], expected: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    return InputError(f"{path}: expected {expected}, got another or a damaged one ({reason})")
