"""The group of ranks that this process belongs to: joining it, and where one stands in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from scalept_lab.errors import InputError

Made = TypeVar("Made")


def many() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    return dist.get_rank() if many() else 0


def world() -> int:
    return dist.get_world_size() if many() else 1


def everybody(value: Any) -> list[Any]:
    """The value of each rank, in order: [value] where there is one process."""
    if not many():
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def agree(fault: str | None) -> None:
    """Raise on every rank what is wrong on one: a rank that went on alone would wait for the others for ever."""
    for found in everybody(fault):
        if found:
            raise InputError(found)


def together(make: Callable[[], Made]) -> Made:
    """What `make` makes on each rank. Raises: on every rank, in place of waiting for it, what went wrong on one."""
    try:
        made = make()
    except BaseException as error:
        everybody(str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}")
        raise
    agree(None)
    return made


def first(make: Callable[[], Made]) -> Made:
    """`make` on rank 0, and when that is done on the others: for what the first call leaves on disk.

    Raises: as `together`.
    """
    made = together(lambda: make() if rank() == 0 else None)
    return together(lambda: make() if made is None else made)


@contextmanager
def joined() -> Iterator[None]:
    """Join the process group that `torchrun` (or Slurm, by the same variables) describes, and leave it at the end.

    Without such variables, or in a group that is already joined, it does nothing. Raises: InputError.
    """
    if many() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    else:
        torch.set_num_threads(1)
    try:
        dist.init_process_group("nccl" if cuda else "gloo", **_addresses())
    except (dist.DistError, ValueError, RuntimeError) as error:
        text = str(error)
        where = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
        if "EADDRINUSE" in text or "in use" in text:
            raise InputError(
                f"{where} is in use by another process: give torchrun another --master-port"
            ) from None
        raise InputError(f"could not join the other ranks at {where}: {text.splitlines()[0]}") from None
    try:
        yield
    finally:
        dist.destroy_process_group()


def _addresses() -> dict:
    """Where ranks leave their addresses for each other: a place of its own for each life of the run.

    torchrun keeps one store for all of them, and a rank that was started again would call a dead one's address.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}  # rank 0 opens the store
    here, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    shared = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), ranks, is_master=False)
    life = f"life {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return {"store": dist.PrefixStore(life, shared), "rank": here, "world_size": ranks}
