"""A Colab session, simulated: the packages that it brings, then notebooks whose first cell installs the course from git.

    .venv/bin/python tests/hosted/colab.py                          # 00, 01, 05 and 08
    .venv/bin/python tests/hosted/colab.py notebooks/02_model_scaling.ipynb
    TORCH="torch==2.12.0 torchvision==0.27.0" PYTHON=python3.12 .venv/bin/python tests/hosted/colab.py

Needs pip's network and some gigabytes for the while. The environment is a fresh one with the newest release of everything
that Colab has and the course uses, another torch than the course's, and pygame. The notebooks lie in an empty folder, without
the repository. Their first cell runs as it is: `google.colab` stands in sys.modules, and git is told to take this clone, as it is
committed, for the address on GitHub. What must hold: every notebook runs, pip leaves what was there as it was, and pygame works.

Prints a line for each notebook, then a row of the table of machines. Ends with 1 if anything did not hold.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from unittest import mock

from scalept_lab.course.notebooks import run_notebook

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOKS = ("00_start_here", "01_data_scaling", "05_distributed_training", "08_scaling_curves")
TORCH = os.environ.get("TORCH", "torch==2.14.1 torchvision==0.29.1").split()
LACKS = {"torch", "torchao", "datasketch", "minigrid", "jupyterlab", "nbval"}  # of the course's dependencies
WANTED = [re.match(r"[\w-]+", text)[0] for text in PROJECT["dependencies"]]  # type: ignore[index]
PREINSTALLED = [*TORCH, "pygame", "ipykernel", *(name for name in WANTED if name not in LACKS)]


def main(paths: list[Path]) -> int:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="colab-") as folder:
        python, content = Path(folder, "env/bin/python"), Path(folder, "content")
        _run(os.environ.get("PYTHON", sys.executable), "-m", "venv", python.parents[1])
        _run(python, "-m", "pip", "install", "--quiet", *PREINSTALLED)
        _pretend_to_be_colab(python)
        before, version = (
            _installed(python),
            _run(python, "-c", "import platform; print(platform.python_version())").strip(),
        )
        content.mkdir()
        session = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.file://{ROOT}.insteadOf",
                   "GIT_CONFIG_VALUE_0": PROJECT["urls"]["Repository"], "SCALEPT_CACHE": str(Path(folder, "cache"))}  # fmt: skip
        found = []
        # a kernel is a process of sys.executable; PYTHONPATH would give it the course without an installation
        with mock.patch.dict(os.environ, session), mock.patch.object(sys, "executable", str(python)):
            os.environ.pop("PYTHONPATH", None)
            for path in paths:
                found.append(run_notebook(shutil.copy(path, content), timeout=1200))
                told = "passed" if found[-1]["ok"] else found[-1]["error"]
                print(
                    f"{path.name}: {told}, {found[-1]['seconds']:.0f} s, {found[-1]['peak_rss_bytes'] / 1e6:.0f} MB",
                    flush=True,
                )
        after = _installed(python)
        changed = [
            f"{name} {before[name]} -> {after.get(name)}"
            for name in before
            if after.get(name) != before[name]
        ]
        print("changed by the first cell:", "; ".join(changed) or "nothing")
        print("brought by it:", ", ".join(f"{name} {after[name]}" for name in sorted(after.keys() - before)))
        draw = "import pygame; pygame.init(); pygame.display.set_mode((8, 8)).fill((9, 9, 9)); pygame.font.Font(None, 9)"
        game = subprocess.run(
            [python, "-c", draw], env={**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}
        ).returncode
        print("pygame:", "does not work any more" if game else "works")
    passed = sum(result["ok"] for result in found)
    seconds = sum(result["seconds"] for result in found)
    peak = max(result["peak_rss_bytes"] for result in found)
    print(f"simulated Colab, Python {version}, {' '.join(TORCH)} | {passed} of {len(found)} notebooks | "
          f"{seconds:.0f} s ({time.perf_counter() - started:.0f} s with the installation) | {peak / 1e6:.0f} MB")  # fmt: skip
    return int(passed < len(found) or bool(changed) or game != 0)


def _pretend_to_be_colab(python: Path) -> None:
    """`google.colab` is imported by every process of this Python, as Colab's kernels do."""
    site = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "google" / "colab").mkdir(parents=True)
    (site / "google" / "colab" / "__init__.py").touch()
    (site / "colab.pth").write_text("import google.colab\n")


def _installed(python: Path) -> dict[str, str]:
    lines = _run(python, "-m", "pip", "list", "--format=freeze").split()
    return dict(line.split("==") for line in lines if not line.startswith("scalept"))


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    chosen = [Path(name) for name in sys.argv[1:]]
    sys.exit(main(chosen or [ROOT / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS]))
