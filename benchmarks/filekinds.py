"""Files as people have them, and as they should not be: each kind written into an empty folder, with what has to come of it."""

# ruff: noqa: E501  (a word list, a case of a table: one line each)

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

STORY = "A story of a cat that met a dog at the well, and of what they said. "
OTHER = "猫在井边遇见了狗，它们说了很久的话。月亮升起来了，河水很静。"
THIRD = "Кошка встретила собаку у колодца, и они долго говорили о зиме. "


@dataclass(frozen=True)
class Kind:
    """`write(folder)` returns the path to read. The documents must be `texts`, in any order (None: some, see `least`); with
    `named`, one line must say so, and hold this."""

    write: Callable[[Path], Path]
    texts: tuple[str, ...] | None = ()
    named: str = ""
    least: int = 0
    large: bool = False  # takes seconds to write or to read


KINDS: dict[str, Kind] = {}


def kind(
    name: str, *texts: str, named: str = "", least: int = 0, some: bool = False, large: bool = False
) -> Any:
    def keep(write: Callable[[Path], Path | None]) -> Callable[[Path], Path | None]:
        KINDS[name] = Kind(
            lambda folder: write(folder) or folder, None if some else texts, named, least, large
        )
        return write

    return keep


def put(file: Path, data: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    return file


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def packed(data: bytes, codec: str) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as out:
        out.write(data)
    return sink.getvalue().to_pybytes()


def simple(name: str, file: str, data: str | bytes, *texts: str, named: str = "") -> None:
    kind(name, *texts, named=named)(lambda folder: put(folder / file, data) and None)


# --- text -----------------------------------------------------------------------------------------------------------------

for ending in ("txt", "md", "py", "rst", "tex", "TXT"):
    simple(f".{ending}", f"a.{ending}", STORY, STORY)
for codec, pack in {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": lambda d: packed(d, "zstd"),
    "lz4": lambda d: packed(d, "lz4"),
}.items():  # fmt: skip
    simple(f".txt.{codec}", f"a.txt.{codec}", pack(OTHER.encode()), OTHER)
    simple(
        f".jsonl.{codec}",
        f"a.jsonl.{codec}",
        pack(lines({"text": OTHER}, {"text": STORY}).encode()),
        OTHER,
        STORY,
    )
    simple(
        f".txt.{codec}, two of them joined",
        f"a.txt.{codec}",
        pack(STORY.encode()) + pack(OTHER.encode()),
        STORY + OTHER,
    )
    simple(
        f".txt.{codec}, cut short",
        f"a.txt.{codec}",
        pack(os.urandom(30_000).hex().encode())[:-500],
        named=f"a.txt.{codec}",
    )
simple("UTF-8 with a mark", "a.txt", b"\xef\xbb\xbf" + OTHER.encode(), OTHER)
for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
    for script, text in {"English": STORY, "Chinese": OTHER}.items():
        mark = "\ufeff"
        simple(f"{encoding.upper()} with a mark, {script}", "a.txt", (mark + text).encode(encoding), text)
        simple(
            f"{encoding.upper()} without a mark, {script}",
            "a.txt",
            (text * 20).encode(encoding),
            named="a.txt",
        )
for encoding, text in {
    "gbk": OTHER, "big5": "貓在井邊遇見了狗，月亮升起來了。", "shift_jis": "猫は井戸で犬に会った。月が出た。"
    , "euc_jp": "猫は井戸で犬に会った。",
    "euc_kr": "고양이가 우물가에서 개를 만났다.", "latin-1": "Die Katze traf den Hund über dem Brünnlein. é", "cp1251": THIRD,
    "koi8-r": THIRD, "cp1256": "القطة قابلت الكلب عند البئر", "tis-620": "แมวพบหมาที่บ่อน้ำ",
}.items():  # fmt: skip
    simple(encoding, "a.txt", (text * 20).encode(encoding), named="a.txt")
simple("one é in Latin-1 at the end", "a.txt", (STORY + "caf\xe9").encode("latin-1"), named="a.txt")
simple("a file that is being written, in mid-character", "a.txt", OTHER.encode()[:-1], named="a.txt")
simple("NULs in the text", "a.txt", STORY + "\0\0" + STORY, named="a.txt")
simple("bytes of a picture called .txt", "a.txt", bytes(range(256)) * 40, named="a.txt")
simple("line ends of Windows", "a.txt", "one line\r\ntwo lines\r\n" + STORY, "one line\ntwo lines\n" + STORY)
simple("line ends of old Macs", "a.txt", "one line\rtwo lines\r" + STORY, "one line\ntwo lines\n" + STORY)
simple("an empty file", "a.txt", b"", named="empty")
simple("white space only", "a.txt", " \n\t\u3000\n", named="a")
simple("half a surrogate pair, as bytes", "a.txt", STORY.encode() + b"\xed\xa0\xbd", named="a.txt")


@kind("a line of 50 MB", some=True, least=6000, large=True)
def _(folder):
    put(folder / "a.txt", "word and " * 5_600_000)


@kind("100 MB: the budget", some=True, least=6000, named="behind the", large=True)
def _(folder):
    with open(folder / "a.txt", "w") as file:
        for _ in range(100):
            file.write((STORY * 15000)[:999_999] + "\n")


@kind("100 MB with one emoji a line: the budget", some=True, least=6000, named="behind the", large=True)
def _(folder):
    with open(folder / "a.txt", "w") as file:
        for _ in range(100_000):
            file.write((STORY * 15)[:990] + "👍\n")


# --- rows -----------------------------------------------------------------------------------------------------------------

simple(
    "JSONL: text null",
    "a.jsonl",
    lines({"id": "d0", "text": None}, {"id": "d1", "text": STORY}),
    STORY,
    named="row 0",
)
simple("JSONL: text an object", "a.jsonl", lines({"text": {"en": STORY}}), named="name a column")
simple("JSONL: text a list", "a.jsonl", lines({"text": [STORY, OTHER]}), named="name a column")
simple("JSONL: a line broken among good ones", "a.jsonl",
       lines({"text": STORY}) + '{"text": "brok\n' + lines({"text": OTHER}), STORY, OTHER, named="line 2")  # fmt: skip
simple("JSONL: the first line broken", "a.jsonl", '{"text": "brok\n' + lines({"text": OTHER}, {"text": STORY}), OTHER, STORY,
       named="line 1")  # fmt: skip
simple(
    "JSONL: being written",
    "a.jsonl",
    lines({"text": STORY}) + lines({"text": OTHER})[:-20],
    STORY,
    named="line 2",
)
simple("JSONL: a key twice", "a.jsonl", f'{{"text": "{STORY}", "text": "{OTHER}"}}\n' + lines({"text": THIRD}), THIRD,
       named="twice")  # fmt: skip
simple(
    "JSONL: half a surrogate pair, escaped", "a.jsonl", '{"text": "' + STORY + '\\ud83d"}\n', STORY + "\ud83d"
)
simple(
    "JSONL: a pair of surrogates, escaped",
    "a.jsonl",
    '{"text": "' + STORY + '\\ud83d\\ude00"}\n',
    STORY + "😀",
)
simple("JSONL: column body", "a.jsonl", lines({"id": 1, "body": STORY}), STORY)
simple("JSONL: column 文本", "a.jsonl", lines({"id": 1, "文本": OTHER}), OTHER)
simple(
    "JSONL: several text columns",
    "a.jsonl",
    lines({"title": "Cats", "body": STORY, "url": "https://a.example"}),
    "Cats\n" + STORY,
)
simple("JSONL: with a mark, blank lines and Windows' ends", "a.jsonl",
       b"\xef\xbb\xbf" + lines({"text": STORY}).replace("\n", "\r\n\r\n").encode(), STORY)  # fmt: skip
simple("JSONL in UTF-16 with a mark", "a.jsonl", lines({"text": OTHER}).encode("utf-16"), OTHER)
simple("JSONL in GBK", "a.jsonl", lines(*[{"text": OTHER}] * 20).encode("gbk"), named="a.jsonl")
simple(
    "JSONL: numbers of 5,000 digits",
    "a.jsonl",
    '{"n": ' + "9" * 5000 + "}\n" + lines({"text": STORY}),
    STORY,
    named="line 1",
)
simple(
    "JSONL: nested 100,000 deep",
    "a.jsonl",
    '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}\n",
    named="a.jsonl",
)
simple("chats of OpenAI", "a.jsonl", lines({"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": STORY}]}),
       f"user: 你好\n\nassistant: {STORY}")  # fmt: skip
