"""Transfer, measured: pre-train a BERT on the corpus, fine-tune it on few or many pairs, and record how well it does.

A *start* is what fine-tuning begins from: a shape pre-trained on so many sequences, 0 for "from scratch". Checkpoints are
made on demand and kept in the cache folder, in the hub's layout. `measure` gives a `RunRecord` whose metrics are
accuracy, precision, recall and F1 and whose L is the loss on the test pairs. Online, `load_checkpoint("bert-base-uncased")`
and `load_pairs("glue/mrpc")` go into the very same `finetune`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scalept_lab import folders, machine, scratch
from scalept_lab.costs.counts import shape as count_shape
from scalept_lab.data.sources import collect
from scalept_lab.errors import InputError
from scalept_lab.runs import RunRecord, write_atomically
from scalept_lab.train import outcome
from scalept_lab.transfer.bert import (
    LENGTH,
    Pretraining,
    Shape,
    make_tokenizer,
    masked_loss,
    pretrain,
    quiet,
    segments,
)
from scalept_lab.transfer.checkpoints import load_checkpoint
from scalept_lab.transfer.finetuning import METRICS, FineTuning, finetune
from scalept_lab.transfer.lora import adapt, probe, trainable
from scalept_lab.transfer.pairs import Function, build_task, functions, pair_up, part_of, subset

if TYPE_CHECKING:
    import datasets


SOURCES = ("mpmath", "networkx", "pygments", "sympy")
NEW = "mpmath"  # kept out of pre-training, so that there is a package to learn later
TESTS = 800  # pairs that a record is scored on
Rank = int | None
ALL: Rank = None  # all weights learn
VERSION = 3  # of the construction below: a checkpoint of another one is not taken from the cache


@dataclass(frozen=True)
class Start:
    """What fine-tuning begins from: a shape, the sequences it was pre-trained on (0: from scratch), the seed, the rate."""

    shape: Shape = field(default_factory=Shape)
    sequences: int = 0
    seed: int = 0
    lr: float = Pretraining.lr

    @property
    def told(self) -> dict[str, Any]:
        """What makes it what it is. The usual rate goes without saying, as it did when the first starts were named."""
        found = asdict(self)
        return found if self.lr != Pretraining.lr else {name: found[name] for name in found if name != "lr"}

    @property
    def name(self) -> str:
        text = json.dumps([VERSION, self.told], sort_keys=True)
        return f"bert-{self.shape.depth}x{self.shape.width}-{self.sequences}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Task:
    """The offline task: texts to pre-train on, texts of a new package, held-out texts of both, and labelled pairs."""

    texts: list[tuple[str, str]]
    new: list[tuple[str, str]]
    heldout: dict[str, list[tuple[str, str]]]  # "old" and "new"
    train: datasets.Dataset
    test: datasets.Dataset
    tokenizer: Any
    sha256: str
    functions: list[Function]
    negatives: str
    split: str = "test"  # what `test` holds: the test pairs, or those that one chooses on


@cache
def task(negatives: str = "corpus") -> Task:
    """The task of the kit's corpus, built once per process and, the slow part of it, once per machine."""
    found = _functions()
    parts = build_task(found, negatives)  # type: ignore[arg-type]
    old = [f for f in parts["pretrain"] if f.package != NEW]
    new = [f for f in parts["pretrain"] if f.package == NEW]
    rest = [f for f in found if part_of(f.module) == "test"]
    heldout = {
        "old": segments([f for f in rest if f.package != NEW])[:400],
        "new": segments([f for f in rest if f.package == NEW], undocumented=True)[:400],
    }
    sha256 = hashlib.sha256(
        repr([(f.module, f.name, f.sentence, f.code) for f in found]).encode()
    ).hexdigest()
    tokenizer = _tokenizer(old, sha256)
    return Task(
        segments(old), segments(new, undocumented=True), heldout,
        parts["train"], parts["test"], tokenizer, sha256, found, negatives,
    )  # fmt: skip


