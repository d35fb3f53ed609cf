"""Robot demonstrations in LeRobot's format: read as a `datasets` dataset, and BabyAI's written (version 2.1).

A folder has `meta/` (info.json, the episodes, the tasks in words) and `data/` (Parquet: one file per episode in version 2,
many episodes per file in version 3). Videos lie beside them and are left where they are. The package `lerobot` itself is
not needed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalept_lab.checks import one_of
from scalept_lab.data.sources import hub_reachable, is_path
from scalept_lab.errors import InputError
from scalept_lab.folders import writing
from scalept_lab.vla import worlds

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa


VERSIONS = ("v2.0", "v2.1", "v3.0")


def load(name: str | os.PathLike[str]) -> datasets.Dataset:
    """A dataset in LeRobot's format, from a folder or the hub (`lerobot/pusht`): its columns, and `task` in words.

    One row is one step, ordered by episode and step. What lies in videos is not loaded.
    Raises: InputError for a hub out of reach, a missing or damaged file, an unknown version, episodes whose steps are not
    as many as `meta` says, or a step whose task has no words.
    """
    import datasets
    import pyarrow as pa

    folder = Path(os.path.expanduser(name)) if is_path(os.fspath(name)) else _download(os.fspath(name))
    info = _json(folder / "meta" / "info.json")[0]
    version = info.get("codebase_version")
    one_of(f"{name}: version of LeRobot's format", version, VERSIONS, "convert it")
    words, lengths = (_meta_3 if version == "v3.0" else _meta_2)(folder)
    tables = [_parquet(path) for path in sorted((folder / "data").glob("*/*.parquet"))]
    try:
        table = pa.concat_tables(tables).sort_by(
            [("episode_index", "ascending"), ("frame_index", "ascending")]
        )
        episode_S, task_S = (table.column(key).to_numpy() for key in ("episode_index", "task_index"))
    except (pa.ArrowException, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{name}: expected files in data/ with LeRobot's columns ({reason})") from None
    found = dict(zip(*(part.tolist() for part in np.unique(episode_S, return_counts=True)), strict=True))
    for episode in sorted(lengths.keys() | found.keys()):
        if lengths.get(episode, 0) != found.get(episode, 0):
            raise InputError(
                f"{name}: expected {lengths.get(episode, 0)} steps of episode {episode}, as meta/ says, "
                f"got {found.get(episode, 0)} in data/; fetch it again"
            )
    if nameless := sorted(set(task_S.tolist()) - words.keys()):
        raise InputError(f"{name}: expected words for every task in meta/, got none for task {nameless[0]}")
    spoken = [words[task] for task in task_S.tolist()]
    return datasets.Dataset(table).add_column("task", spoken)


def _download(name: str) -> Path:
    if not hub_reachable():
        raise InputError(f"{name}: not a folder, and the hub cannot be reached; offline, give a local folder")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=["meta/*", "data/*"]))
    except (OSError, ValueError) as error:  # what the hub's client raises is one of these
        reason = str(error).strip().splitlines()[0][:100]
        raise InputError(f"{name}: expected a dataset on the hub ({reason}); check the name") from None


def _meta_2(folder: Path) -> tuple[dict[int, str], dict[int, int]]:
    """Of version 2: the words of each task, and the steps of each episode."""
    tasks, episodes = (_json(folder / "meta" / f"{name}.jsonl") for name in ("tasks", "episodes"))
    return _two(folder, tasks, "task"), _two(folder, episodes, "length")


def _meta_3(folder: Path) -> tuple[dict[int, str], dict[int, int]]:
    """The same of version 3, which keeps them in tables; the words may be the index of theirs."""
    tasks = _parquet(folder / "meta" / "tasks.parquet")
    rows = [{"task": row.get("__index_level_0__"), **row} for row in tasks.to_pylist()]
    parts = sorted((folder / "meta" / "episodes").glob("*/*.parquet"))
    episodes = [row for path in parts for row in _parquet(path, ["episode_index", "length"]).to_pylist()]
    return _two(folder, rows, "task"), _two(folder, episodes, "length")


def _two(folder: Path, rows: list[dict[str, Any]], what: str) -> dict[int, Any]:
    """Index -> `what`, of rows that have both."""
    index, kind = ("task_index", str) if what == "task" else ("episode_index", int)
    for row in rows:
        if not isinstance(row.get(index), int) or not isinstance(row.get(what), kind):
            raise InputError(f"{folder}/meta: expected {index} and {what} of every one, got {str(row)[:80]}")
    return {row[index]: row[what] for row in rows}


def _json(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON or JSONL file."""
    try:
        text = path.read_text(encoding="utf-8")
        found = (
            [json.loads(line) for line in text.splitlines() if line.strip()]
            if path.suffix == ".jsonl"
            else [json.loads(text)]
        )
    except FileNotFoundError:
        raise InputError(
            f"{path}: expected a dataset in LeRobot's format, which has this file; found none"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected JSON, got a damaged file ({str(error)[:80]}); fetch it again"
        ) from None
    if not all(isinstance(row, dict) for row in found):
        raise InputError(f"{path}: expected JSON objects, got {text[:40]!r}")
    return found


