"""What every attack stands on: a folder of its own, processes that can be found again, and what was left behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from benchmarks.torture.outcome import Break, Outcome
from scalept_lab.config import ModelConfig, TrainConfig

ROOT = Path(__file__).resolve().parents[2]
MARK = "SCALEPT_TORTURE"  # a variable by which every descendant is known, whoever its parent is by now
PATIENCE = 90.0  # seconds that a victim may take before it counts as hanging
SIGNALS = (*[signal.SIGKILL] * 5, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SENTENCES = ("the small model reads the text", "a longer run takes more compute", "what was finished is kept")


@dataclass
class Stage:
    """One attack's folder, seed and tally. `tmp` is the temporary folder of its victims, `cache` their cache."""

    folder: Path
    outcome: Outcome
    random: random.Random
    seed: int
    mark: str = field(init=False)

    def __post_init__(self) -> None:
        self.mark = f"{os.getpid()}-{self.folder.name}"
        for part in (self.tmp, self.cache):
            part.mkdir(parents=True, exist_ok=True)

    @property
    def tmp(self) -> Path:
        return self.folder / "tmp"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ, MARK: self.mark, "TMPDIR": str(self.tmp), "SCALEPT_CACHE": str(self.cache),
            "SCALEPT_RESULTS": str(self.folder / "results"), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }  # fmt: skip

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen:
        """A victim: `python` with these arguments, in a session of its own."""
        with open(self.folder / "err", "ab") as err, open(self.folder / "out", "ab") as out:
            return subprocess.Popen(
                [sys.executable, *arguments],
                **{"stdout": out, "stderr": err, "env": self.environment, "start_new_session": True, "cwd": self.folder}
                | options,
            )  # fmt: skip

    def victim(self, name: str, *arguments: Any, **options: Any) -> subprocess.Popen:
        return self.start("-m", "benchmarks.torture.victims", name, *map(str, arguments), **options)

    def words(self) -> list[str]:
        """What victims have said on stderr since the last call, in lines; bars left out."""
        path = self.folder / "err"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        path.unlink(missing_ok=True)
        return [line for line in text.replace("\r", "\n").splitlines() if line.strip() and "|" not in line]

    def family(self) -> list[psutil.Process]:
        """Every living process that a victim started."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def count(self, what: str, *faults: str | None) -> None:
        """One case: fine where no fault is given."""
        self.outcome.tried += 1
        found = [fault for fault in faults if fault]
        if found:
            self.outcome.broken.append(Break(f"{self.folder.name}: {what}", self.seed, found[0][:300]))
        else:
            self.outcome.fine += 1

    def orphans(self, seconds: float = 15.0) -> str | None:
        """What still runs so long after its parent's end; it is ended here."""
        end = time.monotonic() + seconds
        while (left := self.family()) and time.monotonic() < end:
            time.sleep(0.05)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return f"{len(left)} processes stay: {left[0]}" if left else None

    def flood(self, most: int = 1) -> str | None:
        """More than `most` lines on stderr, or a traceback."""
        said = self.words()
        if any("Traceback" in line for line in said):
            return f"traceback of {len(said)} lines: {said[-1]}"
        return f"{len(said)} lines: {said[0]}" if len(said) > most else None

    def strike(self, process: subprocess.Popen, how: int, after: float) -> bool:
        """Send a signal after so many seconds, unless it has ended by then. Whether it was struck; it has ended now."""
        try:
            process.wait(after)
            return False
        except subprocess.TimeoutExpired:
            process.send_signal(how)
            self.end(process)
            return True

    def fell(self, process: BaseProcess) -> str | None:
        """Send a child one of the signals, whatever it does now; a fault where it lives on."""
        how = self.random.choice(SIGNALS)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid or 0, how)
        process.join(20)
        if process.exitcode is not None:
            return None
        self.outcome.hangs += 1
        process.kill()
        process.join()
        return f"it does not end by signal {how}"

    def end(self, process: subprocess.Popen, seconds: float = PATIENCE) -> int | None:
        """Its exit status; None if it hangs, which is counted, and it is killed."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.outcome.hangs += 1
            for one in self.family():
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait()
            return None

    def age(self, seconds: float = 2 * 86400) -> None:
        """Let everything in the folder look as if it had been written long ago."""
        then = time.time() - seconds
        for path in [*self.folder.rglob("*"), self.folder]:
            if path.exists() and not path.is_symlink():
                os.utime(path, (then, then))


def wait_for(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What the condition gives once it holds; None when the time is up."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            return None
        time.sleep(0.005)
    return found


def text_file(folder: Path, size: int = 200_000, seed: int = 0) -> Path:
    """A text to train on, of words that follow each other at random, in paragraphs that differ."""
    rng = random.Random(seed)
    words = [word for sentence in SENTENCES for word in sentence.split()]
    words += ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 8))) for _ in range(200)]
    paragraphs: list[str] = []
    while sum(map(len, paragraphs)) < size:
        paragraphs.append(" ".join(rng.choices(words, k=60)) + ".\n\n")
    path = folder / f"text-{seed}.txt"
    path.write_text("".join(paragraphs), encoding="utf-8")
    return path


def run_of(corpus: Path | str, tokens: int = 30_000, seed: int = 0) -> TrainConfig:
    return TrainConfig(
        model=ModelConfig.family(8, context=32), corpus=str(corpus), tokens=tokens, eval_windows=16, seed=seed
    )


def attacks(
    name: str,
    count: int,
    seed: int,
    folder: Path,
    shares: Sequence[tuple[Callable[[Stage, int], None], float]],
) -> Outcome:
    """`count` cases divided among attacks by their shares, each in a folder of its own."""
    outcome, began = Outcome(name), time.perf_counter()
    total = sum(share for _, share in shares)
    for attack, share in shares:
        place = folder / attack.__name__
        place.mkdir(parents=True, exist_ok=True)
        stage = Stage(place, outcome, random.Random(f"{seed} {attack.__name__}"), seed)
        tried, broken, then = outcome.tried, len(outcome.broken), time.perf_counter()
        attack(stage, max(1, round(count * share / total)))
        print(
            f"  {attack.__name__:<22} {outcome.tried - tried:>5} tried {len(outcome.broken) - broken:>4} broken "
            f"{time.perf_counter() - then:>6.0f} s",
            flush=True,
        )  # fmt: skip
    outcome.seconds = time.perf_counter() - began
    return outcome
