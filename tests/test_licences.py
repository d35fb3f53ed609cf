"""Where a package says its licence, and that every pinned one says something."""

from __future__ import annotations

import importlib.util
from email.message import Message
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("licences", ROOT / ".ci" / "licences.py")
assert spec and spec.loader
licences = importlib.util.module_from_spec(spec)
spec.loader.exec_module(licences)


def package(**said):
    told = Message()
    for name, values in said.items():
        for value in [values] if isinstance(values, str) else values:
            told[name.replace("_", "-")] = value
    return SimpleNamespace(metadata=told)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"License_Expression": "MIT", "License": "GPL"}, "MIT"),
        ({"Classifier": ["License :: OSI Approved", "License :: OSI Approved :: MIT License", "Topic :: X"]}, "MIT License"),
        ({"License": "Apache 2.0\nwith all its text"}, "Apache 2.0"),
        ({"License_File": "LICENSE"}, "see its LICENSE"),
        ({}, "not said"),
    ],
)  # fmt: skip
def test_where_a_package_says_it(said, found):
    assert licences.licence(package(**said)) == found


def test_every_pinned_package_says_one():
    names = licences.pinned((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    found = licences.rows([*names, "no-such-package"])
    assert len(names) > 150 and len(found) > 100
    assert [name for name, _, said in found if said == licences.UNSAID] == []
