"""Where the text comes from: pinned Python wheels, local files, or any dataset on the hub.

Every source ends as the same ``datasets.Dataset`` with the columns ``text, package, module, path,
licence``, sorted, so that what follows (cleaning, mixing, tokenizing) does not care where a document was
born.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalept_lab.errors import InputError
from scalept_lab.loaders import TABLES, cut, hub_reachable, is_path, local_files, stream, text_pieces
from scalept_lab.wheels import SOURCES, Files, Source, cache_dir, content_hash, source_files, stdlib_files

if TYPE_CHECKING:
    import datasets

__all__ = [
    "COLUMNS",
    "SOURCES",
    "Files",
    "Source",
    "cache_dir",
    "collect",
    "collect_from",
    "collect_stdlib",
    "content_hash",
    "cut",
    "is_path",
    "local_files",
    "source_files",
    "stdlib_files",
]

COLUMNS = ("text", "package", "module", "path", "licence")


def collect(
    sources: Sequence[str] = ("mpmath", "networkx", "pygments", "sympy"),
    cache: str | os.PathLike[str] | None = None,
) -> datasets.Dataset:
    """Python sources of the pinned packages, sorted by package and path: the same rows on every machine.

    Where a pinned source can be had neither from site-packages nor from the index, the standard library
    takes the place of all of them, with one warning (``package`` is then ``"stdlib"``). Raises InputError
    for an unknown source.
    """
    unknown = [s for s in sources if s not in SOURCES]
    if unknown:
        raise InputError(f"unknown source {unknown[0]!r}; choose from {', '.join(SOURCES)}")
    parts = []
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
        parts.append(_of_files(files, source.package, source.licence))
    return _dataset(parts)


def collect_stdlib() -> datasets.Dataset:
    """The standard library of the running interpreter as a dataset."""
    return _dataset([_of_files(stdlib_files(), "stdlib", "PSF-2.0")])


def collect_from(
    name: str,
    *,
    split: str = "train",
    text_column: str | None = None,
    max_bytes: int = 64_000_000,
) -> datasets.Dataset:
    """Documents from a local file or folder (text, JSONL, Parquet) or from the hub (``"owner/name"`` or
    ``"owner/name:config"``).

    Reading of tables and of the hub stops after ``max_bytes`` of text. ``text_column`` defaults to
    ``text``, else to all string columns joined by line breaks. Raises InputError when the path is missing
    or empty, or the hub cannot be reached.
    """
    calls: list[dict[str, Any]]
    if is_path(name):
        package, trouble = Path(name).expanduser().name, "cannot be read as a dataset of documents"
        parts = [_of_files(text_pieces(name), package, "as given")]
        loaders = [(TABLES.get(file.suffix.lower()), str(file)) for file in local_files(name)]
        calls = [{"path": loader, "data_files": {split: file}} for loader, file in loaders if loader]
    elif hub_reachable():
        package, trouble = (
            name,
            "the hub dataset cannot be loaded, check the name and the network; " + _OFFLINE,
        )
        dataset, _, config = name.partition(":")
        parts, calls = [], [{"path": dataset, "name": config or None}]
    else:
        raise InputError(
            f"{name}: not a built-in corpus, not a file, and the hub cannot be reached; {_OFFLINE}"
        )
    paths, texts, read = [], [], 0
    for identity, text in stream(name, calls, split, text_column, trouble):
        paths.append(f"{package}#{identity}")
        texts.append(text)
        read += len(text)
        if read >= max_bytes:
            break
    parts.append(_part(texts, package, [""] * len(texts), paths, "see the dataset card"))
    if not any(text.strip() for part in parts for text in part["text"]):
        raise InputError(f"{name}: empty; expected at least one document with text")
    return _dataset(parts)


_OFFLINE = "offline, use 'python', 'language' or a local file"

Part = dict[str, list[str]]  # column -> values


def _of_files(files: Files, package: str, licence: str) -> Part:
    # A byte that is not UTF-8 becomes U+FFFD, which the cleaning step looks for and counts.
    texts = [data.decode("utf-8", errors="replace").replace("\r\n", "\n") for _, data in files]
    paths = [path for path, _ in files]
    modules = [path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in paths]
    return _part(texts, package, modules, paths, licence)


def _part(texts: list[str], package: str, modules: list[str], paths: list[str], licence: str) -> Part:
    n = len(texts)
    return dict(zip(COLUMNS, (texts, [package] * n, modules, paths, [licence] * n), strict=True))


def _dataset(parts: Iterable[Part]) -> datasets.Dataset:
    import datasets

    parts = list(parts)
    merged = {column: [value for part in parts for value in part[column]] for column in COLUMNS}
    kinds = {column: datasets.Value("string") for column in COLUMNS} | {
        "text": datasets.Value("large_string")
    }
    return datasets.Dataset.from_dict(merged, features=datasets.Features(kinds))
