"""Local files as documents: text, rows of tables and saved datasets, plain or compressed, as people have them.

What is left out is said: hidden and installed folders, files of other kinds, rows without text, files that are not UTF-8, what
lies behind the budget. One warning names all of it, so that nothing is cut without a word. Files are untrusted: only regular ones
are opened, and what one unpacks to is bounded (`outside.opened`).
"""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

from scalept_lab import outside
from scalept_lab.data import rows
from scalept_lab.data.characters import PACKED, NotUTF8, characters, unpacked
from scalept_lab.data.tokens import utf8
from scalept_lab.errors import InputError, printable

TEXTS = (".txt", ".md", ".py", ".rst", ".tex")
TABLES = (".jsonl", ".json", ".parquet", ".csv", ".tsv", ".arrow")
FOREIGN = {"node_modules", "site-packages", "dist-packages", "__pycache__", "__pypackages__", "bower_components",
           "__MACOSX"}  # fmt: skip
# Bytes of UTF-8: a long text file is cut into pieces of at most this size, so that both sides of a split get some.
PIECE = 8192
FILES = 100_000
KINDS = 12  # kinds of things left out that the warning names
PROJECTS = (
    "pyproject.toml",
    "setup.py",
    "package.json",
    "CMakeLists.txt",
)  # beside one of them, build and dist hold copies
SAVED = {"dataset_info.json", "dataset_dict.json", "state.json"}  # what `save_to_disk` writes beside the rows
DESCRIBES = {"dataset_infos.json", "package.json", "package-lock.json", "tsconfig.json"}


def is_path(name: str) -> bool:
    """Whether a corpus name means a local path: ``./x``, ``../x``, ``/x``, ``~/x``, a known file ending, or something
    that exists."""
    return (
        name.startswith(("./", "../", "/", "~", ".\\"))
        or os.path.isabs(name)
        or Path(name).exists()
        or _kind(Path(name)) is not None
    )


def local_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files of a path that documents are read from, sorted.

    Raises: InputError when there is no such path, nothing to read in it, or more than 100,000 files.
    """
    return _found(path)[0]


def documents(
    path: str | os.PathLike[str], text_column: str | None = None, most: int = 64_000_000, split: str = "train"
) -> list[tuple[str, str]]:
    """(name, text) of the documents of a file or folder; long texts cut into ``name#00000``, ``name#00001``, …

    A row of a table is a document: its ``text_column``, else ``text`` or ``content``, else a chat in ``messages`` or
    ``conversations`` (who speaks, then what), else all its text that says more than where it is from, joined by line breaks.
    Of CSV the first line names the columns, one of them the text.
    Reading stops with the document that reaches ``most`` bytes of UTF-8; it is taken whole. Of a saved dataset with several
    parts ``split`` is read. One warning says what was left out.

    Raises: InputError as `local_files`, for a file that is damaged, for one whose text column holds no text, and where nothing
    is left.
    """
    files, left_out = _found(path)
    found: list[tuple[str, str]] = []
    size = 0
    with closing(_all(path, files, text_column, most, split, left_out)) as every:
        for name, text in every:
            if size >= most:
                left_out.add(f"what lies behind the {most / 1e6:g} MB that are read", name)
                break
            found.append((name, text))
            size += len(utf8(text))
    if not any(text.strip() for _, text in found):
        raise InputError(
            f"{path}: empty; expected at least one document with text"
            + (f", got {left_out}" if left_out else "")
        )
    if left_out:
        left_out.warn(path, 4)
    return found


class LeftOut(dict[str, tuple[int, str]]):
    """What was left out -> how often, and where first."""

    def add(self, what: str, where: str) -> None:
        count, first = self.get(what, (0, where))
        self[what] = count + 1, first

    def warn(self, path: object, stacklevel: int) -> None:
        warnings.warn(printable(f"{path}: left out: {self}", None), stacklevel=stacklevel)

    def __str__(self) -> str:
        named = [
            f"{what} ({first}{f' and {count - 1:,} more' * (count > 1)})"
            for what, (count, first) in self.items()
        ]
        return "; ".join(named[:KINDS] + [f"{len(named) - KINDS} more kinds"] * (len(named) > KINDS))


# --- which files --------------------------------------------------------------------------------------------


def _found(path: str | os.PathLike[str]) -> tuple[list[Path], LeftOut]:
    root, left_out = Path(os.path.expanduser(path)), LeftOut()
    if not root.exists():
        raise InputError(
            f"{path}: no such file or folder; give a text, .jsonl, .csv or .parquet file, or a folder of them"
        )
    if root.is_dir():
        found = _walked(root, left_out)
    else:
        found = [root]
        if root.is_file() and root.stat().st_size and _kind(root) is None:
            raise InputError(f"{path}: {_wanted()}, got a file {root.suffix or 'without an ending'}")
    files: list[Path] = []
    for file in found:
        name = _name(file, root)
        if not file.is_file():  # a pipe would be waited for
            left_out.add("what is no file", name)
        elif not file.stat().st_size:
            left_out.add("empty files", name)
        else:
            files.append(file)
    if not files:
        raise InputError(f"{path}: empty; {_wanted()}" + (f"; left out: {left_out}" if left_out else ""))
    return files, left_out


def _name(file: Path, root: Path) -> str:
    """As it stands in tables and messages: a file's name may hold bytes that are no character."""
    return printable(file.name if file == root else file.relative_to(root).as_posix(), None)


