"""From the bytes of a file to its characters: what it is packed with, and in which encoding it is.

Text is UTF-8, or what a byte order mark says. Another encoding is named, as far as it can be told, and never guessed at: Big5
read as GBK is a text, too, and a wrong one.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from scalept_lab.errors import InputError

PACKED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4", ".xz": "xz"}  # file ending -> codec
CHUNK = 1 << 20  # bytes that are decoded at a time
SAMPLE = 50_000  # bytes around the one that is no UTF-8, by which its encoding is told
MARKS = {  # the longer first: UTF-32 begins as UTF-16 does
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip


class NotUTF8(InputError):
    """Bytes that are no text in UTF-8; its message says what they look like."""


def unpacked(file: Path, raw: IO[bytes]) -> Any:
    """What a packed file holds, from its beginning, as something to `read` bytes from; the file itself where it is not packed."""
    raw.seek(0)
    codec = PACKED.get(file.suffix.lower())
    if codec is None:
        return raw
    if codec == "xz":
        import lzma

        return lzma.open(raw)
    import pyarrow as pa

    # of its own: Arrow closes what it reads from, with itself
    own = open(os.dup(raw.fileno()), "rb", buffering=0)  # noqa: SIM115
    own.seek(0)
    return pa.CompressedInputStream(own, codec)


def characters(raw: Any) -> Iterator[str]:
    """The text of a stream of bytes, piece by piece, every line end as \\n.

    Raises: NotUTF8, also for a NUL, which no text holds, and for an end in the middle of a character.
    """
    data = raw.read(CHUNK)
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    while data:
        after = raw.read(CHUNK)
        try:
            text = decoder.decode(data, final=not after)
        except UnicodeDecodeError as error:
            if not after and error.reason in ("unexpected end of data", "truncated data"):
                raise NotUTF8("ends in the middle of a character") from None
            raise NotUTF8(_likely(data, error.start)) from None
        if "\0" in text:
            raise NotUTF8(_with_nul(data))
        yield text
        data = after


def _likely(data: bytes, at: int) -> str:
    """What bytes look like of which the one at a place is no UTF-8."""
    from charset_normalizer import from_bytes

    around = data[max(0, at - SAMPLE) : at + SAMPLE]
    if b"\0" in around:
        return _with_nul(around)
    found = list(from_bytes(around))
    if not found:
        return "is no text"
    spoken = [each for each in found if each.coherence > 0]  # its letters are as frequent as in some language
    names = " or ".join(each.encoding for each in (spoken[:1] or found[:3]))
    return f"looks like {names}"


def _with_nul(data: bytes) -> str:
    """What bytes with NULs among them are: an ASCII character has one in UTF-16, always on the same side, and three in UTF-32,
    where every character has one."""
    sample = data[:SAMPLE]
    nul = [sample[first::4].count(0) / max(1, len(sample) // 4) for first in range(4)]
    for end, wide, here, there in (("le", (2, 3), (1, 3), (0, 2)), ("be", (0, 1), (0, 2), (1, 3))):
        if min(nul[place] for place in wide) > 0.9 and min(nul) < 0.9:
            return f"looks like utf-32-{end} without a byte order mark"
        if min(nul[place] for place in here) > 0.1 and max(nul[place] for place in there) < 0.05:
            return f"looks like utf-16-{end} without a byte order mark"
    return "holds NUL bytes, as no text does"
