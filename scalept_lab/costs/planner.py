"""Which way of spreading a training run over GPUs fits, and which is fastest: memory and time of a step by formula.

ASSUMPTIONS lists what is left out. Two constants say how much of a machine is reached, `Cluster.efficiency` and
`Cluster.link_efficiency`; each is read off one published run (`scalept_lab.costs.published`, which holds the rest against the
others). No torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd
from typing import Any

from scalept_lab.checks import whole
from scalept_lab.costs import counts, traffic
from scalept_lab.costs.layouts import Cluster, Layout, Model, model
from scalept_lab.costs.traffic import Traffic, bubble
from scalept_lab.errors import InputError

ASSUMPTIONS = (
    "Every matrix product runs at one share of the peak, whatever its size: small models get less in reality.",
    "Collectives are rings at one share of the links' rate; latency and congestion are left out.",
    "Tensor-parallel ranks are neighbours, then data-parallel ones; a group larger than a node runs at the rate of a "
    "GPU's own network link (hierarchical collectives can do better).",
    "Traffic of data parallelism and ZeRO hides behind computation completely; that of tensor and pipeline "
    "parallelism not at all.",
    "Stages are equal; the one counted for memory is the first, with the embedding and min(p, m) micro-batches (1F1B). The "
    "output layer is on the last: a table of its own, or with tied tables a copy of the embedding.",
    "Activations are those of a GPT block in 16 bits with dropout (Korthikanti et al. 2022); one pair of gathered "
    "blocks under ZeRO-3; logits in 32 bits without a pipeline. No fragmentation, no communication buffers.",
    "The optimizer's own time, data loading, checkpoints and failures are left out.",
)


@dataclass(frozen=True)
class Estimate:
    """One layout's bytes on the fullest GPU and seconds of a step. `traffic`: what one GPU sends in a step."""

    layout: Layout
    states: float  # parameters, gradients, optimizer
    activations: float
    compute: float
    tensor: float
    pipeline: float
    data: float  # what computation does not hide
    bubble: float
    mfu: float  # FLOPs of the model / (peak × time)
    hfu: float  # the same with those done twice
    limit: float
    traffic: tuple[Traffic, ...]

    @property
    def memory(self) -> float:
        return self.states + self.activations

    @property
    def seconds(self) -> float:
        return self.compute + self.tensor + self.pipeline + self.data + self.bubble

    @property
    def fits(self) -> bool:
        return self.memory <= self.limit


