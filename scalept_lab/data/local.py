"""Local files as documents: text, rows of tables and saved datasets, plain or compressed, as people have them.

What is left out is said: hidden and installed folders, rows without text, files that are not UTF-8, what lies behind the
budget. One warning names all of it, so that nothing is cut without a word. Files are untrusted: only regular ones are opened,
and what one unpacks to is bounded (`outside.opened`).
"""

from __future__ import annotations

import codecs
import json
import os
import unicodedata
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import IO, Any

from scalept_lab import outside
from scalept_lab.checks import shown
from scalept_lab.data.tokens import utf8
from scalept_lab.errors import InputError

TEXTS = (".txt", ".md", ".py", ".rst", ".tex")
TABLES = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}  # file ending -> loader
PACKED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}  # file ending -> codec of pyarrow
FOREIGN = {"node_modules", "site-packages", "dist-packages", "__pycache__", "__pypackages__", "bower_components",
           "__MACOSX"}  # fmt: skip
# Characters: a long text file is cut into pieces of about this size, so that both sides of a split get some.
PIECE = 8192
LINE = 50_000_000  # characters of one row of JSON
FILES = 100_000
# Keys of a row that say where a text is from, not what it says
DESCRIBES = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "package.json", "package-lock.json",
             "tsconfig.json"}  # fmt: skip
ABOUT = {"id", "idx", "index", "uuid", "url", "uri", "link", "source", "date", "timestamp", "created", "author", "license",
         "licence", "lang", "language", "split", "path", "filename", "meta", "metadata"}  # fmt: skip


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
        warnings.warn(f"{path}: left out: {left_out}", stacklevel=3)
    return found


class _LeftOut(dict[str, tuple[int, str]]):
    """What was left out -> how often, and where first."""

    def add(self, what: str, where: str) -> None:
        count, first = self.get(what, (0, where))
        self[what] = count + 1, first

    def __str__(self) -> str:
        return "; ".join(
            f"{what} ({first}{f' and {count - 1:,} more' * (count > 1)})"
            for what, (count, first) in self.items()
        )


# --- which files --------------------------------------------------------------------------------------------


def _found(path: str | os.PathLike[str]) -> tuple[list[Path], _LeftOut]:
    root, left_out = Path(os.path.expanduser(path)), _LeftOut()
    if not root.exists():
        raise InputError(
            f"{path}: no such file or folder; give a text, .jsonl or .parquet file, or a folder of them"
        )
    if root.is_dir():
        found = _walked(root, left_out)
    else:
        found = [root]
        if root.is_file() and root.stat().st_size and _kind(root) is None:
            raise InputError(f"{path}: {_wanted()}, got a file {root.suffix or 'without an ending'}")
    # a pipe would be waited for
    files = [file for file in found if file.is_file() and file.stat().st_size > 0]
    if not files:
        raise InputError(f"{path}: empty; {_wanted()}" + (f"; left out: {left_out}" if left_out else ""))
    return files, left_out


def _wanted() -> str:
    return f"expected text in {', '.join((*TEXTS, *TABLES))} files, plain or as {', '.join(PACKED)}"


def _walked(root: Path, left_out: _LeftOut) -> list[Path]:
    """The files of a folder whose endings are known, sorted: not the hidden ones, and not what was installed there."""
    found: list[Path] = []
    cards: list[Path] = []
    for place, folders, names in os.walk(root):
        here = Path(place)
        foreign = {name for name in folders if _foreign(here / name)}
        for name in sorted(foreign):
            left_out.add("hidden and installed folders", (here / name).relative_to(root).as_posix())
        folders[:] = sorted(set(folders) - foreign)
        if _saved(here):
            found += [here / name for name in names if name.endswith(".arrow")]
            continue
        for name in sorted(names):
            file = here / name
            if name.startswith(".") or (kind := _kind(file)) is None or name in DESCRIBES:
                continue
            (cards if kind in TEXTS and _card(file, root) else found).append(file)
        if len(found) > FILES:
            raise InputError(f"{root}: expected at most {FILES:,} files; give a folder with fewer")
    if any(_kind(file) not in TEXTS for file in found):  # then they tell of the data
        for file in cards:
            left_out.add("what describes the data", file.relative_to(root).as_posix())
    else:
        found += cards
    return sorted(found)


