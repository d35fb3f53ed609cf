"""Running, measuring and saving notebooks; and nbval beside it, on notebooks made here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from scalept_lab.course import notebooks
from scalept_lab.errors import InputError

ROOT = Path(__file__).parents[2]


def make(path: Path, *sources: str) -> Path:
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in sources]), path)
    return path


def test_runs_in_its_folder_with_this_python_and_measures_children_too(tmp_path):
    work = "import subprocess, sys\nchild = 'import time; block = bytearray(300_000_000); time.sleep(1.5)'\n"
    work += "subprocess.run([sys.executable, '-c', child]);"
    path = make(tmp_path / "a.ipynb", work, "import os, sys\nprint(os.getcwd())\nprint(sys.executable)")
    result = notebooks.run_notebook(path, save=True)
    assert result["ok"] and result["error"] is None and result["path"] == str(path)
    assert result["seconds"] > 1.5
    assert 300e6 < result["peak_rss_bytes"] < 600e6
    saved = nbformat.read(path, as_version=4)
    assert saved.cells[1].outputs[0].text.splitlines() == [os.path.realpath(tmp_path), sys.executable]
    assert [cell.execution_count for cell in saved.cells] == [1, 2]


ASKS = """
import os
from pathlib import Path
from scalept_lab import folders
for folder in (folders.cache(), folders.results()):
    assert not folder.exists(), folder
    folder.mkdir(parents=True)
with open(os.environ["TOLD"], "a+") as told:
    told.seek(0)
    assert not any(os.path.exists(line.strip()) for line in told), "the last notebook's is still there"
    print(folders.cache(), file=told)
