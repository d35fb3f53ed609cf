"""From a corpus name to its documents: which sources, cleaned by which rules, and who is held out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalept_lab.data import local, sources, tokens

if TYPE_CHECKING:
    import pandas as pd

    from scalept_lab.data.clean import CleaningReport

HELDOUT = 0.05  # share of the documents
DEFAULT_SOURCES = ("mpmath", "networkx", "pygments", "sympy")


@dataclass(frozen=True)
class Recipe:
    """A built-in corpus: its sources, and whether it is cleaned."""

    sources: tuple[str, ...]
    cleaned: bool
    about: str


CORPORA: dict[str, Recipe] = {
    "python": Recipe(
        DEFAULT_SOURCES,
        True,
        "Python sources of four scientific packages, filtered and deduplicated; the default",
    ),
    "python-small": Recipe(
        ("mpmath", "networkx", "pygments"), True, "the same without sympy: a third of the size"
    ),
    "python-raw": Recipe(
        DEFAULT_SOURCES, False, "the files of 'python' as they come: nothing filtered, nothing deduplicated"
    ),
    "transformers": Recipe(
        ("transformers",), True, "the transformers library, deduplicated: its model files are near copies"
    ),
    "transformers-raw": Recipe(("transformers",), False, "the transformers library as it comes"),
    "stdlib": Recipe((), True, "the running interpreter's standard library; differs between Python versions"),
}


def documents(
    name: str, cache: str | os.PathLike[str] | None = None, progress: bool = True
) -> tuple[pd.DataFrame, CleaningReport | None, str]:
    """(table, cleaning report or None, origin) of a corpus, before splitting: what notebooks look
    into."""
    from scalept_lab.data import clean

    if name in CORPORA:
        recipe = CORPORA[name]
        table = sources.collect(recipe.sources, cache) if recipe.sources else sources.collect_stdlib()
        if not recipe.sources:
            origin = "standard library"
        else:
            origin = "stdlib fallback" if "stdlib" in set(table["package"]) else "pinned wheels"
        if not recipe.cleaned:
            return table, None, origin
        rules = clean.CODE_RULES
    else:
        table = sources.collect_from(name)
        origin = "local files" if local.is_path(name) else "hub"
        code = origin == "local files" and all(p.partition("#")[0].endswith(".py") for p in table["path"])
        rules = clean.CODE_RULES if code else clean.PROSE_RULES
    return *clean.clean(table, rules=rules, progress=progress), origin


def split(
    texts: Sequence[str], identities: Sequence[str], heldout: float = HELDOUT
) -> tuple[list[int], list[int]]:
    """Row numbers of the training and of the held-out documents, decided by a hash of each document's
    identity (its path)."""
    sides: tuple[list[int], list[int]] = ([], [])
    for row, identity in enumerate(identities):
        sides[tokens.on_heldout_side(identity, heldout)].append(row)
    if len(texts) > 1 and not sides[1]:  # a handful of documents: hold the one out whose hash comes first

        def digest(row: int) -> bytes:
            return hashlib.sha256(tokens.utf8(identities[row])).digest()

        sides[1].append(min(sides[0], key=digest))
        sides[0].remove(sides[1][0])
    return sides
