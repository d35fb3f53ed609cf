"""The environment files agree: one list of dependencies, one place for versions, one address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scalept_lab.course.notebooks import BOOTSTRAP_CELL

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
CONSTRAINTS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]
PINNED = {canonicalize_name(pin.name): pin for pin in CONSTRAINTS}
EXTRAS = PROJECT["optional-dependencies"]
WANTED = [
    pytest.param(Requirement(text), id=f"{group}:{Requirement(text).name}")
    for group, texts in {"core": PROJECT["dependencies"], **EXTRAS}.items()
    for text in texts
]


def pip_part() -> list[str]:
    (part,) = [entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict)]
    return part


def test_conda_brings_python_and_pip_alone():
    conda = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)]
    names = {re.split(r"[=<>\s]", entry)[0]: entry for entry in conda}
    assert set(names) == {"python", "pip"}
    version = names["python"].partition("=")[2].lstrip("=")
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(f"{version}.99")


def test_pip_installs_the_project_itself_and_nothing_else():
    """So its dependencies are exactly those of pyproject.toml: there is no second list that could differ."""
    installs = [line for line in pip_part() if not re.match(r"--(constraint|extra-index-url)\s", line)]
    assert installs == ["--editable ."]
    assert (ROOT / "pyproject.toml").is_file() and PROJECT["name"] == "scalept-lab"


def test_pip_uses_the_pins_and_the_cpu_build_of_torch():
    assert "--constraint constraints.txt" in pip_part()
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in pip_part()


def test_every_constraint_is_one_exact_public_version():
    assert len(PINNED) == len(CONSTRAINTS), "a package is pinned twice"
    for pin in CONSTRAINTS:
        assert pin.url is None and pin.marker is None, f"{pin} is more than a version"
        (specifier,) = pin.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, f"{pin} is not exact"
        assert Version(specifier.version).local is None, f"{pin} names a build, not a release"


@pytest.mark.parametrize("wanted", WANTED)
def test_dependency_is_pinned_inside_its_range(wanted):
    pin = PINNED.get(canonicalize_name(wanted.name))
    assert pin, f"{wanted.name} is in pyproject.toml and not in constraints.txt"
    (specifier,) = pin.specifier
    assert wanted.specifier, f"{wanted.name} has no range"
    assert wanted.specifier.contains(specifier.version), f"{pin} is outside {wanted}"


@pytest.mark.parametrize("name", ["sympy", "networkx", "mpmath", "pygments", "transformers"])
def test_the_corpus_is_pinned(name):
    assert name in PINNED


def test_torch_is_pinned():
    assert str(PINNED["torch"]) == "torch==2.13.0"


def test_one_address():
    address = PROJECT["urls"]["Repository"]
    assert f'"git+{address}"' in BOOTSTRAP_CELL
    owner_and_name = address.removeprefix("https://github.com/")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(
        re.findall(
            r"(?:github\.com|colab\.research\.google\.com/github|mybinder\.org/v2/gh)/([\w.-]+/[\w.-]+)",
            readme,
        )
    )
    assert {name.removesuffix(".git") for name in named} == {owner_and_name}
    assert f"https://colab.research.google.com/github/{owner_and_name}/blob/main/notebooks/" in readme
    assert f"https://mybinder.org/v2/gh/{owner_and_name}/" in readme
