"""Where text comes from: pins, the wheel path, the fallback, local files in the hub's formats. No
network."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import zipfile

import datasets
import pytest

from scalept_lab.data import sources, wheels
from scalept_lab.errors import InputError


def make_wheel(folder, extra=b""):
    files = {
        "nosuchpackage/__init__.py": b"",
        "nosuchpackage/core.py": b"def f():\n    return '\xff'\n" + extra,
        "nosuchpackage/tests/test_core.py": b"assert True\n",
        "nosuchpackage/data.txt": b"no Python",
    }
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "nosuchpackage-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in reversed(files):  # out of order on purpose
            archive.writestr(zipfile.ZipInfo(name), files[name])
    return wheel


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A pinned package that nobody has installed, its wheel in the cache."""
    wheel = make_wheel(tmp_path / "wheels")
    pin = wheels.Source(
        "nosuchpackage", "1.0", "MIT", wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest(), ""
    )
    with zipfile.ZipFile(wheel) as archive:
        files = [(n, archive.read(n)) for n in sorted(archive.namelist()) if pin.selects(n)]
    pin = dataclasses.replace(pin, content_sha256=wheels.content_hash(files))
    monkeypatch.setitem(wheels.SOURCES, "nosuchpackage", pin)
    return pin


def no_index(*_):
    raise subprocess.CalledProcessError(1, "pip")


def test_wheel_is_read_without_installing(source, tmp_path):
    data = sources.collect(["nosuchpackage"], tmp_path)
    assert data.columns.tolist() == list(sources.COLUMNS)
    assert data["path"].tolist() == ["nosuchpackage/__init__.py", "nosuchpackage/core.py"]
    assert data["module"].tolist() == ["nosuchpackage", "nosuchpackage.core"]
    assert data["text"][1] == "def f():\n    return '\ufffd'\n" and data["licence"][0] == "MIT"


def test_wheel_is_downloaded_once_and_checked(source, tmp_path, monkeypatch):
    cached = tmp_path / "wheels" / source.wheel
    outside = shutil.move(cached, tmp_path / "elsewhere.whl")
    calls = []
    monkeypatch.setattr(
        wheels, "_pip_download", lambda s, folder: calls.append(shutil.copy(outside, folder / s.wheel))
    )
    for _ in range(2):
        assert len(sources.collect(["nosuchpackage"], tmp_path)) == 2
    assert len(calls) == 1 and cached.exists()
    cached.unlink()
    make_wheel(tmp_path / "bad", extra=b"import os\n")
    monkeypatch.setattr(
        wheels, "_pip_download", lambda s, folder: shutil.copy(tmp_path / "bad" / s.wheel, folder / s.wheel)
    )
    with pytest.raises(InputError, match=r"downloaded sha256 .* is not the pinned"):
        sources.collect(["nosuchpackage"], tmp_path)
    assert not cached.exists()


def test_wrong_wheel_in_the_cache_is_refused(source, tmp_path):
    make_wheel(tmp_path / "wheels", extra=b"import os\n")
    with pytest.raises(InputError, match="delete the file"):
        sources.collect(["nosuchpackage"], tmp_path)


def test_without_wheel_the_standard_library_serves_with_one_warning(source, tmp_path, monkeypatch):
    (tmp_path / "wheels" / source.wheel).unlink()
    monkeypatch.setattr(wheels, "_pip_download", no_index)
    with pytest.warns(UserWarning, match="standard library instead") as caught:
        data = sources.collect(["mpmath", "nosuchpackage"], tmp_path)
    assert len(caught) == 1 and set(data["package"]) == {"stdlib"}
    assert "stdlib/heapq.py" in set(data["path"]) and not any("/test/" in p for p in data["path"])


@pytest.mark.parametrize("name", sorted(wheels.SOURCES))
def test_pins_are_what_is_installed(name):
    """constraints.txt installs exactly the pins, so that nothing is downloaded."""
    files = wheels.installed_files(wheels.SOURCES[name])
    if files is None:
        pytest.skip(
            f"{name} {wheels.SOURCES[name].version} is not installed here; the wheel would be downloaded"
        )
    assert [p for p, _ in files] == sorted(p for p, _ in files) and len(files) > 40


def test_other_version_or_changed_file_is_not_the_pin(monkeypatch):
    pin = wheels.SOURCES["mpmath"]
    assert wheels.installed_files(dataclasses.replace(pin, version="0.1")) is None
    assert wheels.installed_files(dataclasses.replace(pin, content_sha256="0" * 64)) is None


def test_unknown_source():
    with pytest.raises(InputError, match="unknown source 'numpy'"):
        sources.collect(["numpy"])


@pytest.mark.slow
def test_real_wheel_is_the_installed_one(tmp_path):
    """Needs a package index."""
    pin = wheels.SOURCES["mpmath"]
    files = wheels.wheel_files(pin, tmp_path)
    if files is None:
        pytest.skip("no package index in reach")
    assert files == wheels.installed_files(pin)


# ---------------------------------------------------------------- local files


def test_cut_loses_nothing():
    text = "word " * 3000 + "\n\n" + "line\n" * 4000 + "x" * 20_000
    pieces = sources.cut(text, 8192)
    assert "".join(pieces) == text and max(map(len, pieces)) <= 8192
    assert sources.cut("short") == ["short"] and sources.cut("") == []


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
    assert len(sources.collect_from("mini", max_bytes=20)) == 2
    with pytest.raises(InputError, match="no text column 'story'; the columns are sentence1"):
        sources.collect_from("mini", text_column="story")


def test_the_budget_and_the_sizes_are_bytes(tmp_path):
    """Thirty rows of 100 Chinese characters, three bytes each: four of them reach 1,000 bytes, and stay whole."""
    text = "可扩展预训练的数据很多" * 9 + "。"
    assert (len(text), len(text.encode())) == (100, 300)
    file = tmp_path / "t.jsonl"
    file.write_text("\n".join(json.dumps({"text": text}) for _ in range(30)))
    data = sources.collect_from(str(file), max_bytes=1000)
    assert data["text"].tolist() == [text] * 4 and data["bytes"].tolist() == [300] * 4
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
        with pytest.raises(InputError, match="cannot be read") as caught:
            sources.collect_from(str(tmp_path / name))
        assert "\n" not in str(caught.value)
