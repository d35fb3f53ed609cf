"""Where text comes from: pinned Python wheels, local files, datasets on the hub, and weighted mixtures of them.

Every source ends as the same table, a row per document, with the columns ``text, package, module, path, licence, bytes``,
sorted, so that what follows (cleaning, mixing, tokenizing) does not care where a document was born. Text is ``str`` from here
to the tokenizer; ``bytes`` is its size in UTF-8, counted once. Local tables and hub datasets go through one
``datasets.load_dataset`` call, streamed, so that a corpus of terabytes costs no more than what is read of it.
"""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scalept_lab.data import local
from scalept_lab.data.local import decode, is_path
from scalept_lab.data.rows import text_of
from scalept_lab.data.tokens import utf8
from scalept_lab.data.wheels import SOURCES, Files, source_files, stdlib_files
from scalept_lab.errors import InputError, printable

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
    """Documents from a local file or folder (text, JSON, CSV, Parquet, Arrow) or from the hub (``"owner/name"`` or
    ``"owner/name:config"``).

    Reading of tables and of the hub stops with the document that reaches ``max_bytes`` of UTF-8 text, which
    is still taken whole. ``text_column`` defaults to
    ``text``, else to all string columns joined by line breaks. Raises InputError when the path is missing
    or empty, or the hub cannot be reached.
    """
    if is_path(name):
        package = printable(Path(os.path.expanduser(name)).name)
        found = local.documents(name, text_column, max_bytes, split)
        return table((text, package, _module(path), path, "as given") for path, text in found)
    if not hub_reachable():
        raise InputError(
            f"{name}: not a built-in corpus, not a file, and the hub cannot be reached; {_OFFLINE}"
        )
    rows: list[Row] = []
    read, left_out = 0, local.LeftOut()
    for identity, text in _of_the_hub(name, split, text_column, left_out):
        if read >= max_bytes:
            left_out.add(f"what lies behind the {max_bytes / 1e6:g} MB that are read", f"row {identity}")
            break
        rows.append((text, name, "", f"{name}#{identity}", "see the dataset card"))
        read += len(utf8(text))
    if not any(text.strip() for text, *_ in rows):
        raise InputError(f"{name}: empty; expected at least one document with text")
    if left_out:
        left_out.warn(name, 3)
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


def _of_the_hub(
    name: str, split: str, text_column: str | None, left_out: local.LeftOut
) -> Iterator[tuple[str, str]]:
    """(identity, text) of the rows that have a text."""
    import datasets

    dataset, _, config = name.partition(":")
    try:
        for index, row in enumerate(
            datasets.load_dataset(dataset, config or None, split=split, streaming=True)
        ):
            text = text_of(row, f"{name}: row {index:,}", text_column)
            if text is None or not text.strip():
                left_out.add("rows without text", f"row {index:,}")
            else:
                yield f"000-{index:08d}", text
    except InputError:
        raise
    # the loaders raise unrelated types for: not there, not reachable, not parseable
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(
            f"{name}: the hub dataset cannot be loaded, check the name and the network; {_OFFLINE} ({reason})"
        ) from error


def mix(
    documents: pd.DataFrame, weights: dict[str, float], total_bytes: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """A subset in which each package has about its share of the bytes: ``weights`` maps package to relative
    weight.

    Documents of a package are taken whole, in a seeded order, until its share is reached, and keep the
    table's order. Without ``total_bytes`` the mix is as large as it can be without repeating any
    document. Raises InputError for a package that the table does not have, weights that are not positive,
    or a total that the documents cannot fill.
    """
    packages, sizes = documents["package"].to_numpy(), documents["bytes"].to_numpy()
    if not weights or any(not np.isfinite(w) or w <= 0 for w in weights.values()):
        raise InputError(f"weights {weights}: expected a positive number for each package")
    if missing := sorted(set(weights) - set(packages.tolist())):
        raise InputError(
            f"no documents of {missing[0]!r}; the packages are {', '.join(sorted(set(packages.tolist())))}"
        )
    share = {p: w / sum(weights.values()) for p, w in weights.items()}
    largest = int(min(sizes[packages == p].sum() / s for p, s in share.items()))
    if total_bytes is None:
        total_bytes = largest
    elif not 0 < total_bytes <= largest:
        raise InputError(
            f"total_bytes {total_bytes}: these weights allow 1 to {largest} without repeating a document"
        )
    chosen: list[int] = []
    for package in sorted(share):
        rows = np.flatnonzero(packages == package)
        rows = np.random.default_rng([seed, zlib.crc32(package.encode())]).permutation(rows)
        before = np.cumsum(sizes[rows]) - sizes[rows]
        nearest = before + sizes[rows] / 2 <= share[package] * total_bytes  # to the nearest document
        chosen += rows[nearest].tolist()
    return documents.iloc[sorted(chosen)].reset_index(drop=True)
