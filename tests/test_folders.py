"""What the kit writes goes somewhere that can be written to, and one line says where; where nothing can, one line says why."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from refusals import one_line

from scalept_lab import folders
from scalept_lab.runs import write_atomically

ROOT = Path(__file__).parents[1]
# A child of a user that the machine does not know, as containers start them; it may read what root may, not write.
NOBODY = "setpriv --reuid=54321 --regid=54321 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search"
unknown_user = pytest.mark.skipif(
    not shutil.which("setpriv") or not hasattr(os, "geteuid") or os.geteuid() != 0
    or subprocess.run([*NOBODY.split(), "true"], capture_output=True).returncode != 0,
    reason="takes root and setpriv to become another user",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _bare(tmp_path, monkeypatch):
    """A folder and a temporary folder of the test's own, no variables, nothing said yet."""
    (tmp_path / "here").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("SCALEPT_CACHE", "SCALEPT_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    folders._said.cache_clear()


@pytest.fixture
def read_only(monkeypatch):
    """Root may write anywhere, so what is read-only is told here: a folder and all in it."""

    def make(folder: Path) -> None:
        def access(path, mode) -> bool:
            return folder not in (Path(path), *Path(path).parents)

        monkeypatch.setattr(os, "access", access)

    return make


def as_nobody(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SCALEPT_") and name != "HOME"
    }
    plain |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = [*NOBODY.split(), sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=plain, capture_output=True, text=True, timeout=100)


# --- where


def test_an_ordinary_machine_says_nothing(tmp_path, capsys):
    assert folders.cache() == tmp_path / ".cache" / "scalept-lab"
    assert folders.results() == Path("results")
    assert capsys.readouterr() == ("", "")
    assert list((tmp_path / "here").iterdir()) == [] and not (tmp_path / ".cache").exists()


def test_variables_are_taken_at_their_word(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEPT_CACHE", "/there")
    monkeypatch.setenv("SCALEPT_RESULTS", "~/mine")
    assert folders.cache() == Path("/there") and folders.cache("/here") == Path("/here")
    assert folders.results() == tmp_path / "mine"


def test_empty_variables_count_as_not_set(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEPT_CACHE", "")
    monkeypatch.setenv("SCALEPT_RESULTS", "")
    assert folders.cache() == tmp_path / ".cache" / "scalept-lab" and folders.results() == Path("results")


def test_results_of_a_read_only_folder_go_to_the_cache_and_one_line_says_so(tmp_path, read_only, capsys):
    read_only(tmp_path / "here")
    assert folders.results() == folders.results() == tmp_path / ".cache" / "scalept-lab" / "results"
    out, said = capsys.readouterr()
    assert out == "" and said.count("\n") == 1  # once, however often it is asked
    assert said.startswith(f"{tmp_path / 'here' / 'results'} cannot be written to: results go to ")
    assert "SCALEPT_RESULTS=" in said


def test_a_file_called_results_is_no_folder(tmp_path):
    Path("results").touch()
    assert folders.results() == tmp_path / ".cache" / "scalept-lab" / "results"


def test_a_home_that_cannot_be_written_to(tmp_path, read_only, capsys):
    read_only(tmp_path)
    place = folders.cache()
    assert place == tmp_path / "temporary" / f"scalept-lab-{os.getuid()}"
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(place) in said and "SCALEPT_CACHE=" in said


def test_a_filled_cache_serves_even_if_it_is_read_only(tmp_path, read_only, capsys):
    """An instructor fills it, a class reads it."""
    (tmp_path / ".cache" / "scalept-lab").mkdir(parents=True)
    read_only(tmp_path)
    assert folders.cache() == tmp_path / ".cache" / "scalept-lab" and capsys.readouterr().err == ""


def test_results_do_not_go_to_a_read_only_cache(tmp_path, read_only):
    (tmp_path / ".cache" / "scalept-lab").mkdir(parents=True)
    read_only(tmp_path)
    assert folders.results() == tmp_path / "temporary" / f"scalept-lab-{os.getuid()}" / "results"


def test_a_user_without_a_home(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os.path, "expanduser", lambda path: os.fspath(path))  # what Python does there
    assert folders.cache().parent == tmp_path / "temporary"
    assert "SCALEPT_CACHE=" in capsys.readouterr().err
    monkeypatch.setenv("SCALEPT_RESULTS", "~/results")
    one_line(
        folders.results, "SCALEPT_RESULTS: expected a folder, got '~/results', and this user has no home"
    )
    monkeypatch.setenv("SCALEPT_CACHE", "~/cache")
    one_line(folders.cache, "SCALEPT_CACHE: expected a folder")


# --- what happens where it does not go


@pytest.mark.parametrize("number", sorted(folders.NO_ROOM))
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, monkeypatch, number):
    path = tmp_path / "kept.json"
    path.write_text("before")

    def full(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    one_line(lambda: write_atomically(path, "after"), f"{path} cannot be written: ", "; make room and run")
    assert path.read_text() == "before" and len(list(tmp_path.glob("*kept*"))) == 1


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path):
    (tmp_path / "runs").touch()
    one_line(
        lambda: write_atomically(tmp_path / "runs" / "a.json", "x"),
        "a.json cannot be written: ",
        "SCALEPT_RESULTS and SCALEPT_CACHE",
    )


def test_a_corpus_that_finds_no_room_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, tiny_corpus):
    import numpy as np

    from scalept_lab.data.corpora import prepare

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    one_line(lambda: prepare(tiny_corpus, cache=tmp_path / "cache"), "No space left on device; make room")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@unknown_user
def test_an_unknown_user_in_a_read_only_folder_has_his_study(tmp_path):
    """Without a home; the corpus and the study find a place, and two lines say which."""
    temporary = tmp_path / "temporary"
    temporary.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents[:2]):  # pytest's are its user's alone
        folder.chmod(0o755)
    code = """if True:
        import json, scalept_lab as sl
        study = sl.Study("mine", budget_flops=1e12)
        study._write_budget()
        print(json.dumps([str(study.folder), str(sl.folders.cache())]))
    """
    done = as_nobody(code, tmp_path / "here", TMPDIR=str(temporary))
    assert done.returncode == 0, done.stderr
    folder, cache = json.loads(done.stdout)
    assert cache == str(temporary / "scalept-lab-54321") and folder == f"{cache}/results/mine"
    assert Path(folder, "study.json").is_file() and done.stderr.count("\n") == 2


