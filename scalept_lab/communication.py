"""What parallel training sends, by formula: bytes of each collective, rows per strategy and step, and the pipeline's
schedule. Arithmetic only, no torch: these are the numbers that a ledger of real calls is held against.

Two ways to count, kept apart:

* **payload**: bytes of the full tensor that a call is about: the tensor that is reduced, the result of an all-gather,
  the input of a reduce-scatter, the message sent. It belongs to the algorithm and is the same on every backend.
* **wire**: bytes that one rank sends for it, with ring algorithms (`wire_bytes`). A backend may need more: gloo, for
  one, runs a reduce-scatter as an all-reduce.

All rows are for one rank and one step of the optimizer. The loss and the norm of the gradients, a few bytes, are not
in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from scalept_lab.checks import one_of, positive, whole
from scalept_lab.errors import InputError

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "point_to_point")


def wire_bytes(kind: str, payload: float, ranks: int) -> float:
    """Bytes that each of `ranks` sends for one call; `payload` is in bytes of the full tensor.

    A ring passes n − 1 pieces of 1/n on: (n−1)/n · payload for an all-gather or a reduce-scatter, and an all-reduce is
    one after the other, 2(n−1)/n · payload (Rajbhandari et al. 2020, §7.1). A broadcast sends n − 1 copies in all,
    (n−1)/n · payload a rank on average; a message is sent once. Raises: InputError.
    """
    n, payload = whole("ranks", ranks), positive("payload", payload, zero=True)
    share = {
        "all_reduce": 2 * (n - 1) / n,
        "all_gather": (n - 1) / n,
        "reduce_scatter": (n - 1) / n,
        "broadcast": (n - 1) / n,
        "point_to_point": 1.0 if n > 1 else 0.0,
    }
    return share[one_of("kind", kind, KINDS)] * payload


@dataclass(frozen=True)
class Traffic:
    """One row: what a rank asks of its group in a step. `payload` is the bytes of all `calls` together."""

    what: str  # parameters, gradients or activations
    kind: str
    ranks: int
    calls: int
    payload: float

    @property
    def wire(self) -> float:
        return wire_bytes(self.kind, self.payload, self.ranks)


def table(rows: Sequence[Traffic]) -> list[dict[str, Any]]:
    """The rows as dicts with their wire bytes, ready for `pandas.DataFrame`."""
    return [{**asdict(row), "wire": row.wire} for row in rows]


def wire_total(rows: Sequence[Traffic]) -> float:
    """Bytes that one rank sends in a step."""
    return sum(row.wire for row in rows)


def data_parallel(
    params: float, ranks: int, *, bytes_per_element: int = 4, buckets: int = 1
) -> list[Traffic]:
    """Every rank holds the model and averages all gradients once a step; `buckets` is how many calls that takes."""
    payload = positive("params", params, zero=True) * positive("bytes_per_element", bytes_per_element)
    return [Traffic("gradients", "all_reduce", whole("ranks", ranks), whole("buckets", buckets), payload)]


def sharded_optimizer(
    params: float, ranks: int, *, bytes_per_element: int = 4, buckets: int = 1, tensors: int = 1
) -> list[Traffic]:
    """ZeRO-1 as torch's `ZeroRedundancyOptimizer` does it: gradients all-reduced as before, then every parameter tensor
    broadcast by the rank that stepped it. On the wire that is what ZeRO-3 sends; `sharded(zero=1)` is the paper's way.
    """
    rows = data_parallel(params, ranks, bytes_per_element=bytes_per_element, buckets=buckets)
    ranks, payload = rows[0].ranks, rows[0].payload
    return [*rows, Traffic("parameters", "broadcast", ranks, whole("tensors", tensors), payload)]


def sharded(
    units: Sequence[float], ranks: int, *, zero: int = 3, root: float = 0.0, micro_batches: int = 1,
    bytes_per_element: int = 4, gradient_bytes: int | None = None, reshard_after_forward: bool = True,
    root_kept: bool = True,
) -> list[Traffic]:  # fmt: skip
    """ZeRO (Rajbhandari et al. 2020, §7.2), in calls as FSDP2 makes them: one per unit that is sharded on its own.

    units  parameters of each unit, such as one block each; `root` those of the unit around them, which FSDP2 leaves
           gathered after the forward pass unless told otherwise (`root_kept=False`), so that it is gathered once
    zero   3: parameters are gathered for the forward and again for the backward pass, gradients reduce-scattered, for
           every micro-batch: three times the parameters instead of the two of an all-reduce. 1 and 2: gradients
           reduce-scattered (2: for every micro-batch, as no rank keeps all of them), new parameters gathered once
    reshard_after_forward=False keeps the parameters until the backward pass: one gather less.
    Shards that do not divide evenly are padded, which is not in these numbers.
    """
    n, m, zero = whole("ranks", ranks), whole("micro_batches", micro_batches), whole("zero", zero, 1, 3)
    units = [positive("units", size, zero=True) for size in units]
    root = positive("root", root, zero=True)
    sizes = [*units, *([root] if root else [])]
    total, calls = sum(sizes), len(sizes)
    if zero == 3:
        again = sizes if root and not root_kept else list(units)
        gathers = [(total, calls), (sum(again), len(again))] if reshard_after_forward else [(total, calls)]
        times = m
    else:
        gathers, times = [(total, calls)], 1
    scatters = 1 if zero == 1 else m
    gathered, gather_calls = (sum(column) * times for column in zip(*gathers, strict=True))
    wide = bytes_per_element if gradient_bytes is None else gradient_bytes
    return [
        Traffic("parameters", "all_gather", n, int(gather_calls), gathered * bytes_per_element),
        Traffic("gradients", "reduce_scatter", n, calls * scatters, total * wide * scatters),
    ]


def tensor_parallel(
    batch: int, context: int, width: int, depth: int, ranks: int, *, bytes_per_element: int = 4,
    sequence_parallel: bool = False, recompute: bool = False, separate_qkv: bool = False, micro_batches: int = 1,
    ends: int = 0,
) -> list[Traffic]:  # fmt: skip
    """Blocks split column- then row-wise (Shoeybi et al. 2019, §3): 4 all-reduces of B·L·D activations a block.

    Two in the forward pass (after attention, after the MLP) and two in the backward pass (before them). `recompute`
    repeats the forward ones. `separate_qkv`: query, key and value each bring their own gradient of the shared input,
    so that its all-reduce comes three times: 6 a block. With `sequence_parallel` each all-reduce becomes an all-gather
    and a reduce-scatter of the same size, the same bytes on the wire (Korthikanti et al. 2022, §4.2.2).
    `batch` sequences are those of this rank's step, in `micro_batches`. Embeddings and output layer are not in it: where
    every rank has them whole, sequence parallelism gathers twice more (`ends=2`), for the output layer and, in the backward
    pass, for the embedding.
    """
    n, m = whole("ranks", ranks), whole("micro_batches", micro_batches)
    a_block = 4 + (2 if recompute else 0) + (2 if separate_qkv else 0)
    calls = a_block * whole("depth", depth) * m
    tensor = _activations(batch, context, width, bytes_per_element)
    kinds = ("all_gather", "reduce_scatter") if sequence_parallel else ("all_reduce",)
    rows = [Traffic("activations", kind, n, calls, a_block * depth * tensor) for kind in kinds]
    if sequence_parallel and ends:
        rows[0] = Traffic("activations", "all_gather", n, calls + ends * m, rows[0].payload + ends * tensor)
    return rows


def pipeline(
    batch: int, context: int, width: int, stages: int, micro_batches: int, *, bytes_per_element: int = 4,
    interleave: int = 1, stage: int | None = None,
) -> list[Traffic]:  # fmt: skip
    """Messages of B·L·D/m between neighbours: activations on, their gradients back (Narayanan et al. 2021, §3.2).

    What `stage` sends (by default the busiest): an inner stage both, the first none back, the last none on, unless
    `interleave` gives each rank several chunks, which multiplies the messages. `batch`: sequences of the whole step.
    """
    p, m, v = (
        whole(*pair) for pair in (("stages", stages), ("micro_batches", micro_batches), ("interleave", interleave))
    )  # fmt: skip
    last = p * v - 1

    def sends(rank: int) -> int:
        chunks = [rank + k * p for k in range(v)]
        return sum((chunk < last) + (chunk > 0) for chunk in chunks)

    if stage is not None and whole("stage", stage, 0) >= p:
        raise InputError(f"stage: expected 0 to {p - 1}, got {stage}")
    count = (max(map(sends, range(p))) if stage is None else sends(stage)) if p > 1 else 0
    message = _activations(batch, context, width, bytes_per_element) / m
    return [Traffic("activations", "point_to_point", min(p, 2), count * m, count * m * message)]


def _activations(batch: int, context: int, width: int, bytes_per_element: float) -> float:
    """Bytes of one tensor of activations, B·L·D."""
    elements = whole("batch", batch) * whole("context", context) * whole("width", width)
    return elements * positive("bytes_per_element", bytes_per_element)


def data_tensor(
    split: float, replicated: float, batch: int, context: int, width: int, depth: int, data: int, tensor: int, *,
    zero: int = 0, root_kept: bool = True, bytes_per_element: int = 4, **tensor_options: Any,
) -> list[Traffic]:  # fmt: skip
    """A 2-D mesh: tensor parallel inside, data parallel (or ZeRO) across; `split` parameters are divided over tensor
    ranks, `replicated` ones (norms, perhaps embeddings) are whole on each. `batch`: of the whole step.
    """
    if batch % data:
        raise InputError(f"batch: expected a multiple of {data} data-parallel ranks, got {batch}")
    mine = split / tensor + replicated
    rows = tensor_parallel(
        batch // data, context, width, depth, tensor, bytes_per_element=bytes_per_element, **tensor_options
    )
    if zero == 0:
        return rows + data_parallel(mine, data, bytes_per_element=bytes_per_element)
    units = [split / tensor / depth] * depth
    return rows + sharded(
        units, data, zero=zero, root=replicated, root_kept=root_kept, bytes_per_element=bytes_per_element
    )


# --- pipeline schedules


def bubble(
    stages: int, microbatches: int, interleave: int = 1, of: Literal["whole", "ideal"] = "whole"
) -> float:
    """Idle time of a pipeline of p stages, m micro-batches and v chunks a stage (Narayanan et al. 2021, §2.2).

    of="whole": as a share of the whole time, (p−1)/(m·v + p−1): what a timeline shows as empty. of="ideal": as a ratio
    to the time without it, (p−1)/(m·v), the paper's "bubble time fraction": by how much the step grows.
    """
    p, m, v = whole("stages", stages), whole("microbatches", microbatches), whole("interleave", interleave)
    one_of("of", of, ("whole", "ideal"))
    return (p - 1) / (m * v + (p - 1 if of == "whole" else 0))


class Slot(NamedTuple):
    """One box of a timeline. `phase` is F (forward) or B (backward); times in any unit, the same for all boxes."""

    stage: int
    microbatch: int
    phase: str
    start: float
    end: float
    chunk: int = 0


def schedule_timeline(
    stages: int, microbatches: int, kind: Literal["gpipe", "1f1b", "interleaved"] = "1f1b", interleave: int = 1,
    *, forward: float = 1.0, backward: float = 2.0,
) -> list[Slot]:  # fmt: skip
    """The idealised timeline of a schedule: every box starts as soon as its stage is free and its input is there.

    Messages take no time; a stage takes `forward` and `backward` for a micro-batch, a chunk 1/v of it. gpipe: all
    forward, then all backward (Huang et al. 2019); 1f1b and interleaved: Narayanan et al. 2021, §2.2 and figure 4.
    Raises: InputError for an unknown kind, or interleaving with micro-batches that are not a multiple of the stages.
    """
    p, m, v = whole("stages", stages), whole("microbatches", microbatches), whole("interleave", interleave)
    one_of("kind", kind, ("gpipe", "1f1b", "interleaved"))
    if kind != "interleaved" and v > 1:
        raise InputError(f"interleave: {kind} has one chunk a stage, got {v}; take kind='interleaved'")
    if kind == "interleaved" and m % p:
        raise InputError(f"microbatches: interleaving needs a multiple of {p} stages, got {m}")
    todo = [_order(rank, p, m, v, kind) for rank in range(p)]
    took = {"F": forward / v, "B": backward / v}
    done: dict[tuple[int, int, str], float] = {}  # (virtual stage, micro-batch, phase) -> its end
    free, position = [0.0] * p, [0] * p
    rows: list[Slot] = []
    while len(rows) < 2 * p * m * v:
        for rank in range(p):
            while position[rank] < len(todo[rank]):
                phase, micro, chunk = todo[rank][position[rank]]
                place = chunk * p + rank
                if phase == "F":
                    needs = (place - 1, micro, "F") if place else None
                else:
                    needs = (place + 1, micro, "B") if place < p * v - 1 else (place, micro, "F")
                if needs is not None and needs not in done:
                    break
                start = max(free[rank], done[needs] if needs else 0.0)
                free[rank] = done[place, micro, phase] = start + took[phase]
                rows.append(Slot(rank, micro, phase, start, free[rank], chunk))
                position[rank] += 1
    return sorted(rows, key=lambda slot: (slot.start, slot.stage))


def _order(rank: int, p: int, m: int, v: int, kind: str) -> list[tuple[str, int, int]]:
    """What one stage does, in order: (phase, micro-batch, chunk)."""
    total = m * v
    # Chunk by chunk in rounds of p micro-batches; the backward pass takes the chunks from the last to the first.
    forth = [("F", k // (p * v) * p + k % p, k % (p * v) // p) for k in range(total)]
    back = [("B", micro, v - 1 - chunk) for _, micro, chunk in forth]
    ahead = {"gpipe": total, "1f1b": p - 1 - rank, "interleaved": 2 * (p - 1 - rank) + (v - 1) * p}[kind]
    ahead = min(ahead, total)
    steady = [box for pair in zip(forth[ahead:], back, strict=False) for box in pair]
    return forth[:ahead] + steady + back[total - ahead :]


def idle_share(rows: Sequence[Any]) -> float:
    """Idle share of a timeline, ideal or measured: 1 − time in boxes / (stages × time from first start to last end).

    rows: `Slot`s or tuples (stage, microbatch, phase, start, end).
    """
    if not rows:
        raise InputError("rows: expected at least one box of a timeline, got none")
    start, end = min(row[3] for row in rows), max(row[4] for row in rows)
    busy = sum(row[4] - row[3] for row in rows)
    return 1 - busy / (len({row[0] for row in rows}) * (end - start))
