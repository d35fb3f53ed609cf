"""A JupyterLab of its own, and a learner's hands in it: what the walk in test_walk.py uses.

The page's app is read (which cells there are, what came out of them), so that a step waits for what it needs and for nothing
else. What a learner would do is done by mouse and keyboard.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SETTINGS = {
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false",
        "checkForUpdates": False,
    }
}
START_SECONDS = 60.0

SCROLL = """number => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = number;
  return notebook.scrollToItem(number, "center");
}"""

# What a step asks of the page. `cell` is the model's cell; its node may be scrolled out of the document.
STATE = """() => {
  const app = window.jupyterapp, panel = app && app.shell.currentWidget;
  if (!panel || !panel.sessionContext || !panel.context.isReady || !panel.content.model) return null;
  const kernel = panel.sessionContext.session && panel.sessionContext.session.kernel;
  return {
    kernel: kernel ? kernel.status : "none",
    cells: panel.content.widgets.map((cell) => ({
      type: cell.model.type,
      source: cell.model.sharedModel.getSource(),
      tags: cell.model.getMetadata("tags") || [],
      count: cell.model.type === "code" ? cell.model.executionCount : null,
      outputs: cell.model.type === "code" ? cell.model.outputs.toJSON() : [],
    })),
  };
}"""


@contextlib.contextmanager
def server(folder: Path, log: Path, **environment: str) -> Iterator[str]:
    """JupyterLab on a free port of this machine, with a token, serving `folder`: its address. It is always stopped, and so are
    its kernels. Raises: RuntimeError with the end of the log where it does not answer."""
    token, home = secrets.token_hex(16), log.parent / "jupyter"
    for name, values in SETTINGS.items():
        file = home / "settings" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {
        **os.environ, **environment, "JUPYTER_TOKEN": token, "JUPYTER_CONFIG_DIR": str(home),
        "JUPYTER_DATA_DIR": str(home), "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
    }  # fmt: skip
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--expose-app-in-browser", f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}", f"--LabApp.user_settings_dir={home / 'settings'}",
        *(["--allow-root"] if os.name != "nt" and os.getuid() == 0 else []),
    ]  # fmt: skip
    with open(log, "w", encoding="utf-8") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=env, cwd=folder, start_new_session=True
        )
    try:
        _answers(process, f"http://127.0.0.1:{port}/api/status?token={token}", log)
        yield f"http://127.0.0.1:{port}/lab/tree/%s?token={token}&reset"
    finally:
        process.terminate()  # it ends its kernels
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(process: subprocess.Popen, address: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(
        f"JupyterLab does not answer; the end of its log: {log.read_text(errors='replace')[-800:]}"
    )


class Walk:
    """A notebook that is open in a page. Cells are found by what stands in them; `picture(name)` keeps a screenshot."""

    def __init__(self, page: Any, shots: Path):
        self.page, self.shots, self.number = page, shots, 0

    def open(self, address: str) -> None:
        self.page.goto(address)
        self.until(
            lambda state: state["kernel"] == "idle" and state["cells"],
            "the notebook is open, its kernel idle",
            90,
        )

    def state(self) -> Any:
        return self.page.evaluate(STATE)

    def until(self, holds: Any, what: str, seconds: float = 30) -> Any:
        """The state for which `holds`. Raises: AssertionError that says what was waited for."""
        end = time.monotonic() + seconds
        while True:
            state = self.state()
            if state is not None and (found := holds(state)):
                return found
            assert time.monotonic() < end, f"after {seconds:g} s, still not: {what}"
            self.page.wait_for_timeout(100)

    def index(self, *texts: str, tag: str = "") -> int:
        """Number of the first code cell that holds all `texts` and has the tag, where one is given."""
        for number, cell in enumerate(self.state()["cells"]):
            if (
                cell["type"] == "code"
                and all(text in cell["source"] for text in texts)
                and (not tag or tag in cell["tags"])
            ):
                return number
        raise AssertionError(f"no code cell with {texts or tag!r}")

    def cell(self, number: int) -> Any:
        """The cell's place in the page, scrolled to."""
        self.page.evaluate(SCROLL, number)
        place = self.page.locator(
            f'.jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell[data-windowed-list-index="{number}"]'
        )
        place.wait_for(state="visible", timeout=15_000)
        return place

    def run(self, number: int, source: str | None = None, seconds: float = 30) -> dict:
        """Run a cell by Ctrl+Enter, with another source if one is given, and wait for its end; the cell's state."""
        place = self.cell(number)
        place.locator(".cm-content").click()
        if source is not None:
            self.page.keyboard.press("Control+A")
            self.page.keyboard.insert_text(source)
        self.forget([number])
        self.page.keyboard.press("Control+Enter")
        return self.until(lambda state: self._done(state, [number]), f"cell {number} has run", seconds)[
            "cells"
        ][number]

    def forget(self, numbers: list[int]) -> None:
        """Take away the execution counts of cells: the next ones say that they have run."""
        self.page.evaluate(
            "ns => ns.forEach(n => { window.jupyterapp.shell.currentWidget.content.widgets[n].model.executionCount = null })",
            numbers,
        )

    @staticmethod
    def _ran(state: Any, numbers: list[int]) -> bool:
        """Whether these cells have run, or one of them has failed, so that the others never will."""
        cells = [state["cells"][number] for number in numbers]
        return any(one["output_type"] == "error" for cell in cells for one in cell["outputs"]) or all(
            cell["count"] for cell in cells
        )

    @classmethod
    def _done(cls, state: Any, numbers: list[int]) -> Any:
        return state if cls._ran(state, numbers) and state["kernel"] == "idle" else None

    def run_all(self, seconds: float) -> list[dict]:
        """Run → Run All Cells, by the menu; the state of the code cells after the last one, or after one that failed.

        `seconds`: for each cell, since a busy machine may take long over all of them.
        """
        numbers = [n for n, cell in enumerate(self.state()["cells"]) if cell["type"] == "code"]
        self.forget(numbers)
        self.menu("Run", "Run All Cells")
        for last in range(1, len(numbers) + 1):
            self.until(
                lambda s, upto=numbers[:last]: self._ran(s, upto), f"code cell {last} has run", seconds
            )
        state = self.until(lambda state: self._done(state, numbers), "the kernel is idle", seconds)
        return [state["cells"][number] for number in numbers]

    def restart(self) -> None:
        """Kernel → Restart Kernel…, confirmed."""
        self.page.evaluate("""() => {
          const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
          window.restarted = false;
          kernel.statusChanged.connect((_, status) => { window.restarted ||= /restarting|starting/.test(status); });
        }""")
        self.menu("Kernel", "Restart Kernel…")
        self.page.locator(
            "dialog button:has-text('Restart'), .jp-Dialog button:has-text('Restart')"
        ).first.click()
        self.page.wait_for_function("() => window.restarted", timeout=30_000)
        self.until(lambda state: state["kernel"] == "idle", "the kernel is back", 60)

    def menu(self, name: str, item: str) -> None:
        self.page.locator(f".lm-MenuBar-itemLabel:text-is('{name}')").click()
        self.page.locator(f".lm-Menu-itemLabel:text-is('{item}')").click()

    def picture(self, name: str) -> None:
        self.number += 1
        self.page.screenshot(path=str(self.shots / f"{self.number:02d}_{name}.png"))


def said(cell: dict) -> str:
    """The text of a cell's outputs."""
    told = []
    for output in cell["outputs"]:
        data = output.get("data", {})
        told.append(
            output.get("text", "") or data.get("text/plain", "") or "\n".join(output.get("traceback", []))
        )
    return "\n".join("".join(text) for text in told)
