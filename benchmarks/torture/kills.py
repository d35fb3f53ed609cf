"""Processes killed at random moments: what was finished stays, nothing half-written shows, a second run ends, nobody is left.

Real processes and real signals, most of them SIGKILL, after which a process can do nothing any more.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import signal
import subprocess
import time
import warnings
from pathlib import Path

import psutil
import torch

from benchmarks.torture import victims
from benchmarks.torture.outcome import Outcome
from benchmarks.torture.stage import SIGNALS, Stage, attacks, run_of, text_file, wait_for
from scalept_lab.data.corpora import prepare
from scalept_lab.learners import Learner
from scalept_lab.parallel import checkpoint
from scalept_lab.parallel.launcher import RankError, launch
from scalept_lab.processes import context
from scalept_lab.runs import RunRecord, Store
from scalept_lab.study.study import Study

COMMANDS = ("count gpt2", "fit points.csv", "plan --flops 1e20")
VARIES = {"seconds", "peak_rss_bytes", "provenance", "metrics"}  # of a record, from one run to the next


def run(count: int, seed: int, folder: Path) -> Outcome:
    """`count` kills in all."""
    return attacks(
        "kills", count, seed, folder,
        [(records, 30), (progress, 16), (corpora, 32), (checkpoints, 40), (ranks, 36), (parents, 14), (stopped, 3),
         (starters, 12), (sweeps, 22), (workers, 4), (training, 14), (terminals, 4), (readers, 3)],
    )  # fmt: skip


def lines(path: Path) -> list[str]:
    """Whole lines that a victim has written."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def litter(folder: Path) -> str | None:
    """A draft, hidden or not, that nobody will finish."""
    left = [
        path.name for path in folder.rglob("*") if path.name.endswith(".tmp") or path.name.startswith(".")
    ]
    left = [name for name in left if name not in (".progress", ".metadata")]
    return f"left for ever: {left[0]} and {len(left) - 1} more" if left else None


# --- files


def records(stage: Stage, count: int) -> None:
    """Writers of records: each that was said to be saved is there and whole."""
    folder = stage.folder / "runs"
    for case in range(count):
        log = stage.folder / f"log-{case}"
        process = stage.victim("records", folder, log, case)
        wait_for(log.exists)
        stage.strike(process, stage.random.choice(SIGNALS), stage.random.uniform(0, 0.2))
        store = Store(folder)
        lost = [name for name in lines(log) if store.get(name) is None]
        torn = [path.name for path in folder.glob("*.json") if store.get(path.stem) is None]
        stage.count(
            f"writer {case}", f"lost {len(lost)}" if lost else None, f"torn {torn[0]}" if torn else None,
            stage.orphans(), stage.flood(99),
        )  # fmt: skip
    stage.age()
    Store(folder).save(RunRecord.model_validate_json(next(iter(folder.glob("*.json"))).read_text()))
    stage.count("drafts after all", litter(folder))


def progress(stage: Stage, count: int) -> None:
    """Two notebooks that keep guesses in one learner's file, one of them killed: both go on, and no guess is lost."""
    place = stage.folder / "results" / "learner.json"
    for case in range(count):
        logs = [stage.folder / f"log-{case}-{letter}" for letter in "ab"]
        pair = [stage.victim("guesses", log, f"{case}{log.name[-1]}") for log in logs]
        wait_for(lambda logs=logs: all(log.exists() for log in logs))
        stage.strike(pair[0], stage.random.choice(SIGNALS), stage.random.uniform(0, 0.3))
        before = len(lines(logs[1]))
        going = wait_for(lambda log=logs[1], before=before: len(lines(log)) > before, 15)
        stage.strike(pair[1], signal.SIGKILL, 0)
        kept = Learner.model_validate_json(place.read_bytes()).predictions
        lost = [name for log in logs for name in lines(log) if name not in kept]
        stage.count(
            f"pair {case}", None if going else "the other notebook waits for ever",
            f"lost {len(lost)} guesses" if lost else None, stage.orphans(), stage.flood(99),
        )  # fmt: skip
    stage.age()
    process = stage.victim("guesses", stage.folder / "last", "z")
    wait_for(lambda: len(lines(stage.folder / "last")) > 2)
    stage.strike(process, signal.SIGKILL, 0)
    stale = [path for path in place.parent.glob(".*.tmp") if path.stat().st_mtime < time.time() - 3600]
    stage.count("drafts after all", f"left for ever: {stale[0].name}" if stale else None)


def _build(text: str, cache: str, log: str) -> None:
    warnings.simplefilter("ignore")
    while True:
        ready = prepare(text, cache=cache)
        victims.said(Path(log), ready.sha256)
        for file in ready.folder.iterdir():
            file.unlink()
        ready.folder.rmdir()


