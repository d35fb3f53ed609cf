"""Budgets and seals: several processes and threads that spend, replace, delete and copy at the same moment.

No study may spend more than its budget, whoever spends; a prediction that is scored was sealed before its run began.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.torture.outcome import Outcome
from benchmarks.torture.stage import Stage, attacks
from scalept_lab.config import TrainConfig
from scalept_lab.costs import counts
from scalept_lab.errors import InputError
from scalept_lab.laws.fit import Law
from scalept_lab.processes import context
from scalept_lab.runs import RunRecord, Store
from scalept_lab.study.study import Study
from scalept_lab.study.sweep import Sweep, finished, flops_of

TEXT = "ab" * 32


def run(count: int, seed: int, folder: Path) -> Outcome:
    """`count` attacks in all."""
    return attacks(
        "spend", count, seed, folder,
        [(together, 20), (stale, 6), (shared, 8), (deleted, 6), (damaged, 8), (vanished, 10), (heroes, 14), (backwards, 4)],
    )  # fmt: skip


def record(config: TrainConfig) -> RunRecord:
    """What a run would leave behind under a planted law."""
    shape, D = counts.shape(config.model), config.steps * config.tokens_per_step
    loss = 0.9 + 15 * shape.non_embedding**-0.32 + 110 * D**-0.41 + 1e-3 * (int(config.id(), 16) % 7)
    return RunRecord(
        id=config.id(), config=config.model_dump(), N=shape.non_embedding, N_total=shape.total, D=D, C=flops_of(config),
        L=loss, seconds=1, peak_rss_bytes=1, provenance={"corpus_sha256": TEXT, "created": "2030-01-01T00:00:00+00:00"},
    )  # fmt: skip


@contextlib.contextmanager
def planted(seconds: float = 0.0) -> Iterator[None]:
    """Runs that take `seconds` each and leave a planted record."""

    def run_all(configs: Any, store: Store, *_: Any, **__: Any) -> list[RunRecord]:
        for config in configs:
            if not finished(store, config):
                time.sleep(seconds)
                store.save(record(config))
        return [found for config in configs if (found := store.get(config.id()))]

    with contextlib.ExitStack() as stack:
        for name, made in (
            ("study.run_all", run_all), ("study.prepare_corpora", lambda _: None), ("study.prepared_sha256", lambda _: TEXT),
            ("sweep.prepared_sha256", lambda _: TEXT),
        ):  # fmt: skip
            stack.enter_context(mock.patch(f"scalept_lab.study.{name}", made))
        yield


def sweep_of(seed: int, widths: tuple[int, ...] = (16, 32, 48)) -> Sweep:
    return Sweep.isoflop({1e10: widths[:2], 3e10: widths, 1e11: widths}, seed=seed)


def overspent(folder: Path) -> str | None:
    study = Study("mine", folder=folder)
    trained = sum(one.C for one in study.store.records())
    if trained > study.budget * (1 + 1e-6):
        return f"{trained / study.budget:.2f} budgets were trained"
    return None if study.spent >= trained * (1 - 1e-9) else "more was trained than is said to be spent"


def told(act: Any) -> str | None:
    """The fault where something else than a result or one line comes."""
    try:
        act()
    except InputError as error:
        return None if "\n" not in str(error) else f"several lines: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _spend(folder: str, seed: int, at: float, seconds: float) -> None:
    time.sleep(max(0.0, at - time.time()))
    with planted(seconds), contextlib.suppress(InputError):
        Study("mine", budget_flops=sweep_of(seed).flops * 1.01, folder=folder).run(sweep_of(seed))


def together(stage: Stage, count: int) -> None:
    """Three processes at the same moment, each with a sweep that takes all of the budget; one of them may be killed."""
    for case in range(count):
        folder, at = stage.folder / f"study-{case}", time.time() + 1.5
        group = [
            context().Process(target=_spend, args=(str(folder), seed, at, stage.random.choice([0, 0.01])))  # type: ignore[attr-defined]
            for seed in range(3)
        ]
        for process in group:
            process.start()
        if case % 3 == 0:
            time.sleep(max(0.0, at - time.time()) + stage.random.uniform(0, 0.1))
            group[0].kill()
        for process in group:
            process.join(60)
        stage.count(
            f"case {case}", next((f"exit status {p.exitcode}" for p in group[1:] if p.exitcode), None),
            overspent(folder) if (folder / "study.json").exists() else None,
        )  # fmt: skip


def shared(stage: Stage, count: int) -> None:
    """Two processes make the same sweep, one gives up, and a third asks for what that one has taken back."""
    for case in range(count):
        folder, budget = stage.folder / f"study-{case}", sweep_of(0).flops * 1.01
        with planted(0.3), ThreadPoolExecutor(3) as pool:
            studies = [Study("mine", budget_flops=budget, folder=folder) for _ in range(3)]
            entered = studies[0]._enter(sweep_of(0).configs)
            studies[0]._write_budget()
            second = pool.submit(told, lambda studies=studies: studies[1].run(sweep_of(0)))
            time.sleep(stage.random.uniform(0.05, 0.3))
            for path in entered:
                path.unlink(missing_ok=True)
            third = pool.submit(told, lambda studies=studies: studies[2].run(sweep_of(1)))
            faults = [second.result(), third.result()]
        stage.count(f"case {case}", *faults, overspent(folder))


def stale(stage: Stage, count: int) -> None:
    """Study objects made before anything was spent, in threads: each spends all of it."""
    for case in range(count):
        folder, budget = stage.folder / f"study-{case}", sweep_of(0).flops * 1.01
        studies = [Study("mine", budget_flops=budget, folder=folder) for _ in range(6)]
        with planted(0.002), ThreadPoolExecutor(6) as pool:
            asked = [
                pool.submit(told, partial(study.run, sweep_of(seed))) for seed, study in enumerate(studies)
            ]
            faults = [one.result() for one in asked]
        with planted():
            faults.append(told(partial(studies[0].run, sweep_of(99))))
        stage.count(f"case {case}", *faults, overspent(folder) if (folder / "study.json").exists() else None)


def deleted(stage: Stage, count: int) -> None:
    """Records are deleted, moved or emptied, and another sweep is asked for."""
    for case in range(count):
        folder, budget = stage.folder / f"study-{case}", sweep_of(0).flops * 1.5
        with planted():
            Study("mine", budget_flops=budget, folder=folder).run(sweep_of(0))
            before = Study("mine", folder=folder).spent
            files = sorted((folder / "runs").glob("*.json"))
            for file in files[case % 3 :]:
                if case % 2:
                    file.write_text("{")
                else:
                    file.unlink()
            after = Study("mine", folder=folder).spent
            fault = told(lambda folder=folder: Study("mine", folder=folder).run(sweep_of(1)))
        stage.count(
            f"case {case}",
            None if after >= before * (1 - 1e-9) else f"{1 - after / before:.0%} came back",
            fault,
            overspent(folder),
        )


def damaged(stage: Stage, count: int) -> None:
    """Something else lies where the account should: a file, a folder, nonsense, a link that leads nowhere, no right to write."""
    for case in range(count):
        folder = stage.folder / f"study-{case}"
        with planted():
            Study("mine", budget_flops=sweep_of(0).flops * 1.5, folder=folder).run(sweep_of(0))
            spent, budget = folder / "spent", folder / "study.json"
            kind = case % 8
            if kind == 0:
                shutil.rmtree(spent)
                spent.write_text("")
            elif kind == 1:
                (spent / "nonsense_nan").touch()
                (spent / "0123_-5").touch()
                (spent / "_").mkdir()
            elif kind == 2:
                (spent / "ffff_1e400").touch()
            elif kind == 3:
                budget.unlink()
                budget.mkdir()
            elif kind == 4:
                budget.unlink()
                os.mkfifo(budget)
            elif kind == 5:
                budget.write_text(json.dumps({"name": "mine", "budget_flops": 1e20, "sha256": "0" * 64}))
            elif kind == 6:
                budget.unlink()
                budget.symlink_to(budget)
            else:
                shutil.rmtree(folder / "runs")
                (folder / "runs").write_text("")
            fault = told(lambda folder=folder: Study("mine", folder=folder).run(sweep_of(1)))
        stage.count(f"kind {kind}", fault, overspent(folder) if kind in (1, 2) else None)


def vanished(stage: Stage, count: int) -> None:
    """The study's folder is deleted while its sweep runs."""
    for case in range(count):
        folder = stage.folder / f"study-{case}"
        with planted(0.01), ThreadPoolExecutor(1) as pool:
            future = pool.submit(
                told, lambda folder=folder: Study("mine", budget_flops=1e13, folder=folder).run(sweep_of(0))
            )
            time.sleep(stage.random.uniform(0, 0.12))
            shutil.rmtree(folder, ignore_errors=True)
            fault = future.result()
            again = told(
                lambda folder=folder: Study("mine", budget_flops=1e13, folder=folder).run(sweep_of(0))
            )
        stage.count(f"case {case}", fault, again)


