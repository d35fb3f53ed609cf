"""What a learner hands in: one small file with a study and the learner's progress, for a shared folder or a USB stick.

A class file is JSON Lines, compressed (`.jsonl.gz`, a third of the size) or not (`.jsonl`). Its first line says whose it is and
holds the study's budget, the sealed predictions and what they came to, and the learner's exercises and guesses. Each further
line is a run record as it is. So a file that is cut short still gives the records before the cut, and a fault has its line. The
same content gives the same bytes.
"""

from __future__ import annotations

import gzip
import json
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from scalept_lab import learners, runs
from scalept_lab.checks import shown
from scalept_lab.config import parse
from scalept_lab.errors import JOINERS, InputError
from scalept_lab.learners import Prediction, Work
from scalept_lab.study.predictions import Shot

if TYPE_CHECKING:
    from scalept_lab.study.study import Study

VERSION = 1


def _name(text: str) -> str:
    """A name on one line: no control characters, nor those that turn the direction of the text around it."""
    text = unicodedata.normalize("NFC", text.strip())
    if not text or not all(letter.isprintable() or letter in JOINERS for letter in text):
        raise ValueError("expected a name of printable characters")
    return text


Name = Annotated[str, Field(max_length=100), AfterValidator(_name)]


class Called(BaseModel):
    """A sealed prediction and the loss that its hero reached, None while that is not trained."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    shot: Shot
    measured: float | None = None


class ClassFile(BaseModel):
    """The first line of a class file: everything but the run records."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    class_file: Literal[1] = 1
    study: Name
    learner: Name
    budget_flops: float = Field(gt=0)
    spent_flops: float = Field(ge=0)
    shots: list[Called] = Field([], max_length=1000)
    exercises: dict[str, Work] = Field({}, max_length=10_000)
    predictions: dict[str, Prediction] = Field({}, max_length=10_000)


def export(study: Study, learner: str, path: str | Path | None = None) -> Path:
    """Write a study's class file (`Study.export`)."""
    if not isinstance(learner, str) or not learner.strip():
        raise InputError(
            f'learner: expected your name, as in study.export(learner="Anna"), got {shown(learner) if learner else "none"}'
        )
    kept = learners.read()
    scores = {score.shot.id: score.measured for score in study.scores()}
    header = parse(
        ClassFile,
        {
            "study": study.name,
            "learner": learner,
            "budget_flops": study.budget,
            "spent_flops": study.spent,
            "shots": [{"shot": shot, "measured": scores.get(shot.id)} for shot in study.shots()],
            "exercises": dict(sorted(kept.exercises.items())),
            "predictions": dict(sorted(kept.predictions.items())),
        },
    )
    place = (
        Path(path) if path is not None else Path(f"{_plain(header.learner)}-{_plain(header.study)}.jsonl.gz")
    )
    if not place.name.endswith((".jsonl", ".jsonl.gz")):
        raise InputError(f"path: expected the name of a .jsonl.gz or .jsonl file, got {shown(place.name)}")
    records = study.store.records() + study.heroes.records()
    lines = [header, *sorted(records, key=lambda record: (record.C, record.id))]
    content = "".join(line.model_dump_json() + "\n" for line in lines).encode()
    # without a time, which would make other bytes of the same content
    runs.write_atomically(place, gzip.compress(content, mtime=0) if place.suffix == ".gz" else content)
    return place


def header(path: Path) -> ClassFile | None:
    """Whose class file this is; None for a file of records alone.

    Raises: InputError for a file that cannot be read, or whose first line is that of another version.
    """
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        return None
    first = next((line for _, line in runs.lines(path)), "")
    if not first.startswith(runs.CLASS_FILE):
        return None
    try:
        raw: Any = json.loads(first)
    except (ValueError, RecursionError):
        raise InputError(
            f"{path}: expected a class file, got a damaged first line; export it again"
        ) from None
    version = raw.get("class_file")
    if version != VERSION:
        do = "export it again with this kit" if _older(version) else "update this kit"
        raise InputError(
            f"{path}: expected a class file of version {VERSION}, got version {shown(version)}; {do}"
        )
    try:
        return parse(ClassFile, raw)
    except InputError as error:
        raise InputError(f"{path}: {error}; export it again") from None


def _older(version: Any) -> bool:
    return isinstance(version, (int, float)) and version < VERSION


def _plain(name: str) -> str:
    """A part of a file's name, whatever the learner or the study is called: letters and digits of any script."""
    return re.sub(r"[^\w-]+", "_", name).strip("_")[:24] or "learner"
