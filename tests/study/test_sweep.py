"""Many runs: each trained once, on any executor, and nothing lost or left over when a sweep is killed."""

from __future__ import annotations

import concurrent.futures as futures
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from refusals import one_line

import scalept_lab.study.sweep
import scalept_lab.train.loop
from scalept_lab import screen
from scalept_lab.config import Curriculum, ModelConfig, TrainConfig, recommend
from scalept_lab.costs import counts
from scalept_lab.errors import InputError
from scalept_lab.runs import Store, parse_record, read_records
from scalept_lab.study.study import Study
from scalept_lab.study.sweep import Sweep, at_flops, flops_of, prepare_corpora, run_all, train_and_save

TINY = ModelConfig(width=16, context=16, heads=2)


def some(corpus: str, count: int, tokens: int = 640, **fields) -> list[TrainConfig]:
    return [
        TrainConfig(**{"model": TINY, "corpus": corpus, "tokens": tokens, "eval_windows": 8, "seed": seed, **fields})
        for seed in range(count)
    ]  # fmt: skip


def threads(configs, store: Store, workers: int = 1):
    with futures.ThreadPoolExecutor(workers) as executor:
        return run_all(configs, store, executor, progress=False)


def times(store: Store) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in store.folder.glob("*.json")}


# --- which runs


def test_a_sweep_is_every_width_with_every_number_of_tokens_and_every_seed():
    sweep = Sweep(width=[16, 32], tokens=[1e5, 2e5, 4e5], seed=[0, 1])
    assert len(sweep) == len({config.id() for config in sweep}) == 12
    assert {(config.model.width, config.tokens, config.seed) for config in sweep} == {
        (width, tokens, seed) for width in (16, 32) for tokens in (100_000, 200_000, 400_000) for seed in (0, 1)
    }  # fmt: skip
    assert sweep.flops == sum(map(flops_of, sweep))


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"width": "16"}, "width: expected a whole number of at least 1, got '16'"),
        ({"width": [[16]]}, "width: expected a whole number"),
        ({"width": None}, "width: expected a whole number"),
        ({"tokens": "0.1"}, "tokens: expected at least one step of 4 × 64, got 0.1"),
        ({"tokens": "many"}, "tokens: expected a positive number, got 'many'"),
        ({"tokens": itertools.count(1e5)}, "tokens: expected at most 100,000 values"),
        ({"seed": True}, "seed: expected a whole number of at least 0, got True"),
        ({"seed": range(10**9)}, "seed: expected at most 100,000 values"),
        ({"seed": range(1000), "tokens": np.linspace(1e5, 2e5, 200)}, "sweep: expected at most 100,000 runs, got 200,000"),
        ({"configs": "abc"}, "configs: expected TrainConfigs, as recommend(…) makes them, got 'abc'"),
    ],
)  # fmt: skip
def test_an_axis_is_a_number_or_several_and_no_text(axes, says):
    one_line(lambda: Sweep(**{"width": 16, "tokens": 1e5, **axes}), says)


def test_an_axis_may_be_any_collection_of_numbers():
    for width in (np.array([16, 32]), {16, 32}, (w for w in (16, 32)), range(16, 48, 16)):
        assert len(Sweep(width=width, tokens=1e5)) == 2
    assert Sweep(width=np.array(16), tokens="1e5").configs == Sweep(width=16, tokens=1e5).configs
    for slices in ([1, 2], {1e9: "16"}, {"x": [16]}, {1e9: None}):
        one_line(lambda slices=slices: Sweep.isoflop(slices), "expected")


def test_one_of_each_needs_no_list_and_fields_reach_every_run():
    (config,) = Sweep(width=16, tokens=1e5, corpus="language", schedule="cosine")
    assert config == recommend(16, 1e5, corpus="language", schedule="cosine")


def test_a_run_named_twice_is_one_run():
    assert len(Sweep(width=[16, 16], tokens=[1e5, 100_000])) == 1
    assert len(Sweep(width=16, tokens=1e5, configs=[recommend(16, 1e5)])) == 1


def test_slices_cost_what_they_say():
    slices = {1e10: [16, 32], 1e11: [16, 32, 64]}
    sweep = Sweep.isoflop(slices)
    assert len(sweep) == 5
    asked = [flops for flops, widths in slices.items() for _ in widths]
    for config, flops in zip(sweep, asked, strict=True):
        step = counts.flops_per_token(config.model) * config.tokens_per_step
        assert abs(flops_of(config) - flops) <= step
    assert at_flops(32, 1e11, seed=4) == Sweep.isoflop({1e11: [32]}, seed=4).configs[0]


