"""One bit turned in a file that should be what was written: it is told in a line, or the copy before it is used and that is said.

Nothing of a run may be changed before that is known, and no result may change in silence.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.torture.kills import _model
from benchmarks.torture.outcome import Break, Outcome
from benchmarks.torture.stage import Stage, attacks, run_of, text_file
from scalept_lab.data.corpora import Prepared, prepare
from scalept_lab.errors import InputError
from scalept_lab.parallel import checkpoint
from scalept_lab.study.predictions import Shot
from scalept_lab.study.study import Study


def run(count: int, seed: int, folder: Path) -> Outcome:
    """`count` bits in all."""
    return attacks(
        "flips", count, seed, folder, [(checkpoints, 90), (corpora, 60), (seals, 30), (budgets, 20)]
    )


def turned(stage: Stage, files: list[Path]) -> tuple[Path, bytes, str]:
    """Turn one bit of one of the files: which, what it held before, and where the bit lies."""
    file = stage.random.choice(files)
    before = file.read_bytes()
    place, bit = stage.random.randrange(len(before)), stage.random.randrange(8)
    changed = bytearray(before)
    changed[place] ^= 1 << bit
    file.write_bytes(changed)
    return file, before, f"{file.name}, byte {place}, bit {bit}"


def judged(stage: Stage, what: str, act: Callable[[], str | None]) -> None:
    """`act` gives a fault, or None where the damage did no harm; an InputError of one line is a good answer."""
    stage.outcome.tried += 1
    try:
        fault = act()
    except InputError as error:
        stage.outcome.refused += 1
        fault = "several lines" if "\n" in str(error) else None
        stage.outcome.fine -= 1
    except BaseException as error:
        fault = f"{type(error).__name__}: {error}"
    if fault:
        stage.outcome.broken.append(Break(f"{stage.folder.name}: {what}", stage.seed, fault.splitlines()[0]))
    else:
        stage.outcome.fine += 1


def checkpoints(stage: Stage, count: int) -> None:
    """A damaged newest one is told and passed over; asked for by name it is refused, with model and random state as they were."""
    folder = stage.folder / "run"
    for step in (1, 2):
        checkpoint.save(folder, step, *_model(step), "run", {"note": [step]})
    newest = folder / "step-00000002"
    files = sorted(newest.iterdir())
    for _ in range(count):
        file, before, what = turned(stage, files)
        model, optimizer = _model(0.5)
        random = torch.get_rng_state()

        def act(model=model, optimizer=optimizer, random=random) -> str | None:
            with contextlib.redirect_stderr(io.StringIO()) as told:
                used = checkpoint.newest_whole(folder)
            if used != newest.with_name("step-00000001") or len(told.getvalue().splitlines()) != 1:
                return f"used {used}, told {told.getvalue()[:100]!r}"
            try:
                checkpoint.load(newest, model, optimizer, "run")
                return "loaded"
            except InputError:
                same = all((parameter == 0.5).all() for parameter in model.parameters())
                same = same and not optimizer.state and torch.equal(random, torch.get_rng_state())
                if not same:
                    return "the run was changed before it was refused"
                raise

        judged(stage, what, act)
        file.write_bytes(before)


def _same(one: Prepared, other: Prepared) -> bool:
    varies = {"build_seconds"}
    cards = [{key: value for key, value in each.card.items() if key not in varies} for each in (one, other)]
    texts = [each.tokenizer().encode("the small model").tolist() for each in (one, other)]
    streams = all((getattr(one, side) == getattr(other, side)).all() for side in ("train", "heldout"))
    return streams and cards[0] == cards[1] and texts[0] == texts[1] and one.vocab_size == other.vocab_size


def corpora(stage: Stage, count: int) -> None:
    """Token files, card and tokenizer: what is damaged is told and built again, to the same corpus."""
    text = text_file(stage.folder, 60_000)
    right = prepare(str(text), cache=stage.folder / "other", tokenizer="bpe-300")
    ready = prepare(str(text), cache=stage.cache, tokenizer="bpe-300").folder
    whole = stage.folder / "whole"
    shutil.copytree(ready, whole)
    files = sorted(ready.iterdir())
    for case in range(count):
        what = turned(stage, [files[case % len(files)]])[2]

        def act() -> str | None:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                again = prepare(str(text), cache=stage.cache, tokenizer="bpe-300")
            if not _same(again, right):
                return "another corpus" + (", told" if told else ", in silence")
            return None

        judged(stage, what, act)
        shutil.rmtree(ready, ignore_errors=True)
        shutil.copytree(whole, ready)


def seals(stage: Stage, count: int) -> None:
    """A sealed prediction."""
    study = Study("mine", budget_flops=1e12, folder=stage.folder / "study")
    config = run_of("made-up")
    shot = Shot(config=config, flops=1e9, predicted=2.25, low=2.0, high=2.5, law={"E": 1.0}, status="ok", runs=["a"],
                sealed_at="2030-01-01T00:00:00+00:00")  # fmt: skip
    shot = shot.model_copy(update={"seal": shot.digest()})
    path = study.folder / "shots" / f"{shot.id}.json"
    path.parent.mkdir(parents=True)
    path.write_text(shot.model_dump_json(indent=1))
    for _ in range(count):
        file, before, what = turned(stage, [path])
        judged(stage, what, lambda: None if study.sealed(shot.id) == shot else "another prediction")
        file.write_bytes(before)


def budgets(stage: Stage, count: int) -> None:
    """A study's budget."""
    study = Study("mine", budget_flops=2.5e12, folder=stage.folder / "study")
    study._write_budget()
    path = study.folder / "study.json"
    for _ in range(count):
        file, before, what = turned(stage, [path])
        judged(
            stage, what,
            lambda: None if Study("mine", folder=study.folder).budget == 2.5e12 else "another budget, in silence",
        )  # fmt: skip
        file.write_bytes(before)
