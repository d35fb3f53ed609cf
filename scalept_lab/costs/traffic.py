"""What parallel training sends, by formula: bytes of each collective, rows per strategy and step, and a pipeline's
idle time. Arithmetic only, no torch: these are the numbers that a ledger of real calls is held against.

Two ways to count, kept apart:

* **payload**: bytes of the full tensor that a call is about: the tensor that is reduced, the result of an all-gather,
  the input of a reduce-scatter, the message sent, what a rank brings to an all-to-all. It belongs to the algorithm and is
  the same on every backend.
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

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "point_to_point", "all_to_all")


def wire_bytes(kind: str, payload: float, ranks: int) -> float:
    """Bytes that each of `ranks` sends for one call; `payload` is in bytes of the full tensor.

    A ring passes n − 1 pieces of 1/n on: (n−1)/n · payload for an all-gather or a reduce-scatter, and an all-reduce is
    one after the other, 2(n−1)/n · payload (Rajbhandari et al. 2020, §7.1). A broadcast sends n − 1 copies in all,
    (n−1)/n · payload a rank on average; a message is sent once; of what it brings to an all-to-all a rank keeps 1/n.
    Raises: InputError.
    """
    n, payload = whole("ranks", ranks), positive("payload", payload, zero=True)
    share = {
        "all_reduce": 2 * (n - 1) / n,
        "all_gather": (n - 1) / n,
        "reduce_scatter": (n - 1) / n,
        "broadcast": (n - 1) / n,
        "point_to_point": 1.0 if n > 1 else 0.0,
        "all_to_all": (n - 1) / n,
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


def hybrid_sharded(
    units: Sequence[float], ranks: int, copies: int, *, root: float = 0.0, **options: Any
) -> list[Traffic]:
    """HSDP: `copies` groups of ranks each share the state as in ZeRO-3 (`sharded`, with its options), and every rank then
    all-reduces its slice of the gradients with the ranks that hold the same slice, one call for each unit."""
    n, k = whole("ranks", ranks), whole("copies", copies)
    if n % k:
        raise InputError(f"copies: expected a divisor of the {n} ranks, got {copies}")
    rows = sharded(units, n // k, root=root, **options)
    if k == 1:
        return rows
    scatter = rows[-1]
    return [*rows, Traffic("gradients", "all_reduce", k, scatter.calls, scatter.payload * k / n)]


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


WAYS = ("ring", "gather", "heads")


def context_parallel(
    batch: int, context: int, width: int, depth: int, ranks: int, how: str = "ring", *, bytes_per_element: int = 4,
    key_share: float = 1.0, backward: bool = True,
) -> list[Traffic]:  # fmt: skip
    """One sequence on many ranks: what attention sends, by way, in a forward and (unless told otherwise) a backward pass.

    ring    keys and values of L/n positions go n − 1 hops; back, they go again, and their gradients n hops (Liu et al. 2023)
    gather  all keys and values are gathered before attention, and gathered again in the backward pass, whose gradients are
            reduce-scattered: the same bytes as in the ring but for its last hop, and all keys in memory at once
    heads   an all-to-all exchanges positions for heads before attention, of q, k and v together, and one takes the result back
            (Jacobs et al. 2023, §3.2); the backward pass does the same. There can be no more ranks than heads

    `key_share`: heads of keys and values as a share of all heads (grouped-query attention). Raises: InputError.
    """
    n, depth = whole("ranks", ranks), whole("depth", depth)
    one_of("how", how, WAYS)
    local = _activations(batch, context, width, bytes_per_element) / n
    kv = 2 * local * positive("key_share", key_share)
    if how == "heads":
        passes = 2 if backward else 1
        return [
            Traffic("activations", "all_to_all", n, 2 * passes * depth, passes * depth * (2 * local + kv))
        ]
    if how == "gather":
        gathers = 2 if backward else 1
        rows = [Traffic("activations", "all_gather", n, gathers * depth, gathers * depth * n * kv)]
        return rows + [Traffic("activations", "reduce_scatter", n, depth, depth * n * kv)] * backward
    hops = (n - 1) + (2 * n - 1 if backward else 0) if n > 1 else 0
    return [Traffic("activations", "point_to_point", n, hops * depth, hops * depth * kv)]


def hidden_from(
    flops: float, bandwidth: float, *, bytes_per_element: int = 2, key_share: float = 1.0, causal: bool = True
) -> float:
    """Positions that a rank must hold so that a hop of the ring takes no longer than the work on the block that is there.

    Work on a block of c positions is 4·c²·D FLOPs, half of it where a causal mask is balanced over the ranks; the hop carries
    2·c·D·`key_share` numbers. Equal at c = key_share · bytes · flops / (2 · bandwidth), or twice that under the mask (Liu et al.
    2023, §3, for 2 bytes and no mask: c ≥ F/B). flops per second, bandwidth in bytes per second. Raises: InputError.
    """
    speed = positive("flops", flops) / positive("bandwidth", bandwidth)
    numbers = positive("bytes_per_element", bytes_per_element) * positive("key_share", key_share) / 2
    return numbers * speed * (2 if causal else 1)


def expert_parallel(
    tokens: int, width: int, active: int, experts: int, layers: int, ranks: int, *, bytes_per_element: int = 4,
    count_bytes: int = 8, backward: bool = True,
) -> list[Traffic]:  # fmt: skip
    """Tokens travel to the experts that they chose, and back (Lepikhin et al. 2020, GShard, §3.2).

    Two all-to-alls of `active` rows of `width` for each of this rank's `tokens`, in every layer; the backward pass sends the
    gradients of both the other way. Before them go the counts, an integer of `count_bytes` for each of the `experts`. The way
    back carries what has arrived, as much as was sent where the load is even: with another load this is the mean over ranks.
    Raises: InputError.
    """
    n, layers = whole("ranks", ranks), whole("layers", layers)
    k = whole("active", active, 1, whole("experts", experts), "a token passes an expert once")
    calls = (4 if backward else 2) * layers
    rows = (
        whole("tokens", tokens) * k * whole("width", width) * positive("bytes_per_element", bytes_per_element)
    )
    return [
        Traffic("counts", "all_to_all", n, layers, layers * experts * positive("count_bytes", count_bytes)),
        Traffic("activations", "all_to_all", n, calls, calls * rows),
    ]


def _activations(batch: int, context: int, width: int, bytes_per_element: float) -> float:
    """Bytes of one tensor of activations, B·L·D."""
    elements = whole("batch", batch) * whole("context", context) * whole("width", width)
    return elements * positive("bytes_per_element", bytes_per_element)


# --- pipeline schedules


def bubble(
    stages: int,
    microbatches: int,
    interleave: int = 1,
    of: Literal["whole", "ideal"] = "whole",
    *,
    split: bool = False,
) -> float:
    """Idle time of a pipeline of p stages, m micro-batches and v chunks a stage (Narayanan et al. 2021, §2.2).

    split: the backward pass is done in two halves, each as long as a forward pass, and stages fill their waiting at the end with
    the half that nobody needs (ZB-H1, Qi et al. 2023, §2.1): a third of p−1 takes the place of p−1 below.
    of="whole": as a share of the whole time, (p−1)/(m·v + p−1): what a timeline shows as empty. of="ideal": as a ratio
    to the time without it, (p−1)/(m·v), the paper's "bubble time fraction": by how much the step grows.
    """
    p, m, v = whole("stages", stages), whole("microbatches", microbatches), whole("interleave", interleave)
    one_of("of", of, ("whole", "ideal"))
    wait = (p - 1) / 3 if split else p - 1
    return wait / (m * v + (wait if of == "whole" else 0))


class Slot(NamedTuple):
    """One box of a timeline, in any unit of time, the same for all boxes.

    `phase` is F (forward), B (backward, or the gradient of the input alone) or W (the gradient of the weights, if apart).
    """

    stage: int
    microbatch: int
    phase: str
    start: float
    end: float
    chunk: int = 0


def idle_share(rows: Sequence[Any]) -> float:
    """Idle share of a timeline, ideal or measured: 1 − time in boxes / (stages × time from first start to last end).

    rows: `Slot`s or tuples (stage, microbatch, phase, start, end).
    """
    if not rows:
        raise InputError("rows: expected at least one box of a timeline, got none")
    start, end = min(row[3] for row in rows), max(row[4] for row in rows)
    busy = sum(row[4] - row[3] for row in rows)
    return 1 - busy / (len({row[0] for row in rows}) * (end - start))
