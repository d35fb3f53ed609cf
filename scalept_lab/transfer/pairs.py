"""Sentence pairs with labels, as in MRPC: does this docstring sentence describe this function?

The offline task is read off the corpus: `ast` takes functions and the first sentences of their docstrings apart, and a
pair is right (label 1) when the two belong together. A wrong pair (label 0) takes the sentence of another function: of any
module, or, harder, of the same one, with the same subject, author and vocabulary. Every sentence and every function stands
in exactly one right and one wrong pair, so that neither alone says anything about the label. Columns: sentence1, sentence2,
label, idx, those of GLUE's MRPC (Wang et al. 2019), so that whatever takes the one takes the other.
"""

from __future__ import annotations

import ast
import hashlib
import os
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scalept_lab import outside
from scalept_lab.data.local import is_path
from scalept_lab.data.sources import hub_reachable
from scalept_lab.errors import InputError
from scalept_lab.folders import writing

if TYPE_CHECKING:
    import datasets

COLUMNS = ("sentence1", "sentence2", "label", "idx")
NAMES = {  # what other data sets call them, the paraphrase corpus (MRPC) itself first
    "sentence1": ("#1 string", "question1", "premise", "text_a"),
    "sentence2": ("#2 string", "question2", "hypothesis", "text_b"),
    "label": ("quality", "is_duplicate", "labels"),
}
MRPC = ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")
YES = ("1", "true", "yes", "y", "equivalent", "paraphrase", "duplicate", "match")
NO = (
    "0",
    "false",
    "no",
    "n",
    "not_equivalent",
    "not equivalent",
    "not_paraphrase",
    "not_duplicate",
    "no_match",
)
HIDDEN = ("", "null", "none", "nan", "na", "n/a", "-", "?")
PAIRS = 2 * 10**8  # bytes of a file: a million pairs
COLUMNS_MOST, WIDEST = 1000, 10**6  # of a table of text: columns, and bytes of the line that names them
TABLES = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}  # file ending -> loader of datasets
LOADERS = (*TABLES, ".csv", ".tsv", ".txt")  # endings of files with pairs
PARTS = {"pretrain": 0.6, "train": 0.2, "test": 0.2}  # shares of the modules
SENTENCE_WORDS, CODE_WORDS = (4, 16), (5, 32)  # fewest and most

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|\*\*|[-+*/%<>=!@&|^]+")


@dataclass(frozen=True)
class Function:
    """A function of the corpus: where it stands, its name, its docstring's first sentence ("" if none), its words."""

    package: str
    module: str
    name: str
    sentence: str
    code: str


def words(text: str) -> list[str]:
    """Lower-case words, numbers and operators: `to_DiGraph(x)` gives to, di, graph, x. Brackets, dots and commas go."""
    return [word.lower() for word in _WORD.findall(text)]


def first_sentence(docstring: str) -> str:
    """The first sentence of a docstring, in words."""
    paragraph = docstring.strip().split("\n\n")[0]
    return " ".join(words(re.split(r"\.(?:\s|$)", paragraph, maxsplit=1)[0]))


def functions(rows: Iterable[Mapping[str, str]]) -> list[Function]:
    """The functions in documents with the columns text, package and module, in their order; what does not parse is left out.

    A sentence that holds the function's name as it is written in the code counts as none, since it would give the pair
    away. So does one that is too short, too long or seen before, and code seen before is left out: the packages copy from
    one module to another.
    """
    found, sentences, codes = [], set(), set()
    for row in rows:
        try:
            tree = ast.parse(row["text"])
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            docstring = ast.get_docstring(node) or ""
            sentence = first_sentence(docstring)
            named = re.search(rf"\b{re.escape(node.name)}\b", docstring.split("\n\n")[0], re.IGNORECASE)
            count = len(sentence.split())
            if named or sentence in sentences or not SENTENCE_WORDS[0] <= count <= SENTENCE_WORDS[1]:
                sentence = ""
            code = _code(node)
            if len(code) < CODE_WORDS[0] or (text := " ".join(code[: CODE_WORDS[1]])) in codes:
                continue
            codes.add(text)
            sentences.add(sentence)
            found.append(Function(row["package"], row["module"], node.name, sentence, text))
    return found


