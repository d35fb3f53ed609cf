"""What ranks really send: every collective that torch issues, counted with its bytes; and what the sockets carried.

    with Ledger() as ledger:
        train_step(...)
    ledger.rows                     # {"all_reduce": (calls, bytes), ...}

The formulas to hold it against are in `scalept_lab.costs.traffic`; "payload" and "wire" are explained there.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from scalept_lab.config import Parallel
from scalept_lab.costs.layouts import Layout

# Operator -> (kind, which argument is the full tensor). The `_c10d_functional` ones are issued by DTensor.
OPERATORS = {
    "c10d.allreduce_": ("all_reduce", 0),
    "c10d.allgather_": ("all_gather", 0),
    "c10d._allgather_base_": ("all_gather", 0),
    "c10d.reduce_scatter_": ("reduce_scatter", 1),
    "c10d._reduce_scatter_base_": ("reduce_scatter", 1),
    "c10d.alltoall_": ("all_to_all", 1),
    "c10d.alltoall_base_": ("all_to_all", 1),
    "c10d.broadcast_": ("broadcast", 0),
    "c10d.reduce_": ("reduce", 0),
    "c10d.gather_": ("gather", 1),
    "c10d.scatter_": ("scatter", 0),
    "c10d.send": ("point_to_point", 0),
    "_c10d_functional.all_reduce": ("all_reduce", 0),
    "_c10d_functional.all_gather_into_tensor": ("all_gather", 0),
    "_c10d_functional.reduce_scatter_tensor": ("reduce_scatter", 0),
    "_c10d_functional.all_to_all_single": ("all_to_all", 0),
}
UNCOUNTED = {"c10d.recv_": ("recv", 0), "c10d.recv_any_source_": ("recv", 0), "c10d.barrier": ("barrier", 0)}
ONE_NUMBER = "one number"  # sums of a single value: the norm of the gradients, a loss


class Ledger(TorchDispatchMode):
    """Counts what this rank issues while it is active, by kind: calls, and payload bytes of all of them together.

    `watch(kind, shape)` is called before each call goes out, receives and barriers included: the last one that it hears of is
    the call that a rank waits in.
    """

    def __init__(self, watch: Callable[[str, tuple[int, ...]], None] | None = None) -> None:
        super().__init__()
        self.rows: dict[str, tuple[int, int]] = {}
        self._watch = watch

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = str(operator).removesuffix(".default")
        kind, position = OPERATORS.get(name) or UNCOUNTED.get(name) or (None, 0)
        if kind is None:
            return operator(*args, **(kwargs or {}))
        tensors = _tensors(args[position])
        if self._watch is not None:
            self._watch(kind, tuple(tensors[0].shape) if len(tensors) == 1 else (len(tensors),))
        result = operator(*args, **(kwargs or {}))
        if name in OPERATORS:
            size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            if name == "_c10d_functional.all_gather_into_tensor":
                size *= args[1]  # this one is given a slice and the number of ranks
            if sum(tensor.numel() for tensor in tensors) == 1:
                kind = ONE_NUMBER
            calls, total = self.rows.get(kind, (0, 0))
            self.rows[kind] = calls + 1, total + size
        return result


def _tensors(argument: Any) -> list[Tensor]:
    """The tensors of an argument: one, a list, or a list of lists."""
    if isinstance(argument, (list, tuple)):
        return [tensor for part in argument for tensor in _tensors(part)]
    return [argument]


def sent_bytes() -> int | None:
    """Bytes that this process has sent over its TCP connections so far, acknowledged, without headers; None off Linux.

    gloo's ranks on one machine talk through TCP as well, so this is what really crosses the wire.
    """
    try:
        descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return None
    total = 0
    for descriptor in descriptors:
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as connection:
                if (
                    connection.family in (socket.AF_INET, socket.AF_INET6)
                    and connection.type == socket.SOCK_STREAM
                ):
                    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
                    total += struct.unpack_from("Q", info, 120)[0]  # tcpi_bytes_acked (linux/tcp.h)
        except (OSError, struct.error):  # closed in the meantime
            continue
    return total


def layout(parallel: Parallel, ranks: int, batch: int) -> Layout:
    """The same strategy in the planner's terms, with the micro-batch that the training loop gives each rank."""
    kind = parallel.strategy
    if kind == "pipeline":
        chunks = 2 if parallel.schedule == "interleaved" else 1
        each = -(-batch // parallel.microbatches)
        return Layout(pipeline=ranks, micro_batch=each, interleave=chunks)
    if kind in ("tensor", "sequence"):
        return Layout(tensor=ranks, sequence=kind == "sequence", micro_batch=batch)
    tensor = parallel.tensor if kind == "fsdp_tensor" else 1
    data = ranks // tensor
    zero = {"ddp": 0, "zero1": 1, "zero2": 2}.get(kind, 3)
    return Layout(data=data, tensor=tensor, zero=zero, micro_batch=batch // data)


def by_kind(traffic: list[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """The planner's rows in the form of `Ledger.rows`."""
    rows: dict[str, tuple[int, int]] = {}
    for row in traffic:
        calls, payload = rows.get(row["kind"], (0, 0))
        rows[row["kind"]] = calls + row["calls"], payload + round(row["payload"])
    return rows