def _wanted() -> str:
    return f"expected text in {', '.join((*TEXTS, *TABLES))} files, plain or as {', '.join(PACKED)}"


def _walked(root: Path, left_out: LeftOut) -> list[Path]:
    """The files of a folder whose endings are known, sorted: not the hidden ones, and not what was installed there."""
    found: list[Path] = []
    cards: list[Path] = []

    def unread(error: OSError) -> None:
        left_out.add(f"folders that cannot be read ({error.strerror})", _name(Path(error.filename), root))

    for place, folders, names in os.walk(root, onerror=unread):
        here = Path(place)
        saved = _saved(here)
        for name in sorted(folders):
            if what := _passed_over(here / name):
                left_out.add(what, _name(here / name, root))
                folders.remove(name)
        folders.sort()
        for name in sorted(names):
            file = here / name
            kind = _kind(file)
            if name.startswith("."):
                left_out.add("hidden files", _name(file, root))
            elif name in SAVED:
                continue  # read with what it tells of
            elif name in DESCRIBES or (saved is not None and kind in TEXTS):
                left_out.add("what describes the data", _name(file, root))
            elif saved is not None and name not in saved:
                left_out.add("what is no part of the saved dataset", _name(file, root))
            elif kind is None:
                left_out.add(f"files {file.suffix.lower() or 'without an ending'}", _name(file, root))
            else:
                (cards if kind in TEXTS and _card(file, root) else found).append(file)
        if len(found) > FILES:
            raise InputError(f"{root}: expected at most {FILES:,} files; give a folder with fewer")
    if any(_kind(file) not in TEXTS for file in found):  # then they tell of the data
        for file in cards:
            left_out.add("what describes the data", _name(file, root))
    else:
        found += cards
    return sorted(found)


def _passed_over(folder: Path) -> str | None:
    """Why a folder is not looked into, None where it is."""
    name = folder.name
    if name.startswith(".") or name in FOREIGN or name.endswith((".egg-info", ".dist-info")):
        return "hidden and installed folders"
    made = name in ("build", "dist") and any((folder.parent / project).is_file() for project in PROJECTS)
    if made or (folder / "pyvenv.cfg").is_file():
        return "hidden and installed folders"
    return "links to folders" if folder.is_symlink() else None  # they may lead back here


def _saved(folder: Path) -> set[str] | None:
    """The files of the dataset that `Dataset.save_to_disk` wrote into this folder, without those that later work left there;
    None where there is none."""
    state = folder / "state.json"
    if not (state.is_file() and (folder / "dataset_info.json").is_file()):
        return None
    listed = outside.json_object(state, "the state of a saved dataset").get("_data_files")
    files = listed if isinstance(listed, list) else []
    return {str(entry["filename"]) for entry in files if isinstance(entry, dict) and "filename" in entry}


def _card(file: Path, root: Path) -> bool:
    """A dataset's card, which begins with its fields below a line ---, or the script that loads it: both as the hub has them."""
    if file.name.lower() == "readme.md" and file.is_file():
        with outside.opened(file, "a text file") as opened:
            return opened.read(4) in (b"---\n", b"---\r")
    return file.suffix == ".py" and file.stem == file.parent.resolve().name and file.parent == root