def _code(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Words of a function: name, arguments and body, without docstring, annotations and decorators."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    arguments = [a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
    found = words(" ".join([f"def {node.name}", *arguments]))
    for line in body:
        if len(found) >= CODE_WORDS[1]:
            break
        found += words(ast.unparse(line))
    return found


def part_of(module: str, shares: Mapping[str, float] = PARTS) -> str:
    """Which part a module belongs to, by a hash of its name: the same on every machine, whatever else is there."""
    point = int.from_bytes(hashlib.sha256(module.encode()).digest()[:8], "big") / 2**64
    for name, share in shares.items():
        if point < share:
            return name
        point -= share
    return name


def pair_up(
    found: Sequence[Function], negatives: Literal["module", "corpus"] = "module", seed: int = 0
) -> datasets.Dataset:
    """Right and wrong pairs of these functions, one of each for every function with a sentence.

    negatives: whence the wrong sentence: another function of the same module ("module"; what stands alone in its module
    is left out), or of all ("corpus", easier). Raises: InputError if there are fewer than two functions to pair.
    """
    import datasets

    rng = random.Random(seed)
    groups: dict[str, list[Function]] = {}
    for function in found:
        if function.sentence:
            groups.setdefault(function.module if negatives == "module" else "", []).append(function)
    rows = []
    for group in groups.values():
        rng.shuffle(group)
        if len(group) > 1:
            for function, other in zip(group, [*group[1:], group[0]], strict=True):
                rows += [(function.sentence, function.code, 1), (other.sentence, function.code, 0)]
    if not rows:
        raise InputError("expected at least two functions with docstrings in one module, got none to pair")
    rng.shuffle(rows)
    columns = zip(*rows, strict=True)
    table = dict(zip(COLUMNS, [*map(list, columns), list(range(len(rows)))], strict=True))
    return datasets.Dataset.from_dict(table)


def build_task(
    found: Sequence[Function], negatives: Literal["module", "corpus"] = "module", seed: int = 0
) -> dict[str, Any]:
    """`train` and `test` pairs from different modules, and `pretrain`: the functions of yet other modules."""
    parts: dict[str, list[Function]] = {name: [] for name in PARTS}
    for function in found:
        parts[part_of(function.module)].append(function)
    return {
        "pretrain": parts["pretrain"],
        "train": pair_up(parts["train"], negatives, seed),
        "test": pair_up(parts["test"], negatives, seed),
    }


def subset(pairs: datasets.Dataset, size: int, seed: int = 0) -> datasets.Dataset:
    """`size` pairs drawn at random, as many of each class as in the whole, smaller draws of a seed within larger ones.

    Raises: InputError if there are not that many, or a class would be missing.
    """
    check_columns(pairs)
    if not 2 <= size <= len(pairs):
        raise InputError(f"size: expected 2 to {len(pairs)} pairs, got {size}")
    kinds: dict[int, list[int]] = {}
    for row in random.Random(seed).sample(range(len(pairs)), len(pairs)):
        kinds.setdefault(pairs[row]["label"], []).append(row)
    order = sorted((i / len(rows), row) for rows in kinds.values() for i, row in enumerate(rows))
    chosen = pairs.select([row for _, row in order[:size]])
    check_classes(chosen)
    return chosen


def check_columns(pairs: datasets.Dataset) -> None:
    """Raises: InputError naming the columns that are missing, or the first row that holds no texts or no label 0 or 1."""
    missing = [name for name in COLUMNS[:3] if name not in pairs.column_names]
    if missing:
        raise InputError(
            f"pairs: expected the columns {', '.join(COLUMNS)}, got {', '.join(pairs.column_names)}; "
            f"rename yours to give {', '.join(missing)}"
        )
    for name in COLUMNS[:2]:
        for row, text in enumerate(pairs[name]):
            if not isinstance(text, str):
                raise InputError(
                    f"pairs: expected texts in {name}, got {text!r} in row {row}; as_pairs(…) leaves such rows out"
                )
    for row, label in enumerate(pairs["label"]):
        if type(label) is not int or label not in (0, 1):
            raise InputError(
                f"pairs: expected labels 0 and 1, got {label!r} in row {row}; as_pairs(…) reads other spellings of the two"
            )


def check_classes(pairs: datasets.Dataset) -> None:
    """Raises: InputError if all labels are the same."""
    labels = sorted(set(pairs["label"]))
    if len(labels) < 2:
        raise InputError(
            f"pairs: expected labels of two classes, got only {labels} in {len(pairs)} pairs; draw more pairs"
        )


def as_label(value: object) -> int | None:
    """0 or 1 for a label as people write it: 1, 1.0, True, "1", "Yes"; None for a hidden one: null, "" or below 0.

    Raises: ValueError for anything else.
    """
    text = "" if value is None else str(value).strip().lower()
    try:
        number = float(text)
        text = f"{number:g}" if number >= 0 else ""  # -1: the hidden labels of a test split
    except ValueError:
        pass
    if text in HIDDEN:
        return None
    if text not in (*NO, *YES):
        raise ValueError(value)
    return int(text in YES)


def as_pairs(table: datasets.Dataset, name: str = "pairs") -> datasets.Dataset:
    """The four columns, with labels 0 and 1, from a table with the names and labels of another data set; says what it leaves out.

    Rows with a hidden label or an empty side are left out. Raises: InputError for missing columns, for labels of more than two
    classes or in words that are not known, and if nothing is left.
    """
    import datasets

    known = {column.strip().lstrip("\ufeff").lower(): column for column in table.column_names}
    taken = {ours: next((known[theirs] for theirs in (ours, *theirs_all) if theirs in known), None)
             for ours, theirs_all in NAMES.items()}  # fmt: skip
    missing = [ours for ours, theirs in taken.items() if theirs is None]
    if missing:
        raise InputError(
            f"{name}: expected the columns {', '.join(COLUMNS)}, got {', '.join(table.column_names)}; "
            f"rename yours to give {', '.join(missing)}"
        )
    for theirs in taken.values():
        if not isinstance(feature := table.features[theirs], (datasets.Value, datasets.ClassLabel)):
            kind = " ".join(str(feature).split())[:60]
            raise InputError(f"{name}: expected one value per row in the column {theirs}, got {kind}")
    columns = [list(table[theirs]) for theirs in taken.values()]
    kept, hidden, empty = [], 0, 0
    for row, (first, second, written) in enumerate(zip(*columns, strict=True)):
        try:
            label = as_label(written)
        except ValueError:
            kinds = sorted({str(value) for value in columns[2]})
            shown = ", ".join(kinds[:4]) + (", …" if len(kinds) > 4 else "")
            raise InputError(
                f"{name}: expected labels of two classes, 0 and 1 or no and yes, got {written!r} in row {row} "
                f"({len(kinds)} kinds: {shown}); keep two classes and write them as 0 and 1"
            ) from None
        blank = not all(isinstance(text, str) and text.strip() for text in (first, second))
        hidden, empty = hidden + (label is None), empty + (label is not None and blank)
        if label is not None and not blank:
            kept.append((first, second, label))
    if not kept:
        raise InputError(
            f"{name}: no pairs left of {len(table)}: {hidden} with a hidden label, {empty} with an empty side; "
            "take a split whose labels are given"
        )
    if hidden or empty:
        print(
            f"{name}: left out {hidden} pairs with a hidden label and {empty} with an empty side, of {len(table)}"
        )
    values = [*map(list, zip(*kept, strict=True)), list(range(len(kept)))]
    if "idx" in table.column_names and len(kept) == len(table):
        values[3] = list(table["idx"])
    return datasets.Dataset.from_dict(dict(zip(COLUMNS, values, strict=True)))


def load_pairs(name: str, split: str = "train") -> datasets.Dataset:
    """Sentence pairs from the hub ("glue/mrpc": owner or dataset, then its configuration) or from local files.

    A local name is a file (.jsonl, .json, .parquet, .csv, or .tsv and .txt as MRPC's own: tabs, quotation marks as they stand),
    a folder with one named after the split, or what `save_to_disk` wrote. Columns and labels go through `as_pairs`.
    Raises: InputError without network (and nothing in the hub's cache), for an unreadable file, and as `as_pairs`.
    """
    local = is_path(name) or Path(name).suffix.lower() in LOADERS
    return _read(
        name, as_pairs, (_local if local else _of_the_hub)(name, split), name
    )  # a damaged row shows when it is read


def save_as_mrpc(pairs: datasets.Dataset, path: str | Path) -> None:
    """Write pairs as MRPC is published: a byte-order mark, tabs, its own column names, quotation marks as they stand.

    Raises: InputError for a sentence with a tab or a line break in it, and where nothing can be written.
    """
    check_columns(pairs)
    lines = ["\t".join(MRPC)]
    for row, pair in enumerate(pairs):
        cells = [str(pair["label"]), f"{2 * row + 1}", f"{2 * row + 2}", pair["sentence1"], pair["sentence2"]]
        if any(mark in cell for cell in cells for mark in "\t\r\n"):
            raise InputError(
                f"pairs: expected sentences without tabs and line breaks, got one in row {row}; replace them"
            )
        lines.append("\t".join(cells))
    with writing(path):
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


def _local(name: str, split: str) -> datasets.Dataset:
    import datasets

    path = Path(os.path.expanduser(name))
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        for each in path.rglob("*"):
            if not each.is_dir():  # what reads them would wait for a pipe
                with outside.opened(each, "a file of a saved data set"):
                    pass
        found = _read(name, datasets.load_from_disk, str(path))
        if isinstance(found, datasets.Dataset):
            return found
        if split not in found:
            raise InputError(f"{name}: expected the split {split}, got {', '.join(found)}")
        return found[split]
    files = [path] if path.is_file() else _of_split(path, split)
    if not files:
        raise InputError(
            f"{name}: expected a file {split}.jsonl, {split}.tsv or {split}.parquet there, got none"
        )
    kind = files[0].suffix.lower()
    if kind not in LOADERS:
        raise InputError(f"{name}: expected a file {', '.join(LOADERS)}, got {kind or 'no ending'}")
    same = [str(file) for file in files if file.suffix.lower() == kind]
    with ExitStack() as held:
        for file in same:
            held.enter_context(outside.opened(file, "a file of sentence pairs", PAIRS, unpacks=True))
        if kind in TABLES:
            return _read(name, datasets.load_dataset, TABLES[kind], data_files={split: same}, split=split)
        return datasets.concatenate_datasets(
            [_read(name, _text_table, file, kind != ".csv") for file in same]
        )


def _text_table(file: str, tabs: bool) -> datasets.Dataset:
    """Every cell is text: a sentence "NA" stays one. Between tabs a quotation mark is a character like any other."""
    import csv

    import datasets
    import pandas as pd

    how: dict[str, Any] = {"sep": "\t", "quoting": csv.QUOTE_NONE} if tabs else {}
    with open(file, "rb") as content:  # pandas takes minutes for 100,000 columns of one name
        width = content.readline(WIDEST).count(b"\t" if tabs else b",")
    if width >= COLUMNS_MOST:
        raise InputError(f"expected at most {COLUMNS_MOST:,} columns, got {width + 1:,} or more")
    found = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig", **how)
    return datasets.Dataset.from_dict({str(column): found[column].tolist() for column in found})


def _of_the_hub(name: str, split: str) -> datasets.Dataset:
    """From the hub; without network, what an earlier call has left in the cache."""
    import datasets

    owner, _, config = name.rpartition("/")
    of: dict[str, Any] = {"path": {"glue": "nyu-mll/glue"}.get(owner, owner) or config, "split": split}
    if owner:
        of["name"] = config
    if not datasets.config.HF_HUB_OFFLINE and hub_reachable():
        return _read(name, datasets.load_dataset, **of)
    before, datasets.config.HF_HUB_OFFLINE = (
        datasets.config.HF_HUB_OFFLINE,
        True,
    )  # else it asks the hub six times
    try:
        return datasets.load_dataset(**of)
    except Exception as error:
        raise InputError(
            f"{name}: no such file, not in the cache on this machine, and the hub cannot be reached; offline, use build_task()"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _of_split(folder: Path, split: str) -> list[Path]:
    """The files of a split: `train.tsv`, `msr_paraphrase_train.txt`, `data/train-00000-of-00002.parquet`; not `train_old.tsv`."""
    names = "|".join({split, *{"validation": ("dev", "valid", "val")}.get(split, ())})
    fits = re.compile(rf"(msr_paraphrase_)?({names})(-\d+-of-\d+)?", re.IGNORECASE)
    for place in (folder, folder / "data"):
        files = sorted(
            file for file in place.glob("*") if file.suffix.lower() in LOADERS and fits.fullmatch(file.stem)
        )
        if files:
            return files
    return []


def _read(name: str, load: Any, /, *arguments: Any, **more: Any) -> Any:
    try:
        return load(*arguments, **more)
    except InputError:
        raise
    except Exception as error:  # the loaders raise unrelated types
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{name}: cannot be read as sentence pairs ({reason})") from error
