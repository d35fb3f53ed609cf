"""How long from a key press, or the end of a drag, to the painted picture of each explorer: JupyterLab in a real browser.

python benchmarks/explorers.py                       # every explorer; needs playwright and a chromium
python benchmarks/explorers.py 03 07 --shots DIR     # some, with pictures of them
python benchmarks/explorers.py --python OTHER/.venv/bin/python   # the kernel of another installation

By hand, never in CI. A time is taken in the page itself, from the key's event until the frame after the new picture is
decoded. A drag is 50 positions in about half a second; its time runs from the release to the first picture of the last one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

# what each notebook shows, by its number
CASES = {
    "00": "ex.law_explorer(sl.recorded('standard'))",
    "01": "sl.plots.explorer(sl.plots.plot_repeats, unique={'100k': 1e5, '15T': 1.5e13}, epochs=(1, 64), R_D=(.4, 30.4, .5))",
    "02": "ex.memory_explorer()",
    "03": "ex.descent_explorer()",
    "04a": "ex.rounding_explorer()",
    "04b": "ex.footprint_explorer()",
    "05": "ex.planner_explorer()",
    "06": "ex.goodput_explorer()",
    "07": "ex.schedule_explorer([1 - point[2] / np.log(256) for point in sl.recorded('curriculum')[0].curve])",
    "08": "ex.compute_optimal_explorer()",
    "09": "ex.scores_explorer()",
    "10": "ex.episode_explorer(rooms, rooms[:20], actions_a=[2] * 39, actions_b=[1] * 19, mission='go to the ball')",
    "11": "ex.quantization_explorer()",
    "12": "ex.ring_explorer()",
}
SETUP = """import numpy as np
import scalept_lab as sl
from scalept_lab.plots import explorers as ex
rooms = list(np.random.default_rng(0).integers(0, 255, (40, 8, 8, 3), dtype=np.uint8).repeat(32, 1).repeat(32, 2))"""

WATCH = """(box) => {
  window.pressed = 0; window.painted = [];
  let last = box.querySelector('img').src;
  const seen = () => {
    const found = box.querySelector('img');
    if (!found || found.src === last) return;
    const alt = found.alt;
    last = found.src;
    found.decode().catch(() => 0).then(() => requestAnimationFrame(() => requestAnimationFrame(
      () => window.painted.push([performance.now(), alt]))));
  };
  window.watch?.disconnect();
  window.watch = new MutationObserver(seen);
  window.watch.observe(box, {childList: true, subtree: true, attributeFilter: ['src']});
  if (!window.clocked) for (const kind of ['keydown', 'pointerup', 'mouseup'])
    window.addEventListener(kind, () => { window.pressed = performance.now(); }, true);
  window.clocked = true;
}"""


def notebook(cases: dict[str, str]) -> dict[str, Any]:
    cells = [
        {"cell_type": "code", "id": name, "metadata": {}, "execution_count": None, "outputs": [], "source": text}
        for name, text in [("setup", SETUP), *((f"c{name}", text) for name, text in cases.items())]
    ]  # fmt: skip
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}


def serve(python: str, folder: Path, port: int) -> subprocess.Popen[bytes]:
    """JupyterLab on `folder`, ready to answer."""
    told = [
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--IdentityProvider.token=x",
        f"--ServerApp.root_dir={folder}",
    ]
    env = os.environ | {
        "JUPYTER_CONFIG_DIR": str(folder / ".jupyter"),
        "PYTHONPATH": os.environ.get("EXPLORED", os.getcwd()),
    }
    env |= {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / ".settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / ".spaces"),
    }
    server = subprocess.Popen([python, "-m", "jupyterlab", *told], cwd=folder, env=env,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    for _ in range(120):
        time.sleep(0.5)
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=x")
            return server
        except OSError:
            continue
    raise SystemExit("JupyterLab: expected an answer within a minute, got none")


def measure(page: Any, box: Any) -> dict[str, float]:
    """Milliseconds from key to picture (median of ten), pictures during a drag, milliseconds from its end to its last picture."""
    handle = box.query_selector(".noUi-handle")
    page.evaluate(WATCH, box)
    times = []
    for press in range(11):
        handle.focus()
        before = page.evaluate("() => window.painted.length")
        page.keyboard.press("ArrowRight" if press % 2 == 0 else "ArrowLeft")
        try:
            page.wait_for_function(f"() => window.painted.length > {before}", timeout=8000)
        except Exception:  # the slider stood at its end
            continue
        page.wait_for_timeout(150)
        times.append(page.evaluate(f"() => window.painted[{before}][0] - window.pressed"))
        page.wait_for_timeout(700)
    place = handle.bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    before = page.evaluate("() => window.painted.length")
    for step in range(50):
        page.mouse.move(x + (2.5 * step if step < 30 else 2.5 * (60 - step)), y)
        page.wait_for_timeout(8)
    page.mouse.up()
    page.wait_for_timeout(2000)
    released, shown = page.evaluate("() => [window.pressed, window.painted]")
    drawn = shown[before:]
    last = [at for at, alt in drawn if alt == drawn[-1][1]] if drawn else []
    during = sum(at < released for at, _ in drawn)
    return {
        "key to picture (ms)": round(statistics.median(times)) if times else -1,
        "worst (ms)": round(max(times)) if times else -1,
        "pictures while dragged": during,
        "release to last (ms)": round(max(0.0, last[0] - released)) if last else -1,
    }


def walk(
    python: str, cases: dict[str, str], shots: Path | None, width: int, dark: bool
) -> list[dict[str, Any]]:
    from playwright.sync_api import sync_playwright

    folder = Path(tempfile.mkdtemp())
    (folder / "explorers.ipynb").write_text(json.dumps(notebook(cases)))
    if dark:
        told = folder / ".settings" / "@jupyterlab" / "apputils-extension"
        told.mkdir(parents=True)
        (told / "themes.jupyterlab-settings").write_text('{"theme": "JupyterLab Dark"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server, found = serve(python, folder, port), []
    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": width, "height": 1000})
            page.goto(f"http://127.0.0.1:{port}/doc/tree/explorers.ipynb?token=x")
            page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90000)
            page.wait_for_timeout(4000)
            page.evaluate(
                "() => document.querySelectorAll('.jp-Notification-Toast, .Toastify').forEach(e => e.remove())"
            )
            for number, name in enumerate(["setup", *cases]):
                cell = page.locator(".jp-CodeCell").nth(number)
                cell.scroll_into_view_if_needed()
                cell.locator(".cm-content").click()
                page.keyboard.press("Control+Enter")
                if name == "setup":
                    page.wait_for_timeout(5000)
                    continue
                cell.locator(".jp-OutputArea img").first.wait_for(timeout=60000)
                page.wait_for_timeout(1500)
                box = cell.locator(".jp-OutputArea").element_handle()
                if shots:
                    cell.screenshot(path=str(shots / f"{name}.png"))
                found.append({"explorer": name, **measure(page, box)})
                print("  ".join(f"{key} {value}" for key, value in found[-1].items()), flush=True)
            browser.close()
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
    return found


def cpu(cases: dict[str, str]) -> None:
    """CPU milliseconds of a redraw in this process: the median of 9, after two to warm up."""
    room: dict[str, Any] = {}
    exec(SETUP, room)
    for name, text in cases.items():
        box = eval(text, room)
        times = []
        control = next(c for c in box.controls.values() if hasattr(c, "readout"))
        here = control.value
        for turn in range(11):
            start = time.process_time()
            control.value = here if turn % 2 else _next(control)
            times.append(1000 * (time.process_time() - start))
        print(f"{name}  CPU per redraw {statistics.median(times[2:]):.0f} ms", flush=True)


def _next(control: Any) -> Any:
    if hasattr(control, "options"):
        values = [each[1] if isinstance(each, tuple) else each for each in control.options]
        at = values.index(control.value)
        return values[at + 1 if at + 1 < len(values) else at - 1]
    if hasattr(control, "base"):
        return control.value * control.base**control.step
    return (
        control.value + control.step
        if control.value + control.step <= control.max
        else control.value - control.step
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*CASES, []], help="default: all")
    parser.add_argument("--python", default=sys.executable, help="whose JupyterLab and kernel")
    parser.add_argument("--shots", type=Path, help="a folder for pictures")
    parser.add_argument("--width", type=int, default=1300)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="CPU time of a redraw, without a browser")
    given = parser.parse_args()
    chosen = {name: CASES[name] for name in given.names or CASES}
    if given.shots:
        given.shots.mkdir(parents=True, exist_ok=True)
    if given.cpu:
        cpu(chosen)
    else:
        walk(given.python, chosen, given.shots, given.width, given.dark)
