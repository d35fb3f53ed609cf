"""Fine-tuning an encoder on sentence pairs with `transformers.Trainer`, scored by scikit-learn, logged for TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from scalept_lab import machine, scratch
from scalept_lab.checks import one_of, shown, whole
from scalept_lab.errors import InputError
from scalept_lab.folders import writing
from scalept_lab.transfer.bert import LENGTH, check_vocabulary, quiet, two_logits
from scalept_lab.transfer.pairs import check_classes, check_columns

if TYPE_CHECKING:
    import datasets
    import transformers

METRICS = ("accuracy", "precision", "recall", "f1")


@dataclass(frozen=True)
class FineTuning:
    """How an encoder is fine-tuned: AdamW, linear decay. Few pairs get more passes, so that all runs have some steps."""

    lr: float = 2e-4
    batch: int = 32
    epochs: int = 3
    least_steps: int = 50
    length: int = LENGTH
    seed: int = 0

    def steps(self, pairs: int) -> int:
        return max(self.least_steps, self.epochs * -(-pairs // self.batch))


@dataclass(frozen=True)
class Score:
    """What a fine-tuned model does on test pairs: `accuracy`, `precision`, `recall`, `f1` of label 1, loss in nats."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    loss: float
    seconds: float = 0.0
    predictions: np.ndarray = field(default_factory=lambda: np.zeros(0, int), repr=False, compare=False)
    logits: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)), repr=False, compare=False)


def scores(labels: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
    """Accuracy, precision, recall and F1 of label 1; what divides by zero counts as zero.

    Raises: InputError for no labels, unequally many predictions, or any of them but 0 and 1.
    """
    if not len(labels) or len(labels) != len(predictions):
        raise InputError(
            f"predictions: expected one for each of the labels, got {len(predictions)} for {len(labels)}"
        )
    for name, values in (("labels", labels), ("predictions", predictions)):
        if other := {*values} - {0, 1}:
            raise InputError(f"{name}: expected 0 and 1 alone, got {shown(min(other))}")
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predictions, average="binary", pos_label=1, zero_division=0.0
    )
    accuracy = accuracy_score(labels, predictions)
    return dict(zip(METRICS, map(float, (accuracy, precision, recall, f1)), strict=True))


def finetune(
    model: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    train: datasets.Dataset,
    test: datasets.Dataset,
    plan: FineTuning = FineTuning(),
    logs: str | Path | None = None,
) -> Score:
    """Fine-tune `model` in place on `train` and score it on `test`; with `logs`, leave an event log of it there.

    Raises: InputError if a column or one of the classes is missing, and as `evaluate`, before anything is trained.
    """
    for pairs in (train, test):
        check_columns(pairs)
    check_classes(train)
    evaluate(model, tokenizer, test.select(range(min(1, len(test)))), plan.length)
    started = time.perf_counter()
    with scratch.folder("tuned-") as place:
        trainer = _trainer(model, tokenizer, train, plan, logs, place)
        with quiet():
            trainer.train()
    found = evaluate(model, tokenizer, test, plan.length)
    return Score(**{**asdict(found), "seconds": time.perf_counter() - started})


