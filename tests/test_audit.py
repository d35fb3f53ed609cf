"""What is made of pip-audit's answers: an audit that asked about nothing is not done, whatever status pip-audit ends with."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

spec = importlib.util.spec_from_file_location("audit", Path(__file__).parents[1] / ".ci" / "audit.py")
assert spec and spec.loader
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)

SOUND = {"name": "numpy", "version": "2.3.5", "vulns": []}
FAULTY = {"name": "jinja2", "version": "3.1.2", "vulns": [{"id": "PYSEC-2024-1", "fix_versions": ["3.1.3"]}]}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("packages", "status", "says"),
    [
        ([SOUND, SOUND], 0, "2 packages, none with a known vulnerability"),
        ([SOUND, FAULTY], 1, "jinja2 3.1.2: PYSEC-2024-1, mended in 3.1.3"),
        ([SKIPPED, SKIPPED], 3, "not done: 0 of 2 packages could be asked about, not torch, torch"),
        ([SOUND, SKIPPED], 3, "not done: 1 of 2 packages could be asked about, not torch"),
        ([FAULTY, SKIPPED], 1, "jinja2 3.1.2: PYSEC-2024-1"),
        ([], 3, "not done: 0 of 0"),
    ],
)
def test_the_status_tells_sound_from_not_asked(packages: list[Any], status: int, says: str):
    found, lines = audit.verdict(json.dumps({"dependencies": packages, "fixes": []}), "")
    assert found == status and lines[0].startswith(says)


@pytest.mark.parametrize("output", ["", "null", "[]", "{", "<html>"])
def test_without_an_answer_it_is_not_done(output):
    status, lines = audit.verdict(output, "a traceback\nConnectionError: no route")
    assert (status, lines) == (3, ["not done: the advisories could not be had (ConnectionError: no route)"])


def test_it_asks_about_every_pin_and_hands_its_status_on(tmp_path, capsys):
    program = tmp_path / "pip_audit.py"
    program.write_text(
        "import json, re, sys\n"
        "pins = re.findall(r'^([\\w.-]+)==(\\S+)', open(sys.argv[sys.argv.index('--requirement') + 1]).read(), re.M)\n"
        "print(json.dumps({'dependencies': [{'name': n, 'version': v, 'vulns': []} for n, v in pins]}))\n"
    )
    assert audit.main([sys.executable, str(program)]) == 0
    assert int(capsys.readouterr().out.split()[0]) > 150
    assert audit.main([str(tmp_path / "no-such-program")]) == 3
    assert capsys.readouterr().out.startswith("not done: ")
