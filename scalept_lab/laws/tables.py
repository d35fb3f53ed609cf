"""Tables of runs as people have them: CSV and its relatives, JSON, JSON lines, Parquet, and the kit's own records.

A table is read row by row, and of a row only the columns that a fit can use are kept, so that neither a long file nor one
that unpacks to far more than it holds takes the memory of the machine. What was taken for what is said in `Points.notes`.
"""

from __future__ import annotations

import csv
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from scalept_lab import outside
from scalept_lab.checks import one_of, shown
from scalept_lab.config import first_line
from scalept_lab.errors import InputError
from scalept_lab.laws.points import COLUMNS, NEEDED, Points, check_points, column, plainly, role_of
from scalept_lab.laws.rows import ROWS, TOO_LARGE, Table, open_table
from scalept_lab.runs import RunRecord

NO_LABEL = frozenset({"model", "tokens", "unique_tokens", "corpus", "compile"})  # of a record's config
RECORD = {"config", "provenance", "curve", "N", "D", "C", "L"}  # what the kit's own records have
TELLING = frozenset({
    "dataset", "data", "corpus", "source", "split", "lr", "learning_rate", "optimizer", "schedule", "seed", "family",
    "model", "architecture", "arch", "tokenizer", "precision", "dtype", "batch_size", "epochs",
})  # fmt: skip
DISTINCT, LONGEST, WIDEST = 50, 200, 200  # labels: different values, characters of one, columns looked at
COMMAS = {  # what a number's comma means, by the first pattern that holds
    "either": re.compile(r"[+-]?[1-9]\d{0,2},\d{3}"),  # 1,234
    "thousands": re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?"),
    "decimal": re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?"),
}


def read_points(path: str | Path, form: str = "chinchilla") -> Points:
    """Points from a table with a header: params, tokens, loss, for data_constrained also unique_tokens.

    CSV (also with semicolons, tabs or bars, decimal commas, comments, as UTF-16), JSON (a list of objects, an
    object of lists), JSON lines, Parquet, text also as .gz; run records as `scalept merge` writes them. Common
    other names of the columns are known. With flops in place of params or tokens, that one is C/(6·the other).
    A power form takes any one of params, tokens and flops.
    Raises: InputError, naming line and column.
    """
    one_of("form", form, NEEDED)
    try:
        with outside.unwaiting(path) as raw:
            table = open_table(raw)
            return (_of_records if RECORD <= set(table.header) else _of_columns)(path, table, form)
    except FileNotFoundError:
        raise InputError(
            f"no such file: {path}; expected a table with the columns params,tokens,loss"
        ) from None
    except IsADirectoryError:
        raise InputError(
            f"{path}: not a readable table (a folder); run records go into one file with scalept merge"
        ) from None
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(path)) else f"{path}: {text}") from None
    # pyarrow has its own kinds, most of them ValueErrors or OSErrors
    except (OSError, EOFError, ValueError, RecursionError, csv.Error, zlib.error, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a readable table ({reason[:200]})") from None


def _roles(header: list[str], form: str) -> dict[str, int]:
    """The column of each role. Raises: InputError where a needed one is missing, or two could be it."""
    found: dict[str, int] = {}
    unclear: dict[str, str] = {}
    for role, name in COLUMNS.items():
        known = [i for i, other in enumerate(header) if role_of(other) == role]
        exact = [i for i in known if header[i].lower() == name]
        if known:
            found[role] = (exact or known)[0]
        if len(exact) > 1:
            unclear[role] = f"column {name} stands twice in the header; keep one"
        elif len(known) > 1 and not exact:
            both = " and ".join(shown(header[i]) for i in known[:2])
            unclear[role] = f"columns {both} could both be {name}; rename the one that is meant to {name}"
    derived = {"N", "D"} - set(found) if "C" in found and len({"N", "D"} & set(found)) == 1 else set()
    missing = [COLUMNS[role] for role in NEEDED[form] if role not in found and role not in derived]
    if missing:
        expected, names = ",".join(COLUMNS[role] for role in NEEDED[form]), ",".join(header)
        hint = "" if found else "; name the columns in the first line"
        if len(missing) == 2 and "C" in found:
            hint = "; with flops and loss alone, fit form power"
        raise InputError(
            f"missing column {', '.join(missing)}; expected {expected}, "
            f"found {' '.join(names.split())[:120] or 'an empty file'}{hint}"
        )
    if form not in ("auto", "data_constrained"):
        found.pop("unique", None)
    for role in unclear:
        if role in found and (role in ("N", "D", "L", *NEEDED[form]) or not {"N", "D"} <= set(found)):
            raise InputError(unclear[role])
        found.pop(role, None)
    return found


class Places(Sequence[str]):
    """Where each row stands, made only for the one that is named."""

    def __init__(self, path: str | Path, unit: str):
        self.path, self.unit, self.numbers = path, unit, array("q")

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row: Any) -> Any:
        return f"{self.path}, {self.unit} {self.numbers[row]}"

    def add(self, number: int) -> None:
        if len(self.numbers) >= ROWS:
            raise InputError(TOO_LARGE)
        self.numbers.append(number)


