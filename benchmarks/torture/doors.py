"""The doors through which files of others come in: for each a valid folder, and the call that reads it.

`FILES` lists them all. A door's folder is made once; each case copies it, spoils one file, and calls.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalept_lab import learners, outside, runs
from scalept_lab.config import ModelConfig, TrainConfig, parse, run_id
from scalept_lab.errors import InputError


@dataclass(frozen=True)
class Door:
    """make: writes the valid files into a folder. call: reads them. spoil: which of them are spoilt, by patterns. weight: of the
    cases. sealed: the parts of a result that a checksum holds: each is as it was, or None where it was found damaged. sign: puts
    right, after a fault, what a forger would put right (a hash, an id), so that the fault gets further in. names: whether a
    refusal names the file.
    """

    name: str
    make: Callable[[Path], None]
    call: Callable[[Path], Any]
    spoil: tuple[str, ...] = ("**/*",)
    weight: float = 1.0
    sealed: Callable[[Any], Any] | None = None
    sign: Callable[[str, bytes], bytes] | None = None
    names: bool = True


def _records(count: int = 16) -> list[runs.RunRecord]:
    return runs.recorded("standard")[:count]


@contextlib.contextmanager
def _environment(**values: str | Path):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = old


def _json_text(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def _each_line(change: Callable[[Any], Any]) -> Callable[[str, bytes], bytes]:
    """Signs every JSON object of a text, whole or line by line; what cannot be read stays."""

    def signed(name: str, data: bytes) -> bytes:
        def one(text: bytes) -> bytes:
            try:
                return _json_text(change(json.loads(text)))
            except (ValueError, TypeError, RecursionError, AttributeError, KeyError):
                return text

        return b"\n".join(map(one, data.splitlines())) if name.endswith(".jsonl") else one(data)

    return signed


# --- records and what a class hands in ----------------------------------------------------------------------


def _own_id(record: Any) -> Any:
    return {**record, "id": run_id(record["config"])}


def _make_record(folder: Path) -> None:
    (folder / "run.json").write_text(_records(1)[0].model_dump_json(), encoding="utf-8")


def _make_lines(folder: Path) -> None:
    runs.write_records(_records(8), folder / "runs.jsonl")


def _make_packed(folder: Path) -> None:
    import gzip

    text = "".join(record.model_dump_json() + "\n" for record in _records(8))
    (folder / "runs.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _make_table(folder: Path) -> None:
    runs.write_records(_records(8), folder / "runs.parquet")


def _make_merge(folder: Path) -> None:
    place = folder / "class"
    place.mkdir()
    records = _records(16)
    runs.write_records(records, place / "anna.jsonl")
    runs.write_records(records[8:], place / "ben.parquet")
    (place / "one.json").write_text(records[0].model_dump_json(), encoding="utf-8")
    (place / "chen.jsonl").write_text(_class_file(records, "Chen"), encoding="utf-8")


def _learner() -> learners.Learner:
    guess = learners.Guess(value=2.0, low=1.9, high=2.1, at="2030-01-01")
    return learners.Learner(
        exercises={"02.1": learners.Work(right=True, tries=2), "00.1": learners.Work(tries=1, hints=2)},
        predictions={
            "08.a": learners.Prediction(guesses=[guess], measured=2.05, rivals={"no change": 2.4}),
            "02.b": learners.Prediction(
                guesses=[learners.Guess(value="up", at="2030-01-01")], measured="down"
            ),
        },
    )


def _shot(records: list[runs.RunRecord]) -> Any:
    from scalept_lab.study.predictions import Shot

    best = parse(TrainConfig, records[-1].config).replace(tokens=4_000_000)
    shot = Shot(
        config=best, flops=1e12, predicted=2.0, low=1.9, high=2.1, law={"E": 1.0, "A": 15.0, "B": 110.0, "alpha": 0.3,
        "beta": 0.4},
        status="converged", runs=[record.id for record in records], sealed_at="2020-01-02T03:10:00+00:00",
    )  # fmt: skip
    return shot.model_copy(update={"seal": shot.digest()})


def _class_file(records: list[runs.RunRecord], learner: str) -> str:
    from scalept_lab.study.exports import ClassFile

    kept = _learner()
    header = ClassFile(
        study="mine", learner=learner, budget_flops=6e12, spent_flops=1e12,
        shots=[{"shot": _shot(records).model_dump(), "measured": None}],
        exercises=kept.exercises, predictions=kept.predictions,
    )  # fmt: skip
    return "".join(line.model_dump_json() + "\n" for line in [header, *records])


def _merge(folder: Path) -> Any:
    from scalept_lab.study import merging, pooling

    gathered = merging.gather([folder / "class"])
    found = merging.write(gathered, folder / "merged.jsonl")
    pool = pooling.pooled(gathered, bootstrap=0)
    json.dumps(found | pool.as_json())
    one_line(*(fault["reason"] for fault in found["rejected"]))
    return pool.lines()


def one_line(*texts: object) -> None:
    """What is said of a file in passing is one line as well."""
    for text in texts:
        if len(str(text).splitlines()) > 1:
            raise AssertionError(f"several lines: {text!r}"[:300])


def _make_class(folder: Path) -> None:
    place = folder / "class"
    place.mkdir()
    (place / "anna.json").write_text(_learner().model_dump_json(), encoding="utf-8")
    (place / "chen.jsonl").write_text(_class_file(_records(4), "Chen"), encoding="utf-8")


def _class_progress(folder: Path) -> Any:
    from scalept_lab.course.classroom import class_progress

    found = class_progress(folder / "class")
    json.dumps(found.as_dict())
    one_line(*(fault["reason"] for fault in found.rejected))
    return repr(found), found._repr_html_()


def _make_progress(folder: Path) -> None:
    (folder / "learner.json").write_text(_learner().model_dump_json(indent=1), encoding="utf-8")


def _progress(folder: Path) -> Any:
    from scalept_lab.course import learner

    before = _bytes_of(folder / "learner.json")
    with _environment(SCALEPT_RESULTS=folder):
        found = learner.progress()
        json.dumps(found.as_dict())
        repr(found), found._repr_html_()
        with learner.change() as kept:
            kept.exercises.setdefault("00.2", learner.Work()).tries += 1
        learner.progress()
        learner.export(folder / "out.json")
    aside = [_bytes_of(path) for path in folder.glob("learner-*.json")]
    if before is not None and not _is_learner(before) and before not in aside:
        raise AssertionError("what was kept of a learner is gone")
    return found.as_dict()


def _is_learner(content: bytes) -> bool:
    try:
        learners.parsed(json.loads(content.decode("utf-8-sig")))
    except (ValueError, RecursionError):
        return False
    return True


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size < 10**8 else None
    except OSError:
        return None


def _make_machines(folder: Path) -> None:
    from scalept_lab.course.readiness import Readiness

    place = folder / "room"
    place.mkdir()
    rows = [{"name": "memory", "ok": True, "found": "8 GB", "wanted": "1.5 GB", "share": 0.9},
            {"name": "cores", "ok": False, "found": "1", "wanted": "2", "do": "take another"}]  # fmt: skip
    for name in ("a", "b"):
        ready = Readiness.model_validate(
            {"machine": f"Linux {name}", "rows": rows, "corpus_sha256": "ab" * 32}
        )
        (place / f"{name}.json").write_text(json.dumps(ready.as_json()), encoding="utf-8")


def _room(folder: Path) -> Any:
    from scalept_lab.course import room

    found = room.read(folder / "room")
    json.dumps(found.as_json())
    one_line(*(fault["reason"] for fault in found.rejected))
    return str(found)


# --- points, laws, configs, plans ---------------------------------------------------------------------------


def _points() -> list[dict[str, float]]:
    law = {"E": 1.7, "A": 400.0, "B": 410.0}
    return [
        {"params": n, "tokens": d, "loss": round(law["E"] + law["A"] * n**-0.34 + law["B"] * d**-0.28, 6), "lr": 0.01}
        for n in (1e6, 3e6, 1e7, 3e7) for d in (1e8, 3e8, 1e9)
    ]  # fmt: skip


def _make_points(kind: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import gzip

        import pandas as pd

        rows, path = _points(), folder / f"points.{kind}"
        if kind == "parquet":
            pd.DataFrame(rows).to_parquet(path)
        elif kind == "json":
            path.write_bytes(_json_text(rows))
        elif kind == "jsonl":
            path.write_bytes(b"".join(_json_text(row) + b"\n" for row in rows))
        else:
            text = pd.DataFrame(rows).to_csv(index=False).encode()
            path.write_bytes(gzip.compress(text, mtime=0) if kind == "csv.gz" else text)

    return make


def _read_points(kind: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from scalept_lab.laws.tables import read_points

        found = read_points(folder / f"points.{kind}", "auto")
        one_line(*found.notes)
        return len(found.L)

    return read


def _fit(folder: Path) -> Any:
    from scalept_lab.laws.card import fit_file

    found = fit_file(folder / "points.csv", bootstrap=3)
    one_line(*found["card"]["sentences"])
    return json.dumps(found)


def _make_config(folder: Path) -> None:
    config = TrainConfig(model=ModelConfig.family(16), tokens=20_000)
    (folder / "config.json").write_bytes(_json_text(config.model_dump()))


def _train(folder: Path) -> Any:
    """All that `scalept train` does before the text is built."""
    from scalept_lab.train import loop

    path = folder / "config.json"
    config = parse(TrainConfig, outside.json_value(path, "a JSON file with a run's config"))
    loop.check(config)
    return config.id()


def _make_hub_config(folder: Path) -> None:
    shape = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 128,
             "tie_word_embeddings": False}  # fmt: skip
    (folder / "config.json").write_bytes(_json_text(shape))


def _count(folder: Path) -> Any:
    from scalept_lab.costs import counts

    return json.dumps(counts.count(folder / "config.json"))


def _make_law(folder: Path) -> None:
    law = {"form": "chinchilla", "params": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
    "status": "converged",
           "card": {"ranges": {"N": [1e6, 1e9], "D": [1e8, 1e11]}}}  # fmt: skip
    (folder / "law.json").write_bytes(_json_text(law))


def _plan_by_law(folder: Path) -> Any:
    from scalept_lab.laws import formulas

    found = formulas.plan(1e20, law=folder / "law.json")
    one_line(found["status"])
    return json.dumps(found)


def _make_plan(folder: Path) -> None:
    from scalept_lab.study import plan, rivals

    plan.seal(rivals.naive("day")).save(folder / "plan.json")


def _plan(folder: Path) -> Any:
    from scalept_lab.study import plan, review, rivals

    made = plan.read_plan(folder / "plan.json")
    checks = review.check(made)
    found = [review.as_rows(checks)]
    with contextlib.suppress(InputError):
        found.append(rivals.score(made).as_dict())
    if checks[0].ok:
        found.append(plan.bill(made))
    made.replace(seal="")
    return json.dumps(found)


def _seal_again(tree: Any) -> Any:
    from scalept_lab.study.plan import Plan

    made = parse(Plan, tree)
    return {**tree, "seal": made.digest()}


# --- studies ------------------------------------------------------------------------------------------------


def _make_study(folder: Path) -> None:
    from scalept_lab.study.study import Study

    records = _records(12)
    study = Study("mine", budget_flops=6e13, folder=folder / "study")
    study._write_budget()
    for record in records[:6]:
        study.store.save(record)
    shot = _shot(records)
    runs.write_atomically(study._shot_path(shot.id), shot.model_dump_json(indent=1))
    opened = _shot(records[:-1])
    runs.write_atomically(study._opened_path(opened.id), opened.model_dump_json(indent=1))
    hero = records[0].model_copy(update={"id": opened.id, "config": opened.config.model_dump()})
    study.heroes.save(hero)
    (study.folder / "spent").mkdir()
    (study.folder / "spent" / f"{records[7].id}_1.0e+10").touch()


def _study(folder: Path) -> Any:
    from scalept_lab.config import HOW_IT_RUNS
    from scalept_lab.study.study import Study

    study = Study("mine", folder=folder / "study")
    with contextlib.suppress(InputError):
        study.fit(bootstrap=0)
    found = [
        study.budget,
        study.spent,
        [shot.model_dump(exclude={"config": HOW_IT_RUNS}) for shot in study.shots()],
        [str(one) for one in study.scores()],
    ]
    with _environment(SCALEPT_RESULTS=folder):
        study.export(folder / "out.jsonl", learner="Anna")
    return found


def _sealed_again(tree: Any) -> Any:
    from scalept_lab.study.predictions import Shot

    if "sealed_at" not in tree:
        return _own_id(tree) if "config" in tree else tree
    return {**tree, "seal": parse(Shot, tree).digest()}


# --- notebooks ----------------------------------------------------------------------------------------------


def _make_notebook(folder: Path) -> None:
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Title"},
        {"cell_type": "code", "id": "b", "metadata": {"tags": ["x"]}, "execution_count": 1, "source": "1 + 1",
         "outputs": [{"output_type": "execute_result", "execution_count": 1, "metadata": {},
                      "data": {"text/plain": ["2"], "text/html": "<b>2</b>", "application/vnd.jupyter.widget-view+json": {}}}]},
        {"cell_type": "code", "id": "c", "metadata": {}, "execution_count": None, "source": ["x = 1\n", "x"], "outputs": []},
    ]  # fmt: skip
    whole = {
        "cells": cells,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "x"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (folder / "a.ipynb").write_bytes(_json_text(whole))


def _notebook(folder: Path) -> Any:
    """What `scalept run` does with a notebook's file before and after its kernel."""
    from scalept_lab.course import needs, notebooks

    path = folder / "a.ipynb"
    notebook = notebooks._read(path)
    with contextlib.suppress(InputError):
        needs.of(path)
    notebooks.write(folder / "out.ipynb", notebook)
    return [cell.source for cell in notebook.cells]