def corpora(stage: Stage, count: int) -> None:
    """Builders of a corpus: what has its name is whole, and the next build gives the same bytes."""
    text = text_file(stage.folder)
    right = prepare(str(text), cache=stage.folder / "other").sha256
    for case in range(count):
        log = stage.folder / f"log-{case}"
        process = context().Process(target=_build, args=(str(text), str(stage.cache), str(log)))  # type: ignore[attr-defined]
        process.start()
        if case % 3 == 0:  # in the middle of writing, not of thinking
            wait_for(lambda: list((stage.cache / "prepared").glob(".*")), 20)
        else:
            time.sleep(stage.random.uniform(0, 1.0))
        hangs = stage.fell(process)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            again = prepare(str(text), cache=stage.cache)
        said = [str(one.message) for one in told if "damaged" in str(one.message)]
        for file in again.folder.iterdir():
            file.unlink()
        again.folder.rmdir()
        wrong = "another corpus" if {again.sha256, *lines(log)} != {right} else None
        # _build itself takes a finished one apart file by file, so one that is half gone may be told
        stage.count(f"builder {case}", hangs, wrong, said[1] if len(said) > 1 else None)
    stage.age()
    prepare(str(text), cache=stage.cache)
    stage.count("drafts after all", litter(stage.cache))


def _model(value: float) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model, torch.optim.Adam(model.parameters())


def _checkpoints(folder: str, log: str, background: bool) -> None:
    later = checkpoint.Background() if background else None
    newest = checkpoint.latest(folder)
    step = int(newest.name[5:]) if newest else 0
    while True:
        step += 1
        (later.save if later else checkpoint.save)(
            folder, step, *_model(step), "run", {"note": [step] * 2000}
        )
        victims.said(Path(log), step - 1 if later else step)


def checkpoints(stage: Stage, count: int) -> None:
    """Writers of checkpoints: the last that was said to be there, or a later one, is read, and holds its own step's numbers."""
    folder = stage.folder / "run"
    for case in range(count):
        log = stage.folder / f"log-{case}"
        process = context().Process(target=_checkpoints, args=(str(folder), str(log), case % 4 == 0))  # type: ignore[attr-defined]
        process.start()
        wait_for(log.exists)
        time.sleep(stage.random.uniform(0, 0.15))
        hangs = stage.fell(process)
        model, optimizer = _model(0.0)
        newest = checkpoint.newest_whole(folder)
        found = checkpoint.load(newest, model, optimizer, "run") if newest else {"step": -1}
        said = int((lines(log) or ["0"])[-1])
        holds = {value for parameter in model.parameters() for value in parameter.unique().tolist()}
        stage.count(
            f"writer {case}", hangs, f"step {found['step']} where {said} was finished" if found["step"] < said else None,
            f"step {found['step']} holds {holds}" if holds != {float(found["step"])} else None,
        )  # fmt: skip
    checkpoint.save(folder, 10**7, *_model(1.0), "run", {})
    stage.count("drafts after all", litter(folder))


# --- ranks and workers


def ranks(stage: Stage, count: int) -> None:
    """One rank of two killed: it is named in a line, its partner ends, and the folder goes."""
    from concurrent.futures import ThreadPoolExecutor

    server = psutil.Process()
    with ThreadPoolExecutor(1) as pool:
        launch(victims._together, 2, 0.0)
        for case in range(count):
            before = {one.pid for one in server.children(recursive=True)}
            future = pool.submit(launch, victims._together, 2, 3.0)
            family = wait_for(
                lambda before=before: (
                    len(new := [p for p in server.children(recursive=True) if p.pid not in before]) > 1
                    and new
                )
            )
            time.sleep(stage.random.choice([0.0, 0.01, 0.1, 0.5, 1.0]))
            how, began = stage.random.choice(SIGNALS[:6]), time.monotonic()
            family[stage.random.randrange(2)].send_signal(how)
            try:
                future.result(30)
                fault = "nothing was told"
            except RankError as error:
                named = "was killed by signal" in str(error)
                fault = None if named else f"told as {str(error).splitlines()[0]}"
            except Exception as error:
                fault = f"{type(error).__name__}: {error}"
            took = time.monotonic() - began
            gone = psutil.wait_procs(family, timeout=5)[1]
            stage.count(
                f"rank {case}, signal {how}", fault, f"took {took:.1f} s" if took > 5 else None,
                f"{len(gone)} ranks stay" if gone else None,
            )  # fmt: skip


