"""The tests under every Python and torch that the kit is for: `make matrix`. A Python that is not here is skipped with a line.

    make matrix NOX="-p 3.13 -k pinned"     # one cell; `NOX=--list` names them all
    PYENV_VERSION=3.11.7:3.12.1:3.13.0 make matrix     # pyenv hides all Pythons but those named

A cell is an environment of its own under .nox (several gigabytes where torch brings CUDA along; `make clean` removes
them), the unit tests, and notebooks 00 and 08. How they run stands in the Makefile alone.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
NOTEBOOKS = "notebooks/00_start_here.ipynb notebooks/08_scaling_curves.ipynb"
PINS = Path("constraints.txt").read_text(encoding="utf-8").splitlines()
PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]

nox.options.sessions = ["matrix", "lowest"]
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
@nox.parametrize("torch", ["pinned", "newest"])
def matrix(session: nox.Session, torch: str) -> None:
    """The pinned versions, or these with the newest torch that pip gives."""
    _tests(session, [pin for pin in PINS if torch == "pinned" or not re.match("torch(ao)?==", pin)])


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The lower end of every range in pyproject.toml, all at once; what these bring along is up to pip."""
    needed = [re.fullmatch(r"([\w-]+)>=([\d.]+).*", text) for text in PROJECT["dependencies"]]
    _tests(session, [f"{found[1]}=={found[2]}" for found in needed if found])


def _tests(session: nox.Session, pins: list[str]) -> None:
    constraints = Path(session.create_tmp()) / "constraints.txt"
    constraints.write_text("\n".join(pins), encoding="utf-8")
    session.install("--constraint", str(constraints), "--editable", ".[dev,cluster]")
    venv = Path(session.virtualenv.location)
    for stamp in (".installed", ".installed-dev"):
        (venv / stamp).touch()  # so that make takes the environment as it is
    make = ["make", "unit", "notebook-test", f"VENV={os.path.relpath(venv)}", f"NOTEBOOKS={NOTEBOOKS}"]
    session.run("python", "-c", "import sys, torch; print(sys.version, torch.__version__)")
    session.run(*make, *session.posargs, external=True)
