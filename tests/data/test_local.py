"""Local files as people have them: which are read, what of them is text, and what is said of the rest. No network."""

import bz2
import gzip
import itertools
import json
import os
import unicodedata
import warnings

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filekinds import KINDS
from scalept_lab.data import local, rows
from scalept_lab.errors import InputError
from texts import wrong

STORY = "A story of a cat that met a dog at the well. "


def texts(path, **options):
    """The texts, where nothing is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [text for _, text in local.documents(path, **options)]


def lines(path, *each):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in each), encoding="utf-8")
    return path


def test_hidden_and_installed_folders_are_left_out_and_named(tmp_path):
    for place in (".venv/lib/a.py", "node_modules/x/b.md", ".ipynb_checkpoints/c-checkpoint.py", "env/lib/d.py", "src/e.py",
                  "src/__pycache__/f.txt"):  # fmt: skip
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(STORY)
    (tmp_path / "env" / "pyvenv.cfg").write_text("home = /usr")
    (tmp_path / "._notes.txt").write_text(STORY)
    with pytest.warns(
        UserWarning,
        match=r"hidden and installed folders \(\.ipynb_checkpoints and 4 more\); hidden files \(\._notes.txt\)$",
    ):
        assert [name for name, _ in local.documents(tmp_path)] == ["src/e.py"]
    assert texts(tmp_path / ".venv" / "lib") == [STORY]  # asked for by name, it is what is wanted


def test_rows_without_text_are_counted_and_their_metadata_is_no_text(tmp_path):
    some = [
        {"id": f"doc-{i}", "url": "https://a.example", "text": STORY if i % 2 else None} for i in range(4)
    ]
    file = lines(tmp_path / "t.jsonl", *some, {"id": "doc-4", "url": "https://b.example"}, {"text": " \n"})
    with pytest.warns(UserWarning, match=r"left out: rows without text \(t\.jsonl, row 0 and 3 more\)$"):
        assert [text for _, text in local.documents(file)] == [STORY] * 2
    only = lines(tmp_path / "none.jsonl", some[0])
    with pytest.raises(InputError, match=r"none\.jsonl: empty; .* got rows without text"):
        local.documents(only)


def test_a_text_that_is_an_object_is_refused_with_what_to_do(tmp_path):
    file = lines(tmp_path / "t.jsonl", {"text": {"en": STORY}})
    with pytest.raises(InputError, match=r"row 0: expected text in 'text', got .*; name a column of text"):
        local.documents(file)
    assert texts(lines(tmp_path / "u.jsonl", {"text": {"en": 1}, "body": STORY}), text_column="body") == [
        STORY
    ]


@pytest.mark.parametrize(
    "key, who, what", [("messages", "role", "content"), ("conversations", "from", "value")]
)
def test_chats_keep_who_speaks(tmp_path, key, who, what):
    turns = [{who: "user", what: "你好"}, {who: "assistant", what: None}, {who: "assistant", what: "Hello."}]
    assert texts(lines(tmp_path / "c.jsonl", {"id": 1, key: turns})) == ["user: 你好\n\nassistant: Hello."]


def test_parts_of_a_message_that_are_text(tmp_path):
    parts = [
        {"type": "text", "text": "Look: "},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "a cat."},
    ]
    assert texts(lines(tmp_path / "c.jsonl", {"messages": [{"role": "user", "content": parts}]})) == [
        "user: Look: a cat."
    ]


def test_pairs_are_joined_and_where_they_are_from_is_not(tmp_path):
    row = {"id": "7", "sentence1": "one", "sentence2": "two", "label": 1, "url": "https://a.example"}
    assert texts(lines(tmp_path / "p.jsonl", row)) == ["one\ntwo"]


def test_json_in_one_piece(tmp_path):
    for name, value in {
        "list": [{"text": STORY}],
        "strings": [STORY],
        "data": {"version": 1, "data": [{"text": STORY}]},
    }.items():
        for indent in (None, 1):
            (tmp_path / f"{name}.json").write_text(json.dumps(value, indent=indent))
            assert texts(tmp_path / f"{name}.json") == [STORY], name


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("ending, pack", [("gz", gzip.compress), ("bz2", bz2.compress), ("zst", zstd)])
def test_compressed_files(tmp_path, ending, pack):
    (tmp_path / f"a.txt.{ending}").write_bytes(pack(STORY.encode()))
    (tmp_path / f"b.jsonl.{ending}").write_bytes(pack((json.dumps({"text": STORY}) + "\n").encode() * 2))
    assert texts(tmp_path) == [STORY] * 3


def test_saved_datasets(tmp_path):
    one = datasets.Dataset.from_list([{"text": STORY + str(i)} for i in range(5)])
    one.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(train=one, test=one.select([0])).save_to_disk(str(tmp_path / "two"))
    assert texts(tmp_path / "one") == one["text"][:]
    with pytest.warns(UserWarning, match="left out: other parts than 'train'"):
        assert len(local.documents(tmp_path / "two")) == 5
    with pytest.warns(UserWarning, match="left out: other parts than 'test'"):
        assert len(local.documents(tmp_path / "two", split="test")) == 1


def test_a_datasets_card_and_script_are_about_the_data_and_a_projects_are_text(tmp_path):
    data, project = tmp_path / "mini", tmp_path / "project"
    for folder in (data, project):
        folder.mkdir()
        (folder / "README.md").write_text(("---\nlicense: mit\n---\n" if folder is data else "") + STORY)
        (folder / f"{folder.name}.py").write_text("import datasets\n" + STORY)
    lines(data / "train.jsonl", {"text": STORY})
    (project / "package.json").write_text('{"name": "x"}')
    with pytest.warns(UserWarning, match=r"what describes the data \(README\.md and 1 more\)"):
        assert [text for _, text in local.documents(data)] == [STORY]
    with pytest.warns(UserWarning, match=r"what describes the data \(package\.json\)$"):
        assert len(local.documents(project)) == 2


@pytest.mark.parametrize(
    "encoding, text",
    [("gb18030", "春天来了，花开了，鸟儿在树上唱歌。" * 20), ("utf-16-le", "Zwölf Boxkämpfer. " * 40)],
)
def test_what_is_not_utf_8_is_named_and_never_guessed(tmp_path, encoding, text):
    (tmp_path / "a.txt").write_bytes(text.encode(encoding).replace(b"\0", b"\xff"))
    (tmp_path / "b.txt").write_text(STORY)
    with pytest.warns(
        UserWarning, match=r"files that are not UTF-8, convert them \(a\.txt, which looks like"
    ):
        assert [text for _, text in local.documents(tmp_path)] == [STORY]
    with pytest.raises(InputError, match="not UTF-8"):
        local.documents(tmp_path / "a.txt")


def test_a_byte_order_mark_says_the_encoding(tmp_path):
    for encoding in ("utf-16", "utf-8-sig"):
        (tmp_path / "a.txt").write_bytes("可扩展 и ещё".encode(encoding))
        assert texts(tmp_path / "a.txt") == ["可扩展 и ещё"]


def test_what_lies_behind_the_budget_is_said(tmp_path):
    for name in "abc":
        lines(tmp_path / f"{name}.jsonl", *[{"text": "x" * 400}] * 2)
    with pytest.warns(UserWarning, match=r"left out: what lies behind the 0.001 MB that are read"):
        assert len(local.documents(tmp_path, most=1000)) == 3
    assert len(texts(tmp_path, most=10_000)) == 6
    (tmp_path / "d.txt").write_text("word " * 100_000)
    with pytest.warns(UserWarning, match="what lies behind"):
        found = local.documents(tmp_path / "d.txt", most=20_000)
    assert 20_000 <= sum(len(text) for _, text in found) < 20_000 + local.PIECE


@pytest.mark.parametrize("script, text", {
    "Chinese": "今天天气很好，我们去公园散步。" * 2000, "Thai": "วันนี้อากาศดีมากเราไปเดินเล่นที่สวนสาธารณะ" * 800,
    "Hindi": "आज मौसम बहुत अच्छा है और हम पार्क में टहलने जाते हैं।" * 800, "emoji": "👩‍👩‍👧‍👦👍🏽" * 3000,
    "Hangul in parts": unicodedata.normalize("NFD", "고양이가개를만났다") * 1500, "tags": "🏴󠁧󠁢󠁳󠁣󠁴󠁿" * 3000,
}.items())  # fmt: skip
def test_no_cut_parts_a_letter_from_its_marks(script, text):
    pieces = local.cut(text)
    assert "".join(pieces) == text and len(pieces) > 2
    assert max(len(piece.encode()) for piece in pieces) <= local.PIECE
    assert not any(local._joined(a[-1], b[0]) for a, b in itertools.pairwise(pieces))
    if script == "Chinese":
        assert all(piece.endswith("。") for piece in pieces)


def test_what_unpacks_to_far_more_than_it_holds(tmp_path, monkeypatch):
    """800 bytes of Parquet that say 2 GB are read up to the budget; lists in lists, and a row without an end, are refused."""
    once = pa.DictionaryArray.from_arrays(np.zeros(1000, np.int32), pa.array(["x" * 2_000_000]))
    pq.write_table(pa.table({"text": once}), tmp_path / "t.parquet", compression="zstd", row_group_size=4000)
    with pytest.warns(UserWarning, match="behind the 6 MB"):
        assert len(local.documents(tmp_path / "t.parquet", most=6_000_000)) == 3
    monkeypatch.setattr(rows, "LINE", 10_000)
    (tmp_path / "n.json").write_text('[{"text": ' + "[" * 100_000 + "]" * 100_000 + "}]")
    (tmp_path / "long.jsonl").write_text('{"text": "' + "x" * 2_000_000)
    for name in ("n.json", "long.jsonl"):
        with pytest.raises(InputError) as told:
            local.documents(tmp_path / name)
        assert "\n" not in str(told.value) and name in str(told.value)


def test_only_regular_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(InputError, match="empty"):
        local.documents(tmp_path)
    with pytest.raises(InputError, match="empty"):
        local.documents(tmp_path / "pipe.txt")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(InputError, match=r"expected text in .*, got a file \.jpg"):
        local.documents(tmp_path / "photo.jpg")


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.large])
def test_each_kind_of_file(name, tmp_path):
    """Read rightly, or named in one line."""
    kind = KINDS[name]
    path = kind.write(tmp_path)
    found = {"texts": [], "told": "", "raised": "", "bytes": 0}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found["texts"] = [text for _, text in local.documents(path)]
        except InputError as error:
            found["told"] = str(error)
    found["told"] = "\n".join([found["told"]] * bool(found["told"]) + [str(each.message) for each in caught])
    assert wrong(kind, {**found, "count": len(found["texts"])}) == ""


def test_pieces_do_not_depend_on_how_much_is_read_at_a_time(tmp_path, monkeypatch):
    text = "".join(f"Ein Satz über 猫 Nummer {i}.\n" for i in range(3000))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    found = local.documents(tmp_path / "a.txt")
    assert [piece for _, piece in found] == local.cut(text)
    assert [name for name, _ in found] == [f"a.txt#{i:05d}" for i in range(len(found))]
    monkeypatch.setattr("scalept_lab.data.characters.CHUNK", 777)
    assert local.documents(tmp_path / "a.txt") == found


def test_what_is_left_out_stays_one_line_of_some_kinds(tmp_path):
    (tmp_path / "a.txt").write_text(STORY)
    for i in range(30):
        (tmp_path / f"x.k{i:02d}").write_text("x")
    with pytest.warns(
        UserWarning, match=r"files \.k00 \(x\.k00\); .*; files \.k11 \(x\.k11\); 18 more kinds$"
    ):
        local.documents(tmp_path)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text(STORY)
    walk = os.walk

    def without_rights(top, onerror):
        onerror(PermissionError(13, "Permission denied", str(tmp_path / "closed")))
        return walk(top, onerror=onerror)

    monkeypatch.setattr(local.os, "walk", without_rights)
    with pytest.warns(UserWarning, match=r"folders that cannot be read \(Permission denied\) \(closed\)"):
        assert len(local.documents(tmp_path)) == 1
