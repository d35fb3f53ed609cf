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
    if model.get("type") != "notebook" or not isinstance(model.get("content"), dict):
        return
    for cell in model["content"].get("cells", ()):
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "text/html" in data:
                data.pop(WIDGET_VIEW, None)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "scalept_lab.course.server"}]


def _load_jupyter_server_extension(app: Any) -> None:
    app.contents_manager.register_pre_save_hook(without_views)
