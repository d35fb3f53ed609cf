"""What a notebook of the course needs besides the kit, read from its cells, and whether that is on this machine.

A changed notebook changes its answer by itself. Nothing is imported, built or fetched for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from scalept_lab import folders, machine, outside
from scalept_lab.course.here import COURSE
from scalept_lab.data import corpora, wheels
from scalept_lab.data.documents import CORPORA, DEFAULT_SOURCES
from scalept_lab.errors import InputError


def notebooks() -> Path:
    """The folder of the course: of this checkout, else where one is."""
    places = (machine.ROOT / "notebooks", Path("notebooks"), Path())
    return next((place for place in places if (place / COURSE[0].file).is_file()), places[0])


def of(path: Path) -> tuple[list[str], list[str]]:
    """What a notebook needs and finds here, and what it needs and does not find without a network, each in words.

    Raises: InputError for a file that is no notebook.
    """
    code = _code(path)
    found: list[str] = []
    missing: list[str] = []
    for pattern, look in NEEDS:
        for what in dict.fromkeys(re.findall(pattern, code)):
            said, there = look(what)
            if said not in found + missing:
                (found if there else missing).append(said)
    return found, missing


def _code(path: Path) -> str:
    """The code cells of a notebook but the first, which installs the kit on a hosted machine."""
    found = outside.json_object(path, "a notebook of the course", 20 * 10**6)
    cells = found.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise InputError(f"{path}: expected a notebook of the course, got JSON without a list of cells")
    code = ["".join(map(str, cell.get("source", ""))) for cell in cells if cell.get("cell_type") == "code"]
    return "\n".join(code[1:])


def _recorded(name: str) -> tuple[str, bool]:
    from scalept_lab.runs import data_folder

    there = (data_folder() / "records" / f"{name}.jsonl").is_file()
    return ("recorded sweeps", True) if there else (f"the recorded sweep {name} is missing", False)


def _text(name: str) -> tuple[str, bool]:
    generated = name.partition("/")[0] == "language"
    if not generated and name not in CORPORA:
        return f"the corpus {name} is none of the kit's", False
    if corpora.kept(name):
        return f"corpus {name}, in the cache", True
    if generated:
        return f"corpus {name}, generated at the first run", True
    lacking = [source for source in CORPORA[name].sources if not _at_hand(source)]
    if lacking:
        return f"the corpus {name} needs the sources of {', '.join(lacking)}, which are not here", False
    return f"corpus {name}, built at the first run", True


@cache
def _at_hand(source: str) -> bool:
    return wheels.at_hand(wheels.SOURCES[source])


def _sources(_: str) -> tuple[str, bool]:
    lacking = [source for source in DEFAULT_SOURCES if not _at_hand(source)]
    if lacking:
        return f"the pinned sources of {', '.join(lacking)} are not here", False
    return "sources of the pinned packages", True


def _made(kind: str, pattern: str) -> Callable[[str], tuple[str, bool]]:
    def look(_: str) -> tuple[str, bool]:
        kept = any(folders.cache().glob(pattern))
        return f"{kind}, {'in the cache' if kept else 'trained at the first run'}", True

    return look


def _trained_on(_: str) -> tuple[str, bool]:
    return _text("python")  # unless it says otherwise


def _network(what: str) -> tuple[str, bool]:
    return f"a cell asks the network: {what}"[:100], False


NEEDS: tuple[tuple[str, Callable[[str], tuple[str, bool]]], ...] = (
    (r'\brecorded\(\s*"([\w-]+)"', _recorded),
    (r'(?:\bprepare\(|\bcorpus=)\s*"([\w./-]+)"', _text),
    (r"\bsl\.(?:train|Study|recommend|TrainConfig|compress|study\.beside_naive)\b", _trained_on),
    (r"\b(?:data\.collect|transfer\.measure)\b", _sources),
    (r"\bcompress\.trained\(", _made("the teacher", "models/*/*.pt")),
    (r"\bmeasure\.(?:pretrained|prepared)\(", _made("the encoder", "transfer/bert-*/curve.json")),
    (r'\b(?:urlopen|hf_hub_download|load_dataset|requests\.get)\(|\bfrom_pretrained\("[\w-]+/', _network),
)
"""What in a cell means what need: (pattern, its answer for what was found). An answer is (what it is, whether it is here)."""