def _kind(file: Path) -> str | None:
    """The ending that says how a file is read: of `a.jsonl.gz` that is `.jsonl`."""
    endings = [ending.lower() for ending in file.suffixes]
    if endings and endings[-1] in PACKED:
        endings.pop()
    ending = endings[-1] if endings else ""
    return ending if ending in (*TEXTS, *TABLES) else None


def _all(
    path: Any, files: list[Path], column: str | None, most: int, split: str, left_out: LeftOut
) -> Generator[tuple[str, str], None, None]:
    root = Path(os.path.expanduser(path))
    tables = [file for file in files if _kind(file) not in TEXTS]
    parts = {file.parent.name for file in tables if _kind(file) == ".arrow" and file.parent != root}
    for file in files:
        name, kind = _name(file, root), _kind(file)
        if kind is None or kind in TEXTS:
            yield from _pieces(file, name, most, left_out)
        elif kind == ".arrow" and split in parts and file.parent.name in parts - {split}:
            left_out.add(f"other parts than {split!r}", name)
        else:
            number = tables.index(file)
            for place, text in rows.texts(file, kind, name, column, left_out.add):
                yield f"{printable(root.name)}#{number:03d}-{place:08d}", text


# --- text ---------------------------------------------------------------------------------------------------


ENDS = ("\n\n", "\n", "。", "！", "？", "।", "؟", "۔", "။", "។", " ")  # where to cut, the best first


def cut(text: str, size: int = PIECE) -> list[str]:
    """Cut into pieces of at most ``size`` bytes of UTF-8: at the last blank line before that many, else line end, else end of a
    sentence, else blank, and never between a letter and its marks. ``"".join(cut(t)) == t``."""
    pieces, start = [], 0
    while start < len(text):
        fits = utf8(text[start : start + size])[:size].decode("utf-8", errors="ignore")
        end = start + len(fits)
        if end < len(text):
            window = text[start:end]
            best = next((i + len(s) for s in ENDS if (i := window.rfind(s)) > len(fits) // 4), len(fits))
            end = start + best
            while end > start + len(fits) // 4 and _joined(text[end - 1], text[end]):
                end -= 1
        pieces.append(text[start:end])
        start = end
    return pieces


def _joined(before: str, after: str) -> bool:
    """Whether the second character belongs to the first: an accent, a vowel sign, a part of an emoji, of a flag or of a
    syllable of Hangul."""
    return (
        before == "\u200d"
        or after in "\u200d\ufe0f"
        or unicodedata.category(after)[0] == "M"
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or "\U000e0020" <= after <= "\U000e007f"
        or "\u1160" <= after <= "\u11ff"
        or ("\U0001f1e6" <= before <= "\U0001f1ff" and "\U0001f1e6" <= after <= "\U0001f1ff")
    )


def decode(data: bytes) -> str:
    """The text of a file, with line ends as Python writes them. A byte that is not UTF-8 becomes U+FFFD,
    which the cleaning step looks for and counts."""
    return data.decode("utf-8", errors="replace").replace("\r\n", "\n")


def _pieces(file: Path, name: str, most: int, left_out: LeftOut) -> Iterator[tuple[str, str]]:
    """The pieces of a text file. It is read twice, a part at a time: its encoding is known only at its end."""
    with outside.opened(file, "a text file", unpacks=True) as raw:
        try:
            read = 0
            for text in characters(unpacked(file, raw)):
                read += len(text)
                if read > most + PIECE:  # a character has a byte or more: nobody asks for what comes then
                    break
            pieces = _cut_as_they_come(characters(unpacked(file, raw)))
            first, second = next(pieces), next(pieces, None)
            if second is None:
                yield name, first
            else:
                for i, piece in enumerate(chain([first, second], pieces)):
                    yield f"{name}#{i:05d}", piece
        except NotUTF8 as error:
            left_out.add("files that are not UTF-8, convert them", f"{name}, which {error}")


def _cut_as_they_come(texts: Iterable[str]) -> Iterator[str]:
    rest = ""
    for text in texts:
        *pieces, rest = cut(rest + text) or [""]
        yield from pieces
    yield rest