def parents(stage: Stage, count: int) -> None:
    """Whoever launched the ranks is killed: they end, the next launch sweeps their folder, and no environment is on disk."""
    secret = "s3cr3t-of-the-shell"
    for case in range(count):
        log = stage.folder / f"log-{case}"
        process = stage.victim("launched", log, env=stage.environment | {"SOME_TOKEN": secret})
        if case % 3:
            wait_for(log.exists)
        stage.strike(process, stage.random.choice(SIGNALS), stage.random.uniform(0.2, 1.2))
        told = any(secret.encode() in file.read_bytes() for file in stage.tmp.rglob("*") if file.is_file())
        stage.count(
            f"parent {case}", stage.orphans(), "the environment is on disk" if told else None, stage.flood(99)
        )
    stage.age()
    stage.end(stage.victim("once", stage.folder / "last"))
    left = sorted(path.name for path in stage.tmp.iterdir())
    stage.count(
        "folders after all", f"left for ever: {', '.join(left)[:80]}" if left else None, stage.flood(0)
    )


def stopped(stage: Stage, count: int) -> None:
    """The parent stands still for two seconds and goes on: so does the work."""
    for case in range(count):
        log = stage.folder / f"log-{case}"
        process = stage.victim("launched", log)
        wait_for(log.exists)
        time.sleep(stage.random.uniform(0, 0.5))
        process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        before = len(lines(log))
        process.send_signal(signal.SIGCONT)
        going = wait_for(lambda log=log, before=before: len(lines(log)) > before + 1, 20)
        process.kill()
        process.wait()
        stage.count(f"parent {case}", None if going else "it does not go on", stage.orphans(), stage.flood(0))


def starters(stage: Stage, count: int) -> None:
    """The server that workers are forked from is killed, early or late: one line, or the work is done all the same."""
    for case in range(count):
        log = stage.folder / f"log-{case}"
        process = stage.victim("once", log)
        server = wait_for(lambda process=process: _server(process), 30)
        time.sleep(stage.random.choice([0.0, 0.0, 0.05, 0.3, 1.0, 2.0, 3.0, 3.5]))
        if server is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                server.kill()
        code = stage.end(process)
        good = (code == 0 and log.exists()) or code == 2
        stage.count(f"server {case}", stage.flood(), None if good else f"exit status {code}", stage.orphans())


def _server(process: subprocess.Popen) -> psutil.Process | None:
    try:
        found = psutil.Process(process.pid).children()
        return next((one for one in found if "forkserver" in " ".join(one.cmdline())), None)
    except psutil.Error:
        return None


# --- sweeps and training


