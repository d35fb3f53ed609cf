"""Run a notebook as a learner would, measure it, and save its outputs in a form that compares well.

`scalept run NOTEBOOK…` and the tests use the same measurement. Peak memory is that of the kernel and all
processes it started, together, because that is what a classroom machine or a Binder session has to hold.

This module imports its notebook packages where they are needed; `python -m scalept_lab.course.notebooks FILE…`
checks the metadata of notebooks (a pre-commit hook).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from scalept_lab import folders, outside, scratch
from scalept_lab.course import here
from scalept_lab.course.memory import PeakMemory
from scalept_lab.course.server import WIDGET_VIEW, objects
from scalept_lab.errors import InputError
from scalept_lab.runs import write_atomically

LIMIT_SECONDS = 150.0
LIMIT_BYTES = 1_500_000_000
NOTEBOOK = 10**8  # bytes of one that is read; outputs with figures take most of them

BOOTSTRAP_CELL = """\
# Setup: nothing to do on your own machine or on Binder; on Colab this installs the course (and leaves torch).
import subprocess
import sys

if "google.colab" in sys.modules:
    address = "git+https://github.com/scalept-lab/scalept-lab"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", address], check=True)
    from scalept_lab.course.notebooks import install_missing

    install_missing()"""
"""The first code cell of every notebook, the same in all."""

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""All the metadata that a notebook is saved with: nothing that differs between machines."""

KEPT_CELL_METADATA = {"tags", "jupyter", "slideshow"}


# --- running ------------------------------------------------------------------------------------------------


@contextmanager
def first_run() -> Iterator[dict[str, str]]:
    """Environment variables that name an empty cache and empty results, as on a machine that the course was just installed on.

    The folders are removed at the end; nothing of the user's own is read or changed. What the first run has to build on the
    way, corpora above all, takes memory and time that a later run does not.
    """
    with scratch.folder("first-run-") as folder:
        yield {
            "SCALEPT_CACHE": os.path.join(folder, "cache"),
            "SCALEPT_RESULTS": os.path.join(folder, "results"),
        }


def run_notebook(
    path: str | Path, save: bool = False, timeout: float = 600.0, empty: bool = False
) -> dict[str, Any]:
    """Run a notebook from top to bottom in a fresh kernel of this Python, in the notebook's folder.

    save     write the outputs into the file (only if no cell failed), normalised for comparison
    timeout  seconds for the whole notebook
    empty    as a first run: see `first_run`

    Returns `path`, `ok`, `seconds` (with the kernel's start), `peak_rss_bytes` (see `PeakMemory`) and
    `error`: None, or one line with the index of the cell that failed, counting all cells of the file from 0.
    Raises InputError if there is no such notebook, or the file is not one.
    """
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    path = Path(path)
    notebook = _read(path)
    start = time.perf_counter()
    kernel: Any = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_this_python())
    client = NotebookClient(
        notebook,
        km=kernel,
        resources={"metadata": {"path": str(path.resolve().parent)}},
        timeout_func=lambda cell: max(1, round(timeout - (time.perf_counter() - start))),
        record_timing=False,
        coalesce_streams=True,
    )
    cell, error, peak = -1, None, 0
    own: AbstractContextManager[dict[str, str]] = first_run() if empty else nullcontext({})
    with (
        own as named,
        client.setup_kernel(stderr=subprocess.DEVNULL, env={**_environment(), **named}),
    ):
        memory = PeakMemory(kernel.provisioner.pid)
        try:
            for cell, source in enumerate(notebook.cells):
                client.execute_cell(source, cell)
        except CellExecutionError as failed:
            error = f"cell {cell}: {failed.ename}: {failed.evalue}"
        except CellTimeoutError:
            error = f"cell {cell}: not finished after {timeout:g} s for the whole notebook"
        except DeadKernelError:
            error = f"cell {cell}: the kernel died (out of memory?)"
        finally:
            peak = memory.stop()
    seconds = time.perf_counter() - start
    if save and error is None:
        write(path, here.refresh(notebook))
    return {
        "path": str(path),
        "ok": error is None,
        "seconds": round(seconds, 2),
        "peak_rss_bytes": peak,
        "error": None if error is None else " ".join(error.split()),
    }


def run(
    paths: Sequence[str | Path],
    save: bool = False,
    timeout: float = 600.0,
    progress: Any = None,
    empty: bool = False,
) -> dict[str, Any]:
    """Run notebooks one after the other. Returns `ok` (all of them), and `notebooks`, a list as of
    `run_notebook`.

    `empty`: each of them as a first run, with an empty cache and empty results of its own.

    `progress`, a function, is called with each notebook's result. A path that is no notebook raises
    InputError before anything runs.
    """
    if not paths:
        raise InputError("expected a notebook, got none; try: scalept run notebooks/00_start_here.ipynb")
    for path in paths:
        _read(Path(path))
    results = []
    for path in paths:
        results.append(run_notebook(path, save=save, timeout=timeout, empty=empty))
        if progress is not None:
            progress(results[-1])
    return {"ok": all(result["ok"] for result in results), "notebooks": results}


