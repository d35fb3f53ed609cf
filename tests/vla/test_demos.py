"""Demonstrations: blocks that seeds make again, and arrays that agree with a plain loop."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from refusals import one_line

from scalept_lab import outside, runs
from scalept_lab.errors import InputError
from scalept_lab.vla import demos, worlds
from scalept_lab.vla.demos import Steps

SHIPPED = runs.data_folder() / "demonstrations" / "GoToLocalS8N4"
LEVEL = "GoToLocalS5N2"  # small, and none of its files come with the kit


@pytest.fixture(scope="module")
def shipped() -> Steps:
    return demos.steps(demos.demonstrations("GoToLocalS8N4", 300, progress=False))


def test_two_workers_make_the_same_blocks_as_one(tmp_path):
    demos.demonstrations(LEVEL, 250, 250, cache=tmp_path / "one", workers=1, progress=False)
    demos.demonstrations(LEVEL, 500, cache=tmp_path / "two", workers=2, progress=False)
    (one,) = (tmp_path / "one").rglob("*.parquet")
    first, second = sorted((tmp_path / "two").rglob("*.parquet"))
    assert [first.name, second.name] == ["00000000.parquet", "00000250.parquet"] and one.name == second.name
    assert second.read_bytes() == one.read_bytes()
    assert set(demos.read(first)["seed"]) == set(range(250))
    assert len(list((tmp_path / "two").rglob("*"))) == 4  # nothing else is left


def test_only_what_is_missing_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(demos, "BLOCK", 10)
    made = []
    whole = demos.make_block
    monkeypatch.setattr(demos, "make_block", lambda *block: (made.append(block[1]), whole(*block)))
    few = demos.demonstrations(LEVEL, 12, cache=tmp_path, workers=1, progress=False)
    more = demos.demonstrations(LEVEL, 25, cache=tmp_path, workers=1, progress=False)
    later = demos.demonstrations(LEVEL, 5, demos.VALIDATION, cache=tmp_path, workers=1, progress=False)
    assert made == [0, 10, 20, demos.VALIDATION]
    assert few["seed"] == more["seed"][: len(few)] and set(more["seed"]) == set(range(25))
    assert more["episode"] == more["seed"] and set(later["episode"]) == set(range(5))
    assert set(later["seed"]) == set(range(demos.VALIDATION, demos.VALIDATION + 5))
    assert few.features == demos.features() and tuple(few.column_names) == demos.COLUMNS
    assert few.features["action"].names == list(worlds.ACTIONS)


def test_the_shipped_block_is_made_again_to_the_byte(tmp_path):
    demos.make_block("GoToLocalS8N4", 250, str(tmp_path / "again.parquet"))
    found, kept = demos.read(tmp_path / "again.parquet"), demos.read(SHIPPED / "00000250.parquet")
    assert found.with_format("arrow")[:].equals(kept.with_format("arrow")[:])


def test_the_card_counts_what_is_there():
    card = (SHIPPED.parent / "README.md").read_text(encoding="utf-8")
    files = sorted(SHIPPED.glob("*.parquet"))
    assert len(files) == 5
    for file in files:
        found = demos.read(file)
        seeds = sorted(set(found["seed"]))
        assert seeds == list(range(seeds[0], seeds[0] + demos.BLOCK)) and seeds[0] == int(file.stem)
        row = next(line for line in card.splitlines() if f"{file.name}`" in line and line.startswith("| `"))
        assert f"| {seeds[0]:,} to {seeds[-1]:,} | 250 | {len(found):,} |" in row


def test_steps_are_the_columns(shipped):
    rows = demos.demonstrations("GoToLocalS8N4", 300, progress=False)
    assert len(shipped) == len(rows) and shipped.episodes == 300
    assert np.array_equal(shipped.image_Sx7x7x3, np.array(rows["image"]))
    assert np.array_equal(shipped.action_S, rows["action"])
    assert np.array_equal(shipped.episode_S, rows["seed"])
    for mission, words in zip(shipped.mission_SxM, rows["mission"], strict=True):
        assert list(mission[: len(words)]) == list(words) and (mission[len(words) :] == 0).all()


def test_histories_and_chunks_are_those_of_a_plain_loop(shipped):
    steps = shipped.first(40)
    none = len(worlds.ACTIONS)
    for length in (0, 1, 3, 30):
        history, chunk = steps.history_SxK(length), steps.chunk_SxA(length)
        assert history.shape == chunk.shape == (len(steps), length)
        for i in range(len(steps)):
            for k in range(length):
                before, after = i - length + k, i + k
                same = before >= 0 and steps.episode_S[before] == steps.episode_S[i]
                assert history[i, k] == (steps.action_S[before] if same else none)
                same = after < len(steps) and steps.episode_S[after] == steps.episode_S[i]
                assert chunk[i, k] == (steps.action_S[after] if same else -1)


def test_choosing_steps(shipped):
    kept = shipped.where(shipped.episode_S % 2 == 1)
    assert kept.episodes == 150 and sorted(set(kept.episode_S)) == list(range(150))
    assert shipped.first(300).episodes == 300 and shipped.first(1).episodes == 1
    assert np.array_equal(kept.first(1).image_Sx7x7x3, shipped.image_Sx7x7x3[shipped.episode_S == 1])
    one_line(lambda: shipped.first(301), "expected 1 to 300", "301")
    one_line(lambda: shipped.first(0), "expected 1 to 300")
    one_line(lambda: shipped.where(np.zeros(len(shipped), bool)), "got none")


@pytest.mark.parametrize(("episodes", "first"), [(0, 0), (5, 100), (5, -250)])
def test_blocks_begin_at_their_seeds(episodes, first):
    one_line(
        lambda: demos.demonstrations(LEVEL, episodes, first), "multiple of 250", f"{episodes} from {first}"
    )


def test_levels_that_cannot_be_shown(tmp_path):
    def make(level):
        return demos.demonstrations(level, 3, cache=tmp_path, workers=1, progress=False)

    one_line(lambda: make("GoToLocl"), "level: expected a BabyAI level")
    one_line(lambda: make("KeyInBox"), "KeyInBox", "gives up")
    lost = dataclasses.replace(worlds.demonstrate(LEVEL, 0), success=False)
    one_line(lambda: demos.write([lost], tmp_path / "lost.parquet"), "failed 1 of 1", LEVEL)
    assert not list(tmp_path.rglob("*.parquet"))


def test_files_that_are_no_demonstrations(tmp_path):
    good = SHIPPED / "00000000.parquet"
    table = pq.read_table(good)
    bad = tmp_path / "bad.parquet"

    one_line(lambda: demos.read(tmp_path / "none.parquet"), "found no such file")
    whole = good.read_bytes()
    for kept in (whole[:-1], whole[: len(whole) // 2], whole[:3], b""):
        bad.write_bytes(kept)
        one_line(lambda: demos.read(bad), "got another or a damaged one")
    bad.write_text("image,action\n")
    one_line(lambda: demos.read(bad), "got another or a damaged one")

    pq.write_table(table.drop_columns(["seed", "mission"]), bad)
    one_line(lambda: demos.read(bad), "without mission, seed")
    pq.write_table(table.slice(0, 0), bad)
    one_line(lambda: demos.read(bad), "got 0 steps")

    smaller = pa.array(np.zeros((len(table), 5, 5, 3), np.uint8).tolist())
    pq.write_table(table.set_column(0, "image", smaller), bad)
    one_line(lambda: demos.read(bad), "7 × 7 × 3", "5 × 5 × 3")
    flat = pa.array(np.zeros(len(table), np.uint8))
    pq.write_table(table.set_column(0, "image", flat), bad)
    one_line(lambda: demos.read(bad), "7 × 7 × 3")

    words = table.set_column(2, "mission", pa.array(["go to the red ball"] * len(table)))
    pq.write_table(words, bad)
    one_line(lambda: demos.read(bad), "types of demos.features()")


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(outside, "MEMORY", 3 * 10**8)
    table = pq.read_table(SHIPPED / "00000000.parquet")
    once = pa.DictionaryArray.from_arrays(np.zeros(len(table), np.int32), pa.array(["x" * 2_000_000]))
    bad = tmp_path / "bad.parquet"
    pq.write_table(
        table.set_column(table.column_names.index("level"), "level", once),
        bad,
        compression="zstd",
        store_schema=False,
    )
    one_line(lambda: demos.read(bad), bad.name, "unpacks to more than")
    monkeypatch.setattr(demos, "STEPS", len(table) - 1)
    one_line(lambda: demos.read(SHIPPED / "00000000.parquet"), f"at most {len(table) - 1:,} steps")


def test_plain_lists_of_the_right_shape_are_read(tmp_path):
    """A file that another program wrote, without this library's notes on its types."""
    table = pq.read_table(SHIPPED / "00000000.parquet").slice(0, 20)
    kept = demos.steps(demos.read(SHIPPED / "00000000.parquet").select(range(20)))
    plain = pa.Table.from_pylist(table.to_pylist())
    pq.write_table(plain, tmp_path / "plain.parquet")
    found = demos.steps(demos.read(tmp_path / "plain.parquet"))
    for field in dataclasses.fields(Steps):
        assert np.array_equal(getattr(found, field.name), getattr(kept, field.name)), field.name


@pytest.mark.parametrize(
    "said", [b"[]", b'{"info": "x"}', b'{"info": {"features": {"image": 7}}}', b"[" * 100_000]
)
def test_what_a_file_says_of_its_types_may_be_anything(tmp_path, said):
    table = pq.read_table(SHIPPED / "00000000.parquet").slice(0, 9)
    pq.write_table(table.replace_schema_metadata({b"huggingface": said}), tmp_path / "a.parquet")
    try:
        assert len(demos.read(tmp_path / "a.parquet")) == 9
    except InputError as error:
        assert len(str(error).splitlines()) == 1
