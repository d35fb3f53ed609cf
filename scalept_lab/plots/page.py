"""The planners on one page, for people who only want to look: `make explore`, or `python -m scalept_lab.plots.page`.

A small server for this machine alone serves one HTML page and draws what its sliders say, with the explorers of the notebooks:
the same controls, the same pure figures. The page asks for the next picture when it has the last one, so the newest
position is drawn and none queues up. Nothing is loaded from elsewhere.
"""

from __future__ import annotations

import json
import math
import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import ipywidgets as ipw
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scalept_lab.checks import one_of
from scalept_lab.errors import InputError
from scalept_lab.plots import explorers
from scalept_lab.plots.charts import plot_repeats
from scalept_lab.plots.explorers import Explorer, explorer

# name -> question, what it is drawn from and under which assumption, its explorer
PLANNERS: dict[str, tuple[str, str, Callable[[], Explorer]]] = {
    "optimal": (
        "How large a model for this much compute?",
        "Loss against model size at equal compute, under published scaling laws. The dot is the best model.",
        explorers.compute_optimal_explorer,
    ),
    "repeats": (
        "What is repeated text worth?",
        "A second pass over a text teaches nearly as much as fresh text, a fortieth next to nothing (Muennighoff et al. 2023).",
        lambda: explorer(
            plot_repeats,
            unique=ipw.Dropdown(
                options={"100M": 1e8, "1B": 1e9, "100B": 1e11, "15T": 1.5e13}, value=1e11, description="different tokens"
            ),
            epochs=ipw.IntSlider(value=4, min=1, max=64, description="passes over them"),
            R_D=ipw.FloatSlider(value=15.4, min=0.4, max=30.4, step=0.5, description="how well repetition works (R_D)"),
        ),
    ),
    "memory": (
        "Does the training state fit on a GPU?",
        "Parameters, gradients and optimizer on each GPU at every stage of ZeRO. Activations come on top.",
        explorers.memory_explorer,
    ),
    "footprint": (
        "What does a training step take in memory?",
        "The same with activations, for a model of this course: what accumulation, recomputation and 16 bits save.",
        explorers.footprint_explorer,
    ),
    "layout": (
        "How is a large model spread over many GPUs?",
        "The fastest layout of each kind by formula, on A100s in servers of eight. Hatched bars do not fit.",
        explorers.planner_explorer,
    ),
    "ring": (
        "From which context on does ring attention pay?",
        "Ranks hand keys and values around a ring. A message is free where the work on a block takes longer.",
        explorers.ring_explorer,
    ),
    "goodput": (
        "How often should a run be saved?",
        "Saving too often and too rarely both cost time. More GPUs fail more often (Daly 2006).",
        explorers.goodput_explorer,
    ),
    "quantization": (
        "What do fewer bits do to weights?",
        "The levels that are left, and the error by bits with a scale per tensor, channel or group. An outlier hurts most.",
        explorers.quantization_explorer,
    ),
}  # fmt: skip


class Planners:
    """The explorers of the page, each made when it is first asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Explorer] = {}

    def __getitem__(self, name: str) -> Explorer:
        if name not in self._made:
            self._made[name] = PLANNERS[one_of("planner", name, PLANNERS)][2]()
        return self._made[name]

    def picture(
        self, name: str, told: dict[str, str], small: bool = False, hasty: bool = False
    ) -> dict[str, str]:
        """The `<img>` and the message for these values of the controls (a menu's: the number of the choice), as text.

        Raises: InputError for a planner, a control or a value that is not there.
        """
        box = self[name]
        values = {
            key: _value(key, box.controls[one_of("control", key, box.controls)], text)
            for key, text in told.items()
        }
        box.small = small
        box.choose(values, hasty)
        return {"picture": box.picture.value, "message": box.message.value}

    def page(self) -> str:
        """The page as HTML, with the first pictures in it."""
        rooms = Environment(
            loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        planners = [
            {"name": name, "question": question, "about": about,
             "controls": [_control(key, control) for key, control in self[name].controls.items()
                          if isinstance(control, ipw.DOMWidget)]}
            for name, (question, about, _) in PLANNERS.items()
        ]  # fmt: skip
        return rooms.get_template("page.html.j2").render(planners=planners)


def _control(name: str, control: Any) -> dict[str, Any]:
    """A control of an explorer as the page shows it: kind, label, and for a slider its ends."""
    shown = {"name": name, "label": control.description, "labels": [], "log": False}
    if isinstance(control, ipw.Checkbox):
        return shown | {"kind": "checkbox", "value": control.value}
    if hasattr(control, "_options_labels"):
        kind = "slider" if isinstance(control, ipw.SelectionSlider) else "menu"
        labels = list(control._options_labels)
        return shown | {
            "kind": kind,
            "labels": labels,
            "low": 0,
            "high": len(labels) - 1,
            "step": 1,
            "value": control.index,
        }
    log = hasattr(control, "base")
    value = round(math.log(control.value, control.base), 6) if log else control.value
    return shown | {
        "kind": "slider",
        "low": control.min,
        "high": control.max,
        "step": control.step,
        "value": value,
        "log": log,
    }


def _value(name: str, control: Any, text: str) -> Any:
    """What the page sent, as the control takes it. Raises: InputError."""
    try:
        if isinstance(control, ipw.Checkbox):
            return {"true": True, "false": False}[text]
        if hasattr(control, "_options_labels"):
            return dict(enumerate(control._options_values))[int(text)]
        number = float(text)
        if not control.min <= number <= control.max:
            raise ValueError
        return control.base**number if hasattr(control, "base") else type(control.value)(number)
    except (KeyError, ValueError, OverflowError):
        raise InputError(
            f"{name}: expected a value that the control can take, got {text[:40]!r}; move the control"
        ) from None


class Answers(BaseHTTPRequestHandler):
    """`/` is the page; `/picture/<planner>?control=value&…` a picture of it, as JSON. Everything else is not there."""

    planners = Planners()

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        try:
            if asked.path == "/":
                return self._send(200, "text/html", self.planners.page())
            if not asked.path.startswith("/picture/"):
                raise InputError(f"expected / or /picture/<planner>, got {asked.path[:40]!r}")
            told = dict(parse_qsl(asked.query[:2000]))
            how = {key: told.pop(key, "") == "1" for key in ("small", "hasty")}
            found = self.planners.picture(asked.path.removeprefix("/picture/"), told, **how)
            self._send(200, "application/json", json.dumps(found))
        except InputError as error:
            self._send(404, "text/plain", str(error))
        except ConnectionError:  # the page was closed
            pass

    def _send(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in (("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body))),
                            ("Cache-Control", "no-store")):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *line: Any) -> None:
        """A line for every picture would bury the address."""


def serve(port: int = 0) -> HTTPServer:
    """The server, on this machine alone; `port` 0: one that is free. Call `serve_forever` on it. Raises: InputError."""
    try:
        return HTTPServer(("127.0.0.1", port), Answers)
    except OSError as error:
        raise InputError(
            f"port {port}: expected one that is free, got {error.strerror}; choose another"
        ) from None


def main() -> None:
    with serve() as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        print(f"The planners: {address}   (Ctrl-C ends it)", flush=True)
        webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