def _read(path: Path) -> Any:
    import nbformat

    if path.suffix != ".ipynb" or not path.is_file():
        raise InputError(f"expected a notebook (.ipynb), found none at {path}")
    with warnings.catch_warnings(action="ignore"):  # of cells without an id, which get one
        text = outside.text(path, "a notebook (.ipynb)", NOTEBOOK)
        try:
            found = nbformat.reads(text, as_version=4)
            nbformat.validate(found)
            nbformat.writes(found).encode()  # half of a letter could not be written back
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path} is not a readable notebook: {reason}") from error
    return found


def _environment() -> dict[str, str]:
    """A kernel does not start for a user without a home that it can write to: it gets one beside the corpora.

    Raises: InputError where there is no place for that either.
    """
    home = Path(os.path.expanduser("~"))
    if home.is_absolute() and folders.may_write(home):
        return dict(os.environ)
    home = folders.cache() / "home"
    with folders.writing(home):
        home.mkdir(parents=True, exist_ok=True)
    return {**os.environ, "HOME": str(home), "SCALEPT_CACHE": str(folders.cache())}


def _this_python() -> Any:
    """Kernel specs whose python3 is the running interpreter, whatever else is installed for the user."""
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    class ThisPython(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())

    return ThisPython()


# --- saving -------------------------------------------------------------------------------------------------


def normalise(notebook: Any) -> Any:
    """Remove what differs between machines and runs without being a result; in place, and returned.

    Metadata is set to `METADATA` (widget states go: a page that shows the notebook without them would call it
    invalid); of cell metadata tags and the like stay; cells get ids that last; views of widgets give way to
    their text.
    """
    notebook.metadata = type(notebook.metadata)(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: set[str] = set()
    for index, cell in enumerate(notebook.cells):
        if not cell.get("id") or cell["id"] in seen:
            cell["id"] = f"cell-{index:02d}"
            while cell["id"] in seen:
                cell["id"] += "x"
        seen.add(cell["id"])
        for key in set(cell.metadata) - KEPT_CELL_METADATA:
            del cell.metadata[key]
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET_VIEW, None)
    return notebook


def write(path: str | Path, notebook: Any) -> None:
    """Save a notebook, normalised, so that nobody ever sees half of it."""
    import nbformat

    write_atomically(Path(path), nbformat.writes(normalise(notebook)).rstrip("\n") + "\n")


def metadata_problems(path: str | Path) -> list[str]:
    """What a notebook's metadata holds that `write` would have removed, one line each."""
    notebook = outside.json_object(path, "a notebook (.ipynb)", NOTEBOOK)
    cells = objects(notebook, "cells")
    found = []
    if notebook.get("metadata") != METADATA:
        found.append("the notebook's metadata is not the shared one (states of widgets?)")
    if (notebook.get("nbformat"), notebook.get("nbformat_minor")) != (4, 5):
        found.append("the format is not 4.5")
    ids = [str(cell.get("id", "")) for cell in cells]
    if "" in ids or len(set(ids)) != len(ids):
        found.append("a cell has no id, or two share one")
    for index, cell in enumerate(cells):
        for key in sorted(_keys(cell.get("metadata")) - KEPT_CELL_METADATA):
            found.append(f"cell {index} has metadata {key!r}")
        if any(WIDGET_VIEW in _keys(output.get("data")) for output in objects(cell, "outputs")):
            found.append(f"cell {index} has the view of a widget in its outputs")
    return found


def _keys(value: Any) -> set[str]:
    return set(value) if isinstance(value, dict) else set()


# --- Colab --------------------------------------------------------------------------------------------------


def missing(skip: Sequence[str] = ()) -> tuple[list[str], int]:
    """The requirements of the course that this Python does not have, and how many it asks for in all."""
    from importlib import metadata

    from packaging.requirements import Requirement

    lacking, count = [], 0
    for text in metadata.requires("scalept-lab") or []:
        requirement = Requirement(text)
        extra = requirement.marker and not requirement.marker.evaluate({"extra": ""})
        if extra or requirement.name in skip:
            continue
        count += 1
        try:
            metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            lacking.append(f"{requirement.name}{requirement.specifier}")
    return lacking, count


def install_missing(skip: Sequence[str] = ("torch", "jupyterlab", "nbval", "nbclient")) -> list[str]:
    """Install the course's dependencies that this Python does not have yet; returns their requirements.

    For Colab, which brings most of them. What is there stays as it is, torch above all; what a hosted
    notebook has no use for is skipped.
    """
    lacking, _ = missing(skip)
    if lacking:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *lacking], check=True)
    return lacking


def main(arguments: Sequence[str]) -> int:
    """Print the metadata problems of notebooks; 1 if there are any."""
    problems = [(path, text) for path in arguments for text in metadata_problems(path)]
    for path, text in problems:
        print(f"{path}: {text}. `scalept run --save {path}` writes it clean.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
