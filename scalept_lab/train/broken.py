"""Runs that are broken on purpose, in one line each, beside the same run without the fault: the cases of the failure lab.

`case(1)` to `case(8)` run one (a second or three each) and return what it leaves behind. The fault is in the code that runs,
written as one writes it without noticing; nothing in the evidence is made up. The cases on two ranks are in `broken_ranks`, and
case 8, a fit, in `laws.gathered`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from scalept_lab.checks import one_of
from scalept_lab.config import TrainConfig
from scalept_lab.data import tokens
from scalept_lab.data.shared import shared_runs
from scalept_lab.laws import gathered
from scalept_lab.laws.evidence import Evidence, Piece
from scalept_lab.model.optim import make_optimizer
from scalept_lab.model.precision import gradients
from scalept_lab.model.transformer import device_of
from scalept_lab.runs import recorded
from scalept_lab.train import broken_ranks, miniature
from scalept_lab.train.miniature import (
    CONTEXT,
    LOSS,
    RATE,
    STEP,
    STEPS,
    TINY,
    loss_of,
    model_of,
    score,
    smooth,
    windows_of,
)
from scalept_lab.train.step import to


def case(number: int) -> Evidence:
    """What the broken run of this number, 1 to 8, and the healthy one leave behind. Raises: InputError for another number."""
    return CASES[one_of("case", number, CASES)]()


@dataclass
class Kept:
    """What a run wrote down, one number a step."""

    losses: list[float] = field(default_factory=list)
    zeros: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def line(self, name: str) -> tuple[range, list[float]]:
        values = getattr(self, name)
        return range(1, len(values) + 1), values


# --- 3: two runs that flatten early --------------------------------------------------------------------------------------

WHOLE_BATCH = 2**20  # tokens: this process computes 16 · 32 of them, as one of 2,048 ranks would


def train_one_of_many(rows: np.ndarray, half: bool, scale: float, ends_at: int) -> Kept:
    """One rank's share of a batch of a million tokens: its loss is divided by all of them. (AdamW does not mind the size.)"""
    model, kept = model_of(), Kept()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, eps=1e-12)
    for step, batch in enumerate(rows.reshape(-1, 16, CONTEXT + 1)):
        rate = max(0.0, 1 - step / ends_at)
        optimizer.param_groups[0]["lr"] = RATE * rate
        with torch.autocast("cpu", torch.float16, enabled=half):
            loss = loss_of(model, batch)
        (loss * (batch[:, 1:].size / WHOLE_BATCH) * scale).backward()
        for parameter in model.parameters():
            parameter.grad.div_(scale)  # type: ignore[union-attr]
        kept.zeros.append(float((gradients(model.blocks) == 0).float().mean()))
        kept.losses.append(float(loss.detach()))
        kept.rates.append(RATE * rate)
        optimizer.step()
        optimizer.zero_grad()
    return kept


