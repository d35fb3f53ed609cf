"""Measured points (N, D, L[, unique tokens]) checked before any fit sees them: every fault names its row and
column.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scalept_lab.checks import one_of, positive, shown
from scalept_lab.errors import InputError

COLUMNS = {"N": "params", "D": "tokens", "L": "loss", "unique": "unique_tokens"}
MIN_POINTS = 6


@dataclass(frozen=True)
class Points:
    """Columns as float arrays of one length; a column that the form does not need may be None.

    `C`: FLOPs of each run where the source gives them. `runs`: the ids of the runs that were measured, row by row,
    where the points are those of runs. `labels`: columns of text that tell runs apart (dataset, lr, …), by name.
    `notes`: sentences on what the reader took for what.
    """

    N: np.ndarray | None
    D: np.ndarray | None
    L: np.ndarray
    unique: np.ndarray | None = None
    C: np.ndarray | None = None
    runs: tuple[str, ...] = ()
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.L)


def check_points(
    N: Any, D: Any, L: Any, unique: Any = None, form: str = "chinchilla", where: Sequence[str] = ()
) -> Points:
    """Arrays ready to fit. `where` names each row ("points.csv, line 3"), "row 3" (from 1) by default.

    Raises: InputError for text, zero, negative, NaN or infinite values, columns of different length, fewer
    than six rows, and a variable with fewer than three values (its exponent cannot be told from E).
    """
    given = {"N": N, "D": D, "L": L, "unique": unique}
    needed = {"chinchilla": "NDL", "power": "L", "data_constrained": ("N", "D", "L", "unique")}
    one_of("form", form, needed)
    for key in needed[form]:
        if given[key] is None:
            raise InputError(f"{COLUMNS[key]}: form {form} needs this column and it is missing")
    if N is None and D is None:
        raise InputError("expected a column params or tokens besides loss, got neither")
    columns = {
        key: _column(COLUMNS[key], values, where) for key, values in given.items() if values is not None
    }
    lengths = {COLUMNS[key]: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(
            "columns differ in length: " + ", ".join(f"{key} has {n}" for key, n in lengths.items())
        )
    if len(columns["L"]) < MIN_POINTS:
        raise InputError(f"expected at least {MIN_POINTS} points, got {len(columns['L'])}; add runs")
    if form != "power":
        for key in "ND":
            found = len(np.unique(columns[key]))
            if found < 3:
                raise InputError(
                    f"{COLUMNS[key]}: expected at least three different values, got {found}; "
                    "vary it, or fit form power in the other variable"
                )
    if form == "data_constrained" and not np.any(columns["D"] > columns["unique"] * (1 + 1e-9)):
        raise InputError(
            "unique_tokens: no row repeats its data (tokens above unique_tokens); fit form chinchilla"
        )
    return Points(columns.get("N"), columns.get("D"), columns["L"], columns.get("unique"))


def variable(points: Points) -> tuple[str, np.ndarray]:
    """The one variable of the power form: the column that varies, or compute 6·N·D where both do."""
    varying = [k for k in "ND" if getattr(points, k) is not None and len(np.unique(getattr(points, k))) > 1]
    if len(varying) == 2:
        assert points.N is not None and points.D is not None
        name, X = "flops", 6 * points.N * points.D
    elif varying:
        name, X = COLUMNS[varying[0]], getattr(points, varying[0])
    else:
        raise InputError(
            "neither params nor tokens varies: a power law needs at least three different values of one"
        )
    if len(np.unique(X)) < 3:
        raise InputError(f"{name}: expected at least three different values, got {len(np.unique(X))}")
    return name, X


def read_points(path: str | Path, form: str = "chinchilla") -> Points:
    """Points from a CSV with a header: params, tokens, loss, for data_constrained also unique_tokens.

    Other columns are ignored; for the power form params or tokens may be absent.
    Raises: InputError, naming line and column.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip().lower() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except FileNotFoundError:
        raise InputError(
            f"no such file: {path}; expected a CSV with the columns params,tokens,loss"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file ({str(error).splitlines()[0]})") from None
    required = {"power": ["loss"], "data_constrained": list(COLUMNS.values())}.get(
        form, ["params", "tokens", "loss"]
    )
    missing = [name for name in required if name not in header]
    if missing:
        found = ",".join(header) or "an empty file"
        raise InputError(
            f"{path}: missing column {', '.join(missing)}; expected {','.join(required)}, found {found[:120]}"
        )
    twice = [name for name in COLUMNS.values() if header.count(name) > 1]
    if twice:
        raise InputError(f"{path}: column {twice[0]} stands twice in the header; keep one")
    where = [f"{path}, line {line}" for line, _ in rows]
    for (_, row), place in zip(rows, where, strict=True):
        if len(row) != len(header):
            raise InputError(f"{place}: expected {len(header)} values as in the header, got {len(row)}")
    cells = {
        key: [row[header.index(name)].strip() for _, row in rows] if name in header else None
        for key, name in COLUMNS.items()
    }
    if form != "data_constrained":
        cells["unique"] = None
    try:
        return check_points(cells["N"], cells["D"], cells["L"], cells["unique"], form, where)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def _column(name: str, values: Any, where: Sequence[str]) -> np.ndarray:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise InputError(f"{name}: expected a list of numbers, got {shown(values)}")
    places = where or [f"row {i}" for i in range(1, len(values) + 1)]
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    return np.array(
        [positive(f"{at}, column {name}", value) for at, value in zip(places, plain, strict=True)]
    )
