"""Memory of a training step as it is measured: what autograd keeps, what the states take, the peak; and recomputation.

The resident size of the process (RSS) is no measure for this: the allocator keeps what a step has freed and hands it
out again, so that after the first step RSS hardly moves, whatever the model does. What is counted here are storages.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from scalept_lab.errors import InputError


@dataclass
class Saved:
    """What a forward pass left for the backward pass: `bytes`, and those bytes by dtype."""

    by_dtype: dict[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(self.by_dtype.values())


@contextmanager
def saving(model: nn.Module) -> Iterator[Saved]:
    """Count what autograd saves inside the block: each storage once, whole, without the model's own tensors.

    A saved view keeps all of its storage; two saved views of one storage keep it once. Tensors are saved by the same
    names by which the backward pass reads them: torch.autograd.graph.saved_tensors_hooks.
    """
    saved = Saved()
    owned = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    # holding a storage keeps its address from being given out again
    seen: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned and storage.data_ptr() not in seen:
            seen[storage.data_ptr()] = storage
            name = str(tensor.dtype).removeprefix("torch.")
            saved.by_dtype[name] = saved.by_dtype.get(name, 0) + storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved
    seen.clear()


def states_bytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """Bytes of a model's parameters, of their gradients, and of the optimizer's tensors, as they are now and here.

    Of a sharded tensor this rank's slice counts, and a `ZeroRedundancyOptimizer` has this rank's share of the states.
    """
    optimizer = getattr(optimizer, "optim", optimizer)
    kept = [
        value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)
    ]
    return {
        "parameters": _bytes(model.parameters()),
        "gradients": _bytes(p.grad for p in model.parameters() if p.grad is not None),
        "optimizer": _bytes(kept),
    }


def _bytes(tensors) -> int:
    # asked by name: the class of sharded tensors brings 50 MB along, which a run in one process does without
    tensors = [t.to_local() if hasattr(t, "to_local") else t for t in tensors]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def peak_bytes(step: Callable[[], object], device: str = "cpu") -> int:
    """The most memory that `step()` held at one time beyond what was there before, by torch's own allocator.

    On a GPU from the allocator's statistics, on the CPU from the profiler's record of every allocation and release:
    gradients, temporary results and what an operation needs inside are in it. On the CPU `step` should release nothing
    that was there before (clear the gradients first): the profiler says so on stderr.
    """
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    # The profiler's library tells every start on stderr, unless it is asked before the first one not to.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    gc.collect()  # garbage from before is not to be released meanwhile
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    events = recorded.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def recompute(model: nn.Module) -> None:
    """From now on each of `model.blocks` keeps its input only; the backward pass runs it once more for the rest.

    Activation checkpointing (Chen et al. 2016, §4) by torch.utils.checkpoint. Raises: InputError without blocks.
    """
    for block in _blocks(model):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


@contextmanager
def recomputing(model: nn.Module, enabled: bool = True) -> Iterator[nn.Module]:
    """`recompute` for as long as the context lasts."""
    if enabled:
        recompute(model)
    try:
        yield model
    finally:
        if enabled:
            for block in _blocks(model):
                del block.forward  # the class's own method is there again


def _blocks(model: nn.Module) -> nn.ModuleList:
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.ModuleList) or not len(blocks):
        raise InputError(
            f"model: expected one with a list of blocks to recompute, got {type(model).__name__}"
        )
    return blocks
