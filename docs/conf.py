"""The docs site (`make docs`): README, notebooks with their saved outputs, docs, and the docstrings of the rooms.

Sphinx reads the repository itself (`sphinx-build -c docs . site/html`). Nothing is executed: pages show what is committed.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import posixpath
import re
import shutil
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import scalept_lab  # noqa: E402
from scalept_lab.course import here  # noqa: E402

REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"][
    "Repository"
]
ROOMS = ("scalept_lab", *(f"scalept_lab.{room}" for room in scalept_lab.ROOMS))
PAGES = ("docs/glossary", "docs/instructor", "docs/at_scale", "docs/results")
LESSONS = {f"notebooks/{lesson.file.removesuffix('.ipynb')}": lesson for lesson in here.COURSE}

project, author, release = "ScalePT Lab", "ScalePT Lab", scalept_lab.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = ["README.md", *(f"{page}.md" for page in PAGES), "notebooks/*.ipynb", "docs/api/*.rst"]
exclude_patterns = [".*", "results", "**/results", "tests", "benchmarks", "data", "site"]

html_theme = "furo"
html_title = "ScalePT Lab"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_math_renderer = "mathml"  # formulas need neither a network nor JavaScript

nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 3
myst_heading_slug_func = "scalept_lab.course.here.github_anchor"

linkcheck_ignore = [re.escape(REPOSITORY)]  # files of this repository: a unit test asks for them

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False  # of torch, in other markup
autodoc_default_options = {
    "members": True,
    "exclude-members": "set",
}  # matplotlib writes one into each figure class
suppress_warnings = ["ref.python"]  # two rooms may each have a Row


def contents() -> str:
    """What stands in the side bar: the course in its order, the other pages, the rooms."""
    lessons = [
        f"{lesson.number} {lesson.title} {lesson.chinese} </{page}>" for page, lesson in LESSONS.items()
    ]
    rooms = [f"{room.removeprefix('scalept_lab.')} </docs/api/{room}>" for room in ROOMS]
    parts = {"The course": lessons, "Beside it": [f"/{page}" for page in PAGES], "The package": rooms}
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(lines) + "\n```\n"
        for caption, lines in parts.items()
    )


def room_page(room: str) -> str:
    """A page of one room: what it gives directly, then its modules with their docstrings."""
    package = importlib.import_module(room)
    modules = [found.name for found in pkgutil.iter_modules(package.__path__) if not found.ispkg]
    direct = [name for name in package.__all__ if name not in (*modules, *scalept_lab.ROOMS)]
    short = room.replace("scalept_lab", "sl")
    text = f"{short}\n{'=' * len(short)}\n\n.. automodule:: {room}\n   :no-members:\n"
    if direct:
        text += f"\n``{short}`` gives directly: " + ", ".join(f"``{name}``" for name in direct) + ".\n"
    for name in modules:
        text += f"\n{name}\n{'-' * len(name)}\n\n.. automodule:: {room}.{name}\n"
    return text


def write_room_pages(app) -> None:
    folder = ROOT / "docs" / "api"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for room in ROOMS:
        (folder / f"{room}.rst").write_text(room_page(room), encoding="utf-8")


def read_source(app, page: str, source: list[str]) -> None:
    """Links that hold on GitHub and in JupyterLab are made to hold here; the start page gets the contents."""
    if page.startswith("docs/api/"):
        return
    folder = posixpath.dirname(page)
    if page in LESSONS:
        notebook = json.loads(source[0])
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = links("".join(cell["source"]), folder)
            elif cell["metadata"].get("jupyter", {}).get("source_hidden"):
                cell["metadata"].setdefault("tags", []).append("hide-input")
            for output in cell.get("outputs", ()):
                if "text/html" in output.get("data", {}):  # the map of the course
                    shown = "".join(output["data"]["text/html"])
                    output["data"]["text/html"] = re.sub(r'href="(\d\d_\w+)\.ipynb', r'href="\1.html', shown)
        source[0] = json.dumps(notebook)
    else:
        source[0] = links(source[0], folder)
    if page == root_doc:
        source[0] += contents()


def links(text: str, folder: str) -> str:
    """Anchors as this site writes them; files that are no page here, in the repository on the web."""

    def there(found: re.Match[str]) -> str:
        before, target, after = found.groups()
        path, _, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(folder, path))
        page = posixpath.splitext(place)[0]
        if path and page not in (root_doc, *PAGES, *LESSONS) and not path.endswith(".png"):
            target = f"{REPOSITORY}/blob/main/{place}"
        elif anchor:
            target = f"{path}#{here.github_anchor(unquote(anchor))}"
        return before + target + after

    elsewhere = r"(?!https?:|mailto:)"
    text = re.sub(rf"(\]\(){elsewhere}([^)\s]+)(\))", there, text)
    return re.sub(rf"^(\[[^\]\n]+\]: ){elsewhere}(\S+)()$", there, text, flags=re.MULTILINE)


def docstring(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are plain text: paragraphs with `code`, and tables in columns, which stay as they are."""
    out: list[str] = []
    for block in "\n".join(lines).strip().replace("``", "`").split("\n\n"):
        if re.search(r"^ | {2}", block, re.MULTILINE):
            out += ["::", "", *(f"   {line}" for line in block.splitlines()), ""]
        else:
            parts = re.split(r"(`[^`]+`)", block)
            parts = [
                rf"\ `{part}`\ " if part[:1] == "`" else re.sub(r"[\\*|_`]", r"\\\g<0>", part)
                for part in parts
            ]
            out += ["".join(parts), ""]
    lines[:] = "\n".join(out).splitlines()


def formula(display: str):
    def visit(translator, node) -> None:
        from docutils.nodes import SkipNode
        from latex2mathml.converter import convert

        mathml = convert(node.astext(), display=display)
        translator.body.append(f'<div class="math">{mathml}</div>' if display == "block" else mathml)
        raise SkipNode

    return visit, None


def start_page(app, failed) -> None:
    """A server asks for index.html."""
    if not failed and app.builder.name == "html":
        shutil.copy(Path(app.outdir, "README.html"), Path(app.outdir, "index.html"))


def setup(app) -> None:
    app.connect("builder-inited", write_room_pages)
    app.connect("source-read", read_source)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("build-finished", start_page)
    app.add_html_math_renderer("mathml", formula("inline"), formula("block"))
