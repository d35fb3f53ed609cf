"""Do the tests bite? Small faults go into a module, one at a time, and its tests have to notice each of them.

make mutants ROOM=laws                                           # 8 faults in each module of a room
python benchmarks/mutants.py fit points --sample 20              # modules by name; `root` is the package's own folder
python benchmarks/mutants.py --again results/mutants/laws.json   # the same faults, wherever their lines are now

A module is judged by `test_<module>.py`; without one, by its room's tests and those that import it.
All happens in a copy of the checkout. A fault is written to the file, so that worker processes have it too, and is judged
in a fork of a process that has imported torch: Linux and macOS only.
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from faults import mutants

PACKAGE = Path("scalept_lab")
PRELOAD = ("torch", "scipy.optimize", "pandas", "pydantic", "matplotlib.pyplot", "hypothesis.core")
MEMORY = 6 << 30  # bytes that a process with a fault may take
PATIENCE = 600  # seconds for the tests of a module as it is


def modules(name: str) -> list[Path]:
    """The files of a room, or of the module with that name."""
    room = sorted((PACKAGE if name == "root" else PACKAGE / name).glob("[!_]*.py"))
    found = room or sorted(PACKAGE.rglob(f"{name}.py"))
    if not found:
        raise SystemExit(f"expected a room or a module of {PACKAGE}, got {name}: look into {PACKAGE}/")
    return found


def sample(found: list[dict], n: int, rng: random.Random) -> list[dict]:
    """`n` of them, one of each kind in turn, so that the many constants do not crowd out the rest."""
    rng.shuffle(found)
    seen: Counter[str] = Counter()
    turns = []
    for mutant in found:
        seen[mutant["kind"]] += 1
        turns.append((seen[mutant["kind"]], rng.random(), mutant))
    return sorted((m for *_, m in sorted(turns, key=lambda turn: turn[:2])[:n]), key=lambda m: m["line"])


def same(old: list[dict], found: list[dict]) -> list[dict]:
    """The faults of an earlier run: the same change of the same line, in the function of that name if it stands in several."""

    def key(mutant: dict) -> list[str]:
        return [mutant[name].strip() for name in ("kind", "before", "after")]

    chosen = [
        min([m for m in found if key(m) == key(o)], key=lambda m: m["where"] != o["where"], default=None)
        for o in old
    ]
    print(f"{chosen.count(None)} of {len(old)} faults have no place any more: their lines have changed")
    return [dict(m) for m in chosen if m]


def imported(file: Path) -> set[str]:
    """The names of the package's modules that a file imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE.name):
            room = Path(*node.module.split(".")).is_dir()
            names += [alias.name for alias in node.names] if room else [node.module]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith(PACKAGE.name)]
    return {name.split(".")[-1] for name in names}


def tests_of(file: Path) -> list[str]:
    """Its own test file, or its room's and those that import it, or those of the modules that import it."""
    every = sorted(Path("tests").rglob("test_*.py"))
    users = {f"test_{f.stem}" for f in PACKAGE.rglob("*.py") if file.stem in imported(f)}
    found = (
        [t for t in every if t.stem == f"test_{file.stem}" and t.parent.name in ("tests", file.parent.name)]
        or [t for t in every if t.parent.name == file.parent.name or file.stem in imported(t)]
        or [t for t in every if t.stem in users]
    )
    return [str(t) for t in found]


class Clock:
    """A pytest plugin that writes down how long each test took."""

    def __init__(self, file: Path) -> None:
        self.file, self.seconds = file, {}

    def pytest_runtest_logreport(self, report) -> None:
        if report.when == "call":
            self.seconds[report.nodeid] = report.duration
            self.file.write_text(json.dumps(self.seconds))


def judge(tests: list[str], limit: float, log: Path) -> tuple[str, dict[str, float]]:
    """Runs the tests in a fork: "survived", "killed" or "timeout", and the seconds of each test that ran."""
    times = log.with_suffix(".json")
    times.write_text("{}")
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = 1
        with suppress(BaseException):
            code = pytest.main(
                ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not timing", *tests],
                [Clock(times)],
            )
        os._exit(code)
    verdict, end = "timeout", time.monotonic() + limit
    try:
        while verdict == "timeout" and time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                verdict = "killed" if status else "survived"
            time.sleep(0.05)
    finally:
        # What the tests started and left behind goes too, also after Ctrl-C.
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    if verdict == "timeout":
        os.waitpid(child, 0)
    return verdict, json.loads(times.read_text())


