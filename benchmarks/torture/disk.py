"""A disk that is full: whatever is written is told in one line, what was there stays, and nothing half-written shows.

Each writer has a small disk of its own in memory, seen by it alone (`unshare -m`, `mount -t tmpfs`): where that is not allowed, a
line says so and nothing is tried.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.torture.outcome import Break, Outcome
from benchmarks.torture.stage import ROOT, Stage, attacks, run_of, text_file

SIZE = 4 * 2**20  # bytes of the disk


def run(count: int, seed: int, folder: Path) -> Outcome:
    """`count` full disks in all."""
    if not _allowed(folder):
        print("  disk: a small disk cannot be mounted here (it takes root and `unshare`): nothing tried")
        return Outcome("disk")
    return attacks("disk", count, seed, folder, [(full, 1)])


def _allowed(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    return _on_small_disk(folder, ["true"]).returncode == 0


def _on_small_disk(folder: Path, command: list[str], **options: Any) -> subprocess.CompletedProcess:
    place = folder / "disk"
    place.mkdir(exist_ok=True)
    mount = f'mount -t tmpfs -o size={SIZE} tmpfs "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, str(place), *command],
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )


def full(stage: Stage, count: int) -> None:
    """Every writer with a number of disks, each with a little more room than the one before."""
    text_file(stage.folder, 60_000)
    for name in WRITERS:
        command = [
            sys.executable,
            "-m",
            "benchmarks.torture.disk",
            name,
            str(stage.folder),
            str(max(1, round(count / len(WRITERS)))),
        ]
        done = _on_small_disk(stage.folder, command, env=stage.environment, cwd=ROOT)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            stage.count(name, (done.stderr.splitlines() or ["nothing was said"])[-1])
        for line in lines:
            stage.outcome.tried += 1
            stage.outcome.fine += line["ended"] == "fine"
            stage.outcome.refused += line["ended"] == "refused"
            if line["fault"]:
                stage.outcome.broken.append(
                    Break(f"disk, {name}, {line['free']:,} bytes free", stage.seed, line["fault"])
                )


# --- on the small disk


def record(place: Path, text: Path) -> Callable[[], Any]:
    from scalept_lab.runs import RunRecord, Store

    run = run_of("made-up")
    made = RunRecord(id=run.id(), config=run.model_dump(), N=1, N_total=1, D=1, C=1.0, L=2.0, seconds=0, peak_rss_bytes=1,
                     provenance={"note": "x" * 40_000})  # fmt: skip
    return lambda: Store(place / "runs").save(made)


def sweep(place: Path, text: Path) -> Callable[[], Any]:
    from scalept_lab.runs import Store
    from scalept_lab.study.sweep import train_and_save

    folder = place / "runs"
    folder.mkdir(exist_ok=True)
    return lambda: train_and_save(run_of(text, 2000), str(Store(folder).folder))


def train(place: Path, text: Path) -> Callable[[], Any]:
    from scalept_lab.train.loop import Keep
    from scalept_lab.train.loop import train as train_run

    return lambda: train_run(run_of(text, 4000), keep=Keep(place / "run", every=2))


def checkpoint(place: Path, text: Path) -> Callable[[], Any]:
    from benchmarks.torture.kills import _model
    from scalept_lab.parallel import checkpoint as checkpoints

    return lambda: checkpoints.save(place / "run", 2, *_model(2.0), "run", {})


def background(place: Path, text: Path) -> Callable[[], Any]:
    from benchmarks.torture.kills import _model
    from scalept_lab.parallel import checkpoint as checkpoints

    def act() -> None:
        later = checkpoints.Background()
        later.save(place / "run", 2, *_model(2.0), "run", {})
        later.wait()

    return act


def corpus(place: Path, text: Path) -> Callable[[], Any]:
    from scalept_lab.data.corpora import prepare

    return lambda: prepare(str(text), cache=place / "cache", tokenizer="bpe-300")


def guess(place: Path, text: Path) -> Callable[[], Any]:
    """Notebooks go on where progress cannot be kept: once told, no error."""
    from scalept_lab.course import learner

    os.environ["SCALEPT_RESULTS"] = str(place / "results")

    def act() -> None:
        with learner.change() as kept:
            for number in range(200):
                kept.predictions[f"08.{number}"] = learner.Prediction()

    return act


def plan(place: Path, text: Path) -> Callable[[], Any]:
    from scalept_lab.cli import main

    return lambda: _told(main, ["plan", "--scenario", "day", "--seal", "--out", str(place / "plan.json")])


def plan_page(place: Path, text: Path) -> Callable[[], Any]:
    from scalept_lab.cli import main

    return lambda: _told(main, ["plan", "--scenario", "day", "--report", str(place / "plan.html")])


def merged(place: Path, text: Path) -> Callable[[], Any]:
    from scalept_lab.runs import recorded, write_records

    known = recorded("standard")
    return lambda: write_records(known * 20, place / "class.jsonl")


def exported(place: Path, text: Path) -> Callable[[], Any]:
    from scalept_lab.runs import recorded
    from scalept_lab.study.study import Study

    study = Study("mine", budget_flops=1e13, folder=text.parent / "study")
    for one in recorded("standard"):
        study.store.save(one)
    return lambda: study.export(place / "mine.jsonl", learner="Somebody")


def report(place: Path, text: Path) -> Callable[[], Any]:
    from scalept_lab.runs import recorded
    from scalept_lab.study.study import Study

    study = Study("mine", budget_flops=1e13, folder=text.parent / "study")
    for one in recorded("standard"):
        study.store.save(one)
    law = study.fit(bootstrap=10)
    return lambda: study.report(place / "report.html", law=law)


def study(place: Path, text: Path) -> Callable[[], Any]:
    from scalept_lab.study.study import Study
    from scalept_lab.study.sweep import Sweep

    config = run_of(text, 2000)
    return lambda: Study("mine", 1e12, place / "study").run(Sweep(configs=[config]), progress=False)


def notebook(place: Path, text: Path) -> Callable[[], Any]:
    import nbformat

    from scalept_lab.course import notebooks

    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("words " * 5000)])
    return lambda: notebooks.write(place / "made.ipynb", made)


def policy(place: Path, text: Path) -> Callable[[], Any]:
    from scalept_lab.vla import model

    made = model.Policy(model.PolicyConfig())
    return lambda: model.save(made, place / "policy")


def demonstrations(place: Path, text: Path) -> Callable[[], Any]:
    from scalept_lab.vla import demos, lerobot

    made = demos.demonstrations("GoToRedBallGrey", 3)
    return lambda: lerobot.export(made, place / "demos")


WRITERS = (
    "record", "sweep", "train", "checkpoint", "background", "corpus", "guess", "plan", "plan_page", "merged", "exported",
    "report", "study", "notebook", "policy", "demonstrations",
)  # fmt: skip


def _told(main: Callable, arguments: list[str]) -> None:
    """The command line, as a function that raises what it would have said."""
    import contextlib
    import io

    from scalept_lab.errors import InputError

    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        code = main(arguments)
    if code == 2:
        raise InputError(err.getvalue().strip())


def _contents(place: Path) -> dict[str, int]:
    return {str(path.relative_to(place)): path.stat().st_size for path in place.rglob("*") if path.is_file()}


def _main(name: str, folder: Path, count: int) -> None:
    from scalept_lab.errors import InputError

    warnings.simplefilter("ignore")
    place = folder / "disk"
    act = globals()[name](place, folder / "text-0.txt")
    for case in range(count):
        for path in place.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        free = round(4096 * (1.9**case - 1))
        (place / "ballast").write_bytes(b"x" * (SIZE - free))
        ended, fault = "fine", None
        try:
            act()
        except InputError as error:
            ended = "refused"
            if "\n" in str(error):
                fault = f"several lines: {error}"
        except BaseException as error:
            ended, fault = "broken", f"{type(error).__name__}: {error}".splitlines()[0]
        left = [path for path, size in _contents(place).items() if path != "ballast"]
        if (
            ended == "refused"
            and not fault
            and (
                torn := [
                    path for path in left if ".tmp" in path or ("/." in path and ".metadata" not in path)
                ]
            )
        ):
            fault = f"left a draft: {torn[0]}"
        print(json.dumps({"free": free, "ended": ended, "fault": fault, "left": left[:5]}), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
