"""LeRobot's format, on small sets that this file writes: versions 2.1 and 3.0, whole and damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refusals import one_line

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
    refused(tmp_path / "nowhere", "info.json", "found none")
    refused(tmp_path, "info.json", "found none")


def test_damaged_meta(folder):
    meta = folder / "meta"
    version = json.loads((meta / "info.json").read_text())["codebase_version"]
    for text, word in (
        ('{"codebase_version": ', "expected JSON"), ("[1]", "expected JSON objects"), ("{}", "got None"),
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
    refused(folder, tasks.name, "found none")
    tasks.write_bytes(whole)
    lerobot.load(folder)


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
    refused(folder, files[-1].name, "cut short or damaged")
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


def test_our_demonstrations_go_there_and_come_back(tmp_path):
    ours = demos.demonstrations("GoToLocalS8N4", 30, progress=False)
    (tmp_path / "file").touch()
    one_line(lambda: lerobot.export(ours, tmp_path / "file"), "file cannot be written: ")
    lerobot.export(ours, tmp_path / "out")
    found = lerobot.load(tmp_path / "out")
    assert len(found) == len(ours) and found["action"] == ours["action"]
    assert found["task"] == [worlds.decode(np.array(words)) for words in ours["mission"]]
    assert found["episode_index"] == ours["episode"] and found["index"] == list(range(len(ours)))
    state = np.array(found["observation.state"], np.uint8)
    assert np.array_equal(state[:, :147].reshape(-1, 7, 7, 3), np.array(ours["image"]))
    assert state[:, 147].tolist() == ours["direction"]
    info = json.loads((tmp_path / "out" / "meta" / "info.json").read_text())
    assert info["total_frames"] == len(ours) and info["total_episodes"] == 30
    for key, feature in info["features"].items():
        values = np.array(found[key])
        assert list(values.shape[1:] or (1,)) == feature["shape"]
    first = info["data_path"].format(episode_chunk=0, episode_index=0)
    assert (tmp_path / "out" / first).exists()
    lines = (tmp_path / "out" / "meta" / "episodes_stats.jsonl").read_text().splitlines()
    assert len(lines) == 30 and set(json.loads(lines[0])["stats"]) == set(info["features"])
