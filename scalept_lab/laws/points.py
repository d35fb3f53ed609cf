"""Measured points (N, D, L[, unique tokens, C]) checked before any fit sees them: every fault names its row and
column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scalept_lab.checks import one_of, positive, shown
from scalept_lab.errors import InputError

COLUMNS = {"N": "params", "D": "tokens", "L": "loss", "unique": "unique_tokens", "C": "flops"}
NEEDED: dict[str, tuple[str, ...]] = {  # by form; those that need L alone take one of N, D and C beside it
    "auto": ("L",),
    "chinchilla": ("N", "D", "L"),
    "tied": ("N", "D", "L"),
    "power_of_sum": ("N", "D", "L"),
    "data_constrained": ("N", "D", "L", "unique"),
    "power": ("L",),
    "broken_power": ("L",),
}
MIN_POINTS = 6
MOST = 1e100  # of any number; beyond, and below its inverse, squares leave the range of floats
# What people call them: in lower case, all but letters and digits as "_". None with a unit ("params_m"), which would be misread.
ALIASES = {
    "N": "params parameters n n_params num_params nparams n_parameters num_parameters non_embedding_params model_params "
    "non_embedding_parameters params_non_embedding n_non_embedding model_size param_count parameter_count",
    "D": "tokens d n_tokens num_tokens ntokens training_tokens train_tokens tokens_seen tokens_trained total_tokens "
    "token_count n_training_tokens num_training_tokens",
    "L": "loss l val_loss eval_loss final_loss validation_loss valid_loss test_loss dev_loss train_loss training_loss "
    "final_val_loss final_validation_loss final_train_loss lm_loss",
    "unique": "unique_tokens unique u n_unique_tokens num_unique_tokens",
    "C": "flops flop c compute training_flop training_flops train_flop train_flops total_flop total_flops n_flops budget "
    "compute_budget flop_budget flops_budget training_compute training_compute_flop training_compute_flops compute_flops",
}
ROLES = {alias: role for role, aliases in ALIASES.items() for alias in aliases.split()}


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
    N: Any,
    D: Any,
    L: Any,
    unique: Any = None,
    form: str = "chinchilla",
    where: Sequence[str] = (),
    C: Any = None,
) -> Points:
    """Arrays ready to fit. `where` names each row ("points.csv, line 3"), "row 3" (from 1) by default.

    Raises: InputError for text, zero, negative, NaN or infinite values, columns of different length, fewer
    than six rows, and in a form of N and D one with fewer than three values (its exponent cannot be told
    from E).
    """
    given = {"N": N, "D": D, "L": L, "unique": unique, "C": C}
    one_of("form", form, NEEDED)
    for key in NEEDED[form]:
        if given[key] is None:
            raise InputError(f"{COLUMNS[key]}: form {form} needs this column and it is missing")
    if N is None and D is None and C is None:
        raise InputError("expected a column params or tokens besides loss, or flops; got none of them")
    columns = {
        key: column(COLUMNS[key], values, where) for key, values in given.items() if values is not None
    }
    lengths = {COLUMNS[key]: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(
            "columns differ in length: " + ", ".join(f"{key} has {n}" for key, n in lengths.items())
        )
    if len(columns["L"]) < MIN_POINTS:
        raise InputError(f"expected at least {MIN_POINTS} points, got {len(columns['L'])}; add runs")
    for key in [key for key in "ND" if key in NEEDED[form]]:
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
    return Points(columns.get("N"), columns.get("D"), columns["L"], columns.get("unique"), columns.get("C"))


def variable(points: Points, wanted: str = "") -> tuple[str, np.ndarray]:
    """The one variable of a power form, by name and values: "params", "tokens" or "flops".

    wanted: which one; otherwise the column that varies, or compute where both do. Compute is C where it is
    given, else 6·N·D. Raises: InputError if that column is missing or has fewer than three values.
    """
    C = points.C
    if C is None and points.N is not None and points.D is not None:
        C = 6 * points.N * points.D
    choices = {"params": points.N, "tokens": points.D, "flops": C}
    varying = [
        k for k in ("params", "tokens") if (values := choices[k]) is not None and len(np.unique(values)) > 1
    ]
    if wanted:
        name = one_of("variable", wanted, choices)
    elif len(varying) == 1:
        name = varying[0]
    elif varying or points.C is not None:
        name = "flops"
    else:
        raise InputError(
            "neither params nor tokens varies: a power law needs at least three different values of one"
        )
    X = choices[name]
    if X is None:
        raise InputError(f"{name}: the points have no such column; name one of those that they have")
    if len(np.unique(X)) < 3:
        raise InputError(f"{name}: expected at least three different values, got {len(np.unique(X))}")
    return name, X


def role_of(name: str) -> str:
    """N, D, L, unique or C, or nothing, of the name of a column."""
    return ROLES.get(plainly(name), "")


def plainly(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_")


def column(name: str, values: Any, where: Sequence[str] = ()) -> np.ndarray:
    """One column as positive floats that a fit can square; `where` as in `check_points`. Raises: InputError, naming the first
    bad value."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise InputError(f"{name}: expected a list of numbers, got {shown(values)}")
    try:
        numbers = _numbers(values)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        numbers = np.full(len(values), np.nan)
    if not np.all((numbers >= 1 / MOST) & (numbers <= MOST)):  # value by value only to name the first bad one
        places = where or [f"row {i}" for i in range(1, len(values) + 1)]
        plain = (value.item() if isinstance(value, np.generic) else value for value in values)
        numbers = np.array(
            [_one(f"{at}, column {name}", value) for at, value in zip(places, plain, strict=True)]
        )
    return numbers


def _one(name: str, value: Any) -> float:
    number = positive(name, value)
    if not 1 / MOST <= number <= MOST:
        raise InputError(
            f"{name}: expected a positive number from {1 / MOST:g} to {MOST:g}, got {shown(value)}"
        )
    return number


def _numbers(values: Any) -> np.ndarray:
    """A column as floats, fast. Raises: ValueError and others for what is no number (a truth value, too)."""
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iuf":
        return values.astype(float)
    if any(kind.__name__.startswith("bool") for kind in set(map(type, values))):
        raise ValueError("a truth value")
    return np.fromiter(map(float, values), float, len(values))
