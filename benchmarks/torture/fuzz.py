"""Fuzz: every door from outside, thousands of times, with content and objects that nobody should give it.

A case is fine (a result), refused (an InputError of one line that names the file), or broken: another exception, several lines,
more than 5 seconds, more than 1 GB, or a result that a checksum should have kept from changing. A worker process does the cases
of a door one after the other; its parent ends it where a case does not end, or eats the memory, and starts another.

    python -m benchmarks.torture fuzz [--share 0.1]
    python -m benchmarks.torture.fuzz DOOR CASE_SEED     # one case again, with its traceback
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import time
import traceback
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.torture import doors, generate, objects
from benchmarks.torture.outcome import Break, Outcome, joined, table

SECONDS = (
    5.0  # of processor time that a case may take; it waits for ever if it does nothing for twice as long
)
IDLE = 0.3  # seconds of processor time: nothing
SLOW = "took the processor for"
BYTES = 10**9  # that a case may take
MACHINE = 4 * 10**9  # at which a worker is ended
HEADS = {"\u2028", "\u2029", "\x85"}  # ends of a line for some


@dataclass(frozen=True)
class Result:
    kind: str  # fine, refused or broken
    line: str = ""
    seconds: float = 0.0
    bytes: int = 0


# --- one case -----------------------------------------------------------------------------------------------


def case(
    door: str, seed: int, base: Path, place: Path, expected: Any
) -> tuple[str, Callable[[], Any], tuple[str, ...], Any]:
    """What one case is: in words, its call, the names of which a refusal has to say one, and what a checksum holds in place."""
    random = Random(seed)
    if door in objects.OBJECTS:
        place.mkdir()
        what, call = objects.OBJECTS[door][0](random, place)
        return what, call, (), None
    of = next(each for each in doors.FILES if each.name == door)
    doors.copied(base, place)
    files = sorted({path for pattern in of.spoil for path in place.glob(pattern) if path.is_file()})
    file = random.choice(files)
    sealed = of.sealed
    if random.random() < 0.06:
        what = generate.placed(file, random)
    else:
        data, what = generate.spoilt(file.read_bytes(), random, file.name)
        if of.sign is not None and random.random() < 0.5:
            data, sealed = of.sign(file.name, data), None
        file.write_bytes(data)
    names = (str(place), file.name, file.stem) if of.names else ()
    check = None if sealed is None else lambda found: changed(sealed(found), expected)
    return f"{file.relative_to(place)}: {what}", lambda: of.call(place), names, check


def changed(found: list[Any], expected: list[Any]) -> bool:
    """Whether a sealed part is neither as it was nor None."""
    return len(found) != len(expected) or any(
        part is not None and part != was for part, was in zip(found, expected, strict=True)
    )


def judged(call: Callable[[], Any], names: tuple[str, ...], check: Callable[[Any], bool] | None) -> Result:
    """Make the call, and say what became of it."""
    from scalept_lab.errors import InputError

    try:
        found = call()
        return (
            Result("broken", "a sealed result is another one") if check and check(found) else Result("fine")
        )
    except InputError as error:
        return refusal(str(error), names)
    except BaseException as error:
        kind = type(error).__name__
        with contextlib.suppress(Exception):
            return Result("broken", f"{kind}: {error!s}"[:300].replace("\n", "⏎"))
        return Result("broken", kind)


def refusal(text: str, names: tuple[str, ...]) -> Result:
    """An InputError is good if it is one line, short enough to be read, without controls, and names the file."""
    if len(text.splitlines()) != 1 or HEADS & set(text):
        return Result("broken", f"{len(text.splitlines())} lines: {text[:200]!r}")
    if len(text) > 3000:
        return Result("broken", f"a line of {len(text):,} characters: {text[:200]!r}")
    if any(ord(letter) < 32 for letter in text):
        return Result("broken", f"a control character: {text[:200]!r}")
    if names and not any(name in text for name in names):
        return Result("broken", f"names no file: {text[:200]!r}")
    return Result("refused")


# --- workers ------------------------------------------------------------------------------------------------


def work(door: str, seeds: list[int], base: Path, scratch: Path, expected: Any, pipe: Any) -> None:
    """In a process of its own: the cases of one door, each announced before and told after."""
    import resource

    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.environ["SCALEPT_RESULTS"] = str(scratch / "results")
    os.environ["SCALEPT_CACHE"] = str(scratch / "kit")
    soft = 40 * 10**9
    resource.setrlimit(resource.RLIMIT_AS, (soft, soft))  # a device without end must not take the machine
    for seed in seeds:
        place = scratch / f"case-{seed}"
        try:
            what, call, names, check = case(door, seed, base, place, expected)
        except Exception as error:
            pipe.send(("begin", seed, "making the case"))
            pipe.send(("end", seed, Result("broken", f"the torture itself: {type(error).__name__}: {error}")))
            continue
        start = _rss(reset=True)
        began = time.process_time()
        pipe.send(("begin", seed, what))
        result = judged(call, names, check)
        used = max(0, _rss() - start)
        seconds = time.process_time() - began
        if result.kind != "broken" and seconds > SECONDS:
            result = Result("broken", f"{SLOW} {seconds:.1f} s")
        if result.kind != "broken" and used > BYTES:
            result = Result("broken", f"took {used / 1e6:,.0f} MB")
        pipe.send(("end", seed, Result(result.kind, result.line, seconds, used)))
        shutil.rmtree(place, ignore_errors=True)
    pipe.send(("done", 0, None))


def _rss(reset: bool = False) -> int:
    """The most memory held since the last reset, in bytes (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def watched(door: str, seeds: list[int], base: Path, scratch: Path, expected: Any, outcome: Outcome) -> None:
    """All cases of one door. A worker that hangs, dies or eats is ended, and the next one goes on behind that case."""
    import psutil

    scratch.mkdir(parents=True, exist_ok=True)
    method = multiprocessing.get_context("fork")
    left, stuck = list(seeds), 0
    while left:
        ours, theirs = method.Pipe(duplex=False)
        process = method.Process(target=work, args=(door, left, base, scratch, expected, theirs))
        process.start()
        theirs.close()
        what, seed, began, cpu = "", left[0], time.monotonic(), _cpu(process.pid)
        while True:
            try:
                if ours.poll(0.05):
                    kind, seed, told = ours.recv()
                    if kind == "begin":
                        what, began, cpu = told, time.monotonic(), _cpu(process.pid)
                    elif kind == "end":
                        left.remove(seed)
                        note(outcome, door, what, seed, told)
                        what, began, cpu, stuck = "", time.monotonic(), _cpu(process.pid), 0
                    else:
                        left = []
                        break
                    continue
            except EOFError:
                process.join(5)
                fault(outcome, door, what, seed, f"the process ended with {process.exitcode}")
                left = [each for each in left if each != seed]
                break
            waited, used = time.monotonic() - began, _cpu(process.pid) - cpu
            if (
                not what
            ):  # it makes a case; a lock that another thread held when it was forked is never opened
                if waited > 4 * SECONDS and used < IDLE:
                    stuck += 1
                    break
                continue
            memory = 0
            with contextlib.suppress(psutil.Error):
                memory = psutil.Process(process.pid).memory_info().rss
            if used > 2 * SECONDS or (waited > 2 * SECONDS and used < IDLE) or memory > MACHINE:
                fault(outcome, door, what, seed, f"{memory / 1e9:.1f} GB" if memory > MACHINE else f"no end after {waited:.0f} s",
                      hang=memory <= MACHINE)  # fmt: skip
                left = [each for each in left if each != seed]
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        for place in scratch.glob("case-*"):
            shutil.rmtree(place, ignore_errors=True)
        if stuck > 3:
            raise RuntimeError(f"{door}: four workers in a row did not come to case {left[0]}")


def _cpu(pid: int) -> float:
    """Seconds of processor time of a worker and what it has started."""
    import psutil

    used = 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = each.cpu_times()
                used += times.user + times.system + times.children_user + times.children_system
    return used


def note(outcome: Outcome, door: str, what: str, seed: int, result: Result) -> None:
    outcome.tried += 1
    outcome.peak_bytes = max(outcome.peak_bytes, result.bytes)
    if result.kind == "broken":
        outcome.broken.append(Break(f"{door}, {what}"[:300], seed, result.line))
        outcome.hangs += result.line.startswith(SLOW)
    else:
        setattr(outcome, result.kind, getattr(outcome, result.kind) + 1)


def fault(outcome: Outcome, door: str, what: str, seed: int, line: str, hang: bool = False) -> None:
    outcome.tried += 1
    outcome.hangs += hang
    outcome.broken.append(Break(f"{door}, {what}"[:300], seed, line))


# --- a run --------------------------------------------------------------------------------------------------


def shares(count: int) -> dict[str, int]:
    """Cases of each door, by their weights; at least one."""
    weights = {door.name: door.weight for door in doors.FILES} | {
        name: weight for name, (_, weight) in objects.OBJECTS.items()
    }
    total = sum(weights.values())
    return {name: max(1, round(count * weight / total)) for name, weight in weights.items()}


def prepared(door: str, folder: Path) -> tuple[Path, Any]:
    """A door's valid folder, and the sealed parts of what it gives. Raises: AssertionError where the valid one is not taken."""
    place = folder / f"{zlib.crc32(door.encode()):08x}"
    base = place / "base"
    base.mkdir(parents=True)
    if door in objects.OBJECTS:
        return base, None
    of = next(each for each in doors.FILES if each.name == door)
    of.make(base)
    doors.copied(base, place / "tried")
    found = of.call(place / "tried")
    shutil.rmtree(place / "tried")
    return base, of.sealed(found) if of.sealed else None


def load() -> None:
    """What every case would import, once, before the workers are forked."""
    import datasets
    import pandas
    import torch
    import transformers

    import scalept_lab.cli
    from scalept_lab.course import exercises
    from scalept_lab.laws import card
    from scalept_lab.study import report, review, rivals
    from scalept_lab.train import loop
    from scalept_lab.transfer import checkpoints, pairs
    from scalept_lab.vla import demos, lerobot, model

    torch.set_num_threads(1)
    objects._exercises()
    del (
        datasets,
        pandas,
        transformers,
        scalept_lab,
        exercises,
        card,
        report,
        review,
        rivals,
        loop,
        checkpoints,
        pairs,
        demos,
        lerobot,
        model,
    )


def run_doors(count: int, seed: int, folder: Path, only: tuple[str, ...] = ()) -> list[Outcome]:
    """The outcome of each door; `only` some of them, by the beginnings of their names."""
    load()
    chosen = {name: n for name, n in shares(count).items() if not only or name.startswith(only)}

    def one(name: str) -> Outcome:
        outcome, began = Outcome(name), time.monotonic()
        first = zlib.crc32(f"{seed} {name}".encode()) * 100_000
        try:
            base, expected = prepared(name, folder)
        except BaseException as error:
            traceback.print_exc()
            outcome.broken.append(
                Break(f"{name}: the valid file", 0, f"{type(error).__name__}: {error}"[:300])
            )
            return outcome
        watched(
            name, list(range(first, first + chosen[name])), base, base.parent / "scratch", expected, outcome
        )
        outcome.seconds = time.monotonic() - began
        shutil.rmtree(base.parent, ignore_errors=True)
        print(table([outcome]).splitlines()[2], flush=True)
        return outcome

    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        return list(pool.map(one, chosen))


def run(count: int, seed: int, folder: Path) -> Outcome:
    """All doors as one outcome; the row of each goes to stdout as it is done."""
    return joined("fuzz", run_doors(count, seed, folder))


def again(door: str, seed: int) -> int:
    """One case in this process: what it is, and what comes of it, with the traceback."""
    import tempfile

    load()
    with (
        tempfile.TemporaryDirectory() as name,
        doors._environment(SCALEPT_RESULTS=name + "/results", SCALEPT_CACHE=name + "/kit"),
    ):
        base, expected = prepared(door, Path(name))
        what, call, names, check = case(door, seed, base, base.parent / "case", expected)
        print(what, file=sys.stderr)
        if os.environ.get("KEEP"):
            shutil.copytree(base.parent / "case", os.environ["KEEP"], symlinks=True)

        def told() -> Any:
            try:
                return call()
            except BaseException:
                traceback.print_exc()
                raise

        print(judged(told, names, check), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(again(sys.argv[1], int(sys.argv[2])))
