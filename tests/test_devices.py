"""Nothing assumes a device: every loop, and every function that takes a model, runs on one that is not the CPU."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.utils import backend_registration

from scalept_lab import folders
from scalept_lab.data.corpora import prepare

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "scalept_lab"
EXEMPT = {  # and why
    "int8": "torch computes with 8-bit integers on the CPU alone; the function says so",
    "recompute": "torch asks the device for its random state, which a made-up one does not have",
    "recomputing": "as recompute",
    "compiled": "there is no compiler for a made-up device",
    "save": "torch.distributed.checkpoint asks the device for streams",
    "load": "as save",
    "spread": "a process group",
    "fully_sharded": "a process group",
    "tensor_parallel": "a process group",
    "full_parameters": "a process group",
    "finetune": "transformers' Trainer places model and batches by itself",
    "check_vocabulary": "reads sizes alone",
    "need_floats": "looks at kinds of weights alone",
    "trainable": "reads sizes alone",
    "probe": "says which weights learn, and makes no tensor",
    "reads": "hands the model on to Reader, which speculate has",
    "check": "reads sizes alone",
    "device_of": "is what the others ask",
    "actor": "act_in calls it",
    "train_share": "a process group",
}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Callable[..., subprocess.CompletedProcess]:
    """`elsewhere.py` with these arguments, in a folder and with a cache of its own, but for the corpora that are there."""
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch has no devices written in Python")
    folder = tmp_path_factory.mktemp("elsewhere")
    prepare("python")
    (folder / "prepared").symlink_to(folders.cache() / "prepared")
    environment = {
        **os.environ,
        "SCALEPT_CACHE": str(folder),
        "MPLBACKEND": "agg",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(HERE / "elsewhere.py"), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=250, env=environment, cwd=folder
        )

    return run


@pytest.fixture(scope="module")
def found(elsewhere) -> dict[str, str]:
    """What each case raised."""
    done = elsewhere()
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def names() -> list[str]:
    tree = ast.parse((HERE / "elsewhere_cases.py").read_text(encoding="utf-8"))
    (cases,) = (node for node in tree.body if isinstance(node, ast.AnnAssign))
    return [ast.literal_eval(key) for key in cases.value.keys if key is not None]


@pytest.mark.parametrize("name", names())
def test_it_runs_on_another_device(found, name):
    assert found[name] == ""


def test_delayed_workers_run_on_another_device(found):
    methods = {name: text for name, text in found.items() if name.startswith("fit_delayed")}
    assert len(methods) == 3 and set(methods.values()) == {""}


@pytest.mark.parametrize("number", ["00", "07"])
def test_the_cells_of_notebooks_ask_where_a_model_lives(elsewhere, number):
    """Those that feed a trained model by hand, with three steps for each run."""
    (path,) = (HERE.parent / "notebooks").glob(f"{number}_*.ipynb")
    done = elsewhere("--steps", "3", str(path))
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_each_function_that_takes_a_model_has_a_case():
    """Those of the rooms where models are; the name of a function stands in the cases, or among the exempt."""
    cases = (HERE / "elsewhere_cases.py").read_text(encoding="utf-8")
    called = {node.attr for node in ast.walk(ast.parse(cases)) if isinstance(node, ast.Attribute)}
    missing = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in ("costs", "course", "plots"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            parameters = [*node.args.args, *node.args.kwonlyargs]
            kinds = " ".join(ast.unparse(p.annotation) for p in parameters if p.annotation)
            takes_one = any(p.arg in ("model", "teacher", "policy") for p in parameters) and any(
                kind in kinds
                for kind in ("nn.Module", "Transformer", "Policy,", "Policy ", "PreTrainedModel")
            )
            if takes_one and node.name not in called and node.name not in EXEMPT:
                missing.append(f"{path.relative_to(PACKAGE)}: {node.name}")
    assert not missing, f"no case in tests/elsewhere_cases.py: {missing}"