def _tokenizer(found: list[Function], sha256: str) -> Any:
    """One tokenizer for all checkpoints of a machine: the trainer breaks ties as it likes, so it must not run twice."""
    with quiet():
        from transformers import AutoTokenizer

    folder = folders.cache() / "transfer" / f"tokenizer-{VERSION}-{sha256[:8]}"
    if not (folder / "tokenizer.json").is_file():
        made = make_tokenizer((f"{f.sentence} {f.code}" for f in found), Shape().vocab_size)
        with folders.writing(folder):
            made.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def _functions() -> list[Function]:
    """Functions of the corpus, kept as JSON beside the checkpoints: parsing takes a quarter of a minute."""
    rows = collect(SOURCES)
    facts = [VERSION, rows["path"].tolist(), rows["bytes"].tolist()]
    mark = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    path = folders.cache() / "transfer" / f"functions-{mark}.json"
    try:
        return [Function(*row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        found = functions(rows.to_dict("records"))
        write_atomically(path, json.dumps([list(asdict(f).values()) for f in found]))
        return found


def pretrained(
    start: Start,
    of: Task,
    progress: Callable[[int, float, float], None] | None = None,
    cache: str | Path | None = None,
) -> Path:
    """The folder with the checkpoint of a start, in the hub's layout; pre-trained now if it is not there yet.

    Beside it stands `curve.json`: (sequences seen, masked-language loss, pair loss).
    """
    with quiet():
        from transformers import BertForPreTraining

    folder = folders.cache(cache) / "transfer" / f"{start.name}-{of.sha256[:8]}"
    if (folder / "curve.json").is_file():
        return folder
    torch.manual_seed(start.seed)
    model: Any = BertForPreTraining(start.shape.config())
    curve: list = []
    began = time.process_time()
    if start.sequences:
        plan = Pretraining(start.sequences, lr=start.lr, seed=start.seed)
        curve = pretrain(model.to(machine.device()), of.tokenizer, of.texts, plan, progress)
    about = {"curve": curve, "seconds": time.process_time() - began}

    def save() -> None:
        with scratch.appearing(folder) as draft, quiet():
            model.save_pretrained(draft)
            of.tokenizer.save_pretrained(draft)
            (draft / "curve.json").write_text(json.dumps(about), encoding="utf-8")

    try:
        save()
    except InputError:
        if not (folder / "curve.json").is_file():  # else another process was sooner, with the same weights
            shutil.rmtree(folder, ignore_errors=True)  # half of one, as versions before could leave it
            save()
    return folder


def load_pretraining(folder: str | Path) -> Any:
    """The model of a checkpoint with both heads of pre-training."""
    with quiet():
        from transformers import BertForPreTraining

        return BertForPreTraining.from_pretrained(folder).eval()


def measure(
    start: Start, of: Task, pairs: int, seed: int = 0, plan: FineTuning | None = None, tests: int = TESTS, rank: Rank = ALL
) -> RunRecord:  # fmt: skip
    """Fine-tune a start on `pairs` pairs drawn by `seed`, and score it on the first `tests` test pairs.

    rank: which weights learn, see `prepared`. From scratch, the seed draws the weights as well. N: parameters without
    embeddings; D: tokens seen in both phases (of mean length); C = 6·N·D; L: loss on the test pairs in nats per pair. The
    metric `trained`: how many numbers fine-tuning changes.
    """
    plan = FineTuning(**{**asdict(plan or FineTuning()), "seed": seed})
    model, tokenizer = prepared(start, of, seed, rank)
    trained = trainable(model)
    chosen, test = subset(of.train, pairs, seed), of.test.select(range(min(tests, len(of.test))))
    found = finetune(model, tokenizer, chosen, test, plan)
    N, total = sizes(start.shape)
    seen = start.sequences + plan.steps(pairs) * plan.batch
    length = float(
        np.mean(
            [len(ids) for ids in tokenizer(list(test["sentence1"]), list(test["sentence2"]))["input_ids"]]
        )
    )
    D = round(seen * min(length, LENGTH))
    return outcome.record(
        described(start, of.negatives, pairs, seed, plan, tests, rank, of.split), found.loss,
        N=N, N_total=total, D=D, C=6.0 * N * D,
        metrics={**{name: getattr(found, name) for name in METRICS}, "trained": float(trained)},
        seconds=found.seconds, provenance=provenance(of),
    )  # fmt: skip


def prepared(start: Start, of: Task, seed: int = 0, rank: Rank = ALL) -> tuple[Any, Any]:
    """(classifier, tokenizer) of a start, its own layer drawn by `seed`, ready to be fine-tuned.

    rank: None, all weights learn; 0, the classifier's own layer alone (a linear probe); else low-rank factors of that rank.
    From scratch, the seed draws all weights.
    """
    began = start if start.sequences else Start(start.shape, 0, 100 + seed)
    folder = pretrained(began, of)
    torch.manual_seed(seed)
    model, tokenizer = load_checkpoint(folder)
    if rank == 0:
        probe(model)
    elif rank is not None:
        adapt(model, rank)
    return model, tokenizer


def held_out(of: Task) -> Task:
    """The training pairs as a task of their own: what a rate or a temperature is chosen on, so that no test pair is.

    A hash deals their modules out, about 70 % to train on and 30 % to choose on. Both are paired up anew.
    """
    found = [f for f in of.functions if part_of(f.module) == "train"]
    sides: dict[str, list[Function]] = {"train": [], "choose": []}
    for function in found:
        sides[part_of(f"choose {function.module}", {"train": 0.7, "choose": 0.3})].append(function)
    made = {name: pair_up(side, of.negatives) for name, side in sides.items()}  # type: ignore[arg-type]
    return replace(of, train=made["train"], test=made["choose"], split="choose")


def described(
    start: Start,
    negatives: str,
    pairs: int,
    seed: int = 0,
    plan: FineTuning | None = None,
    tests: int = TESTS,
    rank: Rank = ALL,
    split: str = "test",
) -> dict[str, Any]:
    """What the record of `measure` says of the run: its config, whose `config.run_id` is its name."""
    plan = FineTuning(**{**asdict(plan or FineTuning()), "seed": seed})
    return {
        "kind": "transfer", "version": VERSION, "start": start.told, "negatives": negatives, "pairs": pairs,
        "tests": tests, "plan": asdict(plan),
        **({} if rank is ALL else {"rank": rank}), **({} if split == "test" else {"split": split}),
    }  # fmt: skip


def sizes(shape: Shape) -> tuple[int, int]:
    """(parameters without tables, all parameters) of a shape with its pooler, by the formulas of `costs.counts`."""
    fields = shape.config().to_dict()
    counted = count_shape({key: fields[key] for key in ("model_type", "vocab_size", "hidden_size", "num_hidden_layers",
                          "num_attention_heads", "intermediate_size", "max_position_embeddings")})  # fmt: skip
    return counted.non_embedding, counted.total


def provenance(of: Task) -> dict[str, Any]:
    return outcome.provenance("cpu", corpus_sha256=of.sha256)


# --- incremental training ---------------------------------------------------------------------------------------------


def continued(
    start: Start, of: Task, replay: float = 0.0, sequences: int = 4800, seed: int = 0, lr: float = 1e-3
) -> dict[str, float]:
    """Go on pre-training on the texts of the new package, a share `replay` of the sequences drawn from the old ones.

    Returns the masked-language loss on held-out texts, before ("old before", "new before") and after ("old", "new").
    Raises: InputError for a share outside [0, 1).
    """
    if not 0 <= replay < 1:
        raise InputError(f"replay: expected a share of at least 0 and below 1, got {replay}")
    folder = pretrained(start, of)
    model, tokenizer = load_pretraining(folder), load_checkpoint(folder)[1]
    before = {f"{name} before": masked_loss(model, tokenizer, texts) for name, texts in of.heldout.items()}
    rng = np.random.default_rng(seed)
    old = round(len(of.new) * replay / (1 - replay))
    mixed = [*of.new, *(of.texts[i] for i in rng.choice(len(of.texts), old, replace=old > len(of.texts)))]
    pretrain(model.to(machine.device()), tokenizer, mixed, Pretraining(sequences, lr=lr, seed=seed))
    after = {name: masked_loss(model, tokenizer, texts) for name, texts in of.heldout.items()}
    return {**before, **after}
