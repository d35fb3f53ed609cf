"""Robot demonstrations in LeRobot's format: versions 2.0 to 3.0 are read as a `datasets` dataset, BabyAI's are written in 3.0.

A folder has `meta/` (info.json, the episodes, the tasks in words) and `data/` (Parquet: one file per episode in version 2,
many episodes per file in version 3). Videos lie beside them and are left where they are. The package `lerobot` itself is
not needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalept_lab import outside, scratch
from scalept_lab.checks import one_of, whole
from scalept_lab.data.local import is_path
from scalept_lab.data.sources import hub_reachable
from scalept_lab.errors import InputError
from scalept_lab.folders import writing
from scalept_lab.vla import worlds

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa


VERSIONS = ("v2.0", "v2.1", "v3.0")
HIDDEN = (".", "__MACOSX")
EXPECTED = "a whole file of a dataset in LeRobot's format"


def load(name: str | os.PathLike[str]) -> datasets.Dataset:
    """A dataset in LeRobot's format, from a folder or the hub (`lerobot/pusht`): its columns, and `task` in words.

    One row is one step, ordered by episode and step. What lies in videos is not loaded. Files that store a column in different
    types are brought to the type that `meta` says. Hidden files, such as macOS leaves, are passed over.
    Raises: InputError for a hub out of reach, a missing or damaged file, an unknown version, files that do not fit together,
    episodes whose steps are not as many as `meta` says, or a step whose task has no words.
    """
    import datasets
    import pyarrow as pa

    folder = Path(os.path.expanduser(name)) if is_path(os.fspath(name)) else _download(os.fspath(name))
    info = _json(folder / "meta" / "info.json")[0]
    version = info.get("codebase_version")
    one_of(f"{name}: version of LeRobot's format", version, VERSIONS, "convert it")
    words, lengths = (_meta_3 if version == "v3.0" else _meta_2)(folder)
    tables = [_parquet(path) for path in _files(folder / "data")]
    try:
        table = pa.concat_tables(_alike(tables, info.get("features"))).sort_by(
            [("episode_index", "ascending"), ("frame_index", "ascending")]
        )
        episode_S, task_S = (
            table.column(key).cast(pa.int64()).to_numpy() for key in ("episode_index", "task_index")
        )
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
    try:
        return datasets.Dataset(_known(table)).add_column("task", spoken)
    except (pa.ArrowException, TypeError, ValueError) as error:  # half of a letter, in words of JSON
        raise InputError(f"{name}: expected tasks and columns that a table can hold ({error})") from None


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
    parts = _files(folder / "meta" / "episodes")
    episodes = [row for path in parts for row in _parquet(path, ["episode_index", "length"]).to_pylist()]
    return _two(folder, rows, "task"), _two(folder, episodes, "length")


def _two(folder: Path, rows: list[dict[str, Any]], what: str) -> dict[int, Any]:
    """Index -> `what`, of rows that have both."""
    index, kind = ("task_index", str) if what == "task" else ("episode_index", int)
    for row in rows:
        if not isinstance(row.get(index), int) or not isinstance(row.get(what), kind):
            raise InputError(f"{folder}/meta: expected {index} and {what} of every one, got {str(row)[:80]}")
    return {row[index]: row[what] for row in rows}


def _files(folder: Path) -> list[Path]:
    """The tables of all chunks, without hidden files and what macOS adds to a file (`._file-000.parquet`) or an archive."""
    parts = sorted(folder.glob("*/*.parquet"))
    return [path for path in parts if not any(name.startswith(HIDDEN) for name in path.parts[-2:])]


def _alike(tables: list[pa.Table], features: Any) -> list[pa.Table]:
    """The tables with one type for each column: that of the feature where the files differ, else their own.

    Raises: ValueError or KeyError (pyarrow's own errors are such) where a table lacks a column, or a value does not fit.
    """
    import pyarrow as pa

    if not tables:
        raise ValueError("no Parquet file is there")
    names = tables[0].column_names
    if other := next((set(table.column_names) ^ set(names) for table in tables
                      if set(table.column_names) != set(names)), None):  # fmt: skip
        raise ValueError(f"not every file has a column {min(other)}")
    types = {}
    for name in names:
        found = list(dict.fromkeys(table.schema.field(name).type for table in tables))
        types[name] = found[0] if len(found) == 1 else _type(features, name) or found[0]
    schema = pa.schema(types.items(), metadata=tables[0].schema.metadata)
    return [table.select(names).cast(schema) for table in tables]


def _type(features: Any, name: str) -> pa.DataType | None:
    """Of a feature of info.json: a number, or a list of so many; None for pictures, grids, and what is not known."""
    import pyarrow as pa

    feature = features.get(name) if isinstance(features, Mapping) else None
    if not isinstance(feature, Mapping):
        return None
    try:
        each, shape = pa.type_for_alias(str(feature.get("dtype"))), list(feature.get("shape") or [])
    except (ValueError, TypeError):
        return None
    if shape == [1]:
        return each
    listed = len(shape) == 1 and isinstance(shape[0], int) and 0 <= shape[0] < 2**31
    return pa.list_(each, shape[0]) if listed else None


def _known(table: pa.Table) -> pa.Table:
    """The table without what is said in it of types that `datasets` does not know here (`VideoFrame`).

    Their columns stay as Parquet has them.
    """
    import datasets

    metadata = dict(table.schema.metadata or {})
    try:
        told = json.loads(metadata.pop(b"huggingface", b"{}"))
        kept = {}
        for name, feature in told["info"]["features"].items():
            try:
                datasets.Features.from_dict({name: feature}).arrow_schema  # noqa: B018  # builds the type, which may fail, too
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
            kept[name] = feature
        metadata[b"huggingface"] = json.dumps({"info": {"features": kept}}).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass  # nothing is said, or nothing that can be read: the types of the columns say enough
    return table.replace_schema_metadata(metadata or None)


def _json(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON or JSONL file."""
    if path.suffix != ".jsonl":
        return [outside.json_object(path, EXPECTED)]
    found = []
    lines = outside.text(path, EXPECTED, most=10**8).splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path}: expected JSON in line {number}, got a damaged file ({str(error)[:80]}); fetch it again"
                ) from None
            if not isinstance(row, dict):
                raise InputError(f"{path}: expected JSON objects, got {line[:40]!r} in line {number}")
            found.append(row)
    return found


