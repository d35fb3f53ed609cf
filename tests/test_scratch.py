"""What a process needs for a while goes when it goes, killed or not; nobody else's is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from refusals import one_line

from scalept_lab import scratch

KILLED = """
import os, signal, sys
from scalept_lab import processes, scratch

with scratch.folder("ranks-") as name:
    processes._find_sockets_a_place(os.environ["TMPDIR"])
    print(name, flush=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[1] == "waits":
        sys.stdin.read()
"""


def begun(place: Path, how: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, how], env={**os.environ, "TMPDIR": str(place)}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def place(monkeypatch):
    """A temporary folder with a short name, as sockets need."""
    with tempfile.TemporaryDirectory(dir="/tmp" if os.path.isdir("/tmp") else None) as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.mark.skipif(os.name == "nt", reason="no such signals, no such locks")
def test_the_folder_of_a_killed_process_is_swept_by_the_next_one_that_of_a_living_one_stays(place):
    living = begun(place, "waits")
    kept = Path(living.stdout.readline().strip())
    killed = begun(place, "killed")
    left = Path(killed.communicate(timeout=60)[0].strip())
    assert killed.returncode == -signal.SIGKILL
    assert left.is_dir() and kept.is_dir()
    assert len(list(left.parent.glob("pymp-*"))) == 1  # multiprocessing's sockets go with it

    next_one = begun(place, "ends")
    assert next_one.communicate(timeout=60)[1] == "" and next_one.returncode == 0
    assert not left.parent.exists() and kept.is_dir()
    assert [one.name for one in place.iterdir()] == [kept.parent.name]  # its own it has removed itself
    assert living.communicate(timeout=60)[1] == ""
    assert list(place.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="no such locks")
def test_what_is_not_ours_is_not_swept(place):
    """A folder without an owner's file, a link, and a file of such a name."""
    made, aim = place / "scalept.abcdefgh", place / "aim"
    made.mkdir()
    aim.mkdir()
    (aim / scratch.OWNER).touch()
    (place / "scalept.linklink").symlink_to(aim)
    (place / "scalept.filefile").touch()
    own = scratch.own(str(place))
    assert made.is_dir() and (aim / scratch.OWNER).exists()
    assert {one.name for one in place.iterdir()} == {
        "scalept.abcdefgh", "aim", "scalept.linklink", "scalept.filefile", own.name
    }  # fmt: skip


def test_a_process_has_one_folder_and_a_new_one_when_that_is_removed(place):
    first = scratch.own()
    assert scratch.own() == first and first.parent == place
    with scratch.folder("ranks-") as name:
        assert Path(name).parent == first and Path(name).name.startswith("ranks-")
    assert not Path(name).exists()
    scratch.remove(first)
    assert scratch.own().is_dir()


def test_a_temporary_folder_that_is_none_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    one_line(lambda: scratch.folder("ranks-"), "the temporary folder (TMPDIR) cannot be written: ")


def test_old_drafts_are_swept_by_their_whole_name(tmp_path):
    old, new, other = (
        tmp_path / name for name in (".export-abcdefgh", ".export-new-new1", ".export-abcdefghi")
    )
    for folder in (old, new, other):
        folder.mkdir()
        (folder / "part").touch()
    for folder in (old, other):
        os.utime(folder, (1, 1))
    scratch.sweep(tmp_path, r"\.export-.{8}")
    assert sorted(one.name for one in tmp_path.iterdir()) == [".export-abcdefghi", ".export-new-new1"]
    scratch.sweep(tmp_path / "nowhere", ".*")  # nothing to do


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    place = tmp_path / "here" / "made"
    with pytest.raises(ZeroDivisionError), scratch.appearing(place) as draft:
        (draft / "half").touch()
        raise ZeroDivisionError
    assert list(place.parent.iterdir()) == []
    place.mkdir()  # an empty one may be there
    with scratch.appearing(place) as draft:
        (draft / "whole").touch()
        assert not (place / "whole").exists()
    assert (place / "whole").is_file() and list(place.parent.iterdir()) == [place]

    def again():
        with scratch.appearing(place) as draft:
            (draft / "other").touch()

    one_line(again, "made cannot be written: ")
    assert [file.name for file in place.iterdir()] == ["whole"]