def enter_copy(scratch: Path) -> None:
    """Copies the checkout, uncommitted work included, goes there, and imports what takes long and has no faults."""
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    for name in filter(os.path.isfile, files.stdout.splitlines()):
        target = scratch / "copy" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, target)
    os.chdir(scratch / "copy")
    os.environ |= dict(
        PYTHONPATH=os.getcwd(), PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1", TMPDIR=str(scratch)
    )
    sys.path.insert(0, os.getcwd())
    sys.dont_write_bytecode = True
    for name in PRELOAD:
        importlib.import_module(name)
    for plugin in importlib.metadata.entry_points(group="pytest11"):
        plugin.load()


def run(chosen: list[dict], slowest: float, minutes: float, out: Path) -> list[dict]:
    """Judges one fault after the other, the fastest tests first, and saves after each. Returns those it came to."""
    end = time.monotonic() + 60 * minutes
    known: dict[str, dict[str, float]] = {}
    slow: Counter[str] = Counter()
    log = Path("..", "log.txt").resolve()
    for i, m in enumerate(chosen, 1):
        if time.monotonic() > end:
            return chosen[: i - 1]
        file, source = Path(m["file"]), m.pop("source")
        m["tests"] = tests_of(file)
        for test in set(m["tests"]) - set(known):
            verdict, seconds = judge([test], PATIENCE, log)
            if verdict != "survived":
                print(f"{test}: expected to pass within {PATIENCE} s, but:\n{log.read_text()[-2000:]}")
            known[test] = {name: s for name, s in seconds.items() if s < slowest and verdict != "killed"}
            slow[test] = len(seconds) - len(known[test])
            print(f"{test}: {len(known[test])} tests judge, {slow[test]} are too slow", flush=True)
        seconds = {name: s for test in m["tests"] for name, s in known[test].items()}
        tests, limit = sorted(seconds, key=seconds.get), 60 + 4 * sum(seconds.values())
        right, begun = file.read_bytes(), time.monotonic()
        file.write_bytes(source)
        m["verdict"] = judge(tests, limit, log)[0] if tests else "unjudged"
        file.write_bytes(right)
        m["too_slow"] = sum(slow[test] for test in m["tests"])
        m["seconds"] = round(time.monotonic() - begun, 1)
        print(
            f"{i}/{len(chosen)} {m['verdict']:<8} {m['seconds']:6.1f} s  {file}:{m['line']} {m['kind']}",
            flush=True,
        )
        out.write_text(json.dumps(chosen[:i], indent=1, ensure_ascii=False))
    return chosen


def report(done: list[dict]) -> str:
    """Killed and survived of each module, the score, and each survivor's change. A timeout counts as killed."""
    done = sorted(done, key=lambda m: (m["file"], m["line"]))
    count = Counter((m["file"], m["verdict"] == "survived") for m in done if m["verdict"] != "unjudged")
    survivors = [m for m in done if m["verdict"] == "survived"]
    lines = [f"{'module':<40} {'killed':>8} {'survived':>8}"]
    lines += [
        f"{file:<40} {count[file, False]:8} {count[file, True]:8}"
        for file in dict.fromkeys(f for f, _ in count)
    ]
    lines.append(f"score: {1 - len(survivors) / max(1, count.total()):.0%} of {count.total()} faults noticed")
    for m in survivors:
        unasked = f", and {m['too_slow']} slow tests were not asked" * bool(m["too_slow"])
        lines += ["", f"{m['file']}:{m['line']} in {m['where'] or 'the module'}: {m['kind']}{unasked}"]
        lines += [
            sign + line for sign, key in (("-", "before"), ("+", "after")) for line in m[key].splitlines()
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="rooms or modules")
    parser.add_argument("--sample", type=int, default=8, help="faults per module")
    parser.add_argument(
        "--minutes", type=float, default=60, help="no further fault is judged after that time"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--slowest", type=float, default=10, help="a test that takes longer (s) does not judge"
    )
    parser.add_argument("--again", type=Path, help="a file of results, whose faults are judged once more")
    parser.add_argument("--out", type=Path, help="default: results/mutants/NAMES.json")
    args = parser.parse_args()
    if not args.names and not args.again:
        parser.error("name a room or a module, or give --again FILE")
    files = [f for name in args.names for f in modules(name)]
    if args.again:
        files = files or sorted(PACKAGE.rglob("[!_]*.py"))
        chosen = same(json.loads(args.again.read_text()), [m for f in files for m in mutants(f)])
    else:
        chosen = [
            m for f in files for m in sample(mutants(f), args.sample, random.Random(f"{args.seed} {f.stem}"))
        ]
    # Where time runs out, what was judged is still a fair sample of all modules.
    random.Random(args.seed).shuffle(chosen)
    out = (args.out or Path("results/mutants", "-".join(args.names or ["again"]) + ".json")).resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        enter_copy(Path(scratch).resolve())
        done = run(chosen, args.slowest, args.minutes, out)
        os.chdir("/")
    print(f"{report(done)}\nsaved in {out}")


if __name__ == "__main__":
    main()