@unknown_user
@pytest.mark.parametrize("arguments", [["count", "gpt2"], ["plan", "--flops", "1e21"]])
def test_an_unknown_user_has_the_commands(tmp_path, arguments):
    code = f"import sys; from scalept_lab.cli import main; sys.exit(main({arguments}))"
    done = as_nobody(code, ROOT)
    assert (done.returncode, done.stderr) == (0, "")


@unknown_user
def test_what_he_names_and_cannot_write_is_one_line(tmp_path):
    records = ROOT / "data" / "records" / "recipe.jsonl"
    code = f"from scalept_lab.cli import main; exit(main(['merge', '{records}', '--out', '{tmp_path}/all.jsonl']))"
    done = as_nobody(code, tmp_path / "here")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "all.jsonl cannot be written: Permission denied" in done.stderr


def test_a_folder_that_was_deleted_under_us_is_no_place_to_write(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert folders.results() == folders.cache() / "results"
    assert "results cannot be written to: results go to" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_what_no_file_can_be_called_is_one_line(tmp_path, name):
    one_line(lambda: write_atomically(tmp_path / name, "x"), "no file can have this name")


@pytest.mark.parametrize(
    "name", ["mine", "名字", "a b", ".hidden", "été", "x" * 200, "common", "com", "console"]
)
def test_a_name_that_any_system_keeps(name):
    assert folders.portable(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a ",
        " a",
        "a.",
        "..",
        "con",
        "CON.txt",
        "lpt9",
        "a/b",
        "a\\b",
        "C:a",
        "a?",
        "a\nb",
        "字" * 67,
        "\ud800",
    ],
)
def test_and_one_that_not_all_do(name):
    assert not folders.portable(name)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="takes users with numbers")
def test_a_temporary_folder_of_somebody_else_is_not_ours(monkeypatch):
    """Its name can be foretold, and in /tmp anybody may make it first."""
    user = os.getuid()
    place = folders._temporary(Path("results"))
    place.mkdir()
    assert folders._temporary(Path("results")) == place
    place.rename(place.with_name(f"scalept-lab-{user + 1}"))
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    one_line(lambda: folders._temporary(Path("results")), "expected a folder of this user")


def test_no_place_at_all_is_one_line(tmp_path, monkeypatch, read_only):
    def none():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    read_only(tmp_path)
    monkeypatch.setattr(tempfile, "gettempdir", none)
    one_line(folders.results, "No usable temporary directory found", "SCALEPT_CACHE")