def _parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    import pyarrow.parquet as pq

    with outside.opened(path, EXPECTED, unpacks=True) as file:
        return pq.read_table(file, columns=columns)


PLACE = "chunk-000/file-000.parquet"  # all episodes in one file, as LeRobot does up to 100 MB: some 150,000 steps of BabyAI
QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)


def export(demonstrations: datasets.Dataset, folder: str | os.PathLike[str], fps: int = 10) -> None:
    """Write demonstrations (of `demos.demonstrations`) to a new folder in version 3.0; `lerobot` 0.4 opens it, `load` reads it.

    `observation.state` holds the 147 numbers of the view and the direction; `fps` is made up, as a grid has no clock. The folder
    appears when all of it is written.
    Raises: InputError for no demonstrations, a rate below 1, a folder that holds something, or one that cannot be written to.
    """
    whole("fps", fps, 1)
    if not len(demonstrations):
        raise InputError("demonstrations: expected at least one step, got none")
    root = Path(os.path.expanduser(folder))
    with writing(folder):
        if root.is_dir() and any(root.iterdir()):
            raise InputError(
                f"{folder}: expected a new or an empty folder, got one that holds something; name another"
            )
    with scratch.appearing(root) as draft:
        _export(demonstrations, draft, fps)


def _export(demonstrations: datasets.Dataset, root: Path, fps: int) -> None:
    import datasets
    import pandas as pd

    rows = demonstrations.with_format("numpy")[:]
    missions = [worlds.decode(np.asarray(tokens)) for tokens in rows["mission"]]
    tasks = {task: index for index, task in enumerate(dict.fromkeys(missions))}
    starts = np.flatnonzero(np.r_[True, np.diff(rows["seed"]) != 0])
    ends = np.r_[starts[1:], len(missions)]
    episode_S = np.repeat(np.arange(len(starts)), ends - starts)
    frame_S = np.arange(len(missions)) - starts[episode_S]
    columns = {
        "observation.state": np.c_[rows["image"].reshape(len(missions), -1), rows["direction"]].astype(
            np.float32
        ),
        "action": rows["action"].astype(np.int64),
        "timestamp": (frame_S / fps).astype(np.float32),
        "frame_index": frame_S,
        "episode_index": episode_S,
        "index": np.arange(len(missions)),
        "task_index": np.array([tasks[mission] for mission in missions]),
    }
    shapes = {key: [*values.shape[1:]] or [1] for key, values in columns.items()}
    info = {
        "codebase_version": "v3.0", "robot_type": "minigrid", "total_episodes": len(starts), "total_frames": len(missions),
        "total_tasks": len(tasks), "chunks_size": 1000, "data_files_size_in_mb": 100, "video_files_size_in_mb": 200,
        "fps": fps, "splits": {"train": f"0:{len(starts)}"}, "video_path": None,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "features": {
            key: {"dtype": values.dtype.name, "shape": shapes[key], "names": None} for key, values in columns.items()
        },
    }  # fmt: skip
    episodes = [
        {
            "episode_index": number, "tasks": [missions[start]], "length": int(end - start), "dataset_from_index": int(start),
            "dataset_to_index": int(end), "data/chunk_index": 0, "data/file_index": 0, "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        } | {
            f"stats/{key}/{name}": value for key, values in columns.items()
            for name, value in _statistics(values[start:end]).items()
        }
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]  # fmt: skip
    for part in ("data", "meta/episodes"):
        (root / part / PLACE).parent.mkdir(parents=True)
    features = datasets.Features({
        key: datasets.Value(values.dtype.name) if values.ndim == 1
        else datasets.Sequence(datasets.Value(values.dtype.name), length=values.shape[1])
        for key, values in columns.items()
    })  # fmt: skip
    table = datasets.Dataset.from_dict(columns, features=features).with_format("arrow")[:]
    _write(table, root / "data" / PLACE)
    _write(datasets.Dataset.from_list(episodes).with_format("arrow")[:], root / "meta/episodes" / PLACE)
    # the reader takes the words from the index, and their number from their place
    pd.DataFrame({"task_index": [*tasks.values()]}, index=[*tasks]).to_parquet(root / "meta/tasks.parquet")
    statistics = {key: _statistics(values) for key, values in columns.items()}
    for name, content in (("info", info), ("stats", statistics)):
        text = json.dumps(content, indent=4, ensure_ascii=False)
        (root / "meta" / f"{name}.json").write_text(text, encoding="utf-8")


def _write(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path)


def _statistics(values: np.ndarray) -> dict[str, list[float]]:
    each = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    names = (f"q{round(100 * share):02d}" for share in QUANTILES)
    each |= dict(zip(names, np.quantile(values, QUANTILES, axis=0), strict=True))
    return {key: np.atleast_1d(value).tolist() for key, value in each.items()} | {"count": [len(values)]}