def _trainer(model: Any, tokenizer: Any, train: Any, plan: FineTuning, logs: Any, scratch: str) -> Any:
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments
    from transformers.integrations import TensorBoardCallback
    from transformers.trainer_callback import PrinterCallback

    steps = plan.steps(len(train))
    arguments = TrainingArguments(
        output_dir=scratch, max_steps=steps, per_device_train_batch_size=plan.batch, learning_rate=plan.lr,
        warmup_steps=steps // 10, weight_decay=0.01, seed=plan.seed, report_to=[], save_strategy="no",
        logging_steps=max(1, steps // 30), disable_tqdm=True, dataloader_pin_memory=False,
        use_cpu=machine.device() == "cpu",
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=arguments, train_dataset=tokenize(tokenizer, train, _fitting(model, tokenizer, plan.length)),
        data_collator=DataCollatorWithPadding(tokenizer),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    if logs is not None:  # what report_to="tensorboard" adds, with a folder of our choice
        from torch.utils.tensorboard import SummaryWriter

        # What an earlier run left: two logs in one folder would be read as one curve.
        with writing(logs):
            for old in Path(logs).glob("events.out.tfevents.*"):
                old.unlink()
            trainer.add_callback(TensorBoardCallback(SummaryWriter(str(logs))))
    return trainer


def _fitting(model: Any, tokenizer: Any, length: int) -> int:
    """Tokens that a pair may have: `length`, or what the model has positions for."""
    return min(length, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", length))


def tokenize(tokenizer: Any, pairs: Any, length: int) -> datasets.Dataset:
    """Token ids, segments and label of each pair, too long ones cut at the longer of the two."""
    import datasets

    encoded = tokenizer(
        list(pairs["sentence1"]), list(pairs["sentence2"]), truncation="longest_first", max_length=length
    )
    return datasets.Dataset.from_dict({**encoded, "label": list(pairs["label"])})


@torch.no_grad()
def evaluate(model: Any, tokenizer: Any, test: Any, length: int = LENGTH, chunk: int = 128) -> Score:
    """The scores of a classifier on pairs, its predictions and its logits (pairs, 2).

    A pair is cut to `length` tokens, or to the model's own. Raises: InputError for no pairs, for a model that gives no two logits
    for a pair, and for a tokenizer that is another model's.
    """
    check_columns(test)
    check_vocabulary(model, tokenizer)
    if not len(test):
        raise InputError("pairs: expected at least one to score, got none; draw more pairs")
    length, chunk = _fitting(model, tokenizer, whole("length", length)), whole("chunk", chunk)
    model.eval()
    logits = torch.cat([
        two_logits(model, batch) for batch in _batches(tokenizer, test, length, chunk, model.device)
    ]).float().cpu()  # fmt: skip
    labels = torch.tensor(list(test["label"]))
    predictions = logits.argmax(-1)
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    return Score(
        **scores(labels.tolist(), predictions.tolist()),
        loss=loss,
        predictions=predictions.numpy(),
        logits=logits.numpy(),
    )


def _batches(tokenizer: Any, pairs: Any, length: int, chunk: int, device: Any) -> Any:
    for start in range(0, len(pairs), chunk):
        part = pairs[start : start + chunk]
        yield tokenizer(
            part["sentence1"], part["sentence2"], truncation="longest_first", max_length=length, padding=True,
            return_tensors="pt",
        ).to(device)  # fmt: skip


def read_events(logs: str | Path, tag: str = "train/loss") -> tuple[np.ndarray, np.ndarray]:
    """(steps, values) of one curve in a folder of TensorBoard's event files. Raises: InputError if it is not there."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(logs), size_guidance={"scalars": 0})
    log.Reload()
    known = log.Tags()["scalars"]
    one_of(f"{Path(logs).name}: curve", tag, known)
    events = log.Scalars(tag)
    return np.array([event.step for event in events]), np.array([event.value for event in events])


@torch.no_grad()
def attention(model: Any, tokenizer: Any, sentence1: str, sentence2: str) -> tuple[list[str], np.ndarray]:
    """(tokens, weights) of one pair, cut to 64 tokens at most: weights (depth, heads, L, L), row i what token i looks at; each
    row sums to one."""
    model.set_attn_implementation("eager")  # the fused kernel does not keep its weights
    length = _fitting(model, tokenizer, LENGTH)
    encoded = tokenizer(
        sentence1, sentence2, truncation="longest_first", max_length=length, return_tensors="pt"
    )
    model.eval()
    found: tuple[Tensor, ...] = model(**encoded.to(model.device), output_attentions=True).attentions
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])
    return tokens, torch.cat(found).cpu().numpy()