def test_slices_cost_what_they_say_under_a_curriculum_too():
    """The same tokens are cheaper in short windows, so that the same FLOPs buy more of them."""
    plan = Curriculum(start=1 / 32, until=0.8)
    for config in Sweep.isoflop({1e10: [16, 32], 3e11: [16]}, context=256, curriculum=plan):
        flops = 3e11 if config.tokens > 1e6 else 1e10
        assert abs(flops_of(config) - flops) <= counts.flops_per_token(config.model) * config.tokens_per_step
        assert config.tokens > 1.2 * at_flops(config.model.width, flops, context=256).tokens
        assert config == recommend(config.model.width, config.tokens, context=256, curriculum=plan)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Sweep(), "at least one width"),
        (lambda: Sweep(width=[], tokens=1e5), "at least one width"),
        (lambda: Sweep(width=17, tokens=1e5), "width: expected a multiple"),
        (lambda: Sweep(width=16, tokens=0), "tokens"),
        (lambda: Sweep(width=16, tokens=-1e5), "tokens"),
        (lambda: Sweep(width=16, tokens=10), "tokens: expected at least one step"),
        (lambda: Sweep(width=16, tokens=float("nan")), "tokens"),
        (lambda: Sweep(width=16, tokens=float("inf")), "tokens"),
        (lambda: Sweep(width=16, tokens=["many"]), "tokens"),  # type: ignore[list-item]
        (lambda: Sweep(width=16, tokens=1e5, lr=-1), "lr"),
        (lambda: Sweep(width=16, tokens=1e5, colour="red"), "colour"),
        (lambda: Sweep(width=16, tokens=1e5, seed=-1), "seed"),
        (lambda: Sweep.isoflop({float("nan"): [16]}), "flops"),
        (lambda: Sweep.isoflop({float("inf"): [16]}), "flops"),
        (lambda: Sweep.isoflop({1e3: [16]}), "flops: expected at least 2.2e"),
        (lambda: Sweep.isoflop({}), "at least one width"),
    ],
)
def test_a_sweep_that_cannot_be_is_told_in_one_line(make, says):
    with pytest.raises(InputError, match=says) as error:
        make()
    assert "\n" not in str(error.value)


# --- on an executor


def test_records_come_in_the_order_of_the_configs(tiny_corpus, tmp_path):
    configs = [*some(tiny_corpus, 2, tokens=64), *some(tiny_corpus, 2, tokens=640)]
    records = threads(configs, Store(tmp_path))
    assert [record.id for record in records] == [config.id() for config in configs]
    assert all(record.ok for record in records)
    assert {record.id for record in Store(tmp_path).records()} == {config.id() for config in configs}
    assert {path.suffix for path in tmp_path.iterdir() if path.is_file()} == {".json"}


def test_threads_training_at_once_do_not_change_each_others_runs(tiny_corpus, tmp_path):
    """Torch has one random state for all of them."""
    configs = some(tiny_corpus, 6, tokens=64)
    one_by_one = threads(configs, Store(tmp_path / "one"), workers=1)
    at_once = threads(configs, Store(tmp_path / "six"), workers=6)
    assert [record.L for record in one_by_one] == [record.L for record in at_once]
    assert len({record.L for record in at_once}) == 6


def test_a_finished_run_is_not_trained_again(tiny_corpus, tmp_path, monkeypatch):
    store, configs = Store(tmp_path), some(tiny_corpus, 3)
    first = threads(configs[:2], store)
    before = times(store)
    trained = []
    real = scalept_lab.train.loop.train

    def train(config, **more):
        trained.append(config)
        return real(config, **more)

    monkeypatch.setattr(scalept_lab.train.loop, "train", train)
    again = threads(configs, store)
    assert trained == configs[2:]
    assert again[:2] == first
    assert {name: when for name, when in times(store).items() if name in before} == before
    assert threads(configs, store) == again and len(trained) == 1


def test_a_diverged_run_is_finished(tiny_corpus, tmp_path):
    store, configs = Store(tmp_path), some(tiny_corpus, 1, lr=1e6)
    (record,) = threads(configs, store)
    assert record.status == "diverged"
    before = times(store)
    assert threads(configs, store) == [record] and times(store) == before


