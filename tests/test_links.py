"""Every link of the texts and notebooks: a file that is there, a heading that is there, an address that is well formed.

Whether an address of the web answers is asked by hand (`make links`).
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from scalept_lab.course import here

ROOT = Path(__file__).parents[1]
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("data/**/*.md")])
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
LINK = re.compile(
    r"\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)\)|<(?:a|img)\b[^>]*?\b(?:href|src)=\"([^\"]+)\"|^\[[^\]\n]+\]: (\S+)$",
    re.MULTILINE,
)
HTTP_ONLY = {"www.mmds.org"}  # no https there
WRITTEN_AS = {  # how a source writes the addresses of its papers
    "arxiv.org": r"/abs/\d{4}\.\d{4,5}",
    "doi.org": r"/10\.\d{4,9}/[\w.()%/-]+",
    "aclanthology.org": r"/[A-Z]\d\d-\d{4}/|/\d{4}\.[a-z-]+\.\d+/",
    "proceedings.mlr.press": r"/v\d+/[\w-]+\.html",
}


@cache
def read(path: Path) -> str:
    """A text without its blocks of code; of a notebook its Markdown."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(path: Path) -> set[str]:
    """What the headings of a file are called in an address: by JupyterLab in a notebook, by GitHub in a text."""
    name = here.anchor if path.suffix == ".ipynb" else here.github_anchor
    return {name(heading) for heading in re.findall(r"^#{1,6} (.+)$", read(path), re.MULTILINE)}


def problems(path: Path, text: str, root: Path = ROOT) -> list[str]:
    """What is wrong with the links of a text that stands at `path`."""
    found = []
    for match in LINK.finditer(re.sub(r"(?<!\[)`[^`\n]+`(?!\])", "", text)):  # a bracket in code is no link
        target = match[1] or match[2] or match[3] or ""
        if re.match(r"\w+:", target):
            wrong = web_problem(target)
        else:
            place, _, anchor = target.partition("#")
            file = (path.parent / unquote(place)).resolve() if place else path
            wrong = ""
            if not file.exists() or not file.is_relative_to(root):
                wrong = "no such file"
            elif anchor and anchor not in anchors(file):
                wrong = "no such heading"
        if wrong:
            found.append(f"{target}: {wrong}")
    return found


def web_problem(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.netloc in HTTP_ONLY):
        return "not https"
    if not re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc):
        return "no host"
    shape = WRITTEN_AS.get(parts.netloc)
    return f"expected {shape}" if shape and not re.fullmatch(shape, parts.path) else ""


@pytest.mark.parametrize("path", [*TEXTS, *NOTEBOOKS], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    assert problems(path, read(path)) == []


def test_there_are_links_to_follow():
    text = "".join(read(path) for path in [*TEXTS, *NOTEBOOKS])
    assert len(LINK.findall(text)) > 300


def further_reading(path: Path) -> list[str]:
    found = re.search(r"^## Further reading\n(.*?)(?=^## |\Z)", read(path), re.MULTILINE | re.DOTALL)
    return re.findall(r"^- .+$", found[1], re.MULTILINE) if found else []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_title_of_further_reading_leads_to_its_paper(path):
    assert further_reading(path)
    for entry in further_reading(path):
        assert "](http" in entry, entry
        titles = re.findall(r"\*[^*]+\*", re.sub(r"\[[^\]]*\]\([^)]*\)", "", entry))
        assert not titles, f"no link: {titles}"


def test_a_paper_has_one_address():
    seen: dict[str, set[str]] = {}
    for path in NOTEBOOKS:
        for title, address in re.findall(r"\[(\*[^\]]+\*)\]\((http[^)]+)\)", read(path)):
            seen.setdefault(title, set()).add(address)
    assert {title: places for title, places in seen.items() if len(places) > 1} == {}


@pytest.mark.parametrize(
    ("link", "wrong"),
    [
        ("[x](docs/glossary.md)", ""),
        ("[x](docs/at_scale.md#a-gpu)", ""),
        ("[x](notebooks/00_start_here.ipynb#The-map-of-the-course)", ""),
        ("[x](docs/glossar.md)", "no such file"),
        ("see [x]\n\n[x]: docs/at_scale.md#a-gpu", ""),
        ("see [x]\n\n[x]: docs/at_scale.md#A-GPU", "no such heading"),
        ("[x](../secret.md)", "no such file"),
        ("[x](docs/at_scale.md#A-GPU)", "no such heading"),
        ("[x](notebooks/00_start_here.ipynb#the-map-of-the-course)", "no such heading"),
        ("![x](docs/studie.png)", "no such file"),
        ('<img src="docs/studie.png" alt="x">', "no such file"),
        ("[x](https://arxiv.org/abs/2203.15556)", ""),
        ("[x](https://arxiv.org/pdf/2203.15556)", "expected"),
        ("[x](https://arxiv.org/abs/220315556)", "expected"),
        ("[x](https://doi.org/10.1016/0041-5553(64)90137-5)", ""),
        ("[x](https://doi.org/1016/0041)", "expected"),
        ("[x](http://arxiv.org/abs/2203.15556)", "not https"),
        ("[x](https://arxiv/abs/2203.15556)", "no host"),
        ("[x](javascript:alert(1))", "not https"),
    ],
)
def test_a_broken_link_is_seen(link, wrong):
    found = problems(ROOT / "README.md", f"See {link}.")
    assert (not wrong and not found) or (len(found) == 1 and wrong in found[0])