def fullest_stage(given: Any, stages: int) -> tuple[float, float]:
    """Parameters of the blocks and of the tables on the fullest of `stages` pipeline stages, the first.

    An untied output layer is on the last stage. Tied tables are one matrix twice: both stages hold it. Raises: InputError.
    """
    m, p = model(given), whole("stages", stages)
    elsewhere = m.shape.vocabulary if p > 1 and not m.shape.tied else 0
    return m.shape.non_embedding * -(-m.depth // p) / m.depth, m.shape.embedding - elsewhere


def estimate(
    given: Any,
    layout: Layout,
    cluster: Cluster,
    batch: int,
    precision: str = "mixed",
    *,
    uneven: bool = False,
) -> Estimate:
    """Memory and time of one step of `batch` sequences. Sources stand with the functions called; see ASSUMPTIONS.

    `uneven` lets the last stage be smaller than the others. Raises: InputError.
    """
    m = model(given)
    held = _held(m, layout, cluster.gpus, batch, precision, uneven)
    micro, depth, states, activations, rows, wires = held
    p, v = layout.pipeline, layout.interleave
    flops = m.shape.flops_per_token()
    blocks = flops - 6 * m.shape.vocabulary
    attention = m.shape.attention_flops()
    again = {"none": 0.0, "selective": attention / 3, "full": blocks / 3}[layout.recompute]
    tokens = batch * m.context
    compute = (flops + again) * tokens / (cluster.gpus * cluster.peak * cluster.efficiency)
    compute *= depth * p / m.depth
    seconds = {name: wire / cluster.rate(span) for name, (wire, span) in wires.items()}
    idle = bubble(p, micro, v, of="ideal") * (compute + seconds["tensor"] + seconds["pipeline"])
    data = max(0.0, seconds["data"] - compute)
    step = compute + seconds["tensor"] + seconds["pipeline"] + data + idle
    reach = cluster.gpus * cluster.peak * step
    return Estimate(
        layout, states, activations, compute, seconds["tensor"], seconds["pipeline"], data, idle,
        flops * tokens / reach, (flops + again) * tokens / reach, cluster.memory,
        rows,
    )  # fmt: skip


@lru_cache(maxsize=20_000)  # a cluster of other speed or memory, as in an explorer, changes nothing of it
def _held(
    m: Model, layout: Layout, gpus: int, batch: int, precision: str, uneven: bool
) -> tuple[int, int, float, float, tuple[Traffic, ...], dict[str, tuple[float, int]]]:
    """Micro-batches, layers of a stage, bytes of states and activations, rows of traffic; for each kind bytes sent and span.

    All that does not depend on the machine's speed and memory.
    """
    micro = layout.check(m, gpus, batch, uneven)
    d, t, p = layout.data, layout.tensor, layout.pipeline
    depth = -(-m.depth // p)
    here = sum(fullest_stage(m, p)) / t  # parameters of the fullest GPU
    states = float(counts.memory(here, d // layout.copies, layout.zero, precision)["total"])
    if layout.zero == 3 and d > layout.copies:  # two blocks are whole: the one in use and the next
        states += 2 * m.shape.non_embedding / m.depth / t * counts.BYTES[precision][0]
    traffic = _traffic(m, layout, batch, micro, depth, here, precision)
    rows = tuple(row for each, _ in traffic.values() for row in each if row.wire)
    wires = {name: (sum(row.wire for row in each), span) for name, (each, span) in traffic.items()}
    return micro, depth, states, _activations(m, layout, micro, depth), rows, wires


def _activations(m: Model, layout: Layout, micro: int, depth: int) -> float:
    """Bytes kept for the backward pass on the first stage (Korthikanti et al. 2022, table 2 and §4.2.3)."""
    t, p, b = layout.tensor, layout.pipeline, layout.micro_batch
    flash = layout.recompute == "selective"
    if layout.sequence:
        layer = counts.activation_bytes(m.context, b, m.width, m.heads, flash=flash) / t
    else:
        layer = counts.activation_bytes(m.context, b, m.width, m.heads, tensor_parallel=t, flash=flash)
    in_flight = min(micro, p * (1 + (p - 1) / (p * layout.interleave)) if layout.interleave > 1 else p)
    logits = 4 * m.context * b * m.shape.vocabulary / m.width / t if p == 1 else 0.0
    if layout.recompute == "full":  # the input of each layer, and one layer in full while it is done again
        kept = 2 * m.context * b * m.width / (t if layout.sequence else 1)
        return in_flight * depth * kept + layer + logits
    return in_flight * depth * layer + logits


def _traffic(
    m: Model, layout: Layout, batch: int, micro: int, depth: int, here: float, precision: str
) -> dict[str, tuple[list[Traffic], int]]:
    """Rows of one GPU's traffic, and from which to which rank each group spans (tensor ranks are neighbours)."""
    d, t, p = layout.data, layout.tensor, layout.pipeline
    wide, gradient, _ = counts.BYTES[precision]
    mine, full = batch // d, layout.recompute == "full"
    tensor = traffic.tensor_parallel(
        mine, m.context, m.width, depth, t, bytes_per_element=wide, sequence_parallel=layout.sequence,
        recompute=full, micro_batches=micro,
    )  # fmt: skip
    # Tensor ranks hold the same activations: each sends its part of them (Narayanan et al. 2021, §4.1).
    along = traffic.pipeline(
        mine, m.context, m.width, p, micro, bytes_per_element=wide, interleave=layout.interleave
    )
    along = [replace(row, payload=row.payload / t) for row in along]
    if layout.zero == 0:
        across = traffic.data_parallel(here, d, bytes_per_element=gradient)
    else:
        units = [m.shape.non_embedding / m.depth / t] * depth
        across = traffic.hybrid_sharded(units, d, layout.copies, zero=layout.zero, root=here - sum(units),
                                        micro_batches=micro, bytes_per_element=wide, gradient_bytes=gradient)  # fmt: skip
    return {"tensor": (tensor, t), "pipeline": (along, d * t + 1), "data": (across, d * t)}


def plan(
    given: Any, cluster: Cluster, batch: int, precision: str = "mixed", *, only: str | None = None
) -> list[Estimate]:
    """Every layout that divides, those that fit first, each group from fast to slow.

    Tried: all data × tensor × pipeline factors of the GPUs; ZeRO 0–3 (with a pipeline 0 and 1: the others would gather
    or reduce for every micro-batch); recompute none, selective, full; micro-batches 1, 2, 4, 8; one chunk a stage, or as
    many as divide evenly, up to 4. Sequence parallelism wherever there is tensor parallelism.
    Raises: InputError if no layout divides GPUs, heads, layers and batch.
    """
    m, n = model(given), cluster.gpus
    batch = whole("batch", batch)
    found = []
    for t in (k for k in range(1, n + 1) if n % k == 0 and m.heads % k == 0):
        for p in (k for k in range(1, n // t + 1) if n // t % k == 0 and m.depth % k == 0):
            d = n // t // p
            for b in (b for b in (1, 2, 4, 8) if batch % (d * b) == 0):
                chunks = [
                    v for v in (4, 3, 2) if p > 1 and m.depth % (p * v) == 0 and batch // (d * b) % p == 0
                ]
                for zero in range(1 if d == 1 else 4 if p == 1 else 2):
                    for recompute in ("none", "selective", "full"):
                        layout = Layout(d, t, p, zero, recompute, b, sequence=t > 1)
                        for v in (1, *chunks[:1]):
                            if only is None or layout.kind == only:
                                found.append(
                                    estimate(m, replace(layout, interleave=v), cluster, batch, precision)
                                )
    if not found:
        raise InputError(
            f"no layout of {n} GPUs divides {m.heads} heads, {m.depth} layers and a batch of {batch}; change one"
        )
    return sorted(found, key=lambda each: (not each.fits, each.seconds))


KINDS = ("data", "ZeRO-1/2", "ZeRO-3", "tensor", "pipeline", "tensor + pipeline")


def best_of_each(
    given: Any, cluster: Cluster, batch: int, precision: str = "mixed"
) -> dict[str, Estimate | None]:
    """For each of KINDS its fastest layout that fits, else the one that needs the least memory, else None."""
    return dict(_best(model(given), cluster, batch, precision))


@lru_cache(maxsize=512)  # of an explorer that goes back and forth
def _best(m: Model, cluster: Cluster, batch: int, precision: str) -> dict[str, Estimate | None]:
    best: dict[str, Estimate | None] = dict.fromkeys(KINDS)
    for each in plan(m, cluster, batch, precision):
        kind, seen = each.layout.kind, best[each.layout.kind]
        if seen is None or (not seen.fits and each.memory < seen.memory):
            best[kind] = each
    return best


def why_none(kind: str, given: Any, gpus: int, batch: int) -> str:
    """Why a kind of layout is not there at all, for a figure or a table."""
    m = model(given)
    if gpus == 1:
        return "one GPU: nothing to spread"
    splits = {"tensor": (m.heads, "heads"), "pipeline": (m.depth, "layers")}
    for part, (parts, name) in splits.items():
        if part in kind and gcd(parts, gpus) == 1:
            return f"{parts} {name} have no divisor in common with {gpus} GPUs"
    ranks = f"{gpus} GPUs" if kind not in splits and "+" not in kind else "the data ranks that are left"
    return f"a batch of {batch} does not divide over {ranks}"


# --- small: for models that are really trained here, on a few processes


def toy(
    given: Any, layout: Layout, batch: int, *, root_kept: bool = True, tensors: int = 1
) -> dict[str, Any]:
    """What a rank of a small run in 32 bits holds and sends, to be held against measured numbers.

    states: bytes of parameters, gradients and Adam's moments on the fullest rank, exact where slices come out even.
    traffic: the rows of one step, exact in calls and bytes for DDP, `ZeroRedundancyOptimizer` (ZeRO-1, which broadcasts
    `tensors` parameter tensors), FSDP2 with a unit per block (`root_kept`: see `costs.traffic.sharded`), and tensor or
    sequence parallelism with embedding and output layer whole on each rank. bubble: idle share of the whole step.
    No seconds: a laptop's speed is not modelled, so compare times as ratios within one run. Raises: InputError.
    """
    m = model(given)
    micro = layout.check(m, layout.gpus, batch)
    d, t, p = layout.data, layout.tensor, layout.pipeline
    split, tables = fullest_stage(m, p)
    here = split / t + tables
    rows: list[Traffic] = []
    if t > 1:
        rows += traffic.tensor_parallel(batch // d, m.context, m.width, m.depth // p, t, micro_batches=micro,
                                              sequence_parallel=layout.sequence, ends=2,
                                              recompute=layout.recompute == "full")  # fmt: skip
    if p > 1:
        rows += traffic.pipeline(batch // d, m.context, m.width, p, micro, interleave=layout.interleave)
    if d > 1 and layout.zero == 0:
        rows += traffic.data_parallel(here, d)
    elif d > 1 and layout.zero == 1:
        rows += traffic.sharded_optimizer(here, d, tensors=tensors)
    elif d > 1:
        units = [split / t / (m.depth // p)] * (m.depth // p)
        rows += traffic.hybrid_sharded(
            units, d, layout.copies, zero=layout.zero, root=tables, root_kept=root_kept, micro_batches=micro
        )
    return {
        "states": counts.memory(here, d // layout.copies, layout.zero, "fp32"), "traffic": traffic.table(rows),
        "wire_bytes": traffic.wire_total(rows), "bubble": bubble(p, micro, layout.interleave),
    }  # fmt: skip