def test_a_failing_run_is_a_record_and_is_tried_again(tiny_corpus, tmp_path, monkeypatch):
    store, configs = Store(tmp_path), some(tiny_corpus, 2)
    real = scalept_lab.train.loop.train

    def fails_once(config, **more):
        if config.seed == 0:
            raise MemoryError("no room\nfor this model")
        return real(config, **more)

    monkeypatch.setattr(scalept_lab.train.loop, "train", fails_once)
    failed, fine = threads(configs, store)
    assert (failed.status, failed.error) == ("failed", "MemoryError: no room")
    assert (failed.L, failed.C, failed.N) == (None, 0, counts.shape(TINY).non_embedding)
    assert fine.ok
    monkeypatch.setattr(scalept_lab.train.loop, "train", real)
    before = times(store)
    mended, same = threads(configs, store)
    assert mended.ok and same == fine
    assert times(store)[fine.id + ".json"] == before[fine.id + ".json"]


def test_bad_input_reaches_the_caller_is_not_stored_and_stops_the_rest(tiny_corpus, tmp_path, monkeypatch):
    started = []

    def refuses(config, **more):
        started.append(config)
        time.sleep(0.05 if len(started) > 1 else 0)
        raise InputError("unique_tokens: too many")

    monkeypatch.setattr(scalept_lab.train.loop, "train", refuses)
    with pytest.raises(InputError, match=r"^unique_tokens: too many$"):
        threads(some(tiny_corpus, 20), Store(tmp_path))
    assert len(started) < 20
    assert not times(Store(tmp_path)) and not list((tmp_path / ".progress").iterdir())


def test_a_corpus_that_is_not_there_is_told_before_anything_starts(tmp_path):
    store = Store(tmp_path / "runs")
    with pytest.raises(InputError, match="no such file"):
        run_all(some(str(tmp_path / "gone.txt"), 2), store, progress=False)
    assert not store.folder.exists()


def test_a_worker_that_is_killed_is_told_in_one_line(tiny_corpus, tmp_path):
    class Broken(futures.ThreadPoolExecutor):
        def submit(self, *_, **__):
            future: futures.Future = futures.Future()
            future.set_exception(BrokenProcessPool("A process in the process pool was terminated abruptly"))
            return future

    with pytest.raises(InputError, match=r"killed .* run it again"):
        run_all(some(tiny_corpus, 2), Store(tmp_path), Broken(), progress=False)


