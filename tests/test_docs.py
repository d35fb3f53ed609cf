"""The docs site's settings: nothing is forgotten, and what holds on GitHub and in JupyterLab holds there. Builds no page."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("docs_conf", ROOT / "docs" / "conf.py")
assert _spec and _spec.loader
conf = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(conf)


def test_every_notebook_page_and_room_is_in_the_contents():
    listed = re.findall(r"/?((?:notebooks|docs)/[\w./]+)", conf.contents())
    notebooks = [f"notebooks/{path.stem}" for path in sorted(ROOT.glob("notebooks/*.ipynb"))]
    texts = {f"docs/{path.stem}" for path in ROOT.glob("docs/*.md")} - {
        "docs/style"
    }  # for writers, not for readers
    rooms = {path.parent.name for path in ROOT.glob("scalept_lab/*/__init__.py")} | {"scalept_lab"}
    assert [page for page in listed if page.startswith("notebooks/")] == notebooks
    assert {page for page in listed if re.fullmatch(r"docs/\w+", page)} == texts
    assert {page.rpartition("/")[2].rpartition(".")[2] for page in listed if "docs/api/" in page} == rooms


def test_nothing_is_executed_and_a_warning_ends_the_build():
    assert conf.nb_execution_mode == "off"
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^SPHINX := .* -W ", make, re.MULTILINE)


@pytest.mark.parametrize(
    ("link", "there"),
    [
        ("[x](00_start_here.ipynb#The-map-of-the-course)", "[x](00_start_here.ipynb#the-map-of-the-course)"),
        ("[x](#1-·-Collect-收集:-it)", "[x](#1--collect-收集-it)"),
        ("[x](../docs/glossary.md)", "[x](../docs/glossary.md)"),
        ("[x](../scalept_lab/runs.py)", f"[x]({conf.REPOSITORY}/blob/main/scalept_lab/runs.py)"),
        ("[x](https://arxiv.org/abs/2203.15556)", "[x](https://arxiv.org/abs/2203.15556)"),
        ("see [x]\n\n[x]: 00_start_here.ipynb#The-map", "see [x]\n\n[x]: 00_start_here.ipynb#the-map"),
        ("![x](images/tensorboard.png)", "![x](images/tensorboard.png)"),
    ],
)
def test_links_of_a_notebook(link, there):
    assert conf.links(link, "notebooks") == there


def test_a_notebook_hides_its_setup_and_its_map_leads_to_pages():
    source = [(ROOT / "notebooks" / "00_start_here.ipynb").read_text(encoding="utf-8")]
    conf.read_source(None, "notebooks/00_start_here", source)
    cells = json.loads(source[0])["cells"]
    setup = next(cell for cell in cells if cell["cell_type"] == "code")
    assert "hide-input" in setup["metadata"]["tags"]
    assert 'href="01_data_scaling.html"' in source[0].replace("\\", "") and '.ipynb\\">' not in source[0]


def test_a_docstring_keeps_its_columns_and_its_signs():
    lines = ["Loss of `x_B`s | a * b.", "", "width  of the model", "  depth of it"]
    conf.docstring(None, "function", "f", None, None, lines)
    assert lines == [
        r"Loss of \ ``x_B``\ s \| a \* b.", "", "::", "", "   width  of the model", "     depth of it",
    ]  # fmt: skip


def test_only_a_built_site_gets_a_first_page(tmp_path):
    (tmp_path / "README.html").write_text("x")
    for builder, failed in (("linkcheck", None), ("html", OSError())):
        conf.start_page(SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(name=builder)), failed)
        assert not (tmp_path / "index.html").exists()
    conf.start_page(SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(name="html")), None)
    assert (tmp_path / "index.html").read_text() == "x"


def test_a_room_page_names_its_modules():
    page = conf.room_page("scalept_lab.costs")
    assert ".. automodule:: scalept_lab.costs.footprint" in page and "gives directly: ``Cluster``" in page
