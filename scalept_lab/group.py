"""The group of ranks that this process belongs to: joining it, and where one stands in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from scalept_lab.errors import InputError


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def joined() -> Iterator[None]:
    """Join the process group that `torchrun` (or Slurm, by the same variables) describes, and leave it at the end.

    Without such variables, or in a group that is already joined, it does nothing. Raises: InputError.
    """
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
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
