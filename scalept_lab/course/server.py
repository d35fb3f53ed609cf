"""What the notebook server does when a notebook is saved: explorers and buttons are kept as what they show without a kernel.

JupyterLab saves the view of a widget, but not the widget. Opened again, such an output says "model not found". The kit's own
widgets bring HTML beside the view; that HTML is what goes into the file. The page that is open keeps its controls.
Installed with the kit, as an extension of Jupyter Server (etc/jupyter/jupyter_server_config.d).
"""

from __future__ import annotations

from typing import Any

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def without_views(model: dict[str, Any], **where: Any) -> None:
    """A pre-save hook: take the widget views out of outputs that also hold HTML; in place. Other outputs stay as they are."""
    if model.get("type") != "notebook":
        return
    for cell in objects(model.get("content"), "cells"):
        for output in objects(cell, "outputs"):
            data = output.get("data")
            if isinstance(data, dict) and "text/html" in data:
                data.pop(WIDGET_VIEW, None)


def objects(of: Any, key: str) -> list[dict[str, Any]]:
    """The objects in a list of a notebook's JSON, which anything may have written: nothing where there is no such list."""
    found = of.get(key) if isinstance(of, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "scalept_lab.course.server"}]


def _load_jupyter_server_extension(app: Any) -> None:
    app.contents_manager.register_pre_save_hook(without_views)