def _notebook_problems(folder: Path) -> Any:
    from scalept_lab.course import notebooks

    return notebooks.metadata_problems(folder / "a.ipynb")


def _run_notebook(folder: Path) -> Any:
    from scalept_lab.course import notebooks

    found = notebooks.run([folder / "a.ipynb"], save=True, timeout=20)
    one_line(found["notebooks"][0]["error"])
    return found["ok"]


def _server(folder: Path) -> Any:
    """The hook of the notebook server: what it gets is JSON from a page."""
    from scalept_lab.course import server

    tree = outside.json_value(folder / "a.ipynb", "a notebook")
    server.without_views({"type": "notebook", "content": tree})
    server.without_views(tree if isinstance(tree, dict) else {"type": tree})
    return True


# --- demonstrations, policies, checkpoints ------------------------------------------------------------------


def _make_demos(folder: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(runs.data_folder() / "demonstrations/GoToLocalS8N4/00000000.parquet")
    pq.write_table(table.slice(0, 60), folder / "demos.parquet")


def _demos(folder: Path) -> Any:
    from scalept_lab.vla import demos

    found = demos.steps(demos.read(folder / "demos.parquet"))
    found.history_SxK(4), found.chunk_SxA(4)
    return len(found)


def _make_lerobot(version: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import numpy as np
        import pandas as pd

        lengths, tasks = (4, 3, 5), ["pick up the cube", "open the drawer"]
        frames = [
            pd.DataFrame({
                "observation.state": list(np.random.default_rng(e).normal(size=(n, 6)).astype(np.float32)),
                "action": list(np.zeros((n, 6), np.float32)), "timestamp": (np.arange(n) / 30).astype(np.float32),
                "frame_index": np.arange(n), "episode_index": np.full(n, e), "task_index": np.full(n, e % 2),
            })
            for e, n in enumerate(lengths)
        ]  # fmt: skip
        episodes = [{"episode_index": e, "length": n, "tasks": [tasks[e % 2]]} for e, n in enumerate(lengths)]
        meta, chunk = folder / "set" / "meta", folder / "set" / "data" / "chunk-000"
        meta.mkdir(parents=True), chunk.mkdir(parents=True)
        features = {
            "action": {"dtype": "float32", "shape": [6]},
            "timestamp": {"dtype": "float32", "shape": [1]},
        }
        (meta / "info.json").write_bytes(
            _json_text({"codebase_version": version, "fps": 30, "features": features})
        )
        if version == "v3.0":
            pd.concat(frames[:2]).to_parquet(chunk / "file-000.parquet", index=False)
            frames[2].to_parquet(chunk / "file-001.parquet", index=False)
            pd.DataFrame({"task_index": [0, 1]}, index=tasks).to_parquet(meta / "tasks.parquet")
            (meta / "episodes" / "chunk-000").mkdir(parents=True)
            pd.DataFrame(episodes).to_parquet(meta / "episodes" / "chunk-000" / "file-000.parquet")
            return
        for e, frame in enumerate(frames):
            frame.to_parquet(chunk / f"episode_{e:06d}.parquet", index=False)
        rows = [{"task_index": i, "task": task} for i, task in enumerate(tasks)]
        for name, found in (("tasks", rows), ("episodes", episodes)):
            (meta / f"{name}.jsonl").write_bytes(b"".join(_json_text(row) + b"\n" for row in found))

    return make


def _lerobot(folder: Path) -> Any:
    from scalept_lab.vla import lerobot

    found = lerobot.load(folder / "set")
    return [str(row)[:50] for row in found]


def _make_policy(folder: Path) -> None:
    from scalept_lab.vla import model

    model.save(model.Policy(model.PolicyConfig(width=12)), folder / "policy.safetensors")


def _policy(folder: Path) -> Any:
    from scalept_lab.vla import model

    return model.load(folder / "policy.safetensors").config.model_dump_json()


SHAPE = ModelConfig(width=16, depth=1, heads=2, context=16)
RUN = "0123456789abcdef"


def _fresh() -> tuple[Any, Any]:
    import torch

    from scalept_lab.model.optim import make_optimizer
    from scalept_lab.model.transformer import Transformer, cross_entropy

    torch.manual_seed(1)
    model = Transformer(SHAPE)
    optimizer = make_optimizer(model, TrainConfig(model=SHAPE, batch=2, tokens=1000))
    x = torch.randint(256, (2, 17))
    cross_entropy(model(x[:, :-1]), x[:, 1:]).backward()
    optimizer.step()
    return model, optimizer


def _make_checkpoint(folder: Path) -> None:
    from scalept_lab.parallel import checkpoint

    model, optimizer = _fresh()
    for step in (20, 40):
        checkpoint.save(folder / "kept", step, model, optimizer, RUN, {"losses": [1.0, 2.0], "corpus": "ab"})


def _checkpoint(folder: Path) -> Any:
    import torch

    from scalept_lab.parallel import checkpoint

    model, optimizer = _fresh()
    first = [tensor.clone() for tensor in model.state_dict().values()]
    state = torch.get_rng_state()
    try:
        newest = checkpoint.newest_whole(folder / "kept")
        checkpoint.peek(newest) if newest else None
        found = checkpoint.load(folder / "kept" / "step-00000040", model, optimizer, RUN)
    except InputError:
        same = all(torch.equal(a, b) for a, b in zip(first, model.state_dict().values(), strict=True))
        if not same or not torch.equal(state, torch.get_rng_state()):
            raise AssertionError("refused, and the model or the random state is another") from None
        raise
    return found, float(sum(value.double().sum() for value in model.state_dict().values()))


def _digest_again(name: str, data: bytes) -> bytes:
    from scalept_lab.parallel import checkpoint

    if not name.endswith(checkpoint.MANIFEST):
        return data
    try:
        tree = json.loads(data)
        tree.pop("sha256", None)
        return _json_text({**tree, "sha256": checkpoint._digest(tree)})
    except (ValueError, TypeError, AttributeError, RecursionError):
        return data


# --- text ---------------------------------------------------------------------------------------------------


PROSE = "".join(
    f"Document {i} says that 北京 is {i * 7919 % 1000} km away, and the river is wide. " * 3 + "\n\n"
    for i in range(40)
)


def _make_cache(folder: Path) -> None:
    from scalept_lab.data import corpora, tokens

    texts = [PROSE[i * 100 : i * 100 + 600] for i in range(40)]
    for tokenizer in ("bytes", "bpe-300"):
        inner: Any = tokens.ByteTokenizer() if tokenizer == "bytes" else tokens.train_bpe(texts, 300)
        streams = tokens.pack(texts[:30], inner), tokens.pack(texts[30:], inner)
        card = {"name": "mine", "tokenizer": tokenizer, "vocab_size": inner.vocab_size, "origin": "local", "documents": 40,
                "sha256": corpora.fingerprint(*streams), "train_tokens": len(streams[0]),
                "heldout_tokens": len(streams[1])}  # fmt: skip
        corpora._save(
            folder / "cache" / "prepared" / corpora._key("owner/mine", tokenizer), streams, inner, card
        )


def _cache(folder: Path) -> Any:
    from scalept_lab.data import corpora

    found = []
    for tokenizer in ("bytes", "bpe-300"):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            ready = corpora.kept("owner/mine", folder / "cache", tokenizer)
        one_line(*(one.message for one in said))
        if ready is None:
            found.append(None)
            continue
        made = ready.tokenizer()
        made.decode(made.encode("a 北京 river"))
        found.append((ready.sha256, int(ready.train.sum()), int(ready.heldout.sum())))
    return found


def _make_local(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import bz2
        import gzip

        import pyarrow as pa
        import pyarrow.parquet as pq

        place = folder / "docs"
        place.mkdir()
        path = place / name
        rows = [{"id": i, "text": PROSE[i * 90 : i * 90 + 400]} for i in range(12)]
        chats = [
            {
                "messages": [
                    {"role": "user", "content": "Hello"},
                    {"role": "assistant", "content": PROSE[:200]},
                ]
            }
            for _ in range(9)
        ]
        text = {".jsonl": b"".join(_json_text(row) + b"\n" for row in rows), ".json": _json_text(chats)}.get(
            Path(name.removesuffix(".gz")).suffix, PROSE.encode()
        )
        if name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif name.endswith(".arrow"):
            with pa.ipc.new_stream(path, pa.Table.from_pylist(rows).schema) as sink:
                sink.write_table(pa.Table.from_pylist(rows))
        elif name.endswith(".gz"):
            path.write_bytes(gzip.compress(text, mtime=0))
        elif name.endswith(".bz2"):
            path.write_bytes(bz2.compress(text))
        elif name.endswith((".zst", ".lz4")):
            with pa.CompressedOutputStream(str(path), {"zst": "zstd", "lz4": "lz4"}[name[-3:]]) as out:
                out.write(text)
        else:
            path.write_bytes(text)

    return make


def _documents(folder: Path) -> Any:
    from scalept_lab.data import local

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = local.documents(folder / "docs", most=2_000_000)
    one_line(*(one.message for one in said if issubclass(one.category, UserWarning)))
    return len(found)


def _text_corpus(folder: Path) -> Any:
    """A corpus built of a folder, as `sl.prepare("./docs")` does it: read, clean, deduplicate, split, pack."""
    from scalept_lab.data import corpora

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ready = corpora.prepare(str(folder / "docs"), cache=folder / "cache")
    one_line(*(one.message for one in said if issubclass(one.category, UserWarning)))
    return ready.vocab_size


def _make_texts(folder: Path) -> None:
    place = folder / "docs"
    place.mkdir()
    for i in range(6):
        (place / f"{i}.txt").write_text(f"{i} " + PROSE[i * 700 : i * 700 + 900], encoding="utf-8")
    rows = [{"text": f"{i} " + PROSE[i * 50 : i * 50 + 600]} for i in range(10)]
    (place / "rows.jsonl").write_bytes(b"".join(_json_text(row) + b"\n" for row in rows))


def _make_tokenizer(folder: Path) -> None:
    from scalept_lab.data import tokens

    tokens.train_bpe([PROSE], 300).save(folder / "tokenizer.json")


def _tokenizer(folder: Path) -> Any:
    from scalept_lab.data import tokens

    made = tokens.BPETokenizer.load(folder / "tokenizer.json")
    return made.decode(made.encode("the river is 5 km wide"))


# --- transfer -----------------------------------------------------------------------------------------------


def _make_pairs(kind: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import pandas as pd

        rows = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "label": i % 2} for i in range(8)]
        path = folder / f"pairs.{kind}"
        if kind == "parquet":
            pd.DataFrame(rows).to_parquet(path)
        elif kind == "jsonl":
            path.write_bytes(b"".join(_json_text(row) + b"\n" for row in rows))
        elif kind == "json":
            path.write_bytes(_json_text(rows))
        else:
            pd.DataFrame(rows).to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")

    return make


def _pairs(kind: str) -> Callable[[Path], Any]:
    def load(folder: Path) -> Any:
        import datasets

        from scalept_lab.transfer import pairs

        with _cached_in(datasets, folder):
            return len(pairs.load_pairs(str(folder / f"pairs.{kind}")))

    return load


@contextlib.contextmanager
def _cached_in(datasets: Any, folder: Path):
    """The library's cache in the case's folder: it would grow with every case."""
    names = ("HF_DATASETS_CACHE", "DOWNLOADED_DATASETS_PATH", "EXTRACTED_DATASETS_PATH")
    before = {name: getattr(datasets.config, name) for name in names}
    for name in names:
        setattr(datasets.config, name, folder / "hf" / name)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        for name, old in before.items():
            setattr(datasets.config, name, old)


def _make_saved_pairs(folder: Path) -> None:
    import datasets

    rows = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "label": i % 2} for i in range(8)]
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}).save_to_disk(folder / "saved")


