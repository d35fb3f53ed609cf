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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scalept_lab.data.sources import TABLES, hub_reachable, is_path
from scalept_lab.errors import InputError

if TYPE_CHECKING:
    import datasets

COLUMNS = ("sentence1", "sentence2", "label", "idx")
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
    """Raises: InputError naming the columns that are missing."""
    missing = [name for name in COLUMNS[:3] if name not in pairs.column_names]
    if missing:
        raise InputError(
            f"pairs: expected the columns {', '.join(COLUMNS)}, got {', '.join(pairs.column_names)}; "
            f"rename yours to give {', '.join(missing)}"
        )


def check_classes(pairs: datasets.Dataset) -> None:
    """Raises: InputError if all labels are the same."""
    labels = sorted(set(pairs["label"]))
    if len(labels) < 2:
        raise InputError(
            f"pairs: expected labels of two classes, got only {labels} in {len(pairs)} pairs; draw more pairs"
        )


def load_pairs(name: str, split: str = "train") -> datasets.Dataset:
    """Sentence pairs from the hub ("glue/mrpc": owner or dataset, then its configuration) or from local files.

    A local name is a .jsonl, .json or .parquet file, or a folder with one named after the split. Rows with a label below 0
    (hidden, as in some test splits) are left out.
    Raises: InputError without network, for an unreadable file, and for missing columns.
    """
    import datasets

    if is_path(name):
        path = Path(os.path.expanduser(name))
        files = [path] if path.is_file() else sorted(path.glob(f"{split}*"))
        files = [file for file in files if file.suffix in TABLES]
        if not files:
            raise InputError(f"{name}: expected a file {split}.jsonl or {split}.parquet there, got none")
        call = {"path": TABLES[files[0].suffix], "data_files": {split: [str(file) for file in files]}}
    elif hub_reachable():
        dataset, _, config = name.rpartition("/")
        call = {"path": {"glue": "nyu-mll/glue"}.get(dataset, dataset), "name": config}
    else:
        raise InputError(f"{name}: no such file, and the hub cannot be reached; offline, use build_task()")
    try:
        pairs = datasets.load_dataset(split=split, **call)
    except Exception as error:  # the loaders raise unrelated types
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{name}: cannot be read as sentence pairs ({reason})") from error
    check_columns(pairs)
    return pairs.filter(lambda row: row["label"] >= 0)