simple("chats of OpenAI, in parts", "a.jsonl", lines({"messages": [{"role": "user", "content": [{"type": "text", "text": STORY}, "Hm?"]}]}),
       f"user: {STORY}Hm?")  # fmt: skip
simple("chats of ShareGPT", "a.json", json.dumps([{"id": "x", "conversations": [{"from": "human", "value": STORY}, {"from": "gpt", "value": OTHER}]}]),
       f"human: {STORY}\n\ngpt: {OTHER}")  # fmt: skip
simple(
    "instructions of Alpaca",
    "a.json",
    json.dumps([{"instruction": "Tell me.", "input": "", "output": STORY}], indent=2),
    f"Tell me.\n\n{STORY}",
)
simple(
    "a JSON list in one piece",
    "a.json",
    json.dumps([{"text": STORY}, {"text": OTHER}], indent=1),
    STORY,
    OTHER,
)
simple("a JSON list, a row a line", "a.json", '[\n{"text": "' + STORY + '"}\n]\n', STORY)
simple("a JSON object with one list", "a.json", json.dumps({"version": 1, "data": [{"text": STORY}]}), STORY)
simple(
    "CSV",
    "a.csv",
    f'id,text\n1,"{STORY}"\n2,"two ""words""\nin two lines, {OTHER}"\n',
    STORY,
    f'two "words"\nin two lines, {OTHER}',
)
simple(
    "CSV of Excel: semicolons, a mark, Windows' ends",
    "a.csv",
    b"\xef\xbb\xbf" + f"id;text\r\n1;{STORY}\r\n".encode(),
    STORY,
)
simple("CSV without a head", "a.csv", f"{STORY}\n{OTHER}\n", named="a.csv")
simple(
    "CSV: a quote that does not end", "a.csv", f'id,text\n1,{STORY}\n2,"{OTHER}\n3,{THIRD}\n', named="a.csv"
)
simple("CSV: a row too long", "a.csv", f'id,text\n1,"{STORY}"\n2,a,b\n', STORY, named="row 1")
simple("TSV", "a.tsv", f"id\ttext\n1\t{STORY}\n2\t{OTHER}\n", STORY, OTHER)


