"""`make bundle` and its install.py: the archive holds what it says, and damage is told in one line."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bundle, install = script("bundle"), script("install")
HERE = {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", "system": sysconfig.get_platform()}


@pytest.fixture
def archive(tmp_path) -> Path:
    """A small archive: install.py, a notebook and a "wheel" of 300 kB."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.ipynb").write_text("{}")
    (source / "b.whl").write_bytes(bytes(range(256)) * 1200)
    files = {
        "offline/wheels/b.whl": source / "b.whl",
        "notebooks/a.ipynb": source / "a.ipynb",
        "install.py": ROOT / ".ci" / "install.py",
    }
    bundle.pack(files, tmp_path / "out" / "bundle.tar", **HERE)
    return tmp_path / "out" / "bundle.tar"


@pytest.fixture
def unpacked(archive, tmp_path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "there", filter="data")
    return tmp_path / "there" / bundle.TOP


def run(folder: Path) -> tuple[int, str]:
    found = subprocess.run([sys.executable, "-S", "install.py"], cwd=folder, capture_output=True, text=True)
    return found.returncode, found.stderr


def test_the_manifest_says_what_is_in_the_archive(archive, unpacked):
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        assert {(member.uid, member.mtime, member.uname) for member in tar} == {(0, 0, "")}
    assert names[:2] == ["scalept-lab/install.py", "scalept-lab/offline/manifest.json"], (
        "what judges the rest comes first"
    )
    listed = install.manifest(unpacked)["files"]
    assert sorted(names) == sorted(f"scalept-lab/{name}" for name in [*listed, bundle.MANIFEST])
    assert listed["notebooks/a.ipynb"] == [2, hashlib.sha256(b"{}").hexdigest()]
    install.verify(unpacked, listed)


def test_equal_files_give_equal_archives(archive, tmp_path, unpacked):
    again = tmp_path / "again.tar"
    files = {name: unpacked / name for name in install.manifest(unpacked)["files"]}
    bundle.pack(files, again, **HERE)
    assert again.read_bytes() == archive.read_bytes()
    assert os.listdir(archive.parent) == ["bundle.tar"], "no draft is left"


def test_a_damaged_wheel_is_told_in_one_line(unpacked):
    wheel = unpacked / "offline" / "wheels" / "b.whl"
    content = bytearray(wheel.read_bytes())
    content[200_000] ^= 1
    wheel.write_bytes(content)
    assert run(unpacked) == (
        2,
        "install.py: offline/wheels/b.whl: its sha256 is not the one it was packed with; "
        "the archive is damaged or was cut short: copy and unpack it again\n",
    )
    wheel.write_bytes(content[:-1])
    (unpacked / "notebooks" / "a.ipynb").unlink()
    status, said = run(unpacked)
    assert (
        status == 2
        and said.count("\n") == 1
        and "a.ipynb: No such file" in said
        and "(1 more like it)" in said
    )
    assert not (unpacked / ".venv").exists(), "nothing is installed before all is right"


def test_an_archive_that_was_cut_short_is_told_in_one_line(archive, tmp_path):
    short = tmp_path / "short.tar"
    short.write_bytes(archive.read_bytes()[:100_000])
    subprocess.run(["tar", "xf", str(short)], cwd=tmp_path, capture_output=True)
    status, said = run(tmp_path / bundle.TOP)
    assert status == 2 and said.count("\n") == 1
    assert "offline/wheels/b.whl: expected 307,200 bytes, got" in said and "cut short" in said


@pytest.mark.parametrize(
    "content",
    [
        None, "", "[]", "{}", "[" * 10**5, '{"schema": 2, "files": {}}', '{"schema": 1, "files": {"../a": [1, ""]}}',
        '{"schema": 1, "files": {}}', '{"schema": 1, "python": 3, "system": "x", "files": {}}',
        json.dumps({"schema": 1, **HERE, "files": {"../a": [1, "0" * 64]}}),
    ],
)  # fmt: skip
def test_a_manifest_that_is_none(unpacked, content):
    path = unpacked / bundle.MANIFEST
    path.unlink() if content is None else path.write_text(content)
    status, said = run(unpacked)
    assert status == 2 and said.count("\n") == 1 and said.startswith(f"install.py: {bundle.MANIFEST}: "), said


def test_another_python_or_system_is_refused(unpacked):
    path = unpacked / bundle.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "python": "3.99"}))
    status, said = run(unpacked)
    assert (
        status == 2 and said.count("\n") == 1 and "expected Python 3.99 on" in said and "python3.99" in said
    )


def test_the_corpora_go_into_the_cache_once(tmp_path):
    source, cache = tmp_path / "source", tmp_path / "cache"
    (source / "python-1").mkdir(parents=True)
    (source / "python-1" / "card.json").write_text("new")
    install.fill(source, cache)
    there = cache / "prepared" / "python-1" / "card.json"
    assert there.read_text() == "new" and len(os.listdir(cache / "prepared")) == 1
    there.write_text("mine")
    install.fill(source, cache)
    assert there.read_text() == "mine", "what a learner has stays"


def test_what_is_packed(monkeypatch):
    tracked = bundle.tracked()
    assert {"Makefile", "pyproject.toml", "constraints.txt", "notebooks/00_start_here.ipynb"} <= set(tracked)
    assert not any(name.startswith((".venv", "results", "dist")) for name in tracked)
    wanted = bundle.needed()
    assert any(text.startswith("hatchling") for text in wanted) and any(
        text.startswith("jupyterlab") for text in wanted
    )
    (torch,) = [text for text in wanted if text.startswith("torch=") or text.startswith("torch>")]
    assert torch.startswith("torch=="), "the build that is installed here, and not gigabytes for a GPU"
    monkeypatch.setattr(bundle, "ROOT", Path("/"))
    with pytest.raises(bundle.Trouble, match="git checkout"):
        bundle.tracked()


def test_what_pip_complains_about_is_told_in_one_line(tmp_path):
    with pytest.raises(bundle.Trouble, match=r"could not gather the wheels: .*no-such-option"):
        bundle.wheels(tmp_path, ["--no-such-option"])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_installed_and_run_without_a_network(tmp_path):
    """By hand: `pytest -m slow tests/test_bundle.py -s`, in a Linux network namespace that holds nothing but itself."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rn", "true"]).returncode:
        pytest.skip("needs Linux, and the right to make a network namespace")
    made = tmp_path / "offline.tar"
    subprocess.run([sys.executable, ".ci/bundle.py", "--out", made], cwd=ROOT, check=True)
    home = tmp_path / "home"
    home.mkdir()
    steps = """
        set -e
        ip link set lo up
        ! "$0" -c "import socket; socket.create_connection(('1.1.1.1', 443), 3)" 2>/dev/null
        tar xf offline.tar
        cd scalept-lab
        "$0" install.py
        .venv/bin/scalept run notebooks/00_start_here.ipynb
    """
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    python = getattr(sys, "_base_executable", sys.executable)
    subprocess.run(["unshare", "-rn", "bash", "-c", steps, python], cwd=tmp_path, env=env, check=True)
