"""A pinned package that nobody has installed: its wheel is made here."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scalept_lab.data import wheels


@pytest.fixture
def make_wheel() -> Callable[..., Path]:
    """Writes the wheel into a folder, with `extra` at the end of one of its files."""

    def make(folder: Path, extra: bytes = b"") -> Path:
        files = {
            "nosuchpackage/__init__.py": b"",
            "nosuchpackage/core.py": b"def f():\n    return '\xff'\n" + extra,
            "nosuchpackage/tests/test_core.py": b"assert True\n",
            "nosuchpackage/data.txt": b"no Python",
        }
        folder.mkdir(parents=True, exist_ok=True)
        wheel = folder / "nosuchpackage-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name in reversed(files):  # out of order on purpose
                archive.writestr(zipfile.ZipInfo(name), files[name])
        return wheel

    return make


@pytest.fixture
def source(tmp_path, monkeypatch, make_wheel) -> wheels.Source:
    """The package's pin, its wheel in the cache `tmp_path`."""
    wheel = make_wheel(tmp_path / "wheels")
    pin = wheels.Source(
        "nosuchpackage", "1.0", "MIT", wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest(), ""
    )
    with zipfile.ZipFile(wheel) as archive:
        files = [(n, archive.read(n)) for n in sorted(archive.namelist()) if pin.selects(n)]
    pin = dataclasses.replace(pin, content_sha256=wheels.content_hash(files))
    monkeypatch.setitem(wheels.SOURCES, "nosuchpackage", pin)
    return pin
