"""Where text comes from: wheels, the fallback, local files in the hub's formats; and mixtures. No network."""

import json
import subprocess

import datasets
import numpy as np
import pandas as pd
import pytest

from scalept_lab.data import local, sources, wheels
from scalept_lab.errors import InputError


def no_index(*_):
    raise subprocess.CalledProcessError(1, "pip")


def test_wheel_is_read_without_installing(source, tmp_path):
    data = sources.collect(["nosuchpackage"], tmp_path)
    assert data.columns.tolist() == list(sources.COLUMNS)
    assert data["path"].tolist() == ["nosuchpackage/__init__.py", "nosuchpackage/core.py"]
    assert data["module"].tolist() == ["nosuchpackage", "nosuchpackage.core"]
    assert data["text"][1] == "def f():\n    return '\ufffd'\n" and data["licence"][0] == "MIT"


def test_without_wheel_the_standard_library_serves_with_one_warning(source, tmp_path, monkeypatch):
    (tmp_path / "wheels" / source.wheel).unlink()
    monkeypatch.setattr(wheels, "_pip_download", no_index)
    with pytest.warns(UserWarning, match="standard library instead") as caught:
        data = sources.collect(["mpmath", "nosuchpackage"], tmp_path)
    assert len(caught) == 1 and set(data["package"]) == {"stdlib"}
    assert "stdlib/heapq.py" in set(data["path"]) and not any("/test/" in p for p in data["path"])


def test_unknown_source():
    with pytest.raises(InputError, match="unknown source 'numpy'"):
        sources.collect(["numpy"])


# ---------------------------------------------------------------- local files


def test_cut_loses_nothing():
    text = "word " * 3000 + "\n\n" + "line\n" * 4000 + "x" * 20_000
    pieces = local.cut(text, 8192)
    assert "".join(pieces) == text and max(map(len, pieces)) <= 8192
    assert local.cut("short") == ["short"] and local.cut("") == []


def test_text_folder(tmp_path):
    (tmp_path / "b.txt").write_text("bee " * 5000)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.md").write_text("# title\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    data = sources.collect_from(str(tmp_path))
    assert data["path"].tolist() == ["b.txt#00000", "b.txt#00001", "b.txt#00002", "sub/a.md"]
    assert "".join(data["text"][:3]) == "bee " * 5000


def rows():
    return [{"text": f"story number {i}, about a cat", "label": i} for i in range(5)]


def test_tables_in_the_hubs_formats(tmp_path):
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(r) for r in rows()))
    datasets.Dataset.from_list(rows()).to_parquet(str(tmp_path / "t.parquet"))
    for name in ("t.jsonl", "t.parquet"):
        data = sources.collect_from(str(tmp_path / name))
        assert data.columns.tolist() == list(sources.COLUMNS)
        assert data["text"].tolist() == [r["text"] for r in rows()] and len(set(data["path"])) == 5
    assert len(sources.collect_from(str(tmp_path))) == 10


def test_hub_names_go_through_load_dataset(tmp_path, monkeypatch):
    """A folder in the hub's layout stands in for the hub: same call, same streaming."""
    (tmp_path / "hub" / "mini").mkdir(parents=True)
    pairs = [{"sentence1": f"one {i}", "sentence2": f"two {i}", "label": 1} for i in range(4)]
    datasets.Dataset.from_list(pairs).to_parquet(str(tmp_path / "hub" / "mini" / "train-00000.parquet"))
    monkeypatch.chdir(tmp_path / "hub")
    monkeypatch.setattr(sources, "is_path", lambda name: False)
    monkeypatch.setattr(sources, "hub_reachable", lambda: True)
    data = sources.collect_from("mini")
    assert data["text"].tolist() == [f"one {i}\ntwo {i}" for i in range(4)] and data["package"][0] == "mini"
    assert sources.collect_from("mini", text_column="sentence2")["text"][0] == "two 0"
    with pytest.warns(UserWarning, match="left out: what lies behind"):
        assert len(sources.collect_from("mini", max_bytes=20)) == 2
    with pytest.raises(InputError, match="no text column 'story'; the columns are sentence1"):
        sources.collect_from("mini", text_column="story")


def test_the_budget_and_the_sizes_are_bytes(tmp_path):
    """Thirty rows of 100 Chinese characters, three bytes each: four of them reach 1,000 bytes, and stay whole."""
    text = "可扩展预训练的数据很多" * 9 + "。"
    assert (len(text), len(text.encode())) == (100, 300)
    file = tmp_path / "t.jsonl"
    file.write_text("\n".join(json.dumps({"text": text}) for _ in range(30)))
    with pytest.warns(UserWarning, match="left out: what lies behind"):
        data = sources.collect_from(str(file), max_bytes=1000)
    assert data["text"].tolist() == [text] * 4 and data["bytes"].tolist() == [300] * 4
    with pytest.warns(UserWarning, match="left out: what lies behind"):
        assert len(sources.collect_from(str(file), max_bytes=1200)) == 4