"""


def told(path: Path) -> list[Path]:
    return [Path(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_first_run_finds_nothing_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("SCALEPT_RESULTS", str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()
    path = make(tmp_path / "a.ipynb", ASKS)
    found = notebooks.run([path, path], empty=True)
    assert found["ok"], found
    assert not notebooks.run_notebook(path)["ok"]  # here something is
    one, other = told(tmp_path / "told")
    assert one != other and not one.parent.exists() and not other.parent.exists()
    assert os.environ["SCALEPT_CACHE"] == str(tmp_path / "mine") and not list((tmp_path / "mine").iterdir())


def test_a_failing_cell_is_one_line_and_saves_nothing(tmp_path):
    path = make(tmp_path / "a.ipynb", "1 + 1", "raise ValueError('two\\nlines')", "never = 1")
    before = path.read_bytes()
    result = notebooks.run_notebook(path, save=True)
    assert (result["ok"], result["error"]) == (False, "cell 1: ValueError: two lines")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.ipynb"]


def test_time_limit_counts_for_the_whole_notebook(tmp_path):
    path = make(tmp_path / "a.ipynb", "import time", "time.sleep(60)")
    result = notebooks.run_notebook(path, timeout=3)
    assert not result["ok"] and result["error"].startswith("cell 1: not finished after 3 s")
    assert result["seconds"] < 20


def test_a_dead_kernel_is_an_error_not_a_crash(tmp_path):
    result = notebooks.run_notebook(make(tmp_path / "a.ipynb", "import os\nos._exit(1)"))
    assert not result["ok"] and "kernel died" in result["error"]


@pytest.mark.parametrize(("name", "text"), [("gone.ipynb", None), ("a.txt", "{}"), ("a.ipynb", "no json")])
def test_bad_paths_are_told_in_one_line_before_anything_runs(tmp_path, name, text, monkeypatch):
    monkeypatch.setattr(notebooks, "run_notebook", lambda *args, **kwargs: pytest.fail("ran"))
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=name) as error:
        notebooks.run([make(tmp_path / "good.ipynb", "1"), tmp_path / name])
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="got none"):
        notebooks.run([])


def test_saving_removes_what_differs_between_machines(tmp_path):
    view = new_output("display_data", data={notebooks.WIDGET_VIEW: {"model_id": "1"}, "text/plain": "slider"})
    cell = new_code_cell("1", metadata={"tags": ["explorer"], "took": "1 s"}, outputs=[view])
    twin = new_markdown_cell("text")
    notebook = new_notebook(
        cells=[cell, twin],
        metadata={"widgets": {"state": {}}, "kernelspec": {"name": "x", "display_name": "mine"}},
    )
    notebook.cells[1]["id"] = cell.id
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(notebook))
    assert len(notebooks.metadata_problems(path)) == 4
    notebooks.write(path, notebook)
    assert notebooks.metadata_problems(path) == []
    saved = nbformat.read(path, as_version=4)
    assert saved.cells[0].metadata == {"tags": ["explorer"]}
    assert saved.cells[0].outputs[0].data == {"text/plain": "slider"}
    first = path.read_bytes()
    notebooks.write(path, nbformat.read(path, as_version=4))
    assert path.read_bytes() == first


def nbval(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--nbval",
            "--nbval-current-env",
            *options,
            ".",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_nbval_compares_claims_and_not_their_evidence(tmp_path):
    setup = "import random\nfrom scalept_lab.course import claim, evidence\ngain = 1 + random.random()"
    show = "# NBVAL_IGNORE_OUTPUT\nevidence()"
    path = make(tmp_path / "a.ipynb", setup, "claim('more helps', gain - 1, 'as much')", show)
    result = notebooks.run_notebook(path, save=True)
    assert result["ok"], result["error"]
    (tmp_path / "b.ipynb").write_text(path.read_text().replace("gain - 1,", "gain - 3,"))
    done = nbval(tmp_path)
    assert done.returncode == 1 and "1 failed, 5 passed" in done.stdout, done.stdout
    assert "claim fails" in done.stdout


def test_limits_are_printed_and_fail_the_session(tmp_path):
    make(tmp_path / "a.ipynb", "import time\ntime.sleep(0.3)")
    plugin = (ROOT / "conftest.py").read_text(encoding="utf-8")
    (tmp_path / "conftest.py").write_text(plugin.replace("\nMEASURED", "\nLIMIT_SECONDS = 0.1\nMEASURED", 1))
    done = nbval(tmp_path, SCALEPT_LIMITS="")  # whatever the session that runs this test says
    assert done.returncode == 1 and "1 passed" in done.stdout
    assert "a.ipynb" in done.stdout and "OVER THE LIMIT" in done.stdout
    assert nbval(tmp_path, SCALEPT_LIMITS="warn").returncode == 0


def test_each_notebook_is_tested_as_a_first_run_unless_told_otherwise(tmp_path):
    for name in ("a", "b"):
        make(tmp_path / f"{name}.ipynb", ASKS, "folders.cache().is_dir()  # until the last cell has run")
    (tmp_path / "conftest.py").write_text((ROOT / "conftest.py").read_text(encoding="utf-8"))
    mine, log = tmp_path / "mine", tmp_path / "told"
    mine.mkdir()
    environment = {"TOLD": str(log), "SCALEPT_CACHE": str(mine), "SCALEPT_RESULTS": str(mine)}
    done = nbval(tmp_path, **environment)
    assert "4 passed" in done.stdout, done.stdout
    one, other = told(log)
    assert one != other and not one.parent.exists() and not other.parent.exists() and not list(mine.iterdir())
    done = nbval(tmp_path, "--notebook-cache=kept", **environment)
    assert "2 failed" in done.stdout, done.stdout
    assert len(told(log)) == 2


def test_a_kernel_gets_a_home_where_there_is_none(tmp_path, monkeypatch):
    """Jupyter asks for one before anything else, and an unknown user of a container has none."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("SCALEPT_CACHE", str(cache))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert notebooks._environment() == dict(os.environ)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    path = make(
        tmp_path / "a.ipynb", "import os\nassert os.environ['HOME'] == os.environ['SCALEPT_CACHE'] + '/home'"
    )
    result = notebooks.run_notebook(path)
    assert result["ok"], result["error"]
    assert (cache / "home").is_dir()


@pytest.mark.parametrize(
    "cell", [{"source": 5}, {"cell_type": None}, {"cell_type": "strange"}, {"outputs": {}}, {"source": "\ud800"},
    {"metadata": []}],
)  # fmt: skip
def test_a_cell_that_is_none_is_told_before_anything_runs(tmp_path, cell):
    path = make(tmp_path / "a.ipynb", "1 + 1")
    tree = json.loads(path.read_text())
    tree["cells"][0] |= cell
    path.write_text(json.dumps(tree))
    with pytest.raises(InputError, match=r"a\.ipynb is not a readable notebook: "):
        notebooks.run([path])


def test_metadata_of_what_is_no_notebook(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(
        '{"cells": [7, {"outputs": [1, {"data": null}], "metadata": -1}, {"outputs": [{"data": 5}]}], "metadata": []}'
    )
    assert "the format is not 4.5" in notebooks.metadata_problems(path)
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match="nested too deep"):
        notebooks.metadata_problems(path)
