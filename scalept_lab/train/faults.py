"""Kill a training run from outside, in the middle, and see what it makes of it.

`torchrun` watches its ranks: when one dies it ends the others and starts all of them again, `max_restarts` times at most.
What they then do is theirs to decide; `train` looks for a checkpoint and goes on from it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalept_lab.config import TrainConfig
from scalept_lab.errors import InputError
from scalept_lab.parallel import checkpoint
from scalept_lab.processes import end_server
from scalept_lab.runs import RunRecord, parse_record


@dataclass(frozen=True)
class Survived:
    """The record of a run that was killed, and the step of the checkpoint from which each later life went on.

    unfinished  for each kill, the step of the checkpoint that was half written when it came; 0 where there was none
    """

    record: RunRecord
    resumed: tuple[int, ...]
    unfinished: tuple[int, ...] = ()


def train_and_kill(
    config: TrainConfig,
    folder: str | Path,
    *,
    ranks: int = 2,
    every: int = 32,
    kill_after: tuple[int, ...] = (64,),
    max_restarts: int = 2,
    background: bool = False,
    seconds: float = 300.0,
) -> Survived:
    """Train under torchrun with checkpoints in `folder`; kill the last rank (SIGKILL) soon after each step of `kill_after`.

    With `background`, training goes on while checkpoints are written, and the kill comes while the one after is half written.

    A process that gets SIGKILL cannot do anything any more, not even clean up: it is what a lost machine looks like.
    Raises: InputError, before anything starts, for a kill after the run's end; if the run ends before its kills; and, with
    torchrun's last words, if it does not end, or ends without a record. No process is left.
    """
    if late := [step for step in kill_after if step >= config.steps]:
        raise InputError(f"kill_after: expected steps before {config.steps}, the run's last, got {late[0]}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--max-restarts",
               str(max_restarts), "--standalone", "-m", "scalept_lab.cli", "train", str(folder / "config.json"),
               "--checkpoint", str(folder), "--every", str(every), "--json",
               *["--background"] * background]  # fmt: skip
    end_server()  # torchrun's processes share nothing with it: beside them it would be one more torch in memory
    end, resumed, unfinished = time.monotonic() + seconds, [], []
    with (folder / "out").open("wb") as out, (folder / "log").open("wb") as log:
        agent = subprocess.Popen(command, stdout=out, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        try:
            for step in kill_after:
                while (
                    _saved(folder) < step
                    or (background and not _being_written(folder))
                    or not _kill_last_rank(agent.pid, 0.0 if background else 0.1)
                ):
                    _still_running(agent, folder, end)
                    if agent.poll() is not None:
                        raise InputError(
                            f"kill_after: the run of {config.steps} steps ended before it could be killed after "
                            f"step {step}; kill earlier, or train longer"
                        )
                    time.sleep(0.001 if background else 0.01)
                resumed.append(_saved(folder))
                unfinished.append(_being_written(folder))
            while agent.poll() is None:
                _still_running(agent, folder, end)
                time.sleep(0.05)
        finally:
            _end(agent)
    lines = [
        line
        for line in (folder / "out").read_text(encoding="utf-8", errors="replace").splitlines()
        if line.startswith("{")
    ]
    if agent.returncode or not lines:
        raise InputError(f"the run did not survive: {_last_words(folder)}")
    return Survived(parse_record(json.dumps(json.loads(lines[-1]))), tuple(resumed), tuple(unfinished))


def _saved(folder: Path) -> int:
    path = checkpoint.latest(folder)
    return int(path.name.removeprefix("step-")) if path else 0


def _being_written(folder: Path) -> int:
    """The step of a checkpoint that has no final name yet; 0 if there is none."""
    return max((int(path.name[len("step-") : -len(".tmp")]) for path in folder.glob("step-*.tmp")), default=0)


def _still_running(agent: subprocess.Popen, folder: Path, end: float) -> None:
    if time.monotonic() > end:
        raise InputError(f"the run has not ended in time; torchrun's last words: {_last_words(folder)}")
    if agent.poll():
        raise InputError(f"the run did not survive: {_last_words(folder)}")


def _kill_last_rank(agent: int, later: float) -> bool:
    """Whether there was one: between two lives, and after the last, there is none. `later`: seconds, some steps further."""
    import psutil

    time.sleep(later)
    ranks = {rank: process for process in _family(agent) if (rank := _rank_of(process)) is not None}
    try:
        ranks[max(ranks)].kill()
    except (ValueError, psutil.NoSuchProcess):  # none, or it has just ended by itself
        return False
    return True


def _family(pid: int) -> list[Any]:
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _rank_of(process: Any) -> int | None:
    """torchrun tells each process its rank in its environment."""
    import psutil

    try:
        rank = process.environ().get("RANK")
    except psutil.Error:
        return None
    return None if rank is None else int(rank)


def _end(agent: subprocess.Popen) -> None:
    """The ranks first: torchrun gives each a process group of its own, so they would outlive it."""
    for process in [*_family(agent.pid), agent] if agent.poll() is None else []:
        process.kill()
    agent.wait()


def _last_words(folder: Path) -> str:
    lines = [
        line.strip()
        for line in (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]
    told = [line for line in lines if line.startswith("scalept ")] or [
        line for line in lines if "Error" in line
    ]
    return (told or lines or ["nothing"])[-1]
