"""Hostile content from valid content: one fault at a time, drawn from a `random.Random`, so that a seed makes it again.

`spoilt` takes the bytes of a valid file and gives others; `placed` puts something else where the file should be. The values that
it puts in stand in `VALUES`. Nothing here knows the kit, so that unit tests draw from the same faults.
"""

from __future__ import annotations

import copy
import functools
import gzip
import io
import json
import os
import re
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

DEEP = "@deep@"  # stands for 100,000 lists in each other, which no encoder writes
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 1.5, -0.0, 1e-320, 1e308, -1e308, 2**31, 2**63 - 1, 2**63, -(2**63), 10**18, 10**400,
    float("nan"), float("inf"), float("-inf"), "", " ", "0", "1e6", "NaN", "1e999", "-1", "true", "null", "\n", "a\nb", "a\r\nb",
    "\0", "\x1b[2J", "\u2028x", "\u202egnp.exe", "\ud800", "\udfff\ud800", "中文", "e\u0301", "\U0001f468\u200d\U0001f469",
    "x" * 300,
    "x" * 200_000, "<script>alert(1)</script>", "../../../etc/passwd", "/etc/passwd", "~root", "C:\\", "%s%n", "{}",
    "{0.__class__}",
    [], {}, [[]], [None], [1, "a", None], {"a": {}}, {"": 0}, [0] * 5000, {str(i): i for i in range(500)}, DEEP,
    {"__class__": "x"}, "9" * 5000, [float("nan")] * 3, [10**400],
)  # fmt: skip


# --- bytes --------------------------------------------------------------------------------------------------


def _flip(data: bytes, random: Random) -> bytes:
    if not data:
        return b"\xff"
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 8, 64))):
        out[random.randrange(len(out))] ^= 1 << random.randrange(8)
    return bytes(out)


def _noise(data: bytes, random: Random) -> bytes:
    """A stretch of random bytes in place of another."""
    at = random.randrange(len(data) + 1)
    size = random.choice((1, 4, 16, 256))
    return data[:at] + random.randbytes(size) + data[at + random.choice((0, size)) :]


def _number(data: bytes, random: Random) -> bytes:
    """One number that stands in the text, replaced by a worse one: of the same length where a format counts bytes."""
    found = list(re.finditer(rb"\d+", data[: 1 << 20]))
    if not found:
        return _flip(data, random)
    at = random.choice(found)
    old = at[0]
    new = random.choice(
        (
            b"9" * len(old),
            b"0" * len(old),
            b"-" + old,
            b"1e308",
            b"9" * 400,
            b"NaN",
            b"99999999999",
            old + b".5",
            b"",
        )
    )
    return data[: at.start()] + new + data[at.end() :]


BYTES: dict[str, Callable[[bytes, Random], bytes]] = {
    "truncated": lambda data, random: data[: random.randrange(len(data) or 1)],
    "cut at the front": lambda data, random: data[random.randrange(len(data) or 1) :],
    "flipped": _flip,
    "noise inside": _noise,
    "another number": _number,
    "empty": lambda data, random: b"",
    "random bytes": lambda data, random: random.randbytes(random.choice((1, 7, 100, 5000))),
    "twice": lambda data, random: data + data,
    "a byte order mark": lambda data, random: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data, random: data.decode("utf-8", "replace").encode("utf-16"),
    "CRLF": lambda data, random: data.replace(b"\n", b"\r\n"),
    "NUL bytes": lambda data, random: _insert(data, b"\0" * random.choice((1, 1000)), random),
    "blank lines": lambda data, random: _insert(data, b"\n" * 1000, random),
    "brackets": lambda data, random: random.choice((b"[", b'{"a":', b"[{}," * 2)) * 100_000,
    "spaces": lambda data, random: b" " * 300_000,
    "one long line": lambda data, random: b"a" * 3_000_000,
    "many lines": lambda data, random: data + b"x,1\n" * 30_000,
    "not UTF-8": lambda data, random: _insert(data, b"\xff\xfe\xfa", random),
    "a line dropped": lambda data, random: _lines(data, random, lambda lines, at: lines[:at] + lines[at + 1 :]),
    "a line doubled": lambda data, random: _lines(data, random, lambda lines, at: lines[: at + 1] + lines[at:]),
    "lines turned": lambda data, random: _lines(data, random, lambda lines, at: lines[at:] + lines[:at]),
    "another kind's head": lambda data, random: random.choice((b"PAR1", b"PK\x03\x04", b"\x1f\x8b\x08", b"\x80\x04",
    b"\x93NUMPY"))
    + data,
}  # fmt: skip


