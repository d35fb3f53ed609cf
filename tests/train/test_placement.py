"""Where a run is trained: by what was asked for, else by timing a step on each device. The GPU of these tests is made up."""

from __future__ import annotations

import json
import types

import pytest
import torch
from refusals import one_line

from scalept_lab import machine
from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.train import placement
from scalept_lab.train.placement import device_for, seconds_per_step

TINY = ModelConfig(width=16, context=16, heads=2)


@pytest.fixture
def run(tiny_corpus):
    def make(**fields) -> TrainConfig:
        return TrainConfig(
            **{"model": TINY, "corpus": tiny_corpus, "tokens": 2560, "eval_windows": 50, **fields}
        )

    return make


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A machine with a GPU whose steps all take 4 ms; on the CPU they take 1 ms for every 8 channels. Counts what is timed."""
    timed = []

    def time_step(config, device):
        timed.append(device)
        seconds = {"cpu": config.model.width / 8e3, "cuda": 4e-3}[device]
        return types.SimpleNamespace(step=lambda *_: clock.wait(seconds))

    class Clock:
        now = 0.0

        def wait(self, seconds):
            self.now += seconds
            return torch.zeros(())

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setenv("SCALEPT_CACHE", str(tmp_path))
    monkeypatch.delenv("SCALEPT_DEVICE", raising=False)
    monkeypatch.setattr(machine, "devices", lambda: ["cpu", "cuda"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Made up")
    monkeypatch.setattr(placement, "set_up", time_step)
    monkeypatch.setattr(placement, "time", clock)
    monkeypatch.setattr(torch, "randint", lambda *_, device: torch.zeros(4, 16))
    return timed


def test_without_a_gpu_nothing_is_timed(run, monkeypatch):
    monkeypatch.setattr(machine, "devices", lambda: ["cpu"])
    monkeypatch.setattr(placement, "set_up", lambda *_: pytest.fail("a step was timed"))
    assert device_for(run()) == "cpu" and placement.why(run(), "cpu") == {}


def test_each_run_goes_where_it_is_sooner_done(run, gpu):
    """Alone, 16 channels take 2 ms on the CPU and 4 on the GPU, 64 channels take 8 and 4; eight cores turn 8 ms into 1."""
    wide = run(model=TINY.replace(width=64))
    assert (device_for(run()), device_for(wide)) == ("cpu", "cuda")
    assert device_for(wide, workers=8) == "cpu"


def test_a_step_is_timed_once_and_the_record_says_what_was_found(run, gpu):
    first, again = device_for(run()), device_for(run(seed=3, lr=0.5))
    assert first == again and gpu == ["cpu", "cuda"]
    assert placement.why(run(), "cuda") == {
        "seconds_per_step": {"cpu": pytest.approx(2e-3), "cuda": pytest.approx(4e-3)}
    }
    device_for(run(batch=8))
    assert len(gpu) == 4  # another kind of step
    placement._path().write_text("[1, 2]")  # damaged: timed again, and mended
    device_for(run())
    assert len(gpu) == 6 and len(json.loads(placement._path().read_text())) == 2


def test_what_is_asked_for_is_not_measured(run, gpu, monkeypatch):
    for asked in ("cpu", "cuda"):
        monkeypatch.setenv("SCALEPT_DEVICE", asked)
        assert device_for(run()) == asked
    monkeypatch.setenv("SCALEPT_DEVICE", " AUTO ")
    assert (
        device_for(run(model=ModelConfig(width=768, heads=12, depth=12, vocab_size=50304, context=1024)))
        == "cuda"
    )
    assert gpu == []  # the last is too large to be tried on a CPU


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("tpu", "SCALEPT_DEVICE: expected one of auto, cpu, cuda, mps, got 'tpu'"),
        ("mps", "SCALEPT_DEVICE: expected a device that this machine has (cpu, cuda), got mps"),
    ],
)
def test_a_device_that_is_not_here_is_refused_in_one_line(run, gpu, monkeypatch, asked, words):
    monkeypatch.setenv("SCALEPT_DEVICE", asked)
    one_line(lambda: device_for(run()), words)


def test_a_gpu_that_is_too_small_says_what_to_change(run, monkeypatch):
    def full():
        with placement.memory_of("cpu", run(batch=64)):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    one_line(full, "batch: expected a step that fits", "64 × 16 tokens; take a smaller batch, more parts")


def test_timing_a_step_leaves_the_threads_as_they_were(run):
    threads = torch.get_num_threads()
    assert 0 < seconds_per_step(run()) < 1
    assert torch.get_num_threads() == threads


def test_the_step_that_is_timed_is_the_runs_own(run, monkeypatch):
    """Optimizer, precision, parts and recomputation come from one set-up, the one that trains."""
    used = []

    def watched(config, device, real=placement.set_up):
        used.append((config, real(config, device)))
        return used[-1][1]

    monkeypatch.setattr(placement, "set_up", watched)
    given = run(optimizer="muon", accumulate=2, recompute=True, dtype="bfloat16")
    seconds_per_step(given)
    ((config, made),) = used
    assert config == given and "forward" in vars(made.model.blocks[0])  # recomputed
    settings = made.step.keywords
    assert settings["parts"] == 2 and settings["cast"].fast_dtype == torch.bfloat16


def test_a_step_takes_the_middle_of_those_timed(run, monkeypatch):
    """The first is left out; of 4, 1, 3 and 2 seconds the upper middle one counts."""

    class Fake:
        def step(self, x, y):
            assert x.shape == (4, 16)
            return torch.zeros(())

    monkeypatch.setattr(placement, "set_up", lambda *_: Fake())
    monkeypatch.setattr(placement.time, "perf_counter", iter([0, 9, 0, 4, 0, 1, 0, 3, 0, 2]).__next__)
    assert seconds_per_step(run(), steps=4) == 3


def test_what_does_not_fit_is_refused_before_it_is_timed(monkeypatch):
    """An estimate of a sweep times a step of each kind, and would build the model for that."""
    monkeypatch.setattr(placement, "set_up", lambda *_: pytest.fail("built"))
    wide = TrainConfig(model=ModelConfig(width=400_000, heads=2))
    one_line(lambda: seconds_per_step(wide), "model: expected a run that fits into the", "GB of this machine")