def table(folder: Path, name: str, columns: dict[str, Any], **options: Any) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), folder / name, **options)
    return folder / name


@kind("Parquet", STORY, OTHER)
def _(folder):
    table(folder, "a.parquet", {"id": [1, 2], "text": [STORY, OTHER]})


@kind("Parquet in gz", STORY)
def _(folder):
    put(folder / "b.parquet.gz", gzip.compress(table(folder, "a.parquet", {"text": [STORY]}).read_bytes()))
    (folder / "a.parquet").unlink()


@kind("Parquet of chats", f"user: {STORY}")
def _(folder):
    table(folder, "a.parquet", {"id": ["7"], "messages": [[{"role": "user", "content": STORY}]]})


@kind("Parquet without text", named="a.parquet")
def _(folder):
    table(folder, "a.parquet", {"id": [1, 2], "label": [0, 1]})


@kind("Parquet: 20 million rows without text", named="rows", large=True)
def _(folder):
    import pyarrow as pa

    table(folder, "a.parquet", {"text": pa.nulls(20_000_000, pa.string())})


@kind("Parquet that says 4 GB", some=True, least=10, named="behind the", large=True)
def _(folder):
    import numpy as np
    import pyarrow as pa

    once = pa.DictionaryArray.from_arrays(np.zeros(1000, np.int32), pa.array([STORY * 60_000]))
    table(folder, "a.parquet", {"text": once}, compression="zstd", row_group_size=4000)