def test_progress_counts_up_to_all_flops(tiny_corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(screen, "FIRST", 0.0)
    with futures.ThreadPoolExecutor(1) as executor:
        run_all(some(tiny_corpus, 2), Store(tmp_path), executor, progress=True)
    shown = capsys.readouterr()
    assert "training 2 runs: 100%" in shown.err and not shown.out


def test_what_a_killed_run_told_of_its_progress_is_forgotten(tiny_corpus, tmp_path, monkeypatch):
    (config,) = some(tiny_corpus, 1)
    beat = tmp_path / ".progress" / config.id()
    beat.parent.mkdir()
    beat.write_text("0.93")
    real, told = scalept_lab.train.loop.train, []

    def train(config, **more):
        told.append(float(beat.read_text()))
        return real(config, **more)

    monkeypatch.setattr(scalept_lab.train.loop, "train", train)
    threads([config], Store(tmp_path))
    assert told == [0] and not beat.exists()


# --- on processes, as a learner's script does it

SCRIPT = """
import json, signal, sys
from scalept_lab.config import Curriculum, ModelConfig, TrainConfig
from scalept_lab.errors import InputError
from scalept_lab.runs import Store
from scalept_lab.study.sweep import run_all

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background of a shell inherits "ignore"
    folder, todo = sys.argv[1], json.loads(sys.argv[2])
    for part in todo:
        configs = [TrainConfig(**fields) for fields in part]
        try:
            records = run_all(configs, Store(folder), progress=False)
            print(json.dumps([record.model_dump() for record in records]))
        except InputError as error:
            print(json.dumps(str(error)))
        except KeyboardInterrupt:
            sys.exit(130)
"""


@pytest.fixture
def script(tmp_path):
    """Starts the script on lists of configs; each is one call of `run_all`."""
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    started: list[subprocess.Popen] = []

    def start(store: Store, *parts: list[TrainConfig]) -> subprocess.Popen:
        todo = json.dumps([[config.model_dump() for config in part] for part in parts])
        process = subprocess.Popen(
            [sys.executable, str(file), str(store.folder), todo], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "2"},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        for orphan in filter(lambda p: _of_group(p, process.pid), psutil.process_iter()):
            orphan.kill()
        process.communicate()


def wait_for(condition, seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"after {seconds} s: {what}"
        time.sleep(0.02)


def test_the_default_is_processes_of_one_thread(tiny_corpus, tmp_path, script):
    store, configs = Store(tmp_path / "runs"), some(tiny_corpus, 3)
    bad = some(tiny_corpus, 2, unique_tokens=10**9)
    out, err = script(store, configs, configs, bad).communicate(timeout=120)
    assert not err
    first, again, refused = map(json.loads, out.splitlines())
    assert first == again and len(first) == 3
    assert {record["provenance"]["threads"] for record in first} == {1}
    in_a_thread = threads(configs, Store(tmp_path / "other"))
    assert [record["L"] for record in first] == pytest.approx([record.L for record in in_a_thread], rel=1e-5)
    assert refused.startswith("unique_tokens") and "\n" not in refused
    assert len(read_records(store.folder)) == 3


def middle_of_a_sweep(process: subprocess.Popen, store: Store) -> list[psutil.Process]:
    """Wait until some runs are finished and others under way; all processes that the sweep started."""
    wait_for(lambda: len(times(store)) >= 1 or process.poll() is not None, 60, "no run has finished")
    assert process.poll() is None
    return psutil.Process(process.pid).children(recursive=True)


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
@pytest.mark.parametrize("how", ["killed", "interrupted"])
def test_a_sweep_that_ends_in_the_middle_loses_nothing(tiny_corpus, tmp_path, script, how):
    store = Store(tmp_path / "runs")
    configs = [*some(tiny_corpus, 1, tokens=64), *some(tiny_corpus, 4, tokens=25_000)]
    process = script(store, [configs[0]], configs)
    family = middle_of_a_sweep(process, store)
    wait_for(lambda: len(times(store)) >= 2, 60, "the second part has not begun")
    if how == "killed":
        os.kill(process.pid, signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
    family += [p for p in psutil.process_iter() if _of_group(p, process.pid)]
    _, err = process.communicate(timeout=30)
    assert process.returncode == (-signal.SIGKILL if how == "killed" else 130)
    assert "Traceback" not in err
    wait_for(lambda: not alive(family), 5, f"still running: {alive(family)}")

    finished = read_records(store.folder)  # all whole
    assert 2 <= len(finished) < len(configs) and all(record.ok for record in finished)
    before = times(store)
    threads(configs, store)
    assert len(times(store)) == len(configs)
    assert {name: times(store)[name] for name in before} == before  # only the missing were trained
    assert not [path for path in store.folder.rglob("*") if path.is_file() and path.suffix != ".json"]


def _of_group(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group
    except OSError:
        return False


def test_a_run_on_text_that_has_changed_is_trained_again_and_the_old_one_kept_aside(
    tmp_path, monkeypatch, tiny_corpus
):
    """The name of a corpus is a path: what it says must be looked at."""
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path / "cache"))
    file, text = tmp_path / "mine.txt", Path(tiny_corpus).read_text()
    file.write_text(text[:50_000])
    config = TrainConfig(
        corpus=str(file), model=ModelConfig(width=16, context=16), tokens=2000, eval_windows=8
    )
    store = Store(tmp_path / "runs")
    with futures.ThreadPoolExecutor(1) as one:
        old = run_all([config], store, one, progress=False)[0]
        assert run_all([config], store, one, progress=False) == [old]
        file.write_text(text[50_000:100_000])
        new = run_all([config], store, one, progress=False)[0]
    assert new.id == old.id and new.corpus != old.corpus and new.L != old.L
    aside = store.folder / f"{old.id}.json.{old.corpus[:12]}"
    assert parse_record(aside.read_text()) == old and store.records() == [new]


def test_threads(sweep, losses, refuses, tmp_path):
    import torch

    store = Store(tmp_path / "runs")
    with futures.ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as executor:
        records = run_all(sweep, store, executor, progress=False)
    assert [record.L for record in records] == losses
    assert run_all(sweep, store, refuses, progress=False) == records


def listens() -> set[str]:
    """The addresses at which this process and its children wait for callers."""
    me = psutil.Process()
    found = [
        each for process in (me, *me.children(recursive=True)) for each in process.net_connections("inet")
    ]
    return {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN}


def test_dask(sweep, losses, refuses, tmp_path):
    distributed = pytest.importorskip("distributed")
    study = Study("mine", budget_flops=1e9, folder=tmp_path / "mine")
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as client:
        assert listens() == {"127.0.0.1"}  # the dashboard, too, which else is open to the network
        records = study.run(sweep, executor=client.get_executor(pure=False), progress=False)
    assert [record.L for record in records] == losses
    assert {record.provenance["threads"] for record in records} == {1}
    assert study.spent == pytest.approx(sweep.flops)
    assert study.run(sweep, executor=refuses, progress=False) == records  # what Dask trained, anybody finds


@pytest.mark.parametrize("cluster", ["debug", "local"])
def test_submitit(cluster, sweep, losses, refuses, tmp_path):
    submitit = pytest.importorskip("submitit")
    study = Study("mine", budget_flops=1e9, folder=tmp_path / "mine")
    assert study.estimate(sweep, workers=2).fits
    prepare_corpora(sweep)
    executor = submitit.AutoExecutor(folder=tmp_path / "logs", cluster=cluster)
    assert not isinstance(executor, futures.Executor)  # hence map_array, and not study.run(sweep, executor)
    executor.update_parameters(timeout_min=5)
    jobs = executor.map_array(train_and_save, sweep, [str(study.store.folder)] * len(sweep))
    assert [job.result() for job in jobs] == [config.id() for config in sweep]
    assert [record.L for record in study.run(sweep, executor=refuses, progress=False)] == losses


def test_the_largest_run_starts_first(sweep, tmp_path, monkeypatch):
    asked = []

    class Notes(futures.Executor):
        def submit(self, work, config, folder):
            asked.append(config.tokens)
            done = futures.Future()
            done.set_result(config.id())
            return done

    monkeypatch.setattr(scalept_lab.study.sweep, "prepare_corpora", lambda configs: None)
    mixed = [sweep.configs[0].replace(tokens=n) for n in (1600, 4800, 3200)]
    assert run_all(mixed, Store(tmp_path / "runs"), Notes(), progress=False) == []
    assert asked == [4800, 3200, 1600]


def test_the_share_of_a_run_is_what_its_worker_wrote_last(sweep, tmp_path):
    store, config = Store(tmp_path), sweep.configs[0]
    assert scalept_lab.study.sweep._share(store, config) == 0
    beat = tmp_path / ".progress" / config.id()
    beat.parent.mkdir()
    for text, share in (("0.25", 0.25), ("1.5", 1.0), ("0.2x", 0.0), ("", 0.0)):
        beat.write_text(text)
        assert scalept_lab.study.sweep._share(store, config) == share


def test_heartbeats_of_killed_workers_are_swept(sweep, tmp_path, refuses):
    beats = tmp_path / ".progress"
    beats.mkdir()
    old, new = (beats / (letter * 16) for letter in "ab")
    for beat in (old, new):
        beat.touch()
    os.utime(old, (1, 1))
    with pytest.raises(AssertionError):
        run_all(sweep, Store(tmp_path), refuses)
    assert list(beats.iterdir()) == [new]


def test_a_heartbeat_that_finds_no_room_costs_no_run(tmp_path, tiny_corpus, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    config = some(tiny_corpus, 1)[0]
    record = Store(tmp_path).get(train_and_save(config, str(tmp_path)))
    assert record is not None and record.ok


def test_one_core_makes_one_worker(tmp_path, monkeypatch):
    asked = []

    @contextmanager
    def processes(workers):
        asked.append(workers)
        yield None

    monkeypatch.setattr(scalept_lab.study.sweep, "local_processes", processes)
    monkeypatch.setattr(scalept_lab.study.sweep, "_run", lambda *_: None)
    monkeypatch.setattr(scalept_lab.study.sweep, "prepare_corpora", lambda _: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    run_all(list(Sweep(width=[8, 16], tokens=4000)), Store(tmp_path))
    assert asked == [1]


def test_beside_a_gpu_a_sweep_has_a_lane_for_it(sweep, tmp_path, monkeypatch):
    """Three runs of which one is sooner done on the GPU: two workers on the CPU, one on the GPU, each told where it trains."""
    lanes, asked, workers = [], [], set()

    class Lane(futures.Executor):
        def submit(self, work, config, folder, device):
            asked.append((self, config.tokens, device))
            done = futures.Future()
            done.set_result(config.id())
            return done

    @contextmanager
    def processes(count):
        lanes.append((Lane(), count))
        yield lanes[-1][0]

    def device_for(config, at_once):
        workers.add(at_once)
        return "cuda" if config.tokens == 4800 else "cpu"

    monkeypatch.setattr(scalept_lab.study.sweep, "local_processes", processes)
    monkeypatch.setattr(scalept_lab.study.sweep, "prepare_corpora", lambda configs: None)
    monkeypatch.setattr("scalept_lab.train.placement.device_for", device_for)
    monkeypatch.setattr("scalept_lab.machine.cores", lambda: 2)
    mixed = [sweep.configs[0].replace(tokens=n) for n in (1600, 4800, 3200)]
    run_all(mixed, Store(tmp_path / "runs"), progress=False)
    (gpu, one), (cpu, two) = lanes
    assert (one, two) == (1, 2) and workers == {2}
    assert asked == [(gpu, 4800, "cuda"), (cpu, 3200, "cpu"), (cpu, 1600, "cpu")]
