"""Demonstrations: what the bot did, step by step, as a `datasets` dataset that anybody can make again from its seeds.

One row is one step: what was seen, the mission, what the bot did. Demonstrations are made in blocks of 250 seeds, in
parallel, and kept in the cache folder as Parquet; the first blocks of one level come with the kit.
"""

from __future__ import annotations

import concurrent.futures as futures
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalept_lab import folders, machine, outside
from scalept_lab.errors import InputError, printable
from scalept_lab.processes import local_processes
from scalept_lab.runs import data_folder, write_atomically
from scalept_lab.screen import Bar
from scalept_lab.vla import worlds
from scalept_lab.vla.worlds import ACTIONS, VIEW, Episode

if TYPE_CHECKING:
    import datasets

BLOCK = 250  # seeds in one file
STEPS = 1_000_000  # of one file: ten thousand episodes and more
# Where the seeds of each side begin, so that no world is on two sides. An episode's number is its seed, counted from there.
TRAINING, VALIDATION, TEST = 0, 10_000_000, 20_000_000
COLUMNS = ("image", "direction", "mission", "action", "episode", "level", "seed")


def features() -> datasets.Features:
    from datasets import Array3D, ClassLabel, Features, List, Value

    return Features(
        image=Array3D((VIEW, VIEW, 3), "uint8"),
        direction=Value("uint8"),
        mission=List(Value("uint8")),
        action=ClassLabel(names=list(ACTIONS)),
        episode=Value("int32"),
        level=Value("string"),
        seed=Value("int64"),
    )


def demonstrations(
    level: str, episodes: int, first: int = TRAINING, workers: int | None = None, progress: bool = True,
    cache: str | os.PathLike[str] | None = None,
) -> datasets.Dataset:  # fmt: skip
    """The first `episodes` demonstrations of a level, of the seeds from `first` on; made now where they are not there yet.

    `first` is a multiple of 250. What is made is kept, so a killed call loses at most the blocks in the making.
    `workers`: processes (default: one per core).
    Raises: InputError for an unknown level, fewer than one episode, a `first` between two blocks, or a level that the bot
    cannot carry out.
    """
    if episodes < 1 or first < 0 or first % BLOCK:
        raise InputError(
            f"demonstrations: expected at least one episode, from a seed that is a multiple of {BLOCK}, "
            f"got {episodes} from {first}"
        )
    worlds.make(level)
    starts = range(first, first + episodes, BLOCK)
    places = [_place(level, start, cache) for start in starts]
    missing = [
        (level, start, str(path)) for start, path in zip(starts, places, strict=True) if not path.exists()
    ]
    if missing:
        _make(missing, workers or machine.cores(), progress)
    import datasets

    whole = datasets.concatenate_datasets([read(path) for path in places])
    rows = np.flatnonzero(whole.data.column("seed").to_numpy() < first + episodes)
    return whole.select(range(rows[-1] + 1)) if len(rows) < len(whole) else whole


def _place(level: str, start: int, cache: str | os.PathLike[str] | None) -> Path:
    name = f"{level}/{start:08d}.parquet"
    kept = data_folder() / "demonstrations" / name
    return kept if kept.exists() else folders.cache(cache) / "demonstrations" / name


def _make(blocks: list[tuple[str, int, str]], workers: int, progress: bool) -> None:
    with Bar(f"{blocks[0][0]}: {len(blocks) * BLOCK:,} demonstrations", shown=progress) as bar:
        if workers == 1 or len(blocks) == 1:
            for block in bar.along(blocks, len(blocks)):
                make_block(*block)
            return
        with local_processes(min(workers, len(blocks))) as pool:
            made = futures.as_completed([pool.submit(make_block, *block) for block in blocks])
            for future in bar.along(made, len(blocks)):
                future.result()


def make_block(level: str, start: int, path: str) -> None:
    """Make the demonstrations of seeds `start` to `start` + 249 and leave them at `path`."""
    env = worlds.make(level)
    found = [worlds.demonstrate(level, seed, env) for seed in range(start, start + BLOCK)]
    write(found, path)


def write(episodes: Sequence[Episode], path: str | os.PathLike[str]) -> None:
    """Episodes as one Parquet file, put in place whole. Raises: InputError if one of them did not succeed."""
    import io

    import pyarrow.parquet as pq

    failed = [episode for episode in episodes if not episode.success]
    if failed:
        raise InputError(
            f"demonstrations: the bot failed {len(failed)} of {len(episodes)} missions of {failed[0].level} "
            f"(seed {failed[0].seed} first); expected a level that it can carry out"
        )
    buffer = io.BytesIO()
    pq.write_table(to_dataset(episodes).data.table, buffer, compression="zstd")
    write_atomically(Path(path), buffer.getvalue())


def to_dataset(episodes: Iterable[Episode]) -> datasets.Dataset:
    """The steps of some episodes, in their order."""
    import datasets

    episodes = list(episodes)
    lengths = [len(episode) for episode in episodes]
    rows: dict[str, Any] = {
        "image": list(np.concatenate([episode.image_Tx7x7x3 for episode in episodes])),
        "direction": np.concatenate([episode.direction_T for episode in episodes]),
        "mission": [
            worlds.encode(e.mission) for e, n in zip(episodes, lengths, strict=True) for _ in range(n)
        ],
        "action": np.concatenate([episode.action_T for episode in episodes]),
        "episode": np.repeat([episode.seed % VALIDATION for episode in episodes], lengths),
        "level": [e.level for e, n in zip(episodes, lengths, strict=True) for _ in range(n)],
        "seed": np.repeat([episode.seed for episode in episodes], lengths),
    }
    return datasets.Dataset.from_dict(rows, features=features())


