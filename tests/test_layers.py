"""The data flow of the package, held against its imports: one way, with a light half that trains nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "scalept_lab"

# A module imports only modules above it, or before it on its line.
# fmt: off
ORDER = [
    "errors", "checks", "config", "answers", "notebooks", "machine", "processes", "launch",
    "tokens", "language", "wheels", "loaders", "corpus", "filters", "redaction", "duplicates", "mixture", "clean",
    "documents", "cards", "data", "difficulty", "pairs", "babyai",
    "shapes", "costs", "formats", "affine", "footprint", "laws", "huber", "points", "starts", "runs", "fit", "isoflop",
    "ravine", "noise", "intervals", "arms", "stability", "failures", "curriculum",
    "communication", "layouts", "planner", "published",
    "figures", "charts", "precisionplots", "planplots", "lawplots", "optimplots", "delayedplots", "compressplots",
    "transferplots", "curriculumplots", "vlaplots", "frontier", "plots", "widgets", "shot", "report", "exercises",
    "models", "optimizers", "optim", "precision", "activations", "group", "distributed", "pipeline", "ledger", "shards",
    "checkpoint", "pacing", "outcome", "resume", "recipe", "train", "trial", "timeline", "delayed", "faults",
    "stepwise", "growth", "throughput",
    "sweep", "study", "standard",
    "masked", "finetune", "transfer", "demos", "lerobot", "lerobotexport", "vla", "policyfile", "rollouts", "pixels",
    "playback", "gaze", "grounding", "cloning",
    "latency", "quantize", "prune", "distill", "generate", "compress", "cli",
]
# fmt: on

# These read records and numbers: no torch, not even inside a function, and nothing that trains.
LIGHT = {
    "errors",
    "checks",
    "config",
    "answers",
    "notebooks",
    "babyai",
    *ORDER[ORDER.index("shapes") : ORDER.index("models")],
}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Roots of the packages a file imports; its own package's modules as `.name`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "scalept_lab" if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            root, *rest = name.split(".")
            found.add("." + rest[0] if root == "scalept_lab" and rest else root)
    modules = {file.stem for file in PACKAGE.glob("*.py")} | {"exercise_sets"}
    return {name for name in found if name[0] != "." or name[1:] in modules}


MODULES = sorted(file.stem for file in PACKAGE.glob("*.py") if file.stem != "__init__")


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    assert module in ORDER, f"give scalept_lab.{module} its place in ORDER (tests/test_layers.py)"
    own = {name[1:] for name in imports(PACKAGE / f"{module}.py") if name[0] == "."} - {"exercise_sets"}
    too_far = {name for name in own if ORDER.index(name) >= ORDER.index(module)}
    assert not too_far, f"{module} imports {too_far}, which stand to its right in ORDER"


@pytest.mark.parametrize("module", sorted(LIGHT & set(MODULES)))
def test_what_reads_records_needs_no_torch(module):
    needs = imports(PACKAGE / f"{module}.py")
    heavy = {"." + name for name in ORDER} - {"." + name for name in LIGHT}
    assert not needs & ({"torch", "torchvision"} | heavy)


def test_models_know_nothing_of_how_they_are_trained():
    around = {
        "optim",
        "precision",
        "distributed",
        "recipe",
        "train",
        "sweep",
        "study",
        "standard",
        "data",
        "machine",
    }
    assert not {name[1:] for name in imports(PACKAGE / "models.py") if name[0] == "."} & around


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "exercise_sets").glob("nb*.py")), ids=lambda path: path.stem
)
def test_exercises_import_torch_only_when_asked(path):
    heavy = {"torch", "transformers", "datasets", ".train", ".models", ".sweep", ".study"}
    assert not imports(path, top_level_only=True) & heavy


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


@pytest.mark.parametrize("module", sorted(LIGHT & set(MODULES)))
def test_light_modules_load_no_torch(module):
    assert (
        in_fresh_python(f"import sys, scalept_lab.{module}; print('torch' in sys.modules)").strip() == "False"
    )