def _parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=columns)
    except FileNotFoundError:
        raise InputError(
            f"{path}: expected a dataset in LeRobot's format, which has this file; found none"
        ) from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:80]
        raise InputError(
            f"{path}: expected a whole Parquet file, got one cut short or damaged ({reason}); fetch it again"
        ) from None


CHUNK = 1000  # episodes in one folder


def export(demonstrations: datasets.Dataset, folder: str | os.PathLike[str], fps: int = 10) -> None:
    """Write demonstrations (of `demos.demonstrations`) in version 2.1, as LeRobot had it, which `lerobot.load` reads.

    `observation.state` holds the 147 numbers of the view and the direction; `fps` is made up, as a grid has no clock.
    Raises: InputError where `folder` cannot be written to.
    """
    with writing(folder):
        _export(demonstrations, Path(folder), fps)


def _export(demonstrations: datasets.Dataset, root: Path, fps: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = demonstrations.with_format("numpy")[:]
    state_SxF = np.c_[rows["image"].reshape(len(demonstrations), -1), rows["direction"]].astype(np.float32)
    missions = [worlds.decode(np.asarray(tokens)) for tokens in rows["mission"]]
    tasks = list(dict.fromkeys(missions))
    starts = np.flatnonzero(np.r_[True, np.diff(rows["seed"]) != 0])
    episodes, statistics = [], []
    for number, index in enumerate(np.split(np.arange(len(demonstrations)), starts[1:])):
        columns: dict[str, Any] = {
            "observation.state": state_SxF[index],
            "action": rows["action"][index].astype(np.int64),
            "timestamp": (np.arange(len(index)) / fps).astype(np.float32),
            "frame_index": np.arange(len(index)),
            "episode_index": np.full(len(index), number),
            "index": index,
            "task_index": np.array([tasks.index(missions[i]) for i in index]),
        }
        path = root / f"data/chunk-{number // CHUNK:03d}/episode_{number:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({key: list(values) for key, values in columns.items()}), path)
        episodes.append({"episode_index": number, "tasks": [missions[index[0]]], "length": len(index)})
        statistics.append({"episode_index": number, "stats": {k: _statistics(v) for k, v in columns.items()}})
    types = {key: (values.dtype.name, [*values.shape[1:]] or [1]) for key, values in columns.items()}
    info = {
        "codebase_version": "v2.1", "robot_type": "minigrid", "total_episodes": len(episodes),
        "total_frames": len(demonstrations), "total_tasks": len(tasks), "total_videos": 0,
        "total_chunks": (len(episodes) - 1) // CHUNK + 1, "chunks_size": CHUNK, "fps": fps,
        "splits": {"train": f"0:{len(episodes)}"}, "video_path": None,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "features": {key: {"dtype": kind, "shape": shape, "names": None} for key, (kind, shape) in types.items()},
    }  # fmt: skip
    (root / "meta").mkdir(exist_ok=True)
    (root / "meta/info.json").write_text(json.dumps(info, indent=4), encoding="utf-8")
    lines = {"tasks": [{"task_index": i, "task": task} for i, task in enumerate(tasks)], "episodes": episodes,
             "episodes_stats": statistics}  # fmt: skip
    for name, items in lines.items():
        text = "".join(json.dumps(item) + "\n" for item in items)
        (root / "meta" / f"{name}.jsonl").write_text(text, encoding="utf-8")


def _statistics(values: np.ndarray) -> dict[str, list[float]]:
    each = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    return {key: np.atleast_1d(value).tolist() for key, value in each.items()} | {"count": [len(values)]}