@kind("Parquet, cut short", named="a.parquet")
def _(folder):
    file = table(folder, "a.parquet", {"text": [STORY]})
    file.write_bytes(file.read_bytes()[:-30])


def stream(file: Path, columns: dict[str, Any], whole: bool = False) -> Path:
    import pyarrow as pa

    rows = pa.record_batch(columns)
    with (pa.ipc.new_file if whole else pa.ipc.new_stream)(file, rows.schema) as out:
        out.write_batch(rows)
    return file


@kind("Arrow, a stream", STORY, OTHER)
def _(folder):
    stream(folder / "a.arrow", {"id": [1, 2], "text": [STORY, OTHER]})


@kind("Arrow, a file", STORY, OTHER)
def _(folder):
    stream(folder / "a.arrow", {"id": [1, 2], "text": [STORY, OTHER]}, whole=True)


def saying(file: Path, rows: int) -> None:
    """Three rows become 10^12 by their head alone."""
    data, three, at = bytearray(file.read_bytes()), (3).to_bytes(8, "little"), -1
    while (at := data.find(three, at + 1)) >= 0:
        data[at : at + 8] = rows.to_bytes(8, "little")
    file.write_bytes(data)


@kind("Arrow: says 10^12 rows of nothing", named="behind the first", large=True)
def _(folder):
    import pyarrow as pa

    saying(stream(folder / "a.arrow", {"text": pa.nulls(3)}), 10**12)


@kind("Arrow: says 10^12 rows of text", named="a.arrow")
def _(folder):
    saying(stream(folder / "a.arrow", {"text": [STORY] * 3}), 10**12)


@kind("Arrow: places behind its end", named="a.arrow")
def _(folder):
    file = stream(folder / "a.arrow", {"text": [STORY, OTHER]})
    data, offset = file.read_bytes(), len(STORY.encode()).to_bytes(4, "little")
    file.write_bytes(data.replace(offset, (2_000_000_000).to_bytes(4, "little")))


@kind("save_to_disk", STORY, OTHER, named="cache-1.arrow")
def _(folder):
    import datasets

    datasets.Dataset.from_list([{"text": STORY}, {"text": OTHER}]).save_to_disk(str(folder / "d"))
    stream(folder / "d" / "cache-1.arrow", {"text": [THIRD]})
    put(folder / "d" / "README.md", "---\nlicense: mit\n---\nAbout the data.")
    put(folder / "d" / "CITATION.txt", "Cite us, please.")


@kind("a DatasetDict", STORY, named="test")
def _(folder):
    import datasets

    parts = {
        name: datasets.Dataset.from_list([{"text": text}])
        for name, text in (("train", STORY), ("test", OTHER))
    }
    datasets.DatasetDict(parts).save_to_disk(str(folder / "d"))
    return folder / "d"


@kind("a folder of the hub: card, script, data", STORY, named="README.md")
def _(folder):
    put(folder / "mini" / "README.md", "---\nlicense: mit\n---\nAbout the data.")
    put(folder / "mini" / "mini.py", "import datasets\n")
    put(folder / "mini" / "data" / "train.jsonl", lines({"text": STORY}))
    return folder / "mini"


# --- other kinds, and folders ---------------------------------------------------------------------------------------------

for name, data in {
    "a.pdf": b"%PDF-1.4 \x00\xff", "a.docx": b"PK\x03\x04", "a.jpg": b"\xff\xd8\xff", "a.html": b"<p>x</p>", "a.ipynb": b"{}",
    "a.bin": b"\0" * 100, "Thumbs.db": b"\xd0\xcf", "README": b"Read me.", "a.c": b"int main(){}",
}.items():  # fmt: skip
    for others in (True, False):

        @kind(f"{name}{', among texts' if others else ', alone'}", *[STORY] * others, named=name)
        def _(folder, name=name, data=data, others=others):
            put(folder / name, data)
            if others:
                put(folder / "b.txt", STORY)


@kind("zip and tar, among texts", STORY, named="a.tar.gz")
def _(folder):
    put(folder / "b.txt", STORY)
    with zipfile.ZipFile(folder / "b.zip", "w") as archive:
        archive.writestr("x.txt", OTHER)
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        about = tarfile.TarInfo("x.txt")
        about.size = 3
        archive.addfile(about, io.BytesIO(b"abc"))


