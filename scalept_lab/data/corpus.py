"""Where the text comes from: pinned Python wheels, local files, or any dataset on the hub.

Every source ends as the same table, a row per document, with the columns ``text, package, module, path,
licence, bytes``, sorted, so that what follows (cleaning, mixing, tokenizing) does not care where a document
was born. Text is ``str`` from here to the tokenizer; ``bytes`` is its size in UTF-8, counted once.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalept_lab.data.loaders import (
    TABLES,
    decode,
    hub_reachable,
    is_path,
    local_files,
    stream,
    text_pieces,
)
from scalept_lab.data.tokens import utf8
from scalept_lab.data.wheels import (
    SOURCES,
    Files,
    source_files,
    stdlib_files,
)
from scalept_lab.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


COLUMNS = ("text", "package", "module", "path", "licence", "bytes")
Row = tuple[str, str, str, str, str]  # a document: the columns but for its size


def collect(
    sources: Sequence[str] = ("mpmath", "networkx", "pygments", "sympy"),
    cache: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Python sources of the pinned packages, sorted by package and path: the same rows on every machine.

    Where a pinned source can be had neither from site-packages nor from the index, the standard library
    takes the place of all of them, with one warning (``package`` is then ``"stdlib"``). Raises InputError
    for an unknown source.
    """
    unknown = [s for s in sources if s not in SOURCES]
    if unknown:
        raise InputError(f"unknown source {unknown[0]!r}; choose from {', '.join(SOURCES)}")
    rows: list[Row] = []
    for name in sorted(set(sources)):
        source = SOURCES[name]
        files = source_files(source, cache)
        if files is None:
            warnings.warn(
                f"{source.package} {source.version} is not installed and cannot be downloaded: using this "
                "interpreter's standard library instead; results will differ from those of the pinned corpus",
                stacklevel=2,
            )
            return collect_stdlib()
        rows += _of_files(files, source.package, source.licence)
    return table(rows)


def collect_stdlib() -> pd.DataFrame:
    """The standard library of the running interpreter."""
    return table(_of_files(stdlib_files(), "stdlib", "PSF-2.0"))


def collect_from(
    name: str,
    *,
    split: str = "train",
    text_column: str | None = None,
    max_bytes: int = 64_000_000,
) -> pd.DataFrame:
    """Documents from a local file or folder (text, JSONL, Parquet) or from the hub (``"owner/name"`` or
    ``"owner/name:config"``).

    Reading of tables and of the hub stops with the document that reaches ``max_bytes`` of UTF-8 text, which
    is still taken whole. ``text_column`` defaults to
    ``text``, else to all string columns joined by line breaks. Raises InputError when the path is missing
    or empty, or the hub cannot be reached.
    """
    rows: list[Row] = []
    calls: list[dict[str, Any]]
    if is_path(name):
        package, trouble = Path(name).expanduser().name, "cannot be read as a dataset of documents"
        rows += _of_texts(text_pieces(name), package, "as given")
        loaders = [(TABLES.get(file.suffix.lower()), str(file)) for file in local_files(name)]
        calls = [{"path": loader, "data_files": {split: file}} for loader, file in loaders if loader]
    elif hub_reachable():
        package, trouble = (
            name,
            "the hub dataset cannot be loaded, check the name and the network; " + _OFFLINE,
        )
        dataset, _, config = name.partition(":")
        calls = [{"path": dataset, "name": config or None}]
    else:
        raise InputError(
            f"{name}: not a built-in corpus, not a file, and the hub cannot be reached; {_OFFLINE}"
        )
    read = 0
    for identity, text in stream(name, calls, split, text_column, trouble):
        rows.append((text, package, "", f"{package}#{identity}", "see the dataset card"))
        read += len(utf8(text))
        if read >= max_bytes:
            break
    if not any(text.strip() for text, *_ in rows):
        raise InputError(f"{name}: empty; expected at least one document with text")
    return table(rows)


def table(rows: Iterable[Row]) -> pd.DataFrame:
    """Documents, given as (text, package, module, path, licence), as the table of this module."""
    import pandas as pd

    # Plain Python strings: a string type of the table's own would copy all text, and refuses half a surrogate pair.
    found = pd.DataFrame(list(rows), columns=list(COLUMNS[:-1]), dtype=object)
    return found.assign(bytes=[len(utf8(text)) for text in found["text"]])


_OFFLINE = "offline, use 'python', 'language' or a local file"


def _of_files(files: Files, package: str, licence: str) -> list[Row]:
    return _of_texts(((path, decode(data)) for path, data in files), package, licence)


def _of_texts(texts: Iterable[tuple[str, str]], package: str, licence: str) -> list[Row]:
    return [(text, package, _module(path), path, licence) for path, text in texts]


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