def read(path: str | os.PathLike[str]) -> datasets.Dataset:
    """Demonstrations from a Parquet file with the columns of `features`.

    Raises: InputError for a file that is missing, damaged, too large (`outside.opened`), without these columns, or with images of
    another shape.
    """
    import datasets
    import pyarrow.parquet as pq

    with outside.opened(path, "a whole Parquet file of demonstrations", unpacks=True) as file:
        source = pq.ParquetFile(file)
        names, steps = source.schema_arrow.names, source.metadata.num_rows
        if (missing := [column for column in COLUMNS if column not in names]) or not steps:
            raise InputError(
                f"expected at least one step with the columns {', '.join(COLUMNS)}, got {steps} steps"
                + f" without {', '.join(missing)}" * bool(missing)
            )
        if steps > STEPS:
            raise InputError(f"expected at most {STEPS:,} steps, got {steps:,}; give a file with fewer")
        table = source.read(COLUMNS)
        shape = getattr(table.schema.field("image").type, "shape", None) or _shape_of(table)
        if tuple(shape or ()) != (VIEW, VIEW, 3):
            raise InputError(
                f"expected images of {VIEW} × {VIEW} × 3 whole numbers, got {' × '.join(map(str, shape or ['?']))}"
            )
    try:
        found = datasets.Dataset(table.select(COLUMNS))
        return found if found.features == features() else found.cast(features())
    except Exception as error:  # what a file says of its types is read as well
        raise InputError(
            f"{path}: expected the types of demos.features(), got others ({printable(str(error), 100)})"
        ) from None


def _shape_of(table: Any) -> tuple[int, ...]:
    """The shape of the first image of a table, as nested lists."""
    return np.shape(table.column("image")[0].as_py())


@dataclass(frozen=True)
class Steps:
    """Demonstrations as arrays to train on: S steps, the mission in M words (those of the longest one)."""

    image_Sx7x7x3: np.ndarray
    mission_SxM: np.ndarray
    action_S: np.ndarray
    episode_S: np.ndarray  # counts from 0 without gaps

    def __len__(self) -> int:
        return len(self.action_S)

    @property
    def episodes(self) -> int:
        return int(self.episode_S[-1]) + 1

    def first(self, episodes: int) -> Steps:
        """The steps of the first so many episodes. Raises: InputError if there are fewer."""
        if not 1 <= episodes <= self.episodes:
            raise InputError(f"episodes: expected 1 to {self.episodes}, as many as there are, got {episodes}")
        return self.where(self.episode_S < episodes)

    def where(self, keep_S: np.ndarray) -> Steps:
        """The steps where `keep_S` is true, episodes counted anew. Raises: InputError if there is none."""
        if not keep_S.any():
            raise InputError("steps: expected some that are kept, got none")
        kept = {field.name: getattr(self, field.name)[keep_S] for field in fields(self)}
        kept["episode_S"] = np.unique(kept["episode_S"], return_inverse=True)[1]
        return Steps(**kept)

    def history_SxK(self, length: int) -> np.ndarray:
        """The `length` actions before each step, the latest last; len(ACTIONS) stands for "none yet"."""
        found = np.full((len(self), length), len(ACTIONS), np.uint8)
        for back in range(1, min(length, len(self) - 1) + 1):
            same = self.episode_S[back:] == self.episode_S[:-back]
            found[back:, -back][same] = self.action_S[:-back][same]
        return found

    def chunk_SxA(self, length: int) -> np.ndarray:
        """The next `length` actions from each step on; -1 after the end of the episode."""
        found = np.full((len(self), length), -1, np.int64)
        for ahead in range(min(length, len(self))):
            rest = len(self) - ahead
            same = self.episode_S[ahead:] == self.episode_S[:rest]
            found[:rest, ahead][same] = self.action_S[ahead:][same]
        return found


def steps(dataset: datasets.Dataset) -> Steps:
    """The arrays of a dataset of demonstrations (one that `read` or `demonstrations` gave)."""
    import pyarrow as pa

    table = dataset.with_format("arrow")[:]
    image = table.column("image").combine_chunks()
    flat = getattr(image, "storage", image)
    while pa.types.is_nested(flat.type):
        flat = flat.flatten()
    seeds, levels = table.column("seed").to_numpy(), table.column("level").to_pandas().to_numpy()
    starts = np.r_[True, (seeds[1:] != seeds[:-1]) | (levels[1:] != levels[:-1])]
    words = table.column("mission").combine_chunks()
    lengths = np.diff(words.offsets.to_numpy())
    mission = np.zeros((len(seeds), lengths.max()), np.uint8)
    mission[np.arange(mission.shape[1]) < lengths[:, None]] = words.flatten().to_numpy()
    return Steps(
        flat.to_numpy().reshape(-1, VIEW, VIEW, 3), mission, table.column("action").to_numpy().astype(np.uint8),
        np.cumsum(starts) - 1,
    )  # fmt: skip