def _insert(data: bytes, what: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + what + data[at:]


def _lines(data: bytes, random: Random, change: Callable[[list[bytes], int], list[bytes]]) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(change(lines, random.randrange(len(lines)))) if lines else data


# --- JSON ---------------------------------------------------------------------------------------------------


def value(random: Random) -> Any:
    """One of `VALUES`, now and then in a list or an object."""
    found = copy.deepcopy(random.choice(VALUES))
    wrap = random.random()
    return [found] if wrap < 0.05 else {"x": found} if wrap < 0.1 else found


def places(tree: Any, deepest: int = 12) -> list[tuple[Any, Any]]:
    """Every (container, key) below a value that JSON can hold."""
    found: list[tuple[Any, Any]] = []
    waiting = [(tree, 0)]
    while waiting and len(found) < 5000:
        node, depth = waiting.pop()
        keys = (
            list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        )
        for key in keys:
            found.append((node, key))
            if depth < deepest:
                waiting.append((node[key], depth + 1))
    return found


def tree_spoilt(tree: Any, random: Random) -> tuple[Any, str]:
    """A value as JSON holds it with one fault in it, in place where it can be; and what was done."""
    found = places(tree)
    if not found or random.random() < 0.03:
        return value(random), "another value"
    node, key = random.choice(found)
    old = node[key]
    way = random.choice(("value", "value", "value", "drop", "rename", "kind", "scale", "add", "inside"))
    where = f"{key!r}"[:40]
    if way == "drop":
        del node[key]
    elif way == "rename" and isinstance(node, dict):
        node[random.choice((str(key).upper(), str(key) + "x", "", "\ud800", "__proto__", DEEP))] = node.pop(
            key
        )
    elif way == "kind":
        node[key] = str(old) if not isinstance(old, str) else random.choice(([old], {"a": old}, 7))
    elif way == "scale" and isinstance(old, (int, float)) and not isinstance(old, bool):
        node[key] = random.choice(
            (-old, old * 10**6, old * 10**12, old + 0.5, 0 * old, old + 1, old * 1e-9, str(old))
        )
    elif way == "add" and isinstance(node, dict):
        node[random.choice(("extra", "", "a\nb", "schema_version", "中文"))] = value(random)
    elif way == "inside" and isinstance(old, str) and old.lstrip()[:1] in ("{", "["):
        try:
            inner, _ = tree_spoilt(json.loads(old), random)
            node[key] = written(inner)
        except (ValueError, RecursionError):
            node[key] = old[: len(old) // 2]
    else:
        node[key] = value(random)
        way = f"value {str(node[key])[:30]!r}"
    return tree, f"{way} at {where}"


def written(tree: Any) -> str:
    """JSON as a careless program writes it: NaN, Infinity, lone surrogates, 10^400, and 100,000 lists where `DEEP` stands."""
    text = json.dumps(tree)
    return text.replace(f'"{DEEP}"', "[" * 100_000 + "]" * 100_000) if DEEP in text else text


def _json(data: bytes, random: Random) -> tuple[bytes, str]:
    tree, done = tree_spoilt(json.loads(data), random)
    text = written(tree)
    if (
        random.random() < 0.05 and text.startswith("{") and len(text) > 2
    ):  # a key twice, the first one counts for some readers
        text = text[:-1] + ", " + text[1:]
        done += ", every key twice"
    return text.encode("utf-8", "surrogatepass"), done


def _json_lines(data: bytes, random: Random) -> tuple[bytes, str]:
    lines = data.splitlines()
    at = random.randrange(len(lines))
    lines[at], done = _json(lines[at], random)
    return b"\n".join(lines) + b"\n", f"line {at + 1}: {done}"


# --- tables, archives, tensors ------------------------------------------------------------------------------


def _csv(data: bytes, random: Random) -> tuple[bytes, str]:
    rows = [line.split(b",") for line in data.splitlines()]
    row = random.randrange(len(rows))
    column = random.randrange(len(rows[row]))
    put = value(random)
    text = put if isinstance(put, str) and put != DEEP else written(put)
    rows[row][column] = text.encode("utf-8", "surrogatepass")
    return b"\n".join(
        b",".join(cells) for cells in rows
    ) + b"\n", f"row {row}, column {column}: {text[:30]!r}"


def _parquet(data: bytes, random: Random) -> tuple[bytes, str]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    names = table.column_names
    name = random.choice(names)
    at, rows = names.index(name), table.num_rows
    ways: dict[str, Callable[[], Any]] = {
        "dropped": lambda: table.drop_columns([name]),
        "renamed": lambda: table.rename_columns([other + "x" * (other == name) for other in names]),
        "null": lambda: table.set_column(at, name, pa.nulls(rows)),
        "of text": lambda: table.set_column(at, name, pa.array(["x"] * rows)),
        "of numbers": lambda: table.set_column(at, name, pa.array([1e308] * rows)),
        "of negative numbers": lambda: table.set_column(at, name, pa.array([-(2**63)] * rows, pa.int64())),
        "of NaN": lambda: table.set_column(at, name, pa.array([float("nan")] * rows)),
        "of bytes": lambda: table.set_column(at, name, pa.array([b"\xff\0"] * rows)),
        "of lists": lambda: table.set_column(at, name, pa.array([[1, 2]] * rows)),
        "of empty lists": lambda: table.set_column(at, name, pa.array([[]] * rows, pa.list_(pa.int64()))),
        "of objects": lambda: table.set_column(at, name, pa.array([{"a": 1}] * rows)),
        "of dates": lambda: table.set_column(at, name, pa.array([0] * rows, pa.timestamp("us"))),
        "of decimals": lambda: table.set_column(at, name, pa.array([1] * rows, pa.decimal128(38, 0))),
        "doubled": lambda: pa.Table.from_arrays([*table.columns, table.column(at)], names=[*names, name]),
        "one long text": lambda: table.set_column(at, name, pa.array(["x" * 1_000_000] * rows).dictionary_encode()),
        "no rows": lambda: table.slice(0, 0),
        "one row": lambda: table.slice(0, 1),
        "100,000 times": lambda: table.take(np.zeros(100_000, np.int64)),
        "a long list": lambda: table.slice(0, 1).set_column(
            at, name, pa.ListArray.from_arrays(np.array([0, 20_000_000]), pa.array(np.zeros(20_000_000, np.int64)))
        ),
        "strange metadata": lambda: table.replace_schema_metadata(
            {b"huggingface": written(value(random)).encode("utf-8", "replace"), b"pandas": b"{"}
        ),
        "shuffled": lambda: table.take(random.sample(range(rows), rows)),
        "one value": lambda: table.set_column(
            at, name, pa.chunked_array([pa.concat_arrays([chunk.slice(0, 1)] * len(chunk)) for chunk in table.column(at).chunks])
        ),
    }  # fmt: skip
    way = random.choice(list(ways))
    buffer = io.BytesIO()
    try:
        changed = ways[way]()
        pq.write_table(changed, buffer, compression=random.choice(("snappy", "zstd", "none")))
    except (pa.ArrowException, IndexError, ValueError, TypeError):  # this column cannot be changed so
        return _flip(data, random), "flipped"
    return buffer.getvalue(), f"column {name!r} {way}"


@functools.cache
def _bomb() -> bytes:
    return gzip.compress(b"\0" * 400_000_000, 1)


def _gzip(data: bytes, random: Random, name: str) -> tuple[bytes, str]:
    if random.random() < 0.05:
        return _bomb(), "a bomb of 400 MB"
    inner, done = spoilt(gzip.decompress(data), random, name.removesuffix(".gz"))
    return gzip.compress(inner, 1), f"inside: {done}"


def _tensors(data: bytes, random: Random) -> tuple[bytes, str]:
    """The header of a safetensors file: JSON, with its length in front."""
    (size,) = struct.unpack("<Q", data[:8])
    tree, done = tree_spoilt(json.loads(data[8 : 8 + size]), random)
    header = written(tree).encode("utf-8", "surrogatepass")
    length = len(header) if random.random() < 0.9 else random.choice((0, 2**63, 10**9, size))
    return struct.pack("<Q", length) + header + data[8 + size :], f"header: {done}"


KINDS: dict[str, Callable[[bytes, Random], tuple[bytes, str]]] = {
    ".json": _json, ".ipynb": _json, ".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet, ".safetensors": _tensors,
}  # fmt: skip


def spoilt(data: bytes, random: Random, name: str, structured: float = 0.7) -> tuple[bytes, str]:
    """Other bytes for a file of this name, and what was done to it: in its structure where that is known, or byte by byte."""
    kind = Path(name).suffix
    if random.random() < structured:
        try:
            if kind == ".gz":
                return _gzip(data, random, name)
            if kind in KINDS:
                return KINDS[kind](data, random)
        except (ValueError, IndexError, struct.error, OSError, RecursionError):
            pass  # it is no such file (any more)
    way = random.choice(list(BYTES))
    return BYTES[way](data, random), way


# --- what stands in a file's place --------------------------------------------------------------------------


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the whole path may be too long for one
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name[:90])
    finally:
        os.chdir(here)


def _sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(30 * 10**9)


PLACES: dict[str, Callable[[Path], None]] = {
    "a folder": lambda path: path.mkdir(),
    "a full folder": lambda path: (path / "x" / "y").mkdir(parents=True),
    "a pipe": _pipe,
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "an empty device": lambda path: path.symlink_to("/dev/null"),
    "a socket": _socket,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to its folder": lambda path: path.symlink_to("."),
    "nothing": lambda path: None,
    "30 GB of zeros": _sparse,
}


def placed(path: Path, random: Random) -> str:
    """Put something else in the place of a file, and say what."""
    path.unlink()
    what = random.choice(list(PLACES))
    PLACES[what](path)
    return what