def _saved_pairs(folder: Path) -> Any:
    import datasets

    from scalept_lab.transfer import pairs

    with _cached_in(datasets, folder):
        return len(pairs.load_pairs(str(folder / "saved")))


def _make_hub(folder: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    from scalept_lab.transfer import bert

    tokenizer = bert.make_tokenizer([PROSE], 300)
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
    vocab_size=len(tokenizer),
                        max_position_embeddings=32)  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")


def _hub(folder: Path) -> Any:
    from scalept_lab.transfer.checkpoints import load_checkpoint

    with contextlib.redirect_stdout(io.StringIO()):
        model, tokenizer = load_checkpoint(folder / "bert")
    return len(tokenizer), sum(parameter.numel() for parameter in model.parameters())


FILES: tuple[Door, ...] = (
    Door(
        "records .json",
        _make_record,
        lambda f: runs.read_records(f / "run.json"),
        weight=3,
        sign=_each_line(_own_id),
    ),
    Door(
        "records .jsonl",
        _make_lines,
        lambda f: runs.read_records(f / "runs.jsonl"),
        weight=3,
        sign=_each_line(_own_id),
    ),
    Door("records .jsonl.gz", _make_packed, lambda f: runs.read_records(f / "runs.jsonl.gz"), weight=2),
    Door("records .parquet", _make_table, lambda f: runs.read_records(f / "runs.parquet"), weight=2),
    Door("merge", _make_merge, _merge, weight=1.5, sign=_each_line(_own_id)),
    Door("class progress", _make_class, _class_progress, weight=2),
    Door("learner's progress", _make_progress, _progress, weight=2.5, names=False),
    Door("machines of a room", _make_machines, _room, weight=2),
    Door("points .csv", _make_points("csv"), _read_points("csv"), weight=4),
    Door("points .csv.gz", _make_points("csv.gz"), _read_points("csv.gz"), weight=2),
    Door("points .json", _make_points("json"), _read_points("json"), weight=3),
    Door("points .jsonl", _make_points("jsonl"), _read_points("jsonl"), weight=3),
    Door("points .parquet", _make_points("parquet"), _read_points("parquet"), weight=2),
    Door("scalept fit", _make_points("csv"), _fit, weight=0.5),
    Door("train's config", _make_config, _train, weight=4, names=False),
    Door("count's config", _make_hub_config, _count, weight=4),
    Door("law's file", _make_law, _plan_by_law, weight=4),
    Door("plan's file", _make_plan, _plan, weight=2, sign=_each_line(_seal_again)),
    Door(
        "study",
        _make_study,
        _study,
        weight=2,
        sealed=lambda found: [found[2]],
        sign=_each_line(_sealed_again),
    ),
    Door("notebook", _make_notebook, _notebook, weight=3),
    Door("notebook's metadata", _make_notebook, _notebook_problems, weight=1),
    Door("notebook run", _make_notebook, _run_notebook, weight=0.02),
    Door("notebook server", _make_notebook, _server, weight=3),
    Door("demonstrations", _make_demos, _demos, weight=1.5),
    Door("LeRobot 2.1", _make_lerobot("v2.1"), _lerobot, weight=1),
    Door("LeRobot 3.0", _make_lerobot("v3.0"), _lerobot, weight=1),
    Door("policy", _make_policy, _policy, weight=2),
    Door("checkpoint", _make_checkpoint, _checkpoint, weight=1.5, sealed=list, sign=_digest_again),
    Door("corpus in the cache", _make_cache, _cache, weight=2, sealed=lambda found: found),
    Door("tokenizer", _make_tokenizer, _tokenizer, weight=1.5),
    Door("text built", _make_texts, _text_corpus, weight=0.5),
    *(
        Door(f"documents {name[1:]}", _make_local(name), _documents, weight=0.7)
        for name in (
            "a.txt",
            "a.jsonl",
            "a.json",
            "a.parquet",
            "a.jsonl.gz",
            "a.txt.zst",
            "a.txt.bz2",
            "a.txt.lz4",
        )
    ),
    Door("pairs .jsonl", _make_pairs("jsonl"), _pairs("jsonl"), weight=0.5),
    Door("pairs .json", _make_pairs("json"), _pairs("json"), weight=0.3),
    Door("pairs .parquet", _make_pairs("parquet"), _pairs("parquet"), weight=0.3),
    Door("pairs .csv", _make_pairs("csv"), _pairs("csv"), weight=0.8),
    Door("pairs .tsv", _make_pairs("tsv"), _pairs("tsv"), weight=0.8),
    Door("pairs of save_to_disk", _make_saved_pairs, _saved_pairs, weight=0.5),
    Door("Hugging Face model", _make_hub, _hub, weight=0.6),
)


def copied(base: Path, place: Path) -> None:
    """A door's valid folder for one case."""
    shutil.copytree(base, place, symlinks=True)
