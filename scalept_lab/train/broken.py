"""Runs that are broken on purpose, in one line each, beside the same run without the fault: the cases of the failure lab.

`case(1)` to `case(7)` run one (a second or three each, two ranks where ranks are needed) and return what it leaves behind. The
fault is in the code that runs, written as one writes it without noticing; nothing in the evidence is made up. Case 8, a fit, is
in `laws.gathered`.
"""

from __future__ import annotations

import json
import math
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from scalept_lab.checks import one_of
from scalept_lab.config import ModelConfig, TrainConfig
from scalept_lab.data import tokens
from scalept_lab.data.corpora import prepare
from scalept_lab.data.shared import shared_runs
from scalept_lab.laws import gathered
from scalept_lab.laws.evidence import Evidence, Piece
from scalept_lab.machine import peak_rss_bytes
from scalept_lab.model.optim import make_optimizer
from scalept_lab.model.precision import gradients
from scalept_lab.model.transformer import Transformer, cross_entropy
from scalept_lab.parallel.launcher import RankError, launch
from scalept_lab.parallel.ledger import Ledger
from scalept_lab.runs import recorded

CONTEXT, STEPS, RATE = 32, 60, 5e-3
TINY = ModelConfig(width=32, depth=2, heads=2, context=CONTEXT)
STEP = "step"
LOSS = "loss (nats per token)"


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


@cache
def _text() -> tuple[np.ndarray, np.ndarray]:
    """The beginnings of the two streams of the corpus "python", which all cases share."""
    corpus = prepare("python")
    return np.array(corpus.train[:2_000_000]), np.array(corpus.heldout[:100_000])


def _windows(stream: np.ndarray, count: int, seed: int, context: int = CONTEXT) -> np.ndarray:
    """`count` windows (count, context + 1) from all over a stream, drawn by the seed."""
    starts = np.random.default_rng(seed).permutation(tokens.window_count(stream, context))[:count] * context
    return stream[starts[:, None] + np.arange(context + 1)].astype(np.int64)