def _foreign(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in FOREIGN or (folder / "pyvenv.cfg").is_file()


def _saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` wrote this folder."""
    return (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()


def _card(file: Path, root: Path) -> bool:
    """A dataset's card, which begins with its fields below a line ---, or the script that loads it: both as the hub has them."""
    if file.name.lower() == "readme.md":
        with outside.opened(file, "a text file") as opened:
            return opened.read(4) in (b"---\n", b"---\r")
    return file.suffix == ".py" and file.stem == file.parent.resolve().name and file.parent == root


def _kind(file: Path) -> str | None:
    """The ending that says how a file is read: of `a.jsonl.gz` that is `.jsonl`."""
    endings = [ending.lower() for ending in file.suffixes]
    if endings and endings[-1] in PACKED:
        endings.pop()
    ending = endings[-1] if endings else ""
    return ending if ending in (*TEXTS, *TABLES, ".arrow") else None


def _all(
    path: Any, files: list[Path], column: str | None, most: int, split: str, left_out: _LeftOut
) -> Generator[tuple[str, str], None, None]:
    root = Path(os.path.expanduser(path))
    tables = [file for file in files if _kind(file) not in TEXTS]
    parts = {file.parent.name for file in tables if file.suffix == ".arrow" and file.parent != root}
    for file in files:
        name = file.name if root.is_file() else file.relative_to(root).as_posix()
        if _kind(file) in TEXTS:
            yield from _pieces(file, name, most, left_out)
        elif file.suffix == ".arrow" and split in parts and file.parent.name in parts - {split}:
            left_out.add(f"other parts than {split!r}", name)
        else:
            number = tables.index(file)
            for place, text in _texts(file, name, column, left_out):
                yield f"{root.name}#{number:03d}-{place:08d}", text


# --- text ---------------------------------------------------------------------------------------------------


def cut(text: str, size: int = PIECE) -> list[str]:
    """Cut at the last blank line (else line end, else end of a sentence, else blank) before every ``size`` characters, and
    never between a letter and its marks. ``"".join(cut(t)) == t``."""
    pieces, start = [], 0
    while len(text) - start > size:
        window = text[start : start + size]
        ends = ("\n\n", "\n", "。", "！", "？", "।", "؟", " ")
        at = next((i + len(s) for s in ends if (i := window.rfind(s)) > size // 4), size)
        while at > size // 4 and _joined(text[start + at - 1], text[start + at]):
            at -= 1
        pieces.append(text[start : start + at])
        start += at
    if start < len(text):
        pieces.append(text[start:])
    return pieces


def _joined(before: str, after: str) -> bool:
    """Whether the second character belongs to the first: an accent, a vowel sign, what is joined to an emoji."""
    return before == "\u200d" or after in "\u200d\ufe0f" or unicodedata.category(after)[0] == "M"


def decode(data: bytes) -> str:
    """The text of a file, with line ends as Python writes them. A byte that is not UTF-8 becomes U+FFFD,
    which the cleaning step looks for and counts."""
    return data.decode("utf-8", errors="replace").replace("\r\n", "\n")


def _pieces(file: Path, name: str, most: int, left_out: _LeftOut) -> Iterator[tuple[str, str]]:
    with outside.opened(file, "a text file", unpacks=True) as raw:
        data = _unpacked(file, raw).read(most + 8 * PIECE)
    text, encoding = _decoded(data)
    if text is None:
        left_out.add("files that are not UTF-8, convert them", f"{name}, which looks like {encoding}")
        return
    pieces = cut(text.replace("\r\n", "\n"))
    yield from zip(
        [name] if len(pieces) == 1 else [f"{name}#{i:05d}" for i in range(len(pieces))], pieces, strict=True
    )


def _decoded(data: bytes) -> tuple[str | None, str]:
    """The text, and its encoding: UTF-8, or what a byte order mark says; of another one only the name that is likely."""
    marked = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    encoding = next((name for mark, name in marked.items() if data.startswith(mark)), "utf-8")
    try:
        return codecs.getincrementaldecoder(encoding)().decode(
            data
        ), encoding  # its end may lie behind the budget
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        best = from_bytes(data[:100_000]).best()
        return None, best.encoding if best is not None else "no text"


def _unpacked(file: Path, raw: IO[bytes]) -> Any:
    codec = PACKED.get(file.suffix.lower())
    if codec is None:
        return raw
    import pyarrow as pa

    return pa.CompressedInputStream(raw, codec)


# --- rows ---------------------------------------------------------------------------------------------------


def _texts(file: Path, name: str, column: str | None, left_out: _LeftOut) -> Iterator[tuple[int, str]]:
    """(place, text) of the rows of a table that have one."""
    with outside.opened(file, "a table of documents", unpacks=True) as raw:
        kind = _kind(file)
        rows = (
            _of_json(_unpacked(file, raw)) if kind in (".json", ".jsonl") else _of_columns(file, raw, column)
        )
        with_text = False
        for place, row in enumerate(rows):
            if isinstance(row, dict) and "text" in row:
                with_text = True
            elif with_text and isinstance(row, dict):
                row = {"text": None}  # the others have one: what is left here tells of it
            text = text_of(row, f"row {place:,}", column)
            if text is None or not text.strip():
                left_out.add("rows without text", f"{name}, row {place:,}")
            else:
                yield place, text


def _of_columns(file: Path, raw: IO[bytes], column: str | None) -> Iterator[Any]:
    """The rows of a Parquet file or of one that `save_to_disk` wrote, a few at a time; only columns that may hold text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix == ".arrow":
        batches: Iterable[pa.RecordBatch] = pa.ipc.open_stream(raw)
        for batch in batches:
            yield from batch.to_pylist()
        return
    source = pq.ParquetFile(raw)
    names = source.schema_arrow.names
    wanted = [name for name in ([column] if column else ["text", "content"]) if name in names][:1] or names
    for batch in source.iter_batches(batch_size=32, columns=wanted):
        yield from batch.to_pylist()


def _of_json(raw: Any) -> Iterator[Any]:
    """JSON lines, or a list of rows in one piece, alone or as the one list of an object."""
    lines = _lines(raw)
    first = next((line for line in lines if line.strip()), "")
    try:
        row = json.loads(first)
    except ValueError:  # a value of several lines
        row = json.loads("".join([first, *lines]))
        lines = iter(())
    if isinstance(row, list):
        yield from row
    elif isinstance(row, dict):
        lists = [
            value
            for value in row.values()
            if isinstance(value, list) and value and isinstance(value[0], dict)
        ]
        rest = (line for line in lines if line.strip())
        second = next(rest, None)
        if second is None and len(lists) == 1 and not {"messages", "conversations", "text"} & row.keys():
            yield from lists[0]
            return
        yield row
        for line in chain([second] if second else [], rest):
            yield json.loads(line)
    else:
        raise InputError(f"expected rows in JSON, got {shown(row)}")


def _lines(raw: Any) -> Iterator[str]:
    """Lines of UTF-8, none longer than LINE."""
    decoder, rest = codecs.getincrementaldecoder("utf-8-sig")(), ""
    while data := raw.read(1 << 20):
        lines = (rest + decoder.decode(data)).split("\n")
        rest = lines.pop()
        if len(rest) > LINE:
            raise InputError(f"expected rows of at most {LINE:,} characters; give one object a line")
        yield from (line + "\n" for line in lines)
    if rest:
        yield rest


def text_of(row: Any, where: str, column: str | None = None) -> str | None:
    """The text of a row (see `documents`), None where it has none. Raises: InputError for a column that is missing or holds
    something else than text."""
    if isinstance(row, str) and column is None:
        return row
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected an object with a text, got {shown(row)}")
    if column is not None and column not in row:
        raise InputError(f"no text column {column!r}; the columns are {', '.join(map(str, row))}")
    name = column or next((key for key in ("text", "content") if key in row), None)
    if name is not None:
        value = row[name]
        if value is not None and not isinstance(value, str):
            raise InputError(
                f"{where}: expected text in {name!r}, got {shown(value)}; name a column of text, or write it out flat"
            )
        return value
    for name in ("messages", "conversations"):
        if isinstance(row.get(name), list):
            return "\n\n".join(filter(None, map(_said, row[name]))) or None
    values = (value for key, value in row.items() if str(key).lower() not in ABOUT and isinstance(value, str))
    return "\n".join(values) or None


def _said(message: Any) -> str:
    """Who speaks, and what, in the two layouts of chats; parts that are no text are passed over."""
    if not isinstance(message, dict):
        return ""
    who, what = message.get("role", message.get("from")), message.get("content", message.get("value"))
    if isinstance(what, list):
        what = "".join(
            part["text"] for part in what if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return f"{who}: {what}" if isinstance(what, str) and what else ""
