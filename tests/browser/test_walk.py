"""A learner's first hour in JupyterLab, in a real browser: `make browser` (needs chromium; minutes, so not in `make test`).

Screenshots go to the folder that SCALEPT_SHOTS names (default: the test's temporary folder); look at them.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from browser.lab import Walk, said, server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "00_start_here.ipynb"
RIGHT = 'import math\n\nanswer = math.log(50_257)\ncheck("00.1", answer)'
WRONG = 'answer = 50_257\ncheck("00.1", answer)'
SEEN = """place => [
  ...[...place.querySelectorAll("img")].map((one) => one.src),
  ...[...place.querySelectorAll("canvas")].map((one) => one.toDataURL()),
].join(" ")"""  # whatever the explorer draws on


@pytest.fixture
def walk(tmp_path):
    """Notebook 00, opened in JupyterLab: without outputs, with results and a cache of its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install '.[browser]'")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no chromium here")
    course, shots = tmp_path / "course", Path(os.environ.get("SCALEPT_SHOTS") or tmp_path / "shots")
    for folder in (course, shots):
        folder.mkdir(parents=True, exist_ok=True)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    (course / NOTEBOOK.name).write_text(json.dumps(notebook), encoding="utf-8")
    places = {"SCALEPT_RESULTS": str(tmp_path / "results"), "SCALEPT_CACHE": str(tmp_path / "cache")}
    with server(course, tmp_path / "lab.log", **places) as address, playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        here = Walk(browser.new_page(viewport={"width": 1300, "height": 1000}), shots)
        try:
            here.open(address % NOTEBOOK.name)
            yield here
        finally:
            here.picture("end")  # where a step failed, what it saw
            browser.close()


def test_a_learner_walks_through_notebook_00(walk):
    walk.picture("opened")
    began = time.perf_counter()
    cells = walk.run_all(seconds=240)
    failed = [said(cell) for cell in cells if any(one["output_type"] == "error" for one in cell["outputs"])]
    assert not failed, failed
    assert [cell["count"] for cell in cells] == list(range(1, len(cells) + 1))
    print(f"run all: {time.perf_counter() - began:.0f} s")
    walk.picture("ran")

    explorer = walk.cell(walk.index(tag="explorer"))
    area = explorer.locator(".jp-OutputArea")
    walk.page.wait_for_function(
        f"place => ({SEEN})(place).length > 1000", arg=area.element_handle(), timeout=30_000
    )
    walk.picture("explorer_before")
    before, began = area.evaluate(SEEN), time.perf_counter()
    handle = explorer.locator("[role=slider], input[type=range]").first
    handle.focus()
    walk.page.keyboard.press("ArrowRight")
    walk.page.wait_for_function(
        f"([place, before]) => {{ const now = ({SEEN})(place); return now.length > 1000 && now !== before }}",
        arg=[area.element_handle(), before], timeout=15_000,
    )  # fmt: skip
    print(f"from the key to the picture: {1000 * (time.perf_counter() - began):.0f} ms")
    walk.picture("explorer_after")

    exercise = walk.index('check("00.1"')
    assert "00.1: not yet" in said(walk.run(exercise, WRONG))
    place = walk.cell(exercise)
    place.locator("button:has-text('Hint')").click()
    place.locator(".widget-html pre, .jupyter-widgets pre").first.wait_for(state="visible", timeout=15_000)
    walk.picture("wrong_then_hint")
    assert "00.1: right" in said(walk.run(exercise, RIGHT))
    walk.picture("right")

    walk.restart()
    walk.run(walk.index("from scalept_lab.course import", "progress"), seconds=90)
    told = said(walk.run(walk.index('progress("00")')))
    row = next(line.split() for line in told.splitlines() if line.startswith("00 "))
    assert row[1] == "1" and row[3] == "1", f"one right, one hint: {told}"
    walk.picture("progress_after_restart")