@kind("hidden and installed folders", STORY, named="hidden and installed")
def _(folder):
    for place in (".venv/lib/a.py", "node_modules/x/b.md", ".git/c.txt", "__pycache__/d.txt", ".ipynb_checkpoints/e-checkpoint.py",
                  "env/lib/python3.12/site-packages/f.py", "old/pyvenv.cfg", "old/g.py", "._h.txt", ".DS_Store", "__MACOSX/i.txt",
                  "pkg.egg-info/top_level.txt", "pkg-1.0.dist-info/LICENSE.txt",
                  "build/lib/a.py", "dist/b.txt", "pyproject.toml"):  # fmt: skip
        put(folder / place, OTHER)
    put(folder / "src" / "a.txt", STORY)


@kind("folders called build and dist that hold texts", STORY, OTHER)
def _(folder):
    put(folder / "build" / "a.txt", STORY)
    put(folder / "dist" / "b.txt", OTHER)


@kind("links that go round", STORY, named="loop")
def _(folder):
    put(folder / "a.txt", STORY)
    os.symlink(folder, folder / "loop")
    os.symlink(folder / "self.txt", folder / "self.txt")


@kind("pipes in the folder", STORY, named="what is no file (README.md and 1 more)")
def _(folder):
    put(folder / "a.txt", STORY)
    os.mkfifo(folder / "pipe.txt")
    os.mkfifo(folder / "README.md")


@kind("a file nobody may read", STORY, named="a.txt")
def _(folder):
    put(folder / "b.txt", STORY)
    os.symlink("/proc/self/mem", folder / "a.txt")  # root may read what has no permission; not this


for title, name in {"Chinese": "文本 文件.txt", "a line end": "a\nb.txt", "bytes that are no character": b"caf\xe9.txt",
                    "an escape": "\x1b[31mred.txt"}.items():  # fmt: skip
    for good in (True, False):

        @kind(
            f"a name with {title}{'' if good else ', refused'}",
            *[STORY] * good,
            named="" if good else "not UTF-8",
        )
        def _(folder, name=name, good=good):
            put(folder / os.fsdecode(name), STORY.encode() if good else OTHER.encode("gbk") * 20)


@kind("a folder whose name is no character", STORY)
def _(folder):
    put(folder / os.fsdecode(b"caf\xe9") / "a.txt", STORY)
    return folder / os.fsdecode(b"caf\xe9")


FAST_GZIP = partial(gzip.open, compresslevel=1)
FAST_XZ = partial(lzma.open, preset=0)


def bomb(path: Path, opener: Callable[..., Any], byte: bytes, size: int = 10**10) -> None:
    block = byte * 10_000_000
    with opener(path, "wb") as file:
        for _ in range(size // len(block)):
            file.write(block)


@kind("gz of 10 GB of zeros", named="a.txt.gz", large=True)
def _(folder):
    bomb(folder / "a.txt.gz", FAST_GZIP, b"\0")


@kind("gz of 10 GB of a letter", some=True, least=1000, named="behind the", large=True)
def _(folder):
    bomb(folder / "a.txt.gz", FAST_GZIP, b"a")


@kind("gz of 10 GB in one line of JSON", named="a.jsonl.gz", large=True)
def _(folder):
    bomb(folder / "a.jsonl.gz", FAST_GZIP, b"[")


@kind("xz of 1 GB of zeros", named="a.txt.xz", large=True)
def _(folder):
    bomb(folder / "a.txt.xz", FAST_XZ, b"\0", 10**9)


@kind("a bomb in a bomb", named="a.txt.gz.gz", large=True)
def _(folder):
    put(folder / "a.txt.gz.gz", gzip.compress(gzip.compress(bytes(10**8))))


@kind("10,000 files", some=True, least=10_000, large=True)
def _(folder):
    for i in range(10_000):
        put(folder / f"{i % 100:02d}" / f"{i}.txt", f"{i} {STORY}")