class Label:
    """A column that may tell runs apart: text, or of a name that says so; short, with few different values."""

    def __init__(self, name: str, number: bool):
        self.name, self.number = name, number
        self.known: dict[Any, str] = {}
        self.values: list[str] | None = []

    def add(self, value: Any) -> None:
        if self.values is None:
            return
        text = self.known.get(value) if isinstance(value, (str, int, float, type(None))) else None
        if text is None:
            text = "" if value is None else str(value).strip()
            if not self._fits(value, text):
                self.values = None
                return
            self.known[value] = text
        self.values.append(text)

    def _fits(self, value: Any, text: str) -> bool:
        plain = isinstance(value, (str, int, float, type(None)))
        few = len(self.known) < DISTINCT and len(text) <= LONGEST
        return plain and few and (self.number or not _is_number(text))

    def tells(self) -> bool:
        """More than one value; one of its own in each row is a name, and tells no groups apart."""
        return self.values is not None and 1 < len(set(self.known.values())) < len(self.values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _of_columns(path: str | Path, table: Table, form: str) -> Points:
    header, roles = table.header, _roles(table.header, form)
    names = {role: " ".join(header[i].split()) for role, i in roles.items()}
    names |= {role: name.lower() for role, name in names.items() if name.lower() == COLUMNS[role]}
    cells: dict[str, list[Any]] = {role: [] for role in roles}
    labels = {
        i: Label(name, plainly(name) in TELLING)
        for i, name in enumerate(header[:WIDEST])
        if i not in roles.values() and 0 < len(name) <= LONGEST
    }
    where = Places(path, table.unit)
    for number, row in table.rows:
        where.add(number)
        for role, i in roles.items():
            cells[role].append(row[i])
        for i in [*labels]:
            labels[i].add(row[i])
            if labels[i].values is None:
                del labels[i]
    notes = _without_commas(cells, names, where) if table.comma else []
    spare = set(roles) & {"N", "D"} and set(roles) >= set(NEEDED[form])  # the fit can do without flops
    columns: dict[str, np.ndarray | None] = {}
    for role, values in cells.items():
        try:
            columns[role] = column(names[role], values, where)
        except InputError as error:
            if role not in ("C", "unique") or role in NEEDED[form] or not spare:
                raise
            notes.append(f"column {shown(names[role])} is left out ({str(error).removeprefix(f'{path}, ')})")
            continue
        if names[role] != COLUMNS[role]:
            notes.append(f"{COLUMNS[role]} from column {shown(names[role])}")
    N, D, C = (columns.get(role) for role in "NDC")
    if C is not None and N is not None and D is None:
        D = C / (6 * N)
        notes.append("tokens are flops / (6 · params): the file has no column of tokens")
    elif C is not None and D is not None and N is None:
        N = C / (6 * D)
        notes.append("params are flops / (6 · tokens): the file has no column of params")
    points = check_points(N, D, columns["L"], columns.get("unique"), form, where, C)
    told = {label.name: tuple(label.values or ()) for label in labels.values() if label.tells()}
    return replace(points, labels=told, notes=tuple(notes))


def _without_commas(cells: dict[str, list[Any]], names: dict[str, str], where: Places) -> list[str]:
    """Cells with a decimal comma or with thousands, in place, as Python reads numbers; what was done in words.

    Raises: InputError where the file does not say which of the two it means.
    """
    kinds: dict[str, tuple[str, int, str]] = {}  # the first cell of each kind
    for role, values in cells.items():
        for row, text in enumerate(values):
            if "," in text:
                kind = next((kind for kind, form in COMMAS.items() if form.fullmatch(text.strip())), "")
                if kind:
                    kinds.setdefault(kind, (role, row, text.strip()))
            elif "." in text and "dot" not in kinds and _is_number(text):
                kinds["dot"] = (role, row, text.strip())
    if not kinds.keys() & COMMAS.keys():
        return []
    role, row, text = kinds.get("decimal") or kinds.get("thousands") or kinds["either"]
    at = f"{where[row]}, column {names[role]}: {shown(text)}"
    if "decimal" in kinds and kinds.keys() & {"thousands", "dot"}:
        other = (kinds.get("dot") or kinds["thousands"])[2]
        raise InputError(f"{at} has a decimal comma and {shown(other)} none; write all numbers as 1234.5")
    if kinds.keys() == {"either"}:
        raise InputError(
            f"{at} may be {text.replace(',', '.')} or {text.replace(',', '')}; write it without the comma"
        )
    mark = "." if "decimal" in kinds else ""
    for values in cells.values():
        values[:] = [text.replace(",", mark) if "," in text else text for text in values]
    said = "its comma is a decimal comma" if mark else "its comma sets thousands apart"
    return [f"{shown(text)} is read as {text.replace(',', mark)}: {said}"]


def _of_records(path: str | Path, table: Table, form: str) -> Points:
    """The finished runs among the kit's own records, with their ids; what their configs differ in is told by labels."""
    where, runs, lost = Places(path, table.unit), [], Counter[str]()
    labels: list[Label] = []
    cells: dict[str, list[Any]] = {role: [] for role in COLUMNS}
    for number, row in table.rows:
        given = {key: v for key, v in zip(table.header, row, strict=True) if v is not None or key == "L"}
        try:
            record = RunRecord.model_validate(given)
        except ValidationError as error:
            raise InputError(f"{path}, {table.unit} {number}: {first_line(error, 'run record')}") from None
        if record.L is None:
            lost[record.status] += 1
            continue
        config = record.config
        where.add(number)
        runs.append(record.id)
        if not labels:
            labels = [Label("corpus", True), *(Label(key, True) for key in config if key not in NO_LABEL)]
        for label in labels:
            label.add(record.corpus[:12] if label.name == "corpus" else config.get(label.name))
        unique = config.get("unique_tokens")
        limited = isinstance(unique, int) and 0 < unique < record.D
        for role in "NDLC":
            cells[role].append(getattr(record, role))
        cells["unique"].append(unique if limited else record.D)
    columns = {role: column(role, values, where) for role, values in cells.items()}
    N, D, L, seen_once, C = columns.values()
    repeats = form == "data_constrained" or (form == "auto" and np.any(seen_once < D))
    points = check_points(N, D, L, seen_once if repeats else None, form, where, C)
    notes = []
    if lost:
        kinds = ", ".join(f"{n} {status}" for status, n in sorted(lost.items()))
        notes = [
            f"{lost.total()} of {lost.total() + len(runs)} records have no loss ({kinds}) and are left out"
        ]
    told = {label.name: tuple(label.values or ()) for label in labels if label.tells()}
    return replace(points, runs=tuple(runs), labels=told, notes=tuple(notes))
