"""What `make lint` cannot see of the rooms: that they are light when they are entered, and what a room shows is there.

Which room may import which stands in pyproject.toml, and import-linter holds the imports against it.
"""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import scalept_lab as sl
from scalept_lab.rooms import shown

LIGHT = ("costs", "laws", "plots", "course")


def in_fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_cheap():
    code = (
        "import sys, time; start = time.process_time(); import scalept_lab; "
        "print(time.process_time() - start, *sorted(sys.modules))"
    )
    seconds, *loaded = in_fresh_python(code).split()
    assert not {"torch", "numpy", "pandas", "matplotlib", "transformers", "datasets"} & set(loaded)
    assert float(seconds) < 0.3  # CPU time; a few milliseconds on an idle machine


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ("import scalept_lab.train.loop", {"sympy", "scipy", "torch.distributed.tensor", "torch._dynamo"}),
        ("from scalept_lab.course import check, claim, predict", {"scipy.stats", "scipy.optimize", "matplotlib"}),
        ("import scalept_lab.study.study", {"scipy.stats", "scipy.optimize", "sympy", "datasets", "transformers"}),
    ],
)  # fmt: skip
def test_what_is_not_used_is_not_loaded(code, without):
    """In every kernel and every worker it would take memory: 30 MB, 50 MB, 70 MB."""
    assert not without & set(in_fresh_python(f"{code}\nimport sys\nprint(*sys.modules)").split())


def test_light_rooms_load_no_torch():
    """Every module of them, exercises included, in one process: what they import when they are imported."""
    rooms = [getattr(sl, room) for room in LIGHT]
    names = [
        module.name for room in rooms for module in pkgutil.walk_packages(room.__path__, room.__name__ + ".")
    ]
    names += [
        f"scalept_lab.{name}" for name in ("checks", "config", "errors", "machine", "processes", "runs")
    ]
    assert len(names) > 40
    code = f"import importlib, sys; [importlib.import_module(name) for name in {names}]; print('torch' in sys.modules)"
    assert in_fresh_python(code).strip() == "False"


def test_two_modules_of_a_room_cannot_give_one_name():
    with pytest.raises(ImportError, match="two modules give plot_heads; rename one"):
        shown("scalept_lab.plots", {"heads": "plot_heads", "transfer": "plot_scores plot_heads"})


@pytest.mark.parametrize("room", [None, *sl.ROOMS])
def test_a_room_shows_what_it_says(room):
    """Each name is there, and none has the name of a module, which would take its place as soon as it is imported."""
    package = getattr(sl, room) if room else sl
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    for name in package.__all__:
        found = getattr(package, name)
        assert (name in modules) == hasattr(found, "__spec__"), f"{package.__name__}.{name}"
    if room not in (None, "course"):
        assert modules <= set(package.__all__), "a room shows all its modules"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_old_colab_cells_find_what_they_install_with():
    from scalept_lab.course import notebooks
    from scalept_lab.notebooks import install_missing

    assert install_missing is notebooks.install_missing
