"""LeRobot's format, on small sets that this file writes: versions 2.0 to 3.0, whole and damaged; and read by LeRobot itself,
where it is installed."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from refusals import one_line

from scalept_lab import outside
from scalept_lab.vla import demos, lerobot, worlds

TASKS = ["pick up the cube", "open the drawer"]
LENGTHS = [4, 3, 5]


def frames(episode: int) -> pd.DataFrame:
    n = LENGTHS[episode]
    rng = np.random.default_rng(episode)
    return pd.DataFrame({
        "observation.state": list(rng.normal(size=(n, 6)).astype(np.float32)),
        "action": list(rng.normal(size=(n, 6)).astype(np.float32)),
        "timestamp": (np.arange(n) / 30).astype(np.float32),
        "frame_index": np.arange(n),
        "episode_index": np.full(n, episode),
        "task_index": np.full(n, episode % 2),
    })  # fmt: skip


def write(root: Path, version: str) -> Path:
    meta = root / "meta"
    meta.mkdir(parents=True)
    (meta / "info.json").write_text(json.dumps({"codebase_version": version, "fps": 30}))
    (root / "videos").mkdir()
    (root / "videos" / "episode_000000.mp4").write_bytes(b"\0not read")
    chunk = root / "data" / "chunk-000"
    chunk.mkdir(parents=True)
    episodes = [{"episode_index": e, "length": n, "tasks": [TASKS[e % 2]]} for e, n in enumerate(LENGTHS)]
    if version == "v3.0":
        pd.concat([frames(0), frames(1)]).to_parquet(chunk / "file-000.parquet", index=False)
        frames(2).to_parquet(chunk / "file-001.parquet", index=False)
        pd.DataFrame({"task_index": [0, 1]}, index=TASKS).to_parquet(meta / "tasks.parquet")
        (meta / "episodes" / "chunk-000").mkdir(parents=True)
        pd.DataFrame(episodes).to_parquet(meta / "episodes" / "chunk-000" / "file-000.parquet")
    else:
        for e in range(3):
            frames(e).to_parquet(chunk / f"episode_{e:06d}.parquet", index=False)
        tasks = [{"task_index": i, "task": task} for i, task in enumerate(TASKS)]
        (meta / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tasks))
        (meta / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in episodes))
    return root


@pytest.fixture(params=["v2.0", "v2.1", "v3.0"])
def folder(request, tmp_path) -> Path:
    return write(tmp_path / "set", request.param)


def refused(name: object, *words: str) -> None:
    one_line(lambda: lerobot.load(name), *words)


def test_steps_come_in_order_with_their_task_in_words(folder):
    found = lerobot.load(folder)
    wanted = pd.concat([frames(e) for e in range(3)])
    assert len(found) == 12 and found["task"] == [TASKS[0]] * 4 + [TASKS[1]] * 3 + [TASKS[0]] * 5
    assert found["episode_index"] == wanted["episode_index"].tolist()
    for key in ("observation.state", "action"):
        assert np.array_equal(np.array(found[key], np.float32), np.stack(wanted[key].tolist()))
    assert lerobot.load(str(folder))[5] == found[5]


def test_the_words_may_stand_in_a_column(tmp_path):
    folder = write(tmp_path / "set", "v3.0")
    pd.DataFrame({"task_index": [1, 0], "task": TASKS[::-1]}).to_parquet(folder / "meta" / "tasks.parquet")
    assert lerobot.load(folder)["task"][:5] == [TASKS[0]] * 4 + [TASKS[1]]


def test_a_folder_that_is_none(tmp_path):
    refused(tmp_path / "nowhere", "info.json", "found no such file")
    refused(tmp_path, "info.json", "found no such file")


def test_damaged_meta(folder):
    meta = folder / "meta"
    version = json.loads((meta / "info.json").read_text())["codebase_version"]
    for text, word in (
        ('{"codebase_version": ', "not JSON"), ("[1]", "a JSON object"), ("{}", "got None"),
        ('{"codebase_version": "v1.6"}', "'v1.6'"), ('{"codebase_version": "v9"}', "v2.0, v2.1, v3.0, got 'v9'"),
    ):  # fmt: skip
        (meta / "info.json").write_text(text)
        refused(folder, word)
    (meta / "info.json").write_text(json.dumps({"codebase_version": version}))
    tasks = meta / ("tasks.parquet" if version == "v3.0" else "tasks.jsonl")
    whole = tasks.read_bytes()
    tasks.write_bytes(whole[: len(whole) // 3])
    refused(folder, tasks.name, "damaged")
    tasks.unlink()
    refused(folder, tasks.name, "found no such file")
    tasks.write_bytes(whole)
    lerobot.load(folder)


def test_what_unpacks_to_far_more_than_it_holds_is_refused(folder, monkeypatch):
    """One string of a megabyte, told 4,000 times in a file of a few kilobytes."""
    monkeypatch.setattr(outside, "MEMORY", 3 * 10**8)
    file = sorted(folder.glob("data/*/*.parquet"))[0]
    table = pq.read_table(file)
    once = pa.DictionaryArray.from_arrays(np.zeros(4000, np.int32), pa.array(["x" * 1_000_000]))
    bomb = pa.table(
        {name: table.column(name).take(pa.array([0] * 4000)) for name in table.column_names} | {"note": once}
    )
    pq.write_table(bomb, file, compression="zstd", store_schema=False)
    assert file.stat().st_size < 10**6
    refused(folder, file.name, "unpacks to more than")


def test_lines_that_lack_something(tmp_path):
    folder = write(tmp_path / "set", "v2.1")
    kept = (folder / "meta" / "tasks.jsonl").read_text()
    (folder / "meta" / "tasks.jsonl").write_text(kept.splitlines()[0])
    refused(folder, "words for every task", "none for task 1")
    (folder / "meta" / "tasks.jsonl").write_text('{"task_index": 0}\n')
    refused(folder, "task_index and task of every one")


def test_episodes_cut_short_or_missing(folder):
    files = sorted(folder.glob("data/*/*.parquet"))
    whole = files[-1].read_bytes()
    files[-1].write_bytes(whole[:-20])
    refused(folder, files[-1].name, "got another or a damaged one")
    files[-1].unlink()
    refused(folder, "expected 5 steps of episode 2", "got 0 in data/")
    frames(2).iloc[:3].to_parquet(files[-1], index=False)
    refused(folder, "expected 5 steps of episode 2", "got 3 in data/")
    frames(2).drop(columns="task_index").to_parquet(files[-1], index=False)
    refused(folder, "LeRobot's columns")
    shutil.rmtree(folder / "data")
    refused(folder, "expected files in data/")


def test_the_hub_out_of_reach_is_one_line(monkeypatch):
    monkeypatch.setattr(lerobot, "hub_reachable", lambda: False)
    refused("lerobot/pusht", "not a folder", "offline")


def test_what_the_hub_says_is_cut_to_its_first_line(monkeypatch):
    import huggingface_hub

    def gone(*_, **__):
        raise OSError("\n" + "x" * 120 + "\nand much more")

    monkeypatch.setattr(lerobot, "hub_reachable", lambda: True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", gone)
    refused("lerobot/pusht", f"on the hub ({'x' * 100});")


def test_from_the_hub_only_meta_and_data_are_fetched(tmp_path, monkeypatch):
    import huggingface_hub

    folder, asked = write(tmp_path / "set", "v2.1"), {}
    monkeypatch.setattr(lerobot, "hub_reachable", lambda: True)

    def fetch(name, **options):
        asked.update(options, name=name)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert len(lerobot.load("lerobot/pusht")) == 12
    assert asked == {"name": "lerobot/pusht", "repo_type": "dataset", "allow_patterns": ["meta/*", "data/*"]}

    def lost(name, **options):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no such\nrepository")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lost)
    refused("lerobot/no-such", "expected a dataset on the hub (no such)")


def with_types(path: Path, change: dict[str, pa.DataType]) -> None:
    """The same file with other types of columns."""
    table = pq.read_table(path)
    fields = [field.with_type(change.get(field.name, field.type)) for field in table.schema]
    pq.write_table(table.cast(pa.schema(fields)), path)


FIXED = {"action": pa.list_(pa.float32(), 6)}
FEATURES = {
    "action": {"dtype": "float32", "shape": [6], "names": None},
    "task_index": {"dtype": "int64", "shape": [1]},
}


def features(folder: Path, told: object) -> None:
    path = folder / "meta" / "info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "features": told}))


@pytest.mark.parametrize(
    "told", [FEATURES, None, {"action": {"dtype": "hologram", "shape": [6]}}, {"action": 3}, [1]]
)
def test_files_of_two_types_are_brought_to_one(tmp_path, told):
    folder = write(tmp_path / "set", "v3.0")
    features(folder, told)
    first, second = sorted(folder.glob("data/*/*.parquet"))
    with_types(first, {"task_index": pa.int32()})
    with_types(second, FIXED)
    found = lerobot.load(folder)
    actions = np.stack([row for e in range(3) for row in frames(e)["action"]])
    assert np.array_equal(np.array(found["action"], np.float32), actions)
    if told == FEATURES:
        assert found.data.schema.field("action").type == FIXED["action"]
        assert found.data.schema.field("task_index").type == pa.int64()


def test_files_that_do_not_fit_together(tmp_path):
    folder = write(tmp_path / "set", "v3.0")
    features(folder, FEATURES)
    first, second = sorted(folder.glob("data/*/*.parquet"))
    whole = pd.read_parquet(second)
    whole.assign(action=[np.zeros(4, np.float32)] * 5).to_parquet(second, index=False)
    with_types(first, FIXED)
    refused(folder, "LeRobot's columns")
    whole.drop(columns="timestamp").to_parquet(second, index=False)
    refused(folder, "not every file has a column timestamp")


def test_a_type_that_only_its_writer_knew_is_left_as_parquet_has_it(folder):
    known = {"_type": "Value", "dtype": "int64"}
    told = {"info": {"features": {"task_index": known, "action": {"_type": "VideoFrame"}, "timestamp": None}}}
    for path in folder.glob("data/*/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(told)}), path)
    assert lerobot.load(folder)["task"][0] == TASKS[0]
    for path in folder.glob("data/*/*.parquet"):
        pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": "{"}), path)
    assert len(lerobot.load(folder)) == 12


def test_what_a_mac_leaves_beside_is_passed_over(folder):
    for path in list(folder.glob("**/*")):
        if path.is_file():
            (path.parent / f"._{path.name}").write_bytes(b"\0\5\26\7 not Parquet")
            (path.parent / ".DS_Store").write_bytes(b"\0")
    shutil.copytree(folder / "data" / "chunk-000", folder / "data" / ".ipynb_checkpoints")
    assert len(lerobot.load(folder)) == 12


def test_a_byte_order_mark(folder):
    path = folder / "meta" / "info.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(lerobot.load(folder)) == 12


@pytest.fixture(scope="module")
def ours():
    return demos.demonstrations("GoToLocalS8N4", 30, progress=False)


def test_our_demonstrations_go_there_and_come_back(tmp_path, ours):
    lerobot.export(ours, tmp_path / "new" / "out")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    found = lerobot.load(tmp_path / "new" / "out")
    assert len(found) == len(ours) and found["action"] == ours["action"]
    assert found["task"] == [worlds.decode(np.array(words)) for words in ours["mission"]]
    assert found["episode_index"] == ours["episode"] and found["index"] == list(range(len(ours)))
    state = np.array(found["observation.state"], np.uint8)
    assert np.array_equal(state[:, :147].reshape(-1, 7, 7, 3), np.array(ours["image"]))
    assert state[:, 147].tolist() == ours["direction"]
    first = [row for row in found if row["episode_index"] == 1]
    assert [row["frame_index"] for row in first] == list(range(len(first)))
    assert [row["timestamp"] for row in first] == pytest.approx([i / 10 for i in range(len(first))])


def test_the_layout_is_that_of_version_3(tmp_path, ours):
    lerobot.export(ours, tmp_path)  # an empty folder will do
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    place = "chunk-000/file-000.parquet"
    assert files == {
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        f"meta/episodes/{place}",
        f"data/{place}",
    }
    info = json.loads((tmp_path / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["splits"] == {"train": "0:30"}
    assert info["total_frames"] == len(ours) and info["total_episodes"] == 30
    assert info["data_path"].format(chunk_index=0, file_index=0) == f"data/{place}"
    data = pq.read_table(tmp_path / "data" / place)
    for key, feature in info["features"].items():
        values = np.array(data[key].to_pylist())
        assert list(values.shape[1:] or (1,)) == feature["shape"]
    episodes = pq.read_table(tmp_path / "meta/episodes" / place).to_pylist()
    ends = [row["dataset_to_index"] for row in episodes]
    assert [row["dataset_from_index"] for row in episodes] == [0, *ends[:-1]] and ends[-1] == len(ours)
    assert all(row["dataset_to_index"] - row["dataset_from_index"] == row["length"] for row in episodes)
    tasks = pd.read_parquet(tmp_path / "meta/tasks.parquet")
    assert [tasks.iloc[i].name for i in data["task_index"].to_pylist()] == lerobot.load(tmp_path)["task"]
    statistics = json.loads((tmp_path / "meta/stats.json").read_text())
    assert set(statistics) == set(info["features"])
    actions = np.array(ours["action"])
    assert statistics["action"]["mean"] == pytest.approx([actions.mean()])
    assert statistics["action"]["q90"] == pytest.approx([np.quantile(actions, 0.9)])
    assert statistics["action"]["count"] == [len(ours)]


def test_an_export_is_whole_or_not_there(tmp_path, ours, monkeypatch):
    (tmp_path / "file").touch()
    one_line(lambda: lerobot.export(ours, tmp_path / "file" / "in"), "cannot be written: ")
    one_line(lambda: lerobot.export(ours, tmp_path / "file"), "file cannot be written: ")
    one_line(lambda: lerobot.export(ours, tmp_path), "a new or an empty folder", "name another")
    one_line(lambda: lerobot.export(ours, tmp_path / "out", fps=0), "fps: expected a whole number")
    one_line(lambda: lerobot.export(ours.select([]), tmp_path / "out"), "at least one step")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lerobot, "_write", full)
    one_line(lambda: lerobot.export(ours, tmp_path / "out"), "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --- LeRobot itself: pip install --no-deps lerobot==0.4.4, and what its datasets import ------------------------------

itself = pytest.mark.skipif(importlib.util.find_spec("lerobot") is None, reason="lerobot is not installed")


@itself
def test_lerobot_opens_what_we_write(tmp_path, ours, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    lerobot.export(ours, tmp_path / "out")
    ahead = {"action": [0.0, 0.1, 0.2]}
    opened = LeRobotDataset("here/babyai", root=tmp_path / "out", delta_timestamps=ahead)
    assert len(opened) == len(ours) and opened.num_episodes == 30 and opened.fps == 10
    read = lerobot.load(tmp_path / "out")
    assert set(opened.features) == set(read.column_names) - {"task"}
    for index in (0, 7, len(ours) - 1):
        item, row = opened[index], read[index]
        assert item["task"] == row["task"] and item["action"][0] == row["action"]
        assert item["observation.state"].tolist() == row["observation.state"]
    assert opened[len(ours) - 1]["action_is_pad"].tolist() == [False, True, True]
    assert opened.meta.stats["action"]["mean"] == pytest.approx(np.mean(ours["action"]))
    fifth = LeRobotDataset("here/babyai", root=tmp_path / "out", episodes=[5])
    assert len(fifth) == opened.meta.episodes[5]["length"] == ours["episode"].count(5)


@itself
def test_we_read_what_lerobot_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    shape = {"dtype": "float32", "shape": (6,), "names": None}
    written = LeRobotDataset.create(
        "here/arm", fps=30, root=tmp_path / "arm", use_videos=False,
        features={"observation.state": shape, "action": shape},
    )  # fmt: skip
    for episode in range(3):
        for row in frames(episode).to_dict("records"):
            values = {key: row[key] for key in ("observation.state", "action")}
            written.add_frame({**values, "task": TASKS[episode % 2]})
        written.save_episode()
    written.finalize()
    found = lerobot.load(tmp_path / "arm")
    assert len(found) == 12 and found["task"] == [TASKS[0]] * 4 + [TASKS[1]] * 3 + [TASKS[0]] * 5
    assert np.array_equal(np.array(found["action"][4:7], np.float32), np.stack(frames(1)["action"].tolist()))


def test_half_a_letter_in_a_task_is_one_line(tmp_path):
    root = write(tmp_path / "set", "v2.1")
    rows = [{"task_index": 0, "task": "\ud800"}, {"task_index": 1, "task": "x"}]
    (root / "meta" / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one_line(lambda: lerobot.load(root), str(root), "expected tasks and columns that a table can hold")


def test_nested_metadata_a_huge_shape_and_what_an_archive_adds_keep_nobody_from_loading(tmp_path):
    root = write(tmp_path / "a", "v3.0")
    paths = sorted((root / "data" / "chunk-000").iterdir())
    info = json.loads((root / "meta" / "info.json").read_text())
    features = {"action": {"dtype": "float32", "shape": [10**12]}}
    (root / "meta" / "info.json").write_text(json.dumps({**info, "features": features}))
    for path, kind in zip(paths, (pa.list_(pa.float32()), pa.list_(pa.float64())), strict=True):
        table = pq.read_table(path)
        at = table.column_names.index("action")
        table = table.set_column(at, "action", table.column("action").cast(kind))
        pq.write_table(table.replace_schema_metadata({b"huggingface": b"[" * 100_000}), path)
    (root / "data" / "__MACOSX").mkdir()
    (root / "data" / "__MACOSX" / "file-000.parquet").write_bytes(b"no Parquet")
    assert len(lerobot.load(root)) == sum(LENGTHS)