def gradients_of_step(steps: int = 20, seed: int = 0) -> np.ndarray:
    """The gradients of the blocks after some steps, in 32 bits, of the loss divided by the whole batch: what fp16 has to hold."""
    model = model_of(seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    for batch in windows_of(miniature.text()[0], 16 * (steps + 1), seed).reshape(-1, 16, CONTEXT + 1):
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        found = gradients(model.blocks) * (batch[:, 1:].size / WHOLE_BATCH)
        optimizer.step()
    return found.double().numpy()


def flattens(steps: int = STEPS) -> Evidence:
    """Two broken runs, X and Y, whose losses part from the healthy one's early and stay above it."""
    rows = windows_of(miniature.text()[0], 16 * steps, 0)
    runs = {
        "healthy": train_one_of_many(rows, True, 2.0**14, 2 * steps),
        "X": train_one_of_many(rows, True, 1.0, 2 * steps),
        "Y": train_one_of_many(rows, True, 2.0**14, steps // 4),
    }
    return Evidence({
        "A": Piece("training loss, mean of 5 steps", STEP, LOSS, {name: smooth(run.losses, 5) for name, run in runs.items()}),
        "B": Piece("gradients of the blocks that are exactly 0", STEP, "share", {
            name: smooth(run.zeros, 5) for name, run in runs.items()}),
        "C": Piece("learning rate", STEP, "rate", {name: run.line("rates") for name, run in runs.items()}),
    }, {name: {"ranks": 1, "dtype": "float16 (autocast)", "peak rate": RATE, "parts": 1} for name in runs})  # fmt: skip


# --- 4: a held-out loss that is very good --------------------------------------------------------------------------------


def split_windows(text: np.ndarray, size: int, seed: int, broken: bool) -> tuple[np.ndarray, np.ndarray]:
    """Windows of `size` tokens for training and to hold out, a tenth of them."""
    stride = size // 2 if broken else size  # half a window further: twice as many windows from the same text
    rows = np.lib.stride_tricks.sliding_window_view(text, size)[::stride].astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(rows))
    held = len(rows) // 10
    return rows[order[held:]], rows[order[:held]]


def small_text(seed: int = 0, size: int = 9_900) -> np.ndarray:
    """Pieces of 330 bytes from all over the corpus, one after the other."""
    return tokens.scattered(miniature.text()[0], size, seed, 330)


def looks_good(passes: int = 12, seed: int = 0) -> Evidence:
    """The same small text, cut into windows and split in two ways; many passes over it."""
    stream, fresh = small_text(seed), windows_of(miniature.text()[1], 64, 1)
    steps = len(stream) // (CONTEXT + 1) * 9 // 10 // 8  # of a pass, for both
    splits = {
        name: split_windows(stream, CONTEXT + 1, seed, name == "broken") for name in ("healthy", "broken")
    }
    curves: dict[str, tuple[list[float], list[float], list[float]]] = {}
    for name, (rows, held) in splits.items():
        model, at = model_of(), 0
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        order = np.concatenate([np.random.default_rng(p).permutation(len(rows)) for p in range(2 * passes)])
        told: tuple[list[float], list[float], list[float]] = ([], [], [])
        for _ in range(passes):
            for _ in range(steps):
                loss_of(model, rows[order[at : at + 8]]).backward()
                optimizer.step()
                optimizer.zero_grad()
                at += 8
            for values, some in zip(told, (rows[:64], held, fresh), strict=True):
                values.append(score(model, some))
        curves[name] = told
    at_pass, sizes = range(1, passes + 1), (2, 4, 6, 8, 12, 16, 20, 24, 32)
    return Evidence({
        "A": Piece("loss on training and held-out windows", "pass over the text", LOSS, {
            **{f"{name}: training": (at_pass, told[0]) for name, told in curves.items()},
            **{f"{name}: held out": (at_pass, told[1]) for name, told in curves.items()}}),
        "B": Piece("held-out runs that stand in the training text", "length of a run (bytes)", "share of the runs", {
            name: (sizes, [shared_runs([*rows], [*held], size) for size in sizes]) for name, (rows, held) in splits.items()}),
        "C": Piece("loss on text that neither split has", "pass over the text", LOSS, {
            name: (at_pass, told[2]) for name, told in curves.items()}),
    }, {name: {"ranks": 1, "training windows": len(rows), "held-out windows": len(held), "steps a pass": steps,
               "dtype": "float32", "rate": 1e-2, "parts": 1} for name, (rows, held) in splits.items()})  # fmt: skip


# --- 5: the wide model is worse ------------------------------------------------------------------------------------------

TUNED = 0.02  # the best rate of width 16 in data/records/lr_transfer.jsonl


def train_wide(width: int, parametrization: str, steps: int, seed: int = 0, rate: float = TUNED) -> Kept:
    """A model of this width, trained at the rate that was best at width 16."""
    config = TrainConfig(model=TINY.replace(width=width), lr=rate, parametrization=parametrization)
    model, kept = model_of(config.model, seed), Kept()
    optimizer = make_optimizer(model, config)
    for batch in windows_of(miniature.text()[0], 8 * steps, seed).reshape(-1, 8, CONTEXT + 1):
        loss = loss_of(model, batch)
        loss.backward()
        kept.norms.append(float(gradients(model).norm()))
        kept.losses.append(float(loss.detach()))
        optimizer.step()
        optimizer.zero_grad()
    return kept


def first_change(
    width: int, parametrization: str, seed: int = 0, steps: int = 4, rate: float = TUNED
) -> float:
    """By how much the first steps change what the model says: the root mean square of all changes of its logits."""
    config = TrainConfig(model=TINY.replace(width=width), lr=rate, parametrization=parametrization)
    model = model_of(config.model, seed)
    optimizer = make_optimizer(model, config)
    asked = torch.from_numpy(windows_of(miniature.text()[1], 8, 0)[:, :-1])
    with torch.no_grad():
        before = model(asked)
    for batch in windows_of(miniature.text()[0], 8 * steps, seed).reshape(-1, 8, CONTEXT + 1):
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        return float((model(asked) - before).square().mean().sqrt())


def grows_worse(steps: int = STEPS) -> Evidence:
    """Width 128 at the recipe of width 16; the healthy run is of width 128 too."""
    runs = {"width 16": train_wide(16, "standard", steps), "broken": train_wide(128, "standard", steps),
            "healthy": train_wide(128, "mup", steps)}  # fmt: skip
    sweep: dict[str, tuple[list[float], list[float]]] = {}
    for width in (16, 64):
        losses: dict[float, list[float]] = {}
        for run in recorded("lr_transfer"):
            if (
                run.config["parametrization"] == "standard"
                and run.config["model"]["width"] == width
                and run.L is not None
            ):
                losses.setdefault(run.config["lr"], []).append(run.L)
        sweep[f"width {width}"] = sorted(losses), [float(np.mean(losses[rate])) for rate in sorted(losses)]
    return Evidence({
        "A": Piece("training loss, mean of 4 steps", STEP, LOSS, {name: smooth(run.losses, 4) for name, run in runs.items()}),
        "B": Piece("size of the gradient, mean of 4 steps", STEP, "norm", {
            name: smooth(run.norms, 4) for name, run in runs.items()}, log="y"),
        "C": Piece("recorded runs: loss against the rate", "learning rate", LOSS, sweep, log="x"),
    }, {name: {"ranks": 1, "width": 16 if name == "width 16" else 128, "dtype": "float32", "rate": TUNED, "parts": 1}
        for name in runs})  # fmt: skip


# --- 6: the same batch in parts is another run ---------------------------------------------------------------------------


def in_parts(model: nn.Module, rows: np.ndarray, kept: np.ndarray, parts: int, broken: bool) -> Tensor:
    """Gradients of a batch that is computed in parts. Returns its loss.

    rows (B, L + 1) are the documents, and kept (B, L) says which targets count: the rest is padding.
    """
    device = device_of(model)
    total = torch.zeros((), device=device)
    for some, count in zip(np.array_split(rows, parts), np.array_split(kept, parts), strict=True):
        row, mask = to(some, device), to(count.copy(), device)
        each = nn.functional.cross_entropy(model(row[:, :-1]).transpose(1, 2), row[:, 1:], reduction="none")
        loss = each[mask].mean() / parts if broken else each[mask].sum() / int(kept.sum())
        loss.backward()
        total += loss.detach()
    return total


def _padded(steps: int, equal: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Rows and which targets count: documents of many lengths, the longest first, as a loader that sorts by length gives them."""
    rows = windows_of(miniature.text()[0], 16 * steps, 0).reshape(steps, 16, CONTEXT + 1)
    lengths = np.full(16, 16) if equal else np.round(np.geomspace(CONTEXT, 2, 16)).astype(int)
    return rows, np.broadcast_to(np.arange(CONTEXT) < lengths[:, None], (steps, 16, CONTEXT))


def off_by(
    parts: int,
    broken: bool,
    equal: bool = False,
    dtype: torch.dtype = torch.float32,
    shuffled: int | None = None,
) -> float:
    """The distance of the first batch's gradient, computed in parts, from that of one pass, over its length.

    equal: whether all documents are of one length; shuffled: a seed that mixes the rows before they are cut into parts.
    """
    (rows, *_), (kept, *_) = _padded(1, equal)
    if shuffled is not None:
        mixed = np.random.default_rng(shuffled).permutation(len(rows))
        rows, kept = rows[mixed], kept[mixed]
    found = []
    for pieces, wrong in ((1, False), (parts, broken)):
        model = model_of()
        nn.init.normal_(
            model.head.weight, std=0.1
        )  # it starts at zero, which would leave the blocks without gradients
        model.to(dtype)
        in_parts(model, rows, kept, pieces, wrong)
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    return float((found[1] - found[0]).norm() / found[0].norm())


def differs(steps: int = STEPS) -> Evidence:
    """One batch in one pass, and the same batch in four parts."""
    rows, kept = _padded(steps)
    curves, targets = {}, [int(part.sum()) for part in np.array_split(kept[0], 4)]
    judged = windows_of(miniature.text()[1], 64, 0)
    for name, parts, broken in (("one pass", 1, False), ("broken", 4, True), ("healthy", 4, False)):
        model, losses = model_of(), []
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
        for step in range(steps):
            in_parts(model, rows[step], kept[step], parts, broken)
            optimizer.step()
            optimizer.zero_grad()
            if step % 5 == 4:
                losses.append(score(model, judged))
        curves[name] = losses
    at, cuts = range(5, steps + 1, 5), (1, 2, 4, 8)
    named = [str(n) for n in cuts]
    above = {
        name: [mine - one for mine, one in zip(losses, curves["one pass"], strict=True)]
        for name, losses in curves.items()
    }
    return Evidence({
        "A": Piece("held-out loss above that of one pass", STEP, "difference (nats per token)", {
            name: (at, above[name]) for name in ("broken", "healthy")}),
        "B": Piece("gradient of one batch against one pass", "parts", "difference (share of its length)", {
            "broken": (named, [off_by(n, True) for n in cuts]),
            "broken, texts of one length": (named, [off_by(n, True, equal=True) for n in cuts]),
            "healthy": (named, [off_by(n, False) for n in cuts])}),
        "C": Piece("the same in four parts, by format", "format", "difference (share of its length)", {
            name: (["32 bits", "64 bits"], [off_by(4, wrong, dtype=d) for d in (torch.float32, torch.float64)])
            for name, wrong in (("broken", True), ("healthy", False))}, look="bars"),
        "D": Piece("targets in each part", "part", "targets", {"both runs": (["1", "2", "3", "4"], targets)}, look="bars"),
    }, {name: {"ranks": 1, "rows": 16, "parts": 1 if name == "one pass" else 4, "dtype": "float32", "rate": RATE}
        for name in curves})  # fmt: skip


# --- 7: two training losses that are very good ---------------------------------------------------------------------------

LIFE = 12  # steps between two kills


def order(windows: int, batch: int, seed: int, broken: bool) -> Iterator[tuple[int, np.ndarray]]:
    """(step, windows to read), for a run that is killed after every `LIFE` steps and resumed from its checkpoint."""
    step, steps = 0, windows // batch
    while step < steps:
        loader = iter(
            np.random.default_rng(seed).permutation(windows)[: windows // batch * batch].reshape(-1, batch)
        )
        for _ in range(0 if broken else step):
            next(loader)  # what was read before the kill
        for rows, _ in zip(loader, range(min(LIFE, steps - step)), strict=False):
            yield step, rows
            step += 1


def packed(rows: np.ndarray) -> float:
    """Bits per byte that zlib needs for a batch: how easy its text is, without any model."""
    raw = rows[:, 1:].astype(np.uint8).tobytes()
    return 8 * len(zlib.compress(raw, 9)) / len(raw)


def _again(batches: Sequence[np.ndarray]) -> list[float]:
    """For each batch the share of its windows that an earlier one held."""
    seen: set[int] = set()
    shares = []
    for rows in batches:
        shares.append(float(np.mean([int(row) in seen for row in rows])))
        seen.update(map(int, rows))
    return shares


def falls_below(lives: int = 14) -> Evidence:
    """Two broken runs, X and Y, whose training loss falls below the healthy one's."""
    steps = LIFE * lives
    rows, judged = windows_of(miniature.text()[0], 8 * steps, 0), windows_of(miniature.text()[1], 64, 0)
    by_ease = np.argsort([-packed(row[None]) for row in rows])
    orders = {
        "healthy": [some for _, some in order(len(rows), 8, 0, False)],
        "X": [some for _, some in order(len(rows), 8, 0, True)],
        "Y": list(by_ease.reshape(steps, 8)),
    }
    losses: dict[str, list[float]] = {}
    heldout: dict[str, list[float]] = {}
    for name, chosen in orders.items():
        model = model_of()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        losses[name], heldout[name] = [], []
        for step, some in enumerate(chosen, 1):
            loss = loss_of(model, rows[some])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses[name].append(float(loss.detach()))
            if step % LIFE == 0:
                heldout[name].append(score(model, judged))
    return Evidence({
        "A": Piece("training loss, mean of 10 steps", STEP, LOSS, {name: smooth(values, 10) for name, values in losses.items()}),
        "B": Piece("held-out loss", STEP, LOSS, {
            name: (range(LIFE, steps + 1, LIFE), values) for name, values in heldout.items()}),
        "C": Piece("windows that the run has read before", STEP, "share of the batch", {
            name: smooth(_again(chosen), 4) for name, chosen in orders.items()}),
        "D": Piece("what zlib makes of the batches, mean of 10", STEP, "bits per byte", {
            name: smooth([packed(rows[some]) for some in chosen], 10) for name, chosen in orders.items()}),
    }, {name: {"ranks": 1, "killed and resumed after every": f"{LIFE} steps", "dtype": "float32", "rate": 1e-2, "parts": 1}
        for name in orders})  # fmt: skip


CASES: dict[int, Callable[[], Evidence]] = {
    1: broken_ranks.stands_still, 2: broken_ranks.ranks_learn_little, 3: flattens, 4: looks_good, 5: grows_worse, 6: differs,
    7: falls_below, 8: gathered.case,
}  # fmt: skip
