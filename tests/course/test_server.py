"""A saved notebook keeps what the kit's widgets show, and not their dead views."""

from __future__ import annotations

import copy
import json
from importlib import import_module
from pathlib import Path

from scalept_lab.course import server
from scalept_lab.course.server import WIDGET_VIEW, without_views

ROOT = Path(__file__).parents[2]


def notebook(*data):
    cells = [{"cell_type": "code", "outputs": [{"data": one} for one in data]}, {"cell_type": "markdown"}]
    return {"type": "notebook", "content": {"cells": cells}}


def test_views_go_where_html_stays():
    ours, theirs = {WIDGET_VIEW: {}, "text/html": "<img>"}, {WIDGET_VIEW: {}, "text/plain": "x"}
    model = notebook(ours, theirs)
    without_views(model, path="a", contents_manager=None)
    assert model == notebook({"text/html": "<img>"}, theirs)


def test_other_files_and_no_content_pass():
    for model in (
        {"type": "file", "content": "x"},
        {"type": "notebook", "content": None},
        {"type": "directory"},
    ):
        before = copy.deepcopy(model)
        without_views(model)
        assert model == before


def test_the_server_finds_it_where_it_is_installed():
    config = json.loads((ROOT / "scalept_lab" / "course" / "server.json").read_text(encoding="utf-8"))
    (name,) = config["ServerApp"]["jpserver_extensions"]
    assert import_module(name)._jupyter_server_extension_points() == [{"module": server.__name__}]
    hooks = []

    class App:
        class contents_manager:
            register_pre_save_hook = staticmethod(hooks.append)

    import_module(name)._load_jupyter_server_extension(App)
    assert hooks == [without_views]
    assert "jupyter_server_config.d" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_what_is_no_notebook_passes_as_it_is():
    """The hook gets whatever a page sends."""
    for content in (
        7,
        [],
        {"cells": 3},
        {"cells": ["x", {"outputs": 1}, {"outputs": [2, {"data": "text/html"}, {"data": None}]}]},
    ):
        model = {"type": "notebook", "content": content}
        before = copy.deepcopy(model)
        without_views(model)
        assert model == before