def sweeps(stage: Stage, count: int) -> None:
    """A study is killed and begun again, over and over: what is finished is never trained twice, and it comes to its end."""
    corpus = text_file(stage.folder)
    prepare(str(corpus), cache=stage.cache)
    case, study = 0, 0
    while case < count:
        folder, study = stage.folder / f"study-{study}", study + 1
        ended = False
        while not ended:
            before = {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*.json")}
            process = stage.victim("sweep", folder, corpus, 10)
            if case < count:
                how = stage.random.choice(SIGNALS)
                struck = stage.strike(process, how, stage.random.uniform(1.0, 9.0))
                ended = not struck
                what = f"study {study}, signal {how}"
                case += 1
            else:
                code, ended, what = stage.end(process), True, f"study {study} to its end"
                stage.count(what, None if code == 0 else f"exit status {code}", stage.flood(0))
            twice = [path.name for path, then in before.items() if path.stat().st_mtime_ns != then]
            torn = [
                path.name
                for path in (folder / "runs").glob("*.json")
                if Store(path.parent).get(path.stem) is None
            ]
            stage.count(
                what, f"trained again: {twice[0]}" if twice else None, f"torn: {torn[0]}" if torn else None,
                stage.orphans(), stage.flood(99),
            )  # fmt: skip
        done = Study("mine", folder=folder)
        cost = sum(record.C for record in done.store.records())
        stage.count(
            f"study {study}, its account",
            None if len(done.store.records()) == 10 else f"{len(done.store.records())} of 10 runs",
            None if done.spent == cost else f"spent {done.spent:g} of {cost:g}",
        )


def workers(stage: Stage, count: int) -> None:
    """A worker of a sweep is killed, as by a machine that is out of memory: one line, and the rest is kept."""
    corpus = text_file(stage.folder)
    prepare(str(corpus), cache=stage.cache)
    for case in range(count):
        folder = stage.folder / f"study-{case}"
        process = stage.victim("sweep", folder, corpus, 6)
        wait_for(lambda folder=folder: list((folder / "runs" / ".progress").glob("*")), 30)
        time.sleep(stage.random.uniform(0, 1))
        grandchildren = [
            one for one in psutil.Process(process.pid).children(recursive=True) if one.ppid() != process.pid
        ]
        if grandchildren:
            stage.random.choice(grandchildren).kill()
        stage.end(process)
        said = stage.words()
        last = said[-1] if said else ""
        told = (
            not grandchildren or "InputError: a worker process was killed" in last or process.returncode == 0
        )
        stage.count(f"worker {case}", None if told else f"told as {last}", stage.orphans())


def training(stage: Stage, count: int) -> None:
    """`scalept train --checkpoint`, killed and begun again: the record of a run that nobody disturbed, to the last digit."""
    corpus = text_file(stage.folder)
    prepare(str(corpus), cache=stage.cache)
    config = stage.folder / "config.json"
    config.write_text(run_of(corpus, 150_000).model_dump_json())
    command = ["-m", "scalept_lab.cli", "train", str(config), "--json", "--every", "20"]
    right = _record(stage.start(*command, stdout=subprocess.PIPE).communicate()[0])
    case = attempt = 0
    while case < count:
        attempt += 1
        folder, ended, out = stage.folder / f"run-{attempt}", False, b""
        while not ended:
            extra = ["--background"] if stage.random.random() < 0.3 else []
            process = stage.start(*command, "--checkpoint", str(folder), *extra, stdout=subprocess.PIPE)
            if case < count and attempt < 99:
                how = stage.random.choice(SIGNALS)
                ended = not stage.strike(process, how, stage.random.uniform(1.5, 6.0))
                case += 1
                what = f"run {attempt}, signal {how}"
            else:
                stage.end(process)
                ended, what = True, f"run {attempt} to its end"
            out = process.stdout.read()  # type: ignore[union-attr]
            stage.count(what, stage.orphans(), stage.flood())
        stage.count(f"run {attempt}, its record", None if _record(out) == right else f"another: {out[:80]!r}")
        stage.count(f"run {attempt}, drafts", litter(folder))


def _record(text: bytes) -> dict | None:
    try:
        return {key: value for key, value in json.loads(text).items() if key not in VARIES}
    except ValueError:
        return None


def terminals(stage: Stage, count: int) -> None:
    """The terminal is closed under a sweep: with SIGHUP, or (nohup) with an error from every word: no flood, results kept."""
    corpus = text_file(stage.folder)
    prepare(str(corpus), cache=stage.cache)
    for case in range(count):
        folder = stage.folder / f"study-{case}"
        master, slave = pty.openpty()
        nohup = case % 2 == 1
        code = "import sys; from benchmarks.torture.victims import sweep; sweep(*sys.argv[1:])"
        process = stage.start(
            "-c", code, str(folder), str(corpus), "8", stdin=slave, stdout=slave, stderr=slave,
            preexec_fn=_of_terminal(nohup),
        )  # fmt: skip
        os.close(slave)
        os.set_blocking(master, False)
        wait_for(lambda folder=folder: list((folder / "runs").glob("*.json")), 40)
        time.sleep(stage.random.uniform(0, 1))
        said = _read(master)
        os.close(master)
        ended = stage.end(process)
        kept = Store(folder / "runs").records()
        whole = len(kept) == 8 if nohup else len(kept) >= 1
        stage.count(
            f"terminal {case}{' under nohup' if nohup else ''}", "a traceback" if "Traceback" in said else None,
            None if whole else f"{len(kept)} runs, exit status {ended}", stage.orphans(),
        )  # fmt: skip


def _of_terminal(deaf: bool):
    def prepare() -> None:
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        if deaf:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    return prepare


def _read(master: int) -> str:
    said = b""
    try:
        while piece := os.read(master, 65536):
            said += piece
    except OSError:
        pass
    return said.decode(errors="replace")


def readers(stage: Stage, count: int) -> None:
    """Whoever reads goes away after a line, or before it: no traceback."""
    text_file(stage.folder)
    for case, command in enumerate(itertools.islice(itertools.cycle(COMMANDS), count)):
        (stage.folder / "points.csv").write_text(
            "params,tokens,loss\n"
            + "".join(
                f"{n},{d},{1 + 50 / n**0.3 + 90 / d**0.3}\n" for n in (1e5, 1e6, 1e7) for d in (1e7, 1e8, 1e9)
            )
        )
        process = stage.start("-m", "scalept_lab.cli", *command.split(), stdout=subprocess.PIPE)
        if case % 2:
            process.stdout.readline()  # type: ignore[union-attr]
        process.stdout.close()  # type: ignore[union-attr]
        code = stage.end(process)
        stage.count(command, stage.flood(0), None if code in (0, 141) else f"exit status {code}")
