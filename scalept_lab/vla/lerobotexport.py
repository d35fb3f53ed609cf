"""BabyAI demonstrations written in LeRobot's format, version 2.1, for the tools that read it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalept_lab.vla import worlds

if TYPE_CHECKING:
    import datasets

CHUNK = 1000  # episodes in one folder


def export(demonstrations: datasets.Dataset, folder: str | os.PathLike[str], fps: int = 10) -> None:
    """Write demonstrations (of `demos.demonstrations`) in version 2.1, as LeRobot had it, which `lerobot.load` reads.

    `observation.state` holds the 147 numbers of the view and the direction; `fps` is made up, as a grid has no clock.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = Path(folder)
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
