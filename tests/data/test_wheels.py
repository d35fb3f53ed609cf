"""Pinned wheels: read and never installed, and only the pinned bytes."""

from __future__ import annotations

import dataclasses
import shutil

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
    files = wheels.installed_files(wheels.SOURCES[name])
    if files is None:
        pytest.skip(
            f"{name} {wheels.SOURCES[name].version} is not installed here; the wheel would be downloaded"
        )
    assert [p for p, _ in files] == sorted(p for p, _ in files) and len(files) > 40


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
