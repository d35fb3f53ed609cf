"""How much of each source: a mixture of the packages by their share of the bytes."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from scalept_lab.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def mix(
    documents: pd.DataFrame, weights: dict[str, float], total_bytes: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """A subset in which each package has about its share of the bytes: ``weights`` maps package to relative
    weight.

    Documents of a package are taken whole, in a seeded order, until its share is reached, and keep the
    table's order. Without ``total_bytes`` the mix is as large as it can be without repeating any
    document. Raises InputError for a package that the table does not have, weights that are not positive,
    or a total that the documents cannot fill.
    """
    packages, sizes = documents["package"].to_numpy(), documents["bytes"].to_numpy()
    if not weights or any(not np.isfinite(w) or w <= 0 for w in weights.values()):
        raise InputError(f"weights {weights}: expected a positive number for each package")
    if missing := sorted(set(weights) - set(packages.tolist())):
        raise InputError(
            f"no documents of {missing[0]!r}; the packages are {', '.join(sorted(set(packages.tolist())))}"
        )
    share = {p: w / sum(weights.values()) for p, w in weights.items()}
    largest = int(min(sizes[packages == p].sum() / s for p, s in share.items()))
    if total_bytes is None:
        total_bytes = largest
    elif not 0 < total_bytes <= largest:
        raise InputError(
            f"total_bytes {total_bytes}: these weights allow 1 to {largest} without repeating a document"
        )
    chosen: list[int] = []
    for package in sorted(share):
        rows = np.flatnonzero(packages == package)
        rows = np.random.default_rng([seed, zlib.crc32(package.encode())]).permutation(rows)
        before = np.cumsum(sizes[rows]) - sizes[rows]
        nearest = before + sizes[rows] / 2 <= share[package] * total_bytes  # to the nearest document
        chosen += rows[nearest].tolist()
    return documents.iloc[sorted(chosen)].reset_index(drop=True)