def test_line_ends_are_unified_before_a_file_is_cut(tmp_path):
    """A blank line is where a piece may end, also where lines end as on Windows."""
    paragraph = "a word " * 600
    (tmp_path / "a.txt").write_bytes(f"{paragraph}\r\n\r\n{paragraph}".encode())
    data = sources.collect_from(str(tmp_path))
    assert data["text"].tolist() == [f"{paragraph}\n\n", paragraph]


def test_half_a_surrogate_pair_is_text_like_any_other(tmp_path):
    data = sources.table([("ab\ud83d", "p", "m", "p/1", "MIT")])
    assert data["bytes"].tolist() == [3] and data["text"][0] == "ab\ud83d"


def test_offline_hub_is_one_line(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"^owner/stories: .*cannot be reached") as caught:
        sources.collect_from("owner/stories")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["./nowhere", "/no/such/folder", "missing.txt", "missing.jsonl", "missing.parquet"]
)
def test_missing_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        sources.collect_from(name)


def test_empty_and_broken_files(tmp_path):
    (tmp_path / "e.txt").write_text("")
    (tmp_path / "blank.txt").write_text(" \n\n")
    (tmp_path / "broken.jsonl").write_text("{not json")
    (tmp_path / "numbers.jsonl").write_text('{"n": 1}\n')
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nonsense")
    for name in ("e.txt", "blank.txt", "folder", "numbers.jsonl"):
        with pytest.raises(InputError, match="empty"):
            sources.collect_from(str(tmp_path / name))
    for name in ("broken.jsonl", "broken.parquet"):
        with pytest.raises(InputError, match="expected a table of documents, got") as caught:
            sources.collect_from(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def corpus_of(*texts, package="p"):
    return sources.table((text, package, "m", f"{package}/{i}.py", "MIT") for i, text in enumerate(texts))


def test_shares_are_of_bytes_not_of_characters():
    data = pd.concat([corpus_of(*["数据"] * 60, package="a"), corpus_of(*["texts."] * 60, package="b")])
    mixed = sources.mix(data.reset_index(drop=True), {"a": 2, "b": 1}, total_bytes=270)
    assert mixed["package"].value_counts().to_dict() == {"a": 30, "b": 15}  # six bytes each


def test_mix_meets_its_shares():
    rng = np.random.default_rng(0)
    parts = [corpus_of(*["x" * int(n) for n in rng.integers(50, 150, 400)], package=p) for p in "abc"]
    data = pd.concat(parts, ignore_index=True)
    mixed = sources.mix(data, {"a": 3, "b": 1}, total_bytes=40_000, seed=1)
    size = {
        p: sum(len(t) for t, q in zip(mixed["text"], mixed["package"], strict=True) if q == p) for p in "abc"
    }
    assert size["c"] == 0 and abs(size["a"] - 30_000) < 150 and abs(size["b"] - 10_000) < 150
    assert mixed.equals(sources.mix(data, {"a": 3, "b": 1}, total_bytes=40_000, seed=1))
    assert not mixed.equals(sources.mix(data, {"a": 3, "b": 1}, total_bytes=40_000, seed=2))
    assert len(set(mixed["path"])) == len(mixed)
    largest = sources.mix(data, {"a": 1, "b": 1, "c": 1})
    assert sum(map(len, largest["text"])) > 0.95 * sum(map(len, data["text"]))
    for wrong in ({}, {"a": 0}, {"a": float("nan")}, {"nothing": 1}):
        with pytest.raises(InputError):
            sources.mix(data, wrong)
    with pytest.raises(InputError, match="without repeating"):
        sources.mix(data, {"a": 1}, total_bytes=10**9)


def test_the_largest_mix_by_hand():
    """Ten documents of 6 bytes, three of 4: at 2 to 1, the 12 bytes of b allow 36, of which 24 are four documents of a."""
    data = pd.concat([corpus_of(*["texts."] * 10, package="a"), corpus_of(*["text"] * 3, package="b")])
    mixed = sources.mix(data.reset_index(drop=True), {"a": 2, "b": 1})
    assert mixed["package"].tolist() == ["a"] * 4 + ["b"] * 3
    with pytest.raises(InputError, match=r"total_bytes 37: these weights allow 1 to 36 "):
        sources.mix(data, {"a": 2, "b": 1}, total_bytes=37)
