"""A trained model and its cheaper variants: kept in the kit's cache, and measured side by side in loss, time and bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scalept_lab import folders
from scalept_lab.compress.copies import plain_copy
from scalept_lab.compress.quantize import saved_bytes
from scalept_lab.config import ModelConfig, TrainConfig, recommend
from scalept_lab.data.corpora import Prepared
from scalept_lab.data.tokens import eval_windows
from scalept_lab.errors import InputError
from scalept_lab.model.transformer import Transformer, cross_entropy, device_of, rotary_table
from scalept_lab.runs import RunRecord, Store, write_atomically
from scalept_lab.train.loop import fit_model, prepared
from scalept_lab.train.step import to
from scalept_lab.train.timing import Ratio, against, forward_pass

WIDTH, TOKENS = 128, 400_000  # the teacher: half a minute of one core


def teacher_config(seed: int = 0) -> TrainConfig:
    """The run that made the model which notebook 11 makes cheaper."""
    return recommend(WIDTH, TOKENS, seed=seed, eval_windows=256)


def trained(
    config: TrainConfig, corpus: Prepared | None = None, cache: str | Path | None = None
) -> tuple[Transformer, RunRecord]:
    """The trained model of a config and its record: from the kit's cache if it is there, else trained now and kept.

    Weights are kept as tensors alone and read with `weights_only`; a file that cannot be read is made again.
    """
    corpus = corpus or prepared(config.corpus)
    store = Store(folders.cache(cache) / "models" / corpus.sha256[:16])  # other text, other model
    path = store.folder / f"{config.id()}.pt"
    record = store.get(config.id())
    if record is not None and path.is_file():
        model = Transformer(config.model)
        try:
            model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
            return model.eval(), record
        except Exception:  # whatever is wrong with the file: half of it, or another version's
            pass  # train it again
    made, record = fit_model(config, corpus=corpus)
    model = made.cpu().eval()  # type: ignore[assignment]
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    write_atomically(path, buffer.getvalue())
    store.save(record)
    return model, record


def longer(model: Transformer, context: int) -> Transformer:
    """The same weights with room for `context` positions (rotary positions have no weights: only their table grows).

    Raises: InputError for learned positions, of which there are no more than were trained, and for a model in a library's 8 bits.
    """
    if model.config.positions == "learned":
        raise InputError(
            f"positions: expected rotary ones, got {model.config.context} learned ones, which do not reach further"
        )
    config: ModelConfig = model.config.replace(context=context)
    made = plain_copy(model, "a longer context")  # a copy: units or heads may have been cut out of it
    made.config = config
    for name, table_LxK in zip(("cos", "sin"), rotary_table(context, model.cos.shape[1]), strict=True):
        setattr(made, name, table_LxK.to(device_of(model)))
    return made.eval()


@torch.inference_mode()
def window_losses(
    model: nn.Module, corpus: Prepared, windows: int = 256, context: int | None = None, chunk: int = 64
) -> Tensor:
    """Held-out loss of each window, nats per token, (windows,): their mean is the model's loss; of two models, the differences
    window by window say how far another held-out text could have moved the gap. Takes any model, also a quantized one.

    A window has `context` tokens, by default as many as the model reads at once.
    """
    x_WxL, y_WxL = eval_windows(corpus.heldout, context or _context(model), windows)
    parts, device = [], device_of(model)
    for start in range(0, len(x_WxL), chunk):
        x_BxL, y_BxL = (to(rows[start : start + chunk], device).contiguous() for rows in (x_WxL, y_WxL))
        logits_BxLxV = model(x_BxL).float()
        parts += [cross_entropy(one[None], y[None]) for one, y in zip(logits_BxLxV, y_BxL, strict=True)]
    return torch.stack(parts)


def calibration(corpus: Prepared, windows: int = 256, context: int = 64) -> Tensor:
    """Tokens of the training text, (windows, context), spread over it: what a method may look at. Never the held-out text."""
    x_WxL, _ = eval_windows(corpus.train, context, windows)
    return torch.from_numpy(x_WxL)


@dataclass(frozen=True)
class Variant:
    """One way to serve the model: held-out loss (nats per token), bytes of its file, time of a pass over the baseline's."""

    name: str
    loss: float
    bytes: int
    ratio: Ratio | None = None  # None: stored so, but not computed so


def measured(
    models: Mapping[str, nn.Module],
    baseline: str,
    corpus: Prepared,
    *,
    batch: int = 8,
    rounds: int = 9,
    windows: int = 256,
) -> list[Variant]:
    """Loss, bytes and latency (a batch of full contexts, one thread, in turns with the baseline) of each model.

    All read the same text, in windows that the model with the shortest context can take.
    Raises: InputError if the baseline is not among them.
    """
    context = min(map(_context, models.values()), default=1)
    generator = torch.Generator().manual_seed(0)
    x_BxL = torch.randint(corpus.vocab_size, (batch, context), generator=generator)
    arms = {name: forward_pass(model, x_BxL) for name, model in models.items()}
    ratios = against(arms, baseline, rounds)
    losses = {name: window_losses(model, corpus, windows, context) for name, model in models.items()}
    return [
        Variant(name, float(losses[name].mean()), saved_bytes(model), ratios[name])
        for name, model in models.items()
    ]


def _context(model: Any) -> int:
    """How many tokens a model reads at once: a library's copy of our Transformer keeps its config."""
    return model.config.context


def gaps(records: Sequence[RunRecord], **what: object) -> list[float]:
    """Loss minus the teacher's, of the recorded variants whose field `compress` has these values, in the order of the seeds.

    Raises: InputError if there is none, or one seed has several.
    """
    found = {
        record.config["seed"]: record.L - record.metrics["base"]
        for record in records
        if record.L is not None and what.items() <= record.config.get("compress", {}).items()
    }
    several = sum(what.items() <= record.config.get("compress", {}).items() for record in records)
    if not found or several > len(found):
        raise InputError(
            f"expected one recorded variant for each seed with {what}, got {several}; give more of its fields"
        )
    return [found[seed] for seed in sorted(found)]


FORMS = {"fp32": "", "8 bits": "8 bits ", "4 bits": "4 bits ", "3 bits": "3 bits "}


def stored(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Rows `model`, `form`, `losses` (in the order of the seeds) and `bytes` of the recorded sweep `equal_compute`.

    Raises: InputError for records of another sweep.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for record in sorted(records, key=lambda record: record.config["seed"]):
        model = record.config.get("compress", {}).get("arm")
        if model is None:
            raise InputError(
                'records: expected those of "equal_compute", got others; sl.recorded("equal_compute")'
            )
        for form, prefix in FORMS.items():
            if f"{prefix}bytes" in record.metrics:
                row = rows.setdefault(
                    (model, form), {"model": model, "form": form, "losses": [], "bytes": 0.0}
                )
                row["losses"].append(record.L if form == "fp32" else record.metrics[form])
                row["bytes"] = record.metrics[f"{prefix}bytes"]
    return list(rows.values())
