"""A study: a compute budget, the runs made within it, a law fitted to them, a sealed prediction, and its score.

Everything is on disk in the study's folder, so that a restarted kernel or a killed process loses nothing:
`study.json` the budget, `spent/` what its runs cost, `runs/` one record per run, `shots/` the predictions, sealed before their
runs exist (`shots/opened/` once these train), `hero/` those runs.

Several processes may spend from one budget: each run is entered in `spent/` before it trains, as an empty file whose name says
its FLOPs. No lock is needed, so this holds on a network folder as well, and a record that is deleted gives nothing back.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import unicodedata
from collections.abc import Sequence, Set
from concurrent import futures
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scalept_lab import folders, outside
from scalept_lab.checks import positive, shown
from scalept_lab.config import HEAD_DIM, TrainConfig, parse
from scalept_lab.costs import counts
from scalept_lab.errors import InputError
from scalept_lab.laws.fit import Law, fit_records
from scalept_lab.laws.formulas import NO_SPLIT, ONE_VARIABLE
from scalept_lab.runs import RunRecord, Store, write_atomically
from scalept_lab.study.predictions import Score, Shot
from scalept_lab.study.sweep import (
    Sweep,
    at_flops,
    finished,
    flops_of,
    prepare_corpora,
    prepared_sha256,
    run_all,
)


@dataclass(frozen=True)
class Estimate:
    """What a sweep will cost. `flops` counts only what is not trained yet; `seconds` is for this machine."""

    runs: int
    cached: int
    flops: float
    left: float  # of the budget, before the sweep
    seconds: float

    @property
    def fits(self) -> bool:
        return self.flops <= self.left

    @property
    def share(self) -> float:
        """Part of what is left of the budget."""
        return self.flops / self.left if self.left > 0 else (math.inf if self.flops else 0.0)

    def __str__(self) -> str:
        verdict = "fits" if self.fits else "does NOT fit"
        return (
            f"{self.runs} runs ({self.cached} done already): {self.flops:.3g} FLOPs, {self.share:.0%} of the "
            f"{self.left:.3g} left ({verdict}); about {self.seconds / 60:.1f} minutes here"
        )

    __repr__ = __str__


def _folder(name: str) -> Path:
    """The folder of the results that this name means, on any system.

    Raises: InputError for a name that means another place or that no file can have on some system, and for one that is another
    study's but for its case: where case does not count, both would be one folder.
    """
    parts = Path(name).parts if isinstance(name, str) else ()
    if not parts or len(name) > 100 or not all(map(folders.portable, parts)):
        raise InputError(
            f"study: expected a name of at most 100 characters such as 'mine', got {shown(name)}; "
            "another place than the results is named by folder=…"
        )
    place = folders.results() / unicodedata.normalize("NFC", name)
    with contextlib.suppress(OSError):  # no folder yet
        there = {unicodedata.normalize("NFC", other): other for other in os.listdir(place.parent)}
        if place.name in there:  # macOS may write its letters in another way
            return place.with_name(there[place.name])
        if twin := next((other for other in there if other.casefold() == place.name.casefold()), None):
            raise InputError(
                f"study: expected a name that differs in more than case from {twin!r}, which is there, got {name!r}; take another"
            )
    return place


class Study:
    """Plan, predict, train, be scored. `budget_flops` bounds the sweep; the hero's compute is its own, one shot at a time."""

    def __init__(self, name: str, budget_flops: float | None = None, folder: str | Path | None = None):
        self.name = name
        self.folder = Path(folder) if folder is not None else _folder(name)
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            raise InputError(f"{self.folder}: expected a folder for the study, got a file; take another name")
        if budget_flops is not None:
            positive("budget_flops", budget_flops)
        known = self._read_budget()
        if known is None and budget_flops is None:
            raise InputError(
                f"study {name!r} is new: expected budget_flops=…, the FLOPs it may spend, such as 2e12"
            )
        if known is not None and budget_flops is not None and budget_flops != known:
            raise InputError(
                f"study {name!r} has a budget of {known:g} FLOPs already, got {budget_flops:g}; "
                f"leave budget_flops out to go on with it, or take another name"
            )
        self.budget = float(known if known is not None else budget_flops)  # type: ignore[arg-type]
        self.store = Store(self.folder / "runs")
        self.heroes = Store(self.folder / "hero")

    # --- the budget

    @property
    def spent(self) -> float:
        """FLOPs of all runs made so far, and of those that train now (a diverged run has spent what it used)."""
        return self._spent()

    @property
    def left(self) -> float:
        return self.budget - self.spent

    def estimate(self, sweep: Sweep, workers: int | None = None) -> Estimate:
        """What `sweep` would cost, without spending anything: a few steps of each kind are timed."""
        from scalept_lab import machine
        from scalept_lab.train.placement import device_for, kind_of_step, seconds_per_step

        todo = self._todo(sweep)
        workers = workers or machine.cores()
        places = {config.id(): (device_for(config, workers), kind_of_step(config)) for config in todo}
        a_run = {places[config.id()]: config for config in todo}  # of each kind, one is timed
        timed = {place: seconds_per_step(config, place[0]) for place, config in a_run.items()}
        lanes: dict[str, list[float]] = {}
        for config in todo:
            place = places[config.id()]
            lanes.setdefault(place[0], []).append(timed[place] * config.steps)
        at_once = {"cpu": workers}  # a GPU takes one run after the other
        seconds = max(
            (max(sum(each) / at_once.get(name, 1), *each) for name, each in lanes.items()), default=0.0
        )
        return Estimate(
            len(sweep), len(sweep) - len(todo), sum(map(flops_of, todo)), self._left_for(todo), seconds
        )

    def run(
        self, sweep: Sweep, executor: futures.Executor | None = None, progress: bool = True
    ) -> list[RunRecord]:
        """Train what is missing and return all records of the sweep.

        Raises: InputError, before anything trains, if what is missing costs more than what is left of the budget.
        """
        todo = self._todo(sweep)
        cost, left = sum(map(flops_of, todo)), self._left_for(todo)
        if cost > left * (1 + 1e-9):
            raise InputError(
                f"the sweep costs {cost:.3g} FLOPs and {left:.3g} of the budget {self.budget:.3g} are left; "
                f"drop its largest runs (study.estimate(sweep) is free){self._held(todo)}"
            )
        prepare_corpora(todo)
        self._write_budget()
        entered = self._enter(todo)
        try:
            return run_all(sweep, self.store, executor, progress)
        finally:
            for path in entered:  # what never came to train
                if self.store.get(path.name.partition("_")[0]) is None:
                    path.unlink(missing_ok=True)

    # --- the law

    def records(self) -> list[RunRecord]:
        """The finished runs that a law may be fitted to."""
        return [record for record in self.store.records() if record.ok]

    def fit(self, from_flops: float = 0.0, **options: Any) -> Law:
        """Fit a law to the study's runs of at least `from_flops`, in the form that forecasts best; `options` as in `fit_law`.

        Raises: InputError if there are too few runs, or if they were trained on different text.
        """
        options = {"form": "auto", "bootstrap": 1000, **options}
        return fit_records([record for record in self.records() if record.C >= from_flops], **options)

    def call_shot(self, flops: float, law: Law | None = None) -> Shot:
        """Choose the best model of the family for `flops`, predict its loss, and seal that on disk.

        Until the hero begins to train a new call replaces the seal; afterwards the sealed prediction stands and is returned.
        Raises: InputError if the hero was trained without a seal, or in the sweep: what is known cannot be predicted.
        """
        positive("flops", flops)
        law = law or self.fit()
        records = self.records()
        if not records:
            raise InputError(
                "no run of this study is finished, so there is nothing to predict from; run a sweep first"
            )
        if law.form in ONE_VARIABLE or law.status == NO_SPLIT:
            raise InputError(
                f"form {law.form}, status {law.status!r}: this law cannot choose a model; it takes runs that vary N and D "
                "apart from each other"
            )
        like = parse(TrainConfig, records[-1].config)
        config = best_recipe(law, flops, like)
        if self._opened_path(config.id()).exists() or finished(self.heroes, config):
            return self.sealed(config.id())
        if finished(self.store, config):
            raise InputError(
                f"the best run for {flops:g} FLOPs is in the sweep already: ask for more than its largest run"
            )
        shape = counts.shape(config.model)
        forecast = law.predict(shape.non_embedding, config.steps * config.tokens_per_step)
        shot = Shot(
            config=config, flops=flops_of(config), predicted=forecast.loss, low=forecast.low, high=forecast.high,
            law=law.params, status=law.status, runs=list(law.points.runs),
            sealed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip
        shot = shot.model_copy(update={"seal": shot.digest()})
        write_atomically(self._shot_path(shot.id), shot.model_dump_json(indent=1) + "\n")
        return shot

    def run_hero(self, shot: Shot, progress: bool = True) -> Score:
        """Train the run that `study.study` predicted (or find it trained), open the seal and score the prediction.

        Raises: InputError if the seal was never made here, or if its file was changed.
        """
        sealed = self.sealed(shot.id)
        if sealed != shot:
            raise InputError(
                f"the prediction differs from the one sealed at {sealed.sealed_at}; score the sealed one"
            )
        now = prepared_sha256(shot.config)
        if any(record.corpus != now for record in self.store.records() if record.id in shot.runs):
            raise InputError(
                f"corpus {shot.config.corpus}: its text has changed since the prediction was sealed; "
                "run the sweep again and call a new shot"
            )
        self._open(shot)
        run_all([shot.config], self.heroes, progress=progress)
        record = self.heroes.get(shot.id)
        if record is None or record.L is None:
            state = record.status if record else "missing"
            raise InputError(
                f"the hero run is {state}: {record.error if record else 'no record'}; nothing to score"
            )
        return Score(shot, record.L)

    def sealed(self, run_id: str) -> Shot:
        """The prediction that is sealed for a run; the opened one where its hero has begun to train.

        Raises: InputError where there is none, or its file was changed.
        """
        path = self._opened_path(run_id)
        if not path.exists():
            path = self._shot_path(run_id)
        if not path.exists():
            raise InputError(f"no prediction is sealed for run {run_id}; call study.call_shot(flops=…) first")
        try:
            shot = parse(Shot, outside.json_value(path, "a sealed prediction"))
            whole = shot.id == run_id and shot.digest() == shot.seal
        except ValueError:  # not JSON, or not a shot; or half of a character, which has no hash
            whole = False
        if not whole:
            raise InputError(f"the seal of {path.name} is broken: the file was changed after it was written")
        return shot

    def shots(self) -> list[Shot]:
        """Every sealed prediction, in the order of sealing. Raises: InputError if one seal is broken."""
        names = {path.stem for path in (self.folder / "shots").glob("**/*.json")}
        shots = [self.sealed(name) for name in names]
        return sorted(shots, key=lambda shot: (shot.sealed_at, shot.id))

    def scores(self) -> list[Score]:
        """Every sealed prediction whose hero has been trained, as `shots`. Raises: InputError if one seal is broken."""
        losses = {record.id: record.L for record in self.heroes.records() if record.L is not None}
        return [Score(shot, losses[shot.id]) for shot in self.shots() if shot.id in losses]

    def report(self, path: str | Path | None = None, law: Law | None = None) -> Path:
        """One self-contained HTML page with the table, the plots, the law (fitted anew if not given) and the scores."""
        from scalept_lab.study.report import write_report

        return write_report(self, Path(path) if path is not None else self.folder / "report.html", law)

    def export(self, path: str | Path | None = None, learner: str = "") -> Path:
        """One small file for the class: the runs, the sealed predictions with their scores, and the learner's own progress.

        learner: your name, as the class will read it. path: a .jsonl.gz or .jsonl file, by default named after learner and study,
        where you are. `sl.pool` and `scalept merge` read it. Raises: InputError without a name, or if one seal is broken.
        """
        from scalept_lab.study.exports import export

        return export(self, learner, path)

    # --- files

    def _todo(self, sweep: Sweep) -> list[TrainConfig]:
        return [config for config in sweep if not finished(self.store, config)]

    def _spent(self, without: Set[str] = frozenset()) -> float:
        made = self._entered() | {record.id: record.C for record in self.store.records()}
        return sum(flops for run, flops in made.items() if run not in without)

    def _left_for(self, todo: Sequence[TrainConfig]) -> float:
        """What runs may cost that are still to make. A sweep that was killed has entered them already."""
        return self.budget - self._spent({config.id() for config in todo})

    def _held(self, todo: Sequence[TrainConfig]) -> str:
        """What to do where runs of another sweep are entered and not made: it runs now, or was killed."""
        others = (
            self._entered().keys()
            - {config.id() for config in todo}
            - {one.id for one in self.store.records()}
        )
        told = f"; {len(others)} runs of another sweep are entered and not made: wait for it, run it again, or give them up by "
        return told + f"deleting their files in {self.folder / 'spent'}" if others else ""

    def _entered(self) -> dict[str, float]:
        """Run -> FLOPs, of the names in `spent/`."""
        found: dict[str, float] = {}
        for path in (self.folder / "spent").glob("*_*"):
            run, flops = path.name.split("_")[:2]
            with contextlib.suppress(InputError):
                found[run] = max(found.get(run, 0.0), positive("flops", flops))
        return found

    def _enter(self, todo: Sequence[TrainConfig]) -> list[Path]:
        """Enter runs in `spent/`, and return the files. Each process has its own: one that gives up takes back no other's.

        Raises: InputError, with nothing entered, if together with other processes' that is more than the budget.
        """
        mine, entered = secrets.token_hex(4), []
        with folders.writing(self.folder):
            (self.folder / "spent").mkdir(parents=True, exist_ok=True)
            for config in todo:
                path = self.folder / "spent" / f"{config.id()}_{flops_of(config):.9e}_{mine}"
                path.touch()
                entered.append(path)
        if (spent := self.spent) > self.budget * (1 + 1e-9):
            for path in entered:
                path.unlink(missing_ok=True)
            raise InputError(
                f"another process spends from the budget {self.budget:.3g} as well: with this sweep {spent:.3g} FLOPs would "
                "be spent; wait until it is done, or drop the largest runs"
            )
        return entered

    def _shot_path(self, run_id: str) -> Path:
        return self.folder / "shots" / f"{run_id}.json"

    def _opened_path(self, run_id: str) -> Path:
        return self.folder / "shots" / "opened" / f"{run_id}.json"

    def _open(self, shot: Shot) -> None:
        """Take the seal out of reach of `call_shot`, by a rename: of two processes one moves it, and both find it moved."""
        path = self._opened_path(shot.id)
        with folders.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                with contextlib.suppress(FileNotFoundError):
                    os.rename(self._shot_path(shot.id), path)
        if self.sealed(shot.id) != shot:
            raise InputError(
                "the prediction was replaced just before its run began; score the one that is sealed now"
            )

    def _read_budget(self) -> float | None:
        path = self.folder / "study.json"
        if not path.exists():
            return None
        try:
            found = outside.unmarked(path, outside.json_object(path, "a study's budget"), needed=False)
            return positive("budget_flops", found.get("budget_flops"))
        except InputError:
            raise InputError(
                f"{path}: expected a study with a budget_flops, got something else; move it away"
            ) from None

    def _write_budget(self) -> None:
        path = self.folder / "study.json"
        if not path.exists():
            write_atomically(
                path, json.dumps(outside.marked({"name": self.name, "budget_flops": self.budget})) + "\n"
            )


def best_recipe(law: Law, flops: float, like: TrainConfig) -> TrainConfig:
    """The member of the family with the lowest predicted loss at `flops`, with corpus, scoring text and seed of `like`.

    Compute is counted in full (attention and the output layer included), not as 6ND: at our sizes these are half of it.
    """
    fixed = {
        "corpus": like.corpus, "eval_windows": like.eval_windows, "seed": like.seed,
        "vocab_size": like.model.vocab_size, "context": like.model.context,
    }  # fmt: skip
    candidates = []
    for width in range(HEAD_DIM, 513, HEAD_DIM):
        try:
            config = at_flops(width, flops, **fixed)
        except InputError:  # not even one step
            break
        shape = counts.shape(config.model)
        candidates.append((float(law(shape.non_embedding, config.tokens)), width, config))
    if not candidates:
        raise InputError(f"flops: {flops:g} do not pay for a single step of the smallest model; ask for more")
    return min(candidates, key=lambda candidate: candidate[:2])[2]
