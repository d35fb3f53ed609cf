"""From bytes to text: what a mark says, line ends, packed files, and what is said of bytes that are no UTF-8."""

from __future__ import annotations

import gzip
import io
import random

import pytest

from scalept_lab.data import characters
from scalept_lab.data.characters import NotUTF8

TEXT = "Zwölf Boxkämpfer 猫 और कुत्ता 👩‍👩‍👧‍👦\n"


def read(data, monkeypatch=None, chunk=None):
    if chunk:
        monkeypatch.setattr(characters, "CHUNK", chunk)
    return "".join(characters.characters(io.BytesIO(data)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("chunk", [4, 5, 7, 1 << 20])
def test_marks_and_line_ends_whatever_the_pieces(encoding, end, chunk, monkeypatch):
    data = (TEXT * 5).replace("\n", end).encode(encoding)
    assert read(data, monkeypatch, chunk) == TEXT * 5


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_encodings_without_a_mark_are_told_by_their_nuls(encoding):
    with pytest.raises(NotUTF8, match=f"looks like {encoding} without a byte order mark"):
        read(("A cat met a dog at the well. " * 20).encode(encoding))


@pytest.mark.parametrize(("encoding", "text", "told"), [
    ("shift_jis", "猫は井戸のそばで犬に会った。二人は長い道を歩いて、山の村に着いた。", "looks like cp932"),
    ("euc_kr", "고양이는 우물가에서 개를 만났다. 둘은 긴 길을 걸어 산골 마을에 도착했다.", "looks like cp949"),
    ("big5", "貓在井邊遇見了狗。他們走了很長的路，來到山裡的村莊。", "looks like big5"),
    ("cp1256", "التقت القطة بالكلب عند البئر. سارا طويلا حتى وصلا إلى القرية.", "looks like cp1256"),
    ("euc_jp", "村鳥雲星海風橋船石馬" * 20, "looks like .* or "),  # no text of any language: several fit
])  # fmt: skip
def test_the_encoding_is_named_or_those_that_fit(encoding, text, told):
    with pytest.raises(NotUTF8, match=told):
        read(text.encode(encoding))


@pytest.mark.parametrize("data, told", [
    (TEXT.encode()[:-2], "ends in the middle of a character"), ("caf\xe9".encode("latin-1"), "ends in the middle"),
    ("猫在井边遇见了狗。".encode("gbk") * 20, "looks like"), (b"a\0b", "holds NUL bytes"), (bytes(1000), "holds NUL bytes"),
    (bytes(random.Random(0).randbytes(5000)), ""),
    ("猫狗".encode("utf-16")[:-1], "ends in the middle"), (b"\xed\xa0\xbd and half a pair", ""),
])  # fmt: skip
def test_what_is_no_utf_8_is_refused_with_what_it_looks_like(data, told):
    with pytest.raises(NotUTF8, match=told):
        read(data)


def test_what_is_packed_is_read_from_its_beginning_any_number_of_times(tmp_path):
    file = tmp_path / "a.txt.gz"
    file.write_bytes(gzip.compress(TEXT.encode()))
    with open(file, "rb") as raw:
        for _ in range(3):
            assert characters.unpacked(file, raw).read(1 << 20).decode() == TEXT
    plain = tmp_path / "a.txt"
    plain.write_bytes(TEXT.encode())
    with open(plain, "rb") as raw:
        raw.read(3)
        assert characters.unpacked(plain, raw) is raw and raw.tell() == 0