def _other(law: Law, factor: float) -> Law:
    import dataclasses

    return dataclasses.replace(law, params={**law.params, "A": law.params["A"] * factor})


def heroes(stage: Stage, count: int) -> None:
    """While the hero trains, others call shots with another law: what is scored was sealed before, and stays."""
    for case in range(count):
        folder = stage.folder / f"study-{case}"
        with planted(0.05):
            study = Study("mine", budget_flops=1e13, folder=folder)
            study.run(sweep_of(0))
            law = study.fit(form="chinchilla", bootstrap=20)
            shot = study.call_shot(1e12, law)
            over = threading.Event()
            shots: list[Any] = []

            def replace(over=over, folder=folder, law=law, shots=shots) -> str | None:
                fault = None
                while not over.is_set() and not fault:
                    fault = told(
                        lambda: shots.append(
                            Study("mine", folder=folder).call_shot(1e12, _other(law, 1 + 1e-12 * len(shots)))
                        )
                    )
                return fault

            with ThreadPoolExecutor(2) as pool:
                others = [pool.submit(replace) for _ in range(1 + case % 2)]
                time.sleep(stage.random.uniform(0, 0.05))
                score: list[Any] = []
                fault = told(lambda study=study, shot=shot, score=score: score.append(study.run_hero(shot)))
                over.set()
                faults = [fault, *(one.result() for one in others)]
            sealed = study.sealed(shot.id)
            study.call_shot(1e12, _other(law, 1.0001))  # of the same run or of another
            after = study.sealed(shot.id) if score else sealed
            stage.count(
                f"case {case}", *faults,
                "scored by another prediction than the sealed one" if score and score[0].shot != sealed else None,
                "replaced after it was scored" if after != sealed else None,
                "the account is broken" if len(study.scores()) != len(score) else None,
            )  # fmt: skip


def backwards(stage: Stage, count: int) -> None:
    """The clock goes back by a year in the middle."""
    for case in range(count):
        folder = stage.folder / f"study-{case}"
        now = time.time()
        with planted():
            study = Study("mine", budget_flops=1e13, folder=folder)
            study.run(sweep_of(0))
            with mock.patch("time.time", lambda now=now: now - 3.15e7):
                law = study.fit(form="chinchilla", bootstrap=20)
                shot = study.call_shot(1e12, law)
                fault = told(lambda study=study, shot=shot: study.run_hero(shot))
                again = told(lambda folder=folder: Study("mine", folder=folder).run(sweep_of(0)))
        stage.count(f"case {case}", fault, again, None if len(study.scores()) == 1 else "no score")
