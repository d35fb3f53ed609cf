"""Killed runs: they go on, and end where the undisturbed run ends."""

import shutil
import time

import numpy as np
import pytest

from scalept_lab.config import Parallel, recommend
from scalept_lab.errors import InputError
from scalept_lab.parallel import checkpoint
from scalept_lab.parallel.launcher import launch
from scalept_lab.train import faults
from scalept_lab.train.loop import Keep, train

STEPS, BATCH = 96, 8


def config(strategy="fsdp", **changes):
    return recommend(
        16, STEPS * BATCH * 64, batch=BATCH, parallel=Parallel(strategy=strategy), eval_windows=64, **changes
    )


@pytest.fixture(scope="module")
def undisturbed():
    return launch(train, 2, config())[0]


@pytest.fixture(scope="module")
def survived(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    return folder, faults.train_and_kill(config(), folder, every=16, kill_after=(32, 64))


def test_a_run_that_is_killed_twice_ends_as_if_nothing_had_happened(undisturbed, survived):
    folder, run = survived
    assert len(run.resumed) == 2
    assert 32 <= run.resumed[0] < 64 <= run.resumed[1] < STEPS, "each kill came in the middle"
    assert run.record.curve == undisturbed.curve
    assert run.record.L == undisturbed.L
    assert not list(folder.glob("*.tmp"))


def test_a_kill_while_a_checkpoint_is_written_in_the_background_costs_that_one_alone(undisturbed, tmp_path):
    run = faults.train_and_kill(config(), tmp_path, every=16, kill_after=(32,), background=True)
    (resumed,), (unfinished,) = run.resumed, run.unfinished
    assert 32 <= resumed < STEPS and (unfinished == 0 or unfinished > resumed)
    assert run.record.curve == undisturbed.curve and run.record.L == undisturbed.L
    assert not list(tmp_path.glob("*.tmp")) and checkpoint.latest(tmp_path).name == f"step-{STEPS:08d}"


def test_another_number_of_ranks_goes_on(undisturbed, survived, tmp_path):
    folder, _ = survived
    done = checkpoint.latest(folder)
    shutil.rmtree(done)  # the last one, of the finished run
    middle = checkpoint.latest(folder)
    assert int(middle.name[5:]) < STEPS
    for ranks, strategy in ((1, "ddp"), (4, "fsdp"), (2, "tensor")):
        copy = tmp_path / f"{strategy}-{ranks}"
        shutil.copytree(middle, copy / middle.name)
        record = launch(train, ranks, config(strategy), keep=Keep(copy, 1000))[0]
        assert record.L == pytest.approx(undisturbed.L, abs=1e-4)
        losses = [[loss for *_, loss in run.curve] for run in (record, undisturbed)]
        assert np.abs(np.subtract(*losses)).max() < 1e-4


def test_without_restarts_it_does_not_survive(tmp_path):
    with pytest.raises(InputError, match="did not survive"):
        faults.train_and_kill(config(), tmp_path, every=16, kill_after=(32,), max_restarts=0)
    assert checkpoint.latest(tmp_path) is not None  # but what it saved is there


def test_a_run_that_cannot_start_says_why(tmp_path):
    other = recommend(24, STEPS * BATCH * 64, batch=BATCH, parallel=Parallel(strategy="tensor"))
    with pytest.raises(InputError, match=r"heads: 3 cannot be split"):
        faults.train_and_kill(other, tmp_path, max_restarts=0)


def test_a_kill_after_the_end_is_refused_before_anything_starts(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(InputError, match="kill_after: expected steps before 96, the run's last, got 96"):
        faults.train_and_kill(config(), folder, kill_after=(32, 96))
    assert not folder.exists()


def test_a_run_that_ends_before_its_kill_says_so_at_once(tmp_path, monkeypatch):
    """A process that ends well and saves nothing stands for torchrun: its steps go by before one can be killed."""
    real = faults.subprocess.Popen
    monkeypatch.setattr(
        faults.subprocess, "Popen", lambda command, **more: real([command[0], "-c", ""], **more)
    )
    started = time.monotonic()
    with pytest.raises(InputError, match="of 96 steps ended before it could be killed after step 32"):
        faults.train_and_kill(config(), tmp_path, kill_after=(32,), seconds=8)
    assert time.monotonic() - started < 4


def test_figures_draw():
    from scalept_lab.plots import training

    curve = [(step, step * 512, 5.0 / step) for step in range(1, 20)]
    fig = training.plot_interrupted(curve, [curve[:12], curve[10:]], [12], [10])
    assert len(fig.axes[0].lines) >= 4
    fig = training.plot_left_out(curve, {"without a": curve, "without b": curve}, 10)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["without a", "without b"]
    fig = training.plot_goodput(60, 5.8, 16384, 10)
    assert "16,384 GPUs: a failure every 3.1 h" in fig.axes[0].get_title(loc="left")
    from scalept_lab.plots import explorers

    explorer = explorers.goodput_explorer()
    explorer.controls["gpus"].value = 1
    assert not explorer.message.value and "1 GPUs" in explorer.picture.value
    for call in (lambda: training.plot_goodput(0), lambda: training.plot_interrupted([], [], [], []),
                 lambda: training.plot_left_out(curve, {}, 1)):  # fmt: skip
        with pytest.raises(InputError):
            call()


def test_the_last_words_are_the_commands_own_else_an_error_else_the_last_line(tmp_path):
    log = tmp_path / "log"
    for lines, told in (
        (["scalept train: bad width", "RuntimeError: later", "bye"], "scalept train: bad width"),
        (["an Error: x", "a KeyError: y", " ", "bye"], "a KeyError: y"),
        (["one", "  two  ", ""], "two"),
        ([], "nothing"),
    ):
        log.write_text("\n".join(lines))
        assert faults._last_words(tmp_path) == told


def test_steps_saved_are_those_of_the_newest_checkpoint(tmp_path):
    assert faults._saved(tmp_path) == 0
    for name in ("step-00000016", "step-00000032", "step-00000048.tmp"):
        (tmp_path / name).mkdir()
    assert faults._saved(tmp_path) == 32
