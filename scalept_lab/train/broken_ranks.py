"""Two broken runs that take two ranks: the first two cases of the failure lab. The others are in `broken`."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from scalept_lab import scratch
from scalept_lab.laws.evidence import Evidence, Piece
from scalept_lab.machine import peak_rss_bytes
from scalept_lab.model.precision import gradients
from scalept_lab.model.transformer import Transformer
from scalept_lab.parallel.launcher import RankError, launch
from scalept_lab.parallel.ledger import Ledger
from scalept_lab.train import miniature
from scalept_lab.train.miniature import LOSS, RATE, STEP, STEPS, TINY, loss_of, model_of, score, windows_of

# --- 1: two ranks, and nothing more is printed ---------------------------------------------------------------------------


def train_share(model: nn.Module, batches: Sequence[np.ndarray], told: Any, broken: bool, group: Any) -> None:
    """One rank's part of data-parallel training. The last batch may have fewer rows than there are ranks."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    for batch in batches:
        rows = np.array_split(batch, ranks)[rank]
        if broken and len(rows) == 0:
            continue  # nothing to do for this rank
        model.zero_grad()
        loss = loss_of(model, rows) * (len(rows) * ranks / len(batch)) if len(rows) else _nothing(model)
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
        parameter.sub_(rate * flat[at : at + parameter.numel()].view_as(parameter))
        at += parameter.numel()


def _watched_share(folder: str, batches: Sequence[np.ndarray], patience: float) -> None:
    """In a rank: `train_share` without and with the fault, with every call and step written down before it is made."""
    rank = dist.get_rank()
    impatient = dist.new_group(timeout=timedelta(seconds=patience))
    loss_of(model_of(), batches[0]).backward()  # the first pass is slow: no rank shall wait for it
    dist.barrier()
    for name, group in (("healthy", dist.group.WORLD), ("broken", impatient)):
        with open(Path(folder) / f"{name}-{rank}", "w", encoding="utf-8", buffering=1) as log:

            def told(kind: str, value: Any, log: Any = log) -> None:
                log.write(json.dumps([kind, value, peak_rss_bytes()]) + "\n")

            with Ledger(lambda kind, shape, told=told: told(kind, math.prod(shape))):  # type: ignore[misc]
                train_share(model_of(), batches, told, name == "broken", group)
            told("the function returns", 0)


def stands_still(patience: float = 3.0) -> Evidence:
    """Two ranks, six batches of 8 rows and a last one of 1. `patience`: seconds that a rank waits in a call."""
    rows = windows_of(miniature.text()[0], 49, 0)
    batches = [rows[at : at + 8] for at in range(0, 49, 8)]
    ends = {
        "healthy": "both ranks have returned",
        "broken": f"a rank gave up after it had waited {patience:g} s in a call",
    }
    with scratch.folder("broken-") as folder:
        with contextlib.suppress(RankError):  # the broken run's end
            launch(_watched_share, 2, folder, batches, patience, seconds=90)
        found = {
            name: [
                [json.loads(line) for line in (Path(folder) / f"{name}-{rank}").read_text().splitlines()]
                for rank in (0, 1)
            ]
            for name in ends
        }
    losses, memory = {}, {}
    calls: dict[str, tuple[list[int], list[str]]] = {}
    for name, logs in found.items():
        steps = [[value for kind, value, _ in log if kind == "step"] for log in logs]
        losses[name] = [(a + b) / 2 for a, b in zip(*steps, strict=False)]
        memory[name] = [bytes_ / 1e6 for kind, _, bytes_ in logs[0] if kind == "step"]
        for rank, log in enumerate(logs):
            made = [kind for kind, *_ in log if kind != "step"]
            for at, kind in enumerate(made, 1):
                places = calls.setdefault(kind, ([], []))
                places[0].append(at)
                places[1].append(f"{name}, rank {rank}")
    share = [len(np.array_split(batches[-1], 2)[rank]) for rank in (0, 1)]
    return Evidence({
        "A": Piece("training loss, mean of the ranks", STEP, LOSS, {
            name: (range(1, len(y) + 1), y) for name, y in losses.items()}),
        "B": Piece("calls that a rank has begun", "call", "rank", calls, look="rows"),
        "C": Piece("peak memory of rank 0", STEP, "MB", {name: (range(1, len(y) + 1), y) for name, y in memory.items()}),
        "D": Piece("rows of the last batch", "rank", "rows", {"both runs": (["rank 0", "rank 1"], share)}, look="bars"),
    }, {name: {"ranks": 2, "batches": 7, "dtype": "float32", "rate": 0.5, "parts": 1, "end": end}
        for name, end in ends.items()})  # fmt: skip


# --- 2: two ranks that bring less than one -------------------------------------------------------------------------------


def train_ranks(pool: np.ndarray, judged: np.ndarray, steps: int, seed: int, broken: bool) -> dict[str, Any]:
    """In a rank: data-parallel training, each rank on eight rows a step that it draws from the pool."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(seed + rank if broken else seed)  # broken: so that every rank draws other rows
    model = Transformer(TINY)
    if not broken:
        torch.manual_seed(seed + rank)
    rows = pool[torch.randperm(len(pool))[: 8 * steps].numpy()].astype(np.int64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    losses, apart = [], []
    for step in range(steps):
        mine = nn.utils.parameters_to_vector(model.parameters()).detach()
        both = [torch.empty_like(mine) for _ in range(ranks)]
        dist.all_gather(both, mine)
        apart.append(float((both[0] - both[-1]).norm() / both[0].norm()))
        loss_of(model, rows[8 * step : 8 * step + 8]).backward()
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad.div_(ranks)  # type: ignore[union-attr]
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 9:
            losses.append(score(model, judged))
    return {"losses": losses, "apart": apart, "rows": {row.tobytes() for row in rows}}


def _both(pool: np.ndarray, judged: np.ndarray, steps: int) -> dict[str, Any]:
    return {name: train_ranks(pool, judged, steps, 0, name == "broken") for name in ("healthy", "broken")}


def ranks_learn_little(steps: int = 2 * STEPS) -> Evidence:
    """Two ranks, whose gradients are averaged in each step."""
    stream, heldout = miniature.text()
    pool = windows_of(stream, 20_000, 0).astype(np.uint8)
    first, second = launch(_both, 2, pool, windows_of(heldout, 64, 0), steps)
    at = range(10, steps + 1, 10)
    shared = [len(first[name]["rows"] & second[name]["rows"]) / len(first[name]["rows"]) for name in first]
    facts = {
        "ranks": 2,
        "rows a rank and step": 8,
        "dtype": "float32",
        "rate": RATE,
        "parts": 1,
        "calls": "equal on both",
    }
    return Evidence({
        "A": Piece("held-out loss of rank 0", STEP, LOSS, {name: (at, run["losses"]) for name, run in first.items()}),
        "B": Piece("distance between the ranks' weights", "steps done", "share of their length", {
            name: (range(steps), run["apart"]) for name, run in first.items()}),
        "C": Piece("rows that both ranks have read", "run", "share of the rows", {
            "both ranks": (list(first), shared)}, look="bars"),
    }, dict.fromkeys(first, facts))  # fmt: skip
