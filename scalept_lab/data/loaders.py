"""Text that a learner brings: local files (text, JSONL, Parquet) and datasets on the hub.

Local tables and hub datasets go through one ``datasets.load_dataset`` call, streamed, so that a corpus of
terabytes costs no more than what is read of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scalept_lab.errors import InputError

TEXTS = (".txt", ".md", ".py", ".rst", ".tex")
TABLES = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}  # file ending -> loader
# Characters: a long text file is cut into pieces of about this size, so that both sides of a split get some.
PIECE = 8192


def is_path(name: str) -> bool:
    """Whether a corpus name means a local path: ``./x``, ``../x``, ``/x``, ``~/x``, a known file ending, or
    something that exists."""
    return (
        name.startswith(("./", "../", "/", "~", ".\\"))
        or os.path.isabs(name)
        or Path(name).exists()
        or Path(name).suffix.lower() in (*TEXTS, *TABLES)
    )


def local_files(path: str | os.PathLike[str]) -> list[Path]:
    """The readable files of a path, sorted. Raises InputError when there is no such path or nothing to read
    in it."""
    root, known = Path(path).expanduser(), (*TEXTS, *TABLES)
    if not root.exists():
        raise InputError(
            f"{path}: no such file or folder; give a text, .jsonl or .parquet file, or a folder of them"
        )
    found = [root] if root.is_file() else [p for p in sorted(root.rglob("*")) if p.suffix.lower() in known]
    files = [p for p in found if p.is_file() and p.stat().st_size > 0]
    if not files:
        raise InputError(f"{path}: empty; expected text in {', '.join(known)} files")
    return files


def cut(text: str, size: int = PIECE) -> list[str]:
    """Cut at the last blank line (else line end, else blank) before every ``size`` characters.
    ``"".join(cut(t)) == t``."""
    pieces, start = [], 0
    while len(text) - start > size:
        window = text[start : start + size]
        at = next((i + len(s) for s in ("\n\n", "\n", " ") if (i := window.rfind(s)) > size // 4), size)
        pieces.append(text[start : start + at])
        start += at
    if start < len(text):
        pieces.append(text[start:])
    return pieces


def decode(data: bytes) -> str:
    """The text of a file, with line ends as Python writes them. A byte that is not UTF-8 becomes U+FFFD,
    which the cleaning step looks for and counts."""
    return data.decode("utf-8", errors="replace").replace("\r\n", "\n")


def text_pieces(path: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """(path, text) of the text files of a path, long ones cut into ``path#00000``, ``path#00001``, …"""
    root = Path(path).expanduser()
    found: list[tuple[str, str]] = []
    for file in local_files(path):
        if file.suffix.lower() not in TABLES:
            name = file.name if root.is_file() else file.relative_to(root).as_posix()
            pieces = cut(decode(file.read_bytes()))
            names = [name] if len(pieces) == 1 else [f"{name}#{i:05d}" for i in range(len(pieces))]
            found += zip(names, pieces, strict=True)
    return found


def hub_reachable(timeout: float = 5) -> bool:
    """One request through the user's proxy settings: the hub's own client would retry for half a minute
    first."""
    import urllib.error
    import urllib.request

    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=timeout).close()
    except urllib.error.HTTPError:
        return True  # it answered
    except (OSError, ValueError):
        return False
    return True


def stream(
    name: str, calls: Iterable[dict[str, Any]], split: str, text_column: str | None, trouble: str
) -> Iterator[tuple[str, str]]:
    """(identity, text) of every row of some ``load_dataset`` calls, each given by its keywords.

    Raises InputError when the rows lack ``text_column``, and with ``trouble`` when they cannot be loaded.
    """
    import datasets

    try:
        for number, call in enumerate(calls):
            for index, row in enumerate(datasets.load_dataset(split=split, streaming=True, **call)):
                yield f"{number:03d}-{index:08d}", _text_of(row, name, text_column)
    except InputError:
        raise
    # the loaders raise unrelated types for: not there, not reachable, not parseable
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(f"{name}: {trouble} ({reason})") from error


def _text_of(row: dict[str, Any], name: str, column: str | None) -> str:
    if column is None:
        text = row.get("text")
        return text if isinstance(text, str) else "\n".join(v for v in row.values() if isinstance(v, str))
    if not isinstance(row.get(column), str):
        raise InputError(f"{name}: no text column {column!r}; the columns are {', '.join(map(str, row))}")
    return row[column]
