"""Where the text comes from: pinned Python wheels, local files, or any dataset on the hub.

Every source ends as the same ``datasets.Dataset`` with the columns ``text, package, module, path,
licence``, sorted, so that what follows (cleaning, mixing, tokenizing) does not care where a document was
born.

The built-in sources are pure-Python packages that this kit installs anyway. A pin names the version, the
sha256 of the wheel and the sha256 of the selected files, which makes the corpus the same bytes on every
machine. Nothing is imported or executed: the files are read as data.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalept_lab.errors import InputError

if TYPE_CHECKING:
    import datasets

COLUMNS = ("text", "package", "module", "path", "licence")
Files = list[tuple[str, bytes]]  # (path inside the wheel, content), sorted by path


@dataclass(frozen=True)
class Source:
    """One pinned wheel. ``content_sha256`` covers the selected .py files alone (see
    :func:`content_hash`)."""

    package: str
    version: str
    licence: str  # SPDX identifier, from the wheel's own METADATA and LICENSE
    wheel: str
    wheel_sha256: str
    content_sha256: str

    def selects(self, path: str) -> bool:
        """Sources of the package itself; test files are left out, they repeat the same idioms thousands of
        times."""
        return path.startswith(self.package + "/") and path.endswith(".py") and "/tests/" not in path


SOURCES: dict[str, Source] = {
    s.package: s
    for s in (
        Source(
            "mpmath",
            "1.3.0",
            "BSD-3-Clause",
            "mpmath-1.3.0-py3-none-any.whl",
            "a0b2b9fe80bbcd81a6647ff13108738cfb482d481d826cc0e02f5b35e5c88d2c",
            "cd6b7beb560ebddb857d1907ec2538ccc9c277cf9f021b31047fda76c8b47872",
        ),
        Source(
            "networkx",
            "3.6.1",
            "BSD-3-Clause",
            "networkx-3.6.1-py3-none-any.whl",
            "d47fbf302e7d9cbbb9e2555a0d267983d2aa476bac30e90dfbe5669bd57f3762",
            "6246f17355987960c5a31726626ec3bfcaef97efbf3beb173ed1de2fc3c9625f",
        ),
        Source(
            "pygments",
            "2.21.0",
            "BSD-2-Clause",
            "pygments-2.21.0-py3-none-any.whl",
            "2363c69b61c4a97c838da3b130dcd6468f4848992b21a82f2a63ec34377137d9",
            "26066d64431e2bfb73d670058a1538f6ffa4da6474e8ad7f2ee5ed0b2c165b02",
        ),
        Source(
            "sympy",
            "1.14.0",
            "BSD-3-Clause",
            "sympy-1.14.0-py3-none-any.whl",
            "e091cc3e99d2141a0ba2847328f5479b05d94a6635cb96148ccb3f34671bd8f5",
            "25558a1796fa68c399421042359666ac38e5aa8520a723305506b5326e3fb90c",
        ),
        Source(
            "transformers",
            "5.23.0",
            "Apache-2.0",
            "transformers-5.23.0-py3-none-any.whl",
            "018e82fd07490ad5bb58414f65e31576033dc7f36bed10c574843f69b90991bf",
            "53538749671e92bbdb77fd24757ac302dd02ffea4c6b434d357cbb49bdca2059",
        ),
    )
}


def cache_dir(cache: str | os.PathLike[str] | None = None) -> Path:
    """Folder for everything downloaded or prepared: ``cache``, else ``$SCALEPT_CACHE``, else
    ``~/.cache/scalept-lab``."""
    if cache is not None:
        return Path(cache).expanduser()
    return Path(os.environ.get("SCALEPT_CACHE") or "~/.cache/scalept-lab").expanduser()


def content_hash(files: Files) -> str:
    """sha256 over path, length and bytes of every file, in path order."""
    digest = hashlib.sha256()
    for path, data in files:
        digest.update(f"{path}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def _installed_files(source: Source) -> Files | None:
    """The source's files from site-packages, or None unless exactly the pinned bytes are installed."""
    try:
        dist = importlib.metadata.distribution(source.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    if dist.version != source.version:
        return None
    paths = sorted(str(f).replace(os.sep, "/") for f in dist.files or [] if f.suffix == ".py")
    try:
        files = [(p, Path(str(dist.locate_file(p))).read_bytes()) for p in paths if source.selects(p)]
    except OSError:
        return None
    return files if content_hash(files) == source.content_sha256 else None


def _file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _pip_download(source: Source, folder: Path) -> None:
    """Fetch exactly the pinned wheel; pip brings the user's index, proxy and certificates. Raises on any
    failure."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
        "--only-binary=:all:",
        "--ignore-requires-python",
        "--retries",
        "1",
        "--timeout",
        "15",
        "--dest",
        str(folder),
        f"{source.package}=={source.version}",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=300)


def _wheel_files(source: Source, cache: Path) -> Files | None:
    """The source's files from the exact wheel (cached, else downloaded), read from the zip; None when it
    cannot be had.

    Raises InputError when a wheel of that name is there but its sha256 is not the pinned one.
    """
    folder = cache / "wheels"
    wheel = folder / source.wheel
    if not wheel.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as tmp:
            try:
                _pip_download(source, Path(tmp))
                got = Path(tmp) / source.wheel
                if _file_sha256(got) == source.wheel_sha256:  # only checked bytes ever enter the cache
                    os.replace(got, wheel)
                else:
                    raise InputError(
                        f"{source.wheel}: downloaded sha256 {_file_sha256(got)[:12]}… is not the pinned "
                        f"{source.wheel_sha256[:12]}…; the package index serves another file, do not use it"
                    )
            except (OSError, subprocess.SubprocessError):
                return None
    if (digest := _file_sha256(wheel)) != source.wheel_sha256:
        raise InputError(
            f"{wheel}: sha256 {digest[:12]}… is not the pinned {source.wheel_sha256[:12]}…; "
            "delete the file, it is fetched again"
        )
    with zipfile.ZipFile(wheel) as archive:
        files = [(name, archive.read(name)) for name in sorted(archive.namelist()) if source.selects(name)]
    if content_hash(files) != source.content_sha256:
        raise InputError(
            f"{wheel}: the selected files are not the pinned ones; update content_sha256 of {source.package}"
        )
    return files


def source_files(source: Source, cache: str | os.PathLike[str] | None = None) -> Files | None:
    """The pinned files, from site-packages when they match, else from the exact wheel; None when neither
    can be had."""
    return _installed_files(source) or _wheel_files(source, cache_dir(cache))


def stdlib_files() -> Files:
    """The interpreter's own library without its tests: text that is always there, but differs between
    Python versions."""
    root = Path(sysconfig.get_paths()["stdlib"])
    skip = {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3", "__pycache__"}
    files: Files = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(d for d in folders if d not in skip)
        for name in names:
            if name.endswith(".py"):
                path = Path(folder, name)
                try:
                    files.append(("stdlib/" + path.relative_to(root).as_posix(), path.read_bytes()))
                except OSError:
                    continue
    return sorted(files)


def _rows(files: Files, package: str, licence: str) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {c: [] for c in COLUMNS}
    for path, data in files:
        # A byte that is not UTF-8 becomes U+FFFD, which the cleaning step looks for and counts.
        rows["text"].append(data.decode("utf-8", errors="replace").replace("\r\n", "\n"))
        rows["package"].append(package)
        rows["module"].append(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        rows["path"].append(path)
        rows["licence"].append(licence)
    return rows


def _dataset(parts: Iterable[dict[str, list[str]]]) -> datasets.Dataset:
    import datasets

    merged: dict[str, list[str]] = {c: [] for c in COLUMNS}
    for part in parts:
        for column in COLUMNS:
            merged[column].extend(part[column])
    features = datasets.Features(
        {c: datasets.Value("large_string" if c == "text" else "string") for c in COLUMNS}
    )
    return datasets.Dataset.from_dict(merged, features=features)


def collect_stdlib() -> datasets.Dataset:
    """The standard library of the running interpreter as a dataset."""
    return _dataset([_rows(stdlib_files(), "stdlib", "PSF-2.0")])


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
        parts.append(_rows(files, source.package, source.licence))
    return _dataset(parts)


# ---------------------------------------------------------------- local files and the hub

_TEXT_SUFFIXES = (".txt", ".md", ".py", ".rst", ".tex")
_TABLE_LOADERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
# Characters: a long text file is cut into pieces of about this size, so that both sides of a split get some.
_PIECE = 8192


def is_path(name: str) -> bool:
    """Whether a corpus name means a local path: ``./x``, ``../x``, ``/x``, ``~/x``, a known file ending, or
    something that exists."""
    return (
        name.startswith(("./", "../", "/", "~", ".\\"))
        or os.path.isabs(name)
        or Path(name).exists()
        or Path(name).suffix.lower() in (*_TEXT_SUFFIXES, *_TABLE_LOADERS)
    )


def cut(text: str, size: int = _PIECE) -> list[str]:
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


def local_files(path: str | os.PathLike[str]) -> list[Path]:
    """The readable files of a path, sorted. Raises InputError when there is no such path or nothing to read
    in it."""
    root = Path(path).expanduser()
    if not root.exists():
        raise InputError(
            f"{path}: no such file or folder; give a text, .jsonl or .parquet file, or a folder of them"
        )
    known = (*_TEXT_SUFFIXES, *_TABLE_LOADERS)
    files = (
        [root]
        if root.is_file()
        else sorted(p for p in root.rglob("*") if p.is_file() and p.suffix.lower() in known)
    )
    files = [p for p in files if p.stat().st_size > 0]
    if not files:
        raise InputError(f"{path}: empty; expected text in {', '.join(known)} files")
    return files


def collect_from(
    name: str,
    *,
    split: str = "train",
    text_column: str | None = None,
    max_bytes: int = 64_000_000,
    cache: str | os.PathLike[str] | None = None,
) -> datasets.Dataset:
    """Documents from a local file or folder (text, JSONL, Parquet) or from the hub (``"owner/name"`` or
    ``"owner/name:config"``).

    Local tables and hub datasets go through one ``datasets.load_dataset`` call. Reading stops after
    ``max_bytes`` of text, and the hub is streamed, so a corpus of terabytes costs no more than that.
    ``text_column`` defaults to ``text``, else to all string columns joined by line breaks. Raises
    InputError when the path is missing or empty, or the hub cannot be reached.
    """
    if not is_path(name):
        dataset, _, config = name.partition(":")
        if not _hub_reachable():
            raise InputError(
                f"{name}: not a built-in corpus, not a file, and the hub cannot be reached; offline, use 'python', "
                "'language' or a local file"
            )
        return _load([(dataset, {"name": config or None})], name, split, text_column, max_bytes)
    root = Path(name).expanduser()
    texts: Files = []
    tables: list[tuple[str, dict[str, Any]]] = []
    for file in local_files(name):
        loader = _TABLE_LOADERS.get(file.suffix.lower())
        if loader:
            tables.append((loader, {"data_files": {split: str(file)}}))
        else:
            relative = file.name if root.is_file() else file.relative_to(root).as_posix()
            pieces = cut(file.read_bytes().decode("utf-8", errors="replace"))
            texts += [
                (relative if len(pieces) == 1 else f"{relative}#{i:05d}", p.encode())
                for i, p in enumerate(pieces)
            ]
    parts = [_rows(texts, root.name, "as given")] if texts else []
    if tables:
        table = _load(tables, name, split, text_column, max_bytes)
        parts.append({c: list(table[c]) for c in COLUMNS})
    if not any(t.strip() for part in parts for t in part["text"]):
        raise InputError(f"{name}: empty; expected at least one document with text")
    return _dataset(parts)


def _hub_reachable(timeout: float = 5) -> bool:
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


def _load(
    specs: list[tuple[str, dict[str, Any]]], name: str, split: str, text_column: str | None, max_bytes: int
) -> datasets.Dataset:
    import datasets

    rows: dict[str, list[str]] = {c: [] for c in COLUMNS}
    seen = 0
    package = name if not is_path(name) else Path(name).name
    try:
        for number, (loader, arguments) in enumerate(specs):
            stream = datasets.load_dataset(loader, split=split, streaming=True, **arguments)
            for index, row in enumerate(stream):
                if text_column is None:
                    text = (
                        row["text"]
                        if isinstance(row.get("text"), str)
                        else "\n".join(v for v in row.values() if isinstance(v, str))
                    )
                elif isinstance(row.get(text_column), str):
                    text = row[text_column]
                else:
                    raise InputError(
                        f"{name}: no text column {text_column!r}; the columns are {', '.join(map(str, row))}"
                    )
                values = (text, package, "", f"{package}#{number:03d}-{index:08d}", "see the dataset card")
                for column, value in zip(COLUMNS, values, strict=True):
                    rows[column].append(value)
                seen += len(text)
                if seen >= max_bytes:
                    return _dataset([rows])
    except InputError:
        raise
    except (
        Exception
    ) as error:  # the loaders raise unrelated types for "not there", "not reachable", "not parseable"
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        if is_path(name):
            raise InputError(f"{name}: cannot be read as a dataset of documents ({reason})") from error
        raise InputError(
            f"{name}: the hub dataset cannot be loaded, check the name and the network; offline, use 'python', "
            f"'language' or a local file ({reason})"
        ) from error
    if not any(t.strip() for t in rows["text"]):
        raise InputError(f"{name}: empty; expected documents with text")
    return _dataset([rows])