def _model(config: ModelConfig = TINY, seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(config)


def _loss(model: nn.Module, rows: np.ndarray) -> Tensor:
    rows_BxL = torch.from_numpy(rows)
    return cross_entropy(model(rows_BxL[:, :-1]), rows_BxL[:, 1:])


@torch.no_grad()
def _judged(model: nn.Module, rows: np.ndarray) -> float:
    return float(_loss(model, rows))


# --- 1: two ranks, and nothing more is printed ---------------------------------------------------------------------------


def train_share(model: nn.Module, batches: Sequence[np.ndarray], told: Any, broken: bool, group: Any) -> None:
    """One rank's part of data-parallel training. The last batch may have fewer rows than there are ranks."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    for batch in batches:
        rows = np.array_split(batch, ranks)[rank]
        if broken and len(rows) == 0:
            continue  # nothing to do for this rank
        model.zero_grad()
        loss = _loss(model, rows) * (len(rows) * ranks / len(batch)) if len(rows) else _nothing(model)
        loss.backward()
        flat = gradients(model) / ranks
        dist.all_reduce(flat, group=group)
        _descend(model, flat)
        told("step", float(loss.detach()))
    dist.barrier(group)  # then a checkpoint would be written


def _nothing(model: nn.Module) -> Tensor:
    """A loss of zero with gradients of zero: what a rank without rows brings to the sum."""
    return torch.stack([(0.0 * parameter).sum() for parameter in model.parameters()]).sum()


@torch.no_grad()
def _descend(model: nn.Module, flat: Tensor, rate: float = 0.5) -> None:
    at = 0
    for parameter in model.parameters():
        parameter -= rate * flat[at : at + parameter.numel()].view_as(parameter)
        at += parameter.numel()


def _watched_share(folder: str, batches: Sequence[np.ndarray], broken: bool, patience: float) -> None:
    """In a rank: `train_share`, with every call and step written down before it is made."""
    rank, model = dist.get_rank(), _model()
    group = dist.new_group(timeout=timedelta(seconds=patience))
    _loss(model, batches[0]).backward()  # the first pass is slow: no rank shall wait for it
    dist.barrier()
    with open(Path(folder) / f"{rank}.log", "w", encoding="utf-8", buffering=1) as log:

        def told(kind: str, value: Any) -> None:
            log.write(json.dumps([kind, value, peak_rss_bytes()]) + "\n")

        with Ledger(lambda kind, shape: told(kind, math.prod(shape))):
            train_share(model, batches, told, broken, group)
        told("returned", 0)


def stands_still(patience: float = 2.0) -> Evidence:
    """Two ranks, six batches of 8 rows and a last one of 1. `patience`: seconds that a rank waits in a call."""
    rows = _windows(_text()[0], 49, 0)
    batches = [rows[at : at + 8] for at in range(0, 49, 8)]
    found = {}
    for name, broken in (("healthy", False), ("broken", True)):
        with tempfile.TemporaryDirectory(prefix="broken-", ignore_cleanup_errors=True) as folder:
            try:
                launch(_watched_share, 2, folder, batches, broken, patience if broken else 60.0, seconds=60)
                ended = "both ranks have returned"
            except RankError:
                ended = f"a rank gave up after it had waited {patience:g} s in a call"
            logs = [[json.loads(line) for line in (Path(folder) / f"{rank}.log").read_text().splitlines()] for rank in (0, 1)]
        found[name] = logs, ended
    losses, calls, memory = {}, {}, {}
    for name, (logs, _) in found.items():
        steps = [[value for kind, value, _ in log if kind == "step"] for log in logs]
        losses[name] = [(a + b) / 2 for a, b in zip(*steps, strict=False)]
        memory[name] = [bytes_ / 1e6 for kind, _, bytes_ in logs[0] if kind == "step"]
        for rank, log in enumerate(logs):
            made = [kind for kind, *_ in log if kind != "step"]
            for at, kind in enumerate(made, 1):
                places = calls.setdefault({"all_reduce": "all_reduce", "barrier": "barrier"}.get(kind, "the function returns"), ([], []))
                places[0].append(at)
                places[1].append(f"{name}, rank {rank}")
    share = [len(np.array_split(batches[-1], 2)[rank]) for rank in (0, 1)]
    return Evidence({
        "A": Piece("training loss, mean of the ranks", STEP, LOSS, {name: (range(1, len(y) + 1), y) for name, y in losses.items()}),
        "B": Piece("calls that a rank has begun", "call", "rank", calls, look="rows"),
        "C": Piece("peak memory of rank 0", STEP, "MB", {name: (range(1, len(y) + 1), y) for name, y in memory.items()}),
        "D": Piece("rows of the last batch", "rank", "rows", {"both runs": (["rank 0", "rank 1"], share)}, look="bars"),
    }, {name: {"ranks": 2, "batches": 7, "dtype": "float32", "rate": 0.5, "parts": 1, "end": ended}
        for name, (_, ended) in found.items()})  # fmt: skip


# --- 2: two ranks that bring less than one -------------------------------------------------------------------------------


def train_ranks(steps: int, seed: int, broken: bool) -> dict[str, Any]:
    """In a rank: data-parallel training, each rank on rows of its own."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(seed + rank if broken else seed)  # so that every rank reads other rows
    model = Transformer(TINY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    stream, heldout = _text()
    rows = _windows(stream, 8 * steps * ranks, seed)[rank::ranks]
    judged, losses, apart = _windows(heldout, 64, 0), [], []
    for step in range(steps):
        mine = nn.utils.parameters_to_vector(model.parameters()).detach()
        both = [torch.empty_like(mine) for _ in range(ranks)]
        dist.all_gather(both, mine)
        apart.append(float((both[0] - both[-1]).norm() / both[0].norm()))
        _loss(model, rows[8 * step : 8 * step + 8]).backward()
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad /= ranks
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 9:
            losses.append(_judged(model, judged))
    return {"losses": losses, "apart": apart, "rows": {row.tobytes() for row in rows}}


def _both(steps: int, seed: int) -> dict[str, Any]:
    return {"healthy": train_ranks(steps, seed, False), "broken": train_ranks(steps, seed, True)}


def ranks_learn_little(steps: int = 2 * STEPS) -> Evidence:
    """Two ranks, whose gradients are averaged in each step."""
    by_rank = launch(_both, 2, steps, 0)
    at = range(10, steps + 1, 10)
    shared = [len(by_rank[0][name]["rows"] & by_rank[1][name]["rows"]) / len(by_rank[0][name]["rows"]) for name in by_rank[0]]
    return Evidence({
        "A": Piece("held-out loss of rank 0", STEP, LOSS, {name: (at, run["losses"]) for name, run in by_rank[0].items()}),
        "B": Piece("distance between the ranks' weights", "steps done", "share of their length", {
            name: (range(steps), run["apart"]) for name, run in by_rank[0].items()}),
        "C": Piece("rows that both ranks have read", "run", "share of the rows", {"both ranks": (list(by_rank[0]), shared)}, look="bars"),
    }, {name: {"ranks": 2, "rows for each rank and step": 8, "dtype": "float32", "rate": RATE, "parts": 1, "calls": "equal on both"}
        for name in by_rank[0]})  # fmt: skip


# --- 3: two runs that flatten early --------------------------------------------------------------------------------------

WHOLE_BATCH = 2**20  # tokens: this process computes 16 · 32 of them, as one of 2,048 ranks would


def train_one_of_many(rows: np.ndarray, half: bool, scale: float, ends_at: int) -> Kept:
    """One rank's share of a batch of a million tokens: its loss is divided by all of them. (AdamW does not mind the size.)"""
    model, kept = _model(), Kept()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, eps=1e-12)
    for step, batch in enumerate(rows.reshape(-1, 16, CONTEXT + 1)):
        rate = max(0.0, 1 - step / ends_at)
        optimizer.param_groups[0]["lr"] = RATE * rate
        with torch.autocast("cpu", torch.float16, enabled=half):
            loss = _loss(model, batch)
        (loss * (batch[:, 1:].size / WHOLE_BATCH) * scale).backward()
        for parameter in model.parameters():
            parameter.grad /= scale
        kept.zeros.append(float((gradients(model.blocks) == 0).float().mean()))
        kept.losses.append(float(loss.detach()))
        kept.rates.append(RATE * rate)
        optimizer.step()
        optimizer.zero_grad()
    return kept


def gradients_of_step(steps: int = 20, seed: int = 0) -> np.ndarray:
    """The gradients of the blocks after some steps, in 32 bits, of the loss divided by the whole batch: what fp16 has to hold."""
    model = _model(seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    for batch in _windows(_text()[0], 16 * (steps + 1), seed).reshape(-1, 16, CONTEXT + 1):
        optimizer.zero_grad()
        _loss(model, batch).backward()
        found = gradients(model.blocks) * (batch[:, 1:].size / WHOLE_BATCH)
        optimizer.step()
    return found.double().numpy()


def flattens(steps: int = STEPS) -> Evidence:
    """Two broken runs, X and Y, whose losses part from the healthy one's early and stay above it."""
    rows = _windows(_text()[0], 16 * steps, 0)
    runs = {
        "healthy": train_one_of_many(rows, True, 2.0**14, 2 * steps),
        "X": train_one_of_many(rows, True, 1.0, 2 * steps),
        "Y": train_one_of_many(rows, True, 2.0**14, steps // 4),
    }
    return Evidence({
        "A": Piece("training loss, mean of 5 steps", STEP, LOSS, {name: _smooth(run.losses, 5) for name, run in runs.items()}),
        "B": Piece("gradients of the blocks that are exactly 0", STEP, "share", {
            name: _smooth(run.zeros, 5) for name, run in runs.items()}),
        "C": Piece("learning rate", STEP, "rate", {name: run.line("rates") for name, run in runs.items()}),
    }, {name: {"ranks": 1, "dtype": "float16 (autocast)", "peak rate": RATE, "parts": 1} for name in runs})  # fmt: skip


def _smooth(values: Sequence[float], size: int) -> tuple[list[int], list[float]]:
    """Means of `size` values, each at its last step."""
    means = np.array(values[: len(values) // size * size]).reshape(-1, size).mean(1)
    return [size * (i + 1) for i in range(len(means))], means.tolist()


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
    return tokens.scattered(_text()[0], size, seed, 330)


def looks_good(passes: int = 16, seed: int = 0) -> Evidence:
    """The same small text, cut into windows and split in two ways; many passes over it."""
    stream, fresh = small_text(seed), _windows(_text()[1], 64, 1)
    steps = len(stream) // (CONTEXT + 1) * 9 // 10 // 8  # of a pass, for both
    splits = {name: split_windows(stream, CONTEXT + 1, seed, name == "broken") for name in ("healthy", "broken")}
    curves: dict[str, tuple[list[float], list[float], list[float]]] = {}
    for name, (rows, held) in splits.items():
        model, at = _model(), 0
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        order = np.concatenate([np.random.default_rng(p).permutation(len(rows)) for p in range(2 * passes)])
        told: tuple[list[float], list[float], list[float]] = ([], [], [])
        for _ in range(passes):
            for _ in range(steps):
                _loss(model, rows[order[at : at + 8]]).backward()
                optimizer.step()
                optimizer.zero_grad()
                at += 8
            for values, some in zip(told, (rows[:64], held, fresh), strict=True):
                values.append(_judged(model, some))
        curves[name] = told
    at_pass, sizes = range(1, passes + 1), (2, 4, 6, 8, 12, 16, 20, 24, 32)
    return Evidence({
        "A": Piece("loss on training and held-out windows", "pass over the text", LOSS, {
            **{f"{name}: training": (at_pass, told[0]) for name, told in curves.items()},
            **{f"{name}: held out": (at_pass, told[1]) for name, told in curves.items()}}),
        "B": Piece("held-out runs that stand in the training text", "length of a run (bytes)", "share of the runs", {
            name: (sizes, [shared_runs(rows, held, size) for size in sizes]) for name, (rows, held) in splits.items()}),
        "C": Piece("loss on text that neither split has", "pass over the text", LOSS, {
            name: (at_pass, told[2]) for name, told in curves.items()}),
    }, {name: {"ranks": 1, "training windows": len(rows), "held-out windows": len(held), "steps a pass": steps, "dtype": "float32", "rate": 1e-2, "parts": 1} for name, (rows, held) in splits.items()})  # fmt: skip


# --- 5: the wide model is worse ------------------------------------------------------------------------------------------

TUNED = 0.02  # the best rate of width 16 in data/records/lr_transfer.jsonl


def train_wide(width: int, parametrization: str, steps: int, seed: int = 0, rate: float = TUNED) -> Kept:
    """A model of this width, trained at the rate that was best at width 16."""
    config = TrainConfig(model=TINY.replace(width=width), lr=rate, parametrization=parametrization)  # type: ignore[arg-type]
    model, kept = _model(config.model, seed), Kept()
    optimizer = make_optimizer(model, config)
    for batch in _windows(_text()[0], 8 * steps, seed).reshape(-1, 8, CONTEXT + 1):
        loss = _loss(model, batch)
        loss.backward()
        kept.norms.append(float(gradients(model).norm()))
        kept.losses.append(float(loss.detach()))
        optimizer.step()
        optimizer.zero_grad()
    return kept


def first_change(width: int, parametrization: str, seed: int = 0, steps: int = 4, rate: float = TUNED) -> float:
    """By how much the first steps change what the model says: the root mean square of all changes of its logits."""
    config = TrainConfig(model=TINY.replace(width=width), lr=rate, parametrization=parametrization)  # type: ignore[arg-type]
    model = _model(config.model, seed)
    optimizer = make_optimizer(model, config)
    asked = torch.from_numpy(_windows(_text()[1], 8, 0)[:, :-1])
    with torch.no_grad():
        before = model(asked)
    for batch in _windows(_text()[0], 8 * steps, seed).reshape(-1, 8, CONTEXT + 1):
        _loss(model, batch).backward()
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
            if run.config["parametrization"] == "standard" and run.config["model"]["width"] == width and run.L is not None:
                losses.setdefault(run.config["lr"], []).append(run.L)
        sweep[f"width {width}"] = sorted(losses), [float(np.mean(losses[rate])) for rate in sorted(losses)]
    return Evidence({
        "A": Piece("training loss, mean of 4 steps", STEP, LOSS, {name: _smooth(run.losses, 4) for name, run in runs.items()}),
        "B": Piece("size of the gradient, mean of 4 steps", STEP, "norm", {
            name: _smooth(run.norms, 4) for name, run in runs.items()}, log="y"),
        "C": Piece("recorded runs: loss against the rate", "learning rate", LOSS, sweep, log="x"),
    }, {name: {"ranks": 1, "width": 16 if name == "width 16" else 128, "dtype": "float32", "rate": TUNED, "parts": 1} for name in runs})  # fmt: skip


# --- 6: the same batch in parts is another run ---------------------------------------------------------------------------


def in_parts(model: nn.Module, rows: np.ndarray, kept: np.ndarray, parts: int, broken: bool) -> Tensor:
    """Gradients of a batch that is computed in parts. kept (B, L): which targets count (the rest is padding). Returns the loss."""
    total = torch.zeros(())
    for some, count in zip(np.array_split(rows, parts), np.array_split(kept, parts), strict=True):
        row, mask = torch.from_numpy(some), torch.from_numpy(count.copy())
        each = nn.functional.cross_entropy(model(row[:, :-1]).transpose(1, 2), row[:, 1:], reduction="none")
        loss = each[mask].mean() / parts if broken else each[mask].sum() / int(kept.sum())
        loss.backward()
        total += loss.detach()
    return total


def _padded(steps: int, equal: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Rows and which targets count: documents of many lengths, the longest first, as a loader that sorts by length gives them."""
    rows = _windows(_text()[0], 16 * steps, 0).reshape(steps, 16, CONTEXT + 1)
    lengths = np.full(16, 16) if equal else np.round(np.geomspace(CONTEXT, 2, 16)).astype(int)
    return rows, np.broadcast_to(np.arange(CONTEXT) < lengths[:, None], (steps, 16, CONTEXT))


def off_by(
    parts: int, broken: bool, equal: bool = False, dtype: torch.dtype = torch.float32, shuffled: int | None = None
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
        model = _model()
        nn.init.normal_(model.head.weight, std=0.1)  # it starts at zero, which would leave the blocks without gradients
        model.to(dtype)
        in_parts(model, rows, kept, pieces, wrong)
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    return float((found[1] - found[0]).norm() / found[0].norm())


def differs(steps: int = STEPS) -> Evidence:
    """One batch in one pass, and the same batch in four parts."""
    rows, kept = _padded(steps)
    curves, targets = {}, [int(part.sum()) for part in np.array_split(kept[0], 4)]
    judged = _windows(_text()[1], 64, 0)
    for name, parts, broken in (("one pass", 1, False), ("broken", 4, True), ("healthy", 4, False)):
        model, losses = _model(), []
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
        for step in range(steps):
            in_parts(model, rows[step], kept[step], parts, broken)
            optimizer.step()
            optimizer.zero_grad()
            if step % 5 == 4:
                losses.append(_judged(model, judged))
        curves[name] = losses
    at, cuts = range(5, steps + 1, 5), (1, 2, 4, 8, 16)
    named = [str(n) for n in cuts]
    above = {name: [mine - one for mine, one in zip(losses, curves["one pass"], strict=True)] for name, losses in curves.items()}
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
        "D": Piece("targets in each part", "part", "targets", {"both runs": ([str(i + 1) for i in range(4)], targets)}, look="bars"),
    }, {name: {"ranks": 1, "rows": 16, "parts": 1 if name == "one pass" else 4, "dtype": "float32", "rate": RATE} for name in curves})  # fmt: skip


# --- 7: two training losses that are very good ---------------------------------------------------------------------------

LIFE = 12  # steps between two kills


def order(windows: int, batch: int, seed: int, broken: bool) -> Iterator[tuple[int, np.ndarray]]:
    """(step, windows to read), for a run that is killed after every `LIFE` steps and resumed from its checkpoint."""
    step = 0
    while step < windows // batch:
        loader = iter(np.random.default_rng(seed).permutation(windows)[: windows // batch * batch].reshape(-1, batch))
        for _ in range(0 if broken else step):
            next(loader)  # what was read before the kill
        for rows, _ in zip(loader, range(LIFE), strict=False):
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
    rows, judged = _windows(_text()[0], 8 * steps, 0), _windows(_text()[1], 64, 0)
    by_ease = np.argsort([-packed(row[None]) for row in rows])
    orders = {
        "healthy": [some for _, some in order(len(rows), 8, 0, False)],
        "X": [some for _, some in order(len(rows), 8, 0, True)],
        "Y": list(by_ease.reshape(steps, 8)),
    }
    losses: dict[str, list[float]] = {}
    heldout: dict[str, list[float]] = {}
    for name, chosen in orders.items():
        model = _model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        losses[name], heldout[name] = [], []
        for step, some in enumerate(chosen, 1):
            loss = _loss(model, rows[some])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses[name].append(float(loss.detach()))
            if step % LIFE == 0:
                heldout[name].append(_judged(model, judged))
    return Evidence({
        "A": Piece("training loss, mean of 10 steps", STEP, LOSS, {name: _smooth(values, 10) for name, values in losses.items()}),
        "B": Piece("held-out loss", STEP, LOSS, {name: (range(LIFE, steps + 1, LIFE), values) for name, values in heldout.items()}),
        "C": Piece("windows that the run has read before", STEP, "share of the batch", {
            name: _smooth(_again(chosen), 4) for name, chosen in orders.items()}),
        "D": Piece("what zlib makes of the batches, mean of 10", STEP, "bits per byte", {
            name: _smooth([packed(rows[some]) for some in chosen], 10) for name, chosen in orders.items()}),
    }, {name: {"ranks": 1, "killed and resumed after every": f"{LIFE} steps", "dtype": "float32", "rate": 1e-2, "parts": 1}
        for name in orders})  # fmt: skip


CASES = {1: stands_still, 2: ranks_learn_little, 3: flattens, 4: looks_good, 5: grows_worse, 6: differs, 7: falls_below,
         8: gathered.case}  # fmt: skip
