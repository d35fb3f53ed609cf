"""`make address` moves every link of the kit to a fork, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci" / "address.py"
_spec = importlib.util.spec_from_file_location("address", SCRIPT)
assert _spec and _spec.loader
address = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(address)

OLD = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
OLD = OLD.removeprefix("https://github.com/")
NEW = "a-learner/my.fork"  # of nobody: a fork runs these tests as well
TEXTS = {".py", ".md", ".toml", ".yml", ".yaml", ".cff", ".ipynb", ".txt", ".j2", ".sh", ""}


@pytest.fixture
def copy(tmp_path) -> Path:
    for path in (path for place in address.PLACES for path in ROOT.glob(place)):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


def contents(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_link_moves_and_nothing_else(copy):
    before = contents(copy)
    changed = address.write_address(NEW, copy)
    notebooks = sorted((copy / "notebooks").glob("*.ipynb"))
    assert {
        copy / "pyproject.toml",
        copy / "README.md",
        copy / "scalept_lab/course/notebooks.py",
        *notebooks,
    } <= set(changed)
    after = contents(copy)
    assert after.keys() == before.keys(), "no draft is left"
    assert all(text.replace(NEW.encode(), OLD.encode()) == before[name] for name, text in after.items())
    assert not any(
        host + OLD.encode() in text for text in after.values() for host in (b"com/", b"github/", b"gh/")
    )
    cells = json.loads(notebooks[0].read_text(encoding="utf-8"))["cells"]
    first = next(cell for cell in cells if cell["cell_type"] == "code")
    assert f'"git+https://github.com/{NEW}"' in "".join(first["source"])


def test_twice_is_once_and_there_is_a_way_back(copy):
    before = contents(copy)
    assert address.write_address(OLD, copy) == []
    assert address.write_address(NEW, copy)
    there = contents(copy)
    assert address.write_address(NEW, copy) == [] and contents(copy) == there
    address.write_address(OLD, copy)
    assert contents(copy) == before


def test_a_longer_name_is_another_repository(copy):
    others = [f"https://github.com/{OLD}{more}" for more in ("-data", "2", ".io", "_x")]
    (copy / "docs" / "links.md").write_text("\n".join([*others, f"See https://github.com/{OLD}."]))
    address.write_address(NEW, copy)
    assert (copy / "docs" / "links.md").read_text().splitlines() == [
        *others,
        f"See https://github.com/{NEW}.",
    ]


def test_no_other_file_names_the_address():
    """A new place has to be one of PLACES."""
    known = {path for place in address.PLACES for path in ROOT.glob(place)}
    folders = [
        ROOT / name for name in (".ci", "benchmarks", "data", "docs", "notebooks", "scalept_lab", "tests")
    ]
    files = [path for folder in folders for path in folder.rglob("*")] + list(ROOT.glob("*"))
    others = {path for path in files if path.suffix in TEXTS and path.is_file()} - known
    assert len(others) > 100
    assert [path for path in others if f"github.com/{OLD}".encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "foo",
        "a/b/c",
        "/b",
        "a/",
        "https://github.com/a/b",
        "a/b.git",
        "a/..",
        "a b/c",
        "-a/b",
        "é/b",
        "a/b\n",
    ],
)
def test_what_is_no_address_is_one_line(copy, bad):
    before = contents(copy)
    with pytest.raises(
        ValueError, match=r"^REPO: expected owner/name .*, got .*; try: make address REPO=anna/my-lab$"
    ):
        address.write_address(bad, copy)
    assert contents(copy) == before


def test_all_files_or_none(copy, monkeypatch):
    before, write = contents(copy), Path.write_bytes

    def full(path, data):
        if "11_" in path.name:
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        address.write_address(NEW, copy)
    assert contents(copy) == before


def test_the_command_ends_with_one_line():
    done = subprocess.run(
        [sys.executable, SCRIPT],
        env={**os.environ, "REPO": "foo"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("make address: REPO: expected owner/name") and done.stderr.count("\n") == 1
