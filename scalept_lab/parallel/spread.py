"""One run on several ranks: the unchanged model, wrapped by PyTorch's own parallelism.

    data parallel      ddp, zero1, zero2, fsdp   each rank takes rows of the batch; gradients are averaged
                       hsdp                      a 2-D mesh: groups that each hold one copy of the state, in slices
    tensor parallel    tensor, sequence          each rank takes heads and hidden units; activations are summed
    both               fsdp_tensor               a 2-D mesh
    pipeline parallel  pipeline                  each rank takes blocks (`scalept_lab.parallel.pipeline`)

The batch of a step is the same whatever the number of ranks, so the loss is too (to rounding): that is tested. Below it all
stands the group that this process belongs to: how it is joined, and how its ranks agree.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from scalept_lab import machine
from scalept_lab.checks import LARGEST, whole
from scalept_lab.config import Parallel, TrainConfig
from scalept_lab.errors import InputError
from scalept_lab.model.transformer import device_of

QKV = "attention.qkv.weight"


@dataclass
class Ranks:
    """This rank's place in a run, and the sums that all ranks take together. Alone: rank 0 of 1, and nothing to sum."""

    rank: int = 0
    world: int = 1
    data_rank: int = 0  # which share of the batch
    data: int = 1  # shares of the batch
    tensor: int = 1  # ranks that share each layer
    stages: int = 1  # ranks that hold different blocks
    wrapped: nn.Module | None = field(default=None, repr=False)  # what averages gradients (DDP, FSDP)

    def share(self, rows_Bx: Tensor) -> Tensor:
        """The rows of the batch that are this rank's; the first ranks have one more where it does not divide."""
        return rows_Bx if self.data == 1 else rows_Bx.tensor_split(self.data)[self.data_rank]

    def average_now(self, yes: bool) -> None:
        """Whether the next backward pass ends with the average over ranks: only the last part of a batch needs to."""
        if isinstance(self.wrapped, nn.parallel.DistributedDataParallel):
            self.wrapped.require_backward_grad_sync = yes
        elif self.wrapped is not None:
            self.wrapped.set_requires_gradient_sync(yes)  # type: ignore[operator]

    def total(self, part: Tensor) -> Tensor:
        """The sum of the ranks' parts of one number (a loss); where ranks hold the same number, that number."""
        if self.data * self.stages > 1:
            part = part.clone()
            dist.all_reduce(part)
            part /= self.tensor
        return part

    def clip(self, parameters: Iterable[Tensor], most: float) -> None:
        """Scale all gradients by one factor so that their common norm, over all ranks, is at most `most`.

        Each rank squares what it holds; what k ranks hold in common counts 1/k in each; one all-reduce of one number.
        """
        parameters = list(parameters)
        device = parameters[0].device if parameters else "cpu"
        parameters = [parameter for parameter in parameters if parameter.grad is not None]
        if self.world == 1:
            nn.utils.clip_grad_norm_(parameters, most)
            return
        grads = [_local(parameter.grad) for parameter in parameters]
        squares = [g.float().square().sum() / self._copies(p) for p, g in zip(parameters, grads, strict=True)]
        square = torch.stack(squares).sum() if squares else torch.zeros((), device=device)
        dist.all_reduce(square)
        factor = (most / (square.sqrt() + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(factor)

    def _copies(self, parameter: Tensor) -> int:
        """How many ranks hold the same piece of this parameter."""
        pieces = self.stages
        for placement, size in zip(
            getattr(parameter, "placements", ()), _mesh_shape(parameter), strict=False
        ):
            pieces *= 1 if placement.is_replicate() else size
        return self.world // pieces


ALONE = Ranks()


def check(config: TrainConfig, ranks: int) -> None:
    """Whether `ranks` processes can share this run. Raises: InputError with what to change."""
    parallel, model = config.parallel or Parallel(), config.model
    if ranks == 1:
        return
    if model.experts:
        raise InputError(
            f"experts: expected a dense model on {ranks} ranks, got {model.experts.number} experts, whose load is counted over "
            "the whole batch; train it with one process"
        )
    kind, tensor = parallel.strategy, _tensor_size(parallel, ranks)
    if ranks % tensor:
        raise InputError(
            f"parallel.tensor: {tensor} does not divide the {ranks} ranks; start a multiple of {tensor}"
        )
    if kind == "hsdp" and ranks % parallel.shard:
        raise InputError(
            f"parallel.shard: {parallel.shard} does not divide the {ranks} ranks; start a multiple of {parallel.shard}"
        )
    if model.heads % tensor:
        raise InputError(
            f"heads: {model.heads} cannot be split over {tensor} tensor-parallel ranks; "
            f"take a multiple of {tensor}, or fewer ranks"
        )
    if tensor > 1 and model.kv_width < model.width:
        raise InputError(
            f"kv_heads: {model.heads} heads that share {model.kv_heads} of keys and values are not split over ranks here; "
            "leave kv_heads out, or spread the batch (ddp, fsdp)"
        )
    if kind == "sequence" and (model.positions == "learned" or model.context % tensor):
        raise InputError(
            f"sequence: expected rotary positions and a context that is a multiple of {tensor}, "
            f"got {model.positions} and {model.context}"
        )
    if kind == "pipeline" and config.curriculum and config.curriculum.order == "length":
        raise InputError(
            "curriculum: a pipeline passes batches of one shape, and length warm-up changes it; take another strategy or order"
        )
    data = 1 if kind == "pipeline" else ranks // tensor
    if config.batch < data * config.accumulate:
        raise InputError(
            f"batch: {config.batch} sequences cannot feed {data} ranks with {config.accumulate} part(s) each; "
            f"take a batch of at least {data * config.accumulate}, or fewer ranks"
        )
    if config.dtype == "float16" and kind != "ddp":
        raise InputError(
            f"dtype: float16 scales the loss, which works alone and with ddp, not with {kind}; take bfloat16"
        )
    if config.optimizer == "muon" and kind != "ddp":
        raise InputError(
            f"optimizer: muon needs whole matrices on each rank; with {kind} take adamw, or take ddp"
        )
    if kind == "pipeline":
        stages = ranks * (2 if parallel.schedule == "interleaved" else 1)
        if model.depth % stages:
            raise InputError(
                f"depth: {model.depth} blocks cannot be divided into {stages} equal stages; "
                f"take a multiple of {stages}, or fewer ranks"
            )
        if config.compile:
            raise InputError("compile: a pipeline runs its stages by itself; leave compile out, or take ddp")
        if config.accumulate > 1:
            raise InputError(
                "accumulate: a pipeline cuts the batch by itself (parallel.microbatches); leave it at 1"
            )
        if parallel.schedule != "gpipe" and parallel.microbatches < ranks:
            raise InputError(
                f"parallel.microbatches: {parallel.schedule} needs at least one per rank ({ranks}), "
                f"got {parallel.microbatches}"
            )
        if parallel.microbatches > config.batch:
            raise InputError(
                f"batch: {config.batch} sequences cannot be cut into {parallel.microbatches} microbatches; "
                "take a larger batch or fewer microbatches"
            )


def device() -> str:
    """Where a rank of the process group computes: on its GPU where NCCL joins the ranks, else on the CPU."""
    return "cuda" if dist.get_backend() == "nccl" else "cpu"


def spread(model: nn.Module, parallel: Parallel | None) -> tuple[nn.Module, Ranks]:
    """Wrap `model` for all ranks of the process group (not for a pipeline). Returns what to call, and this rank's place.

    Every rank must have built the same model (the same seed). `check` has been asked before.
    """
    size, me = world(), rank()
    if size == 1:
        return model, ALONE
    kind = (parallel or Parallel()).strategy
    tensor = _tensor_size(parallel or Parallel(), size)
    ranks = Ranks(me, size, data_rank=me // tensor, data=size // tensor, tensor=tensor)
    device = device_of(model).type
    mesh = dist.init_device_mesh(device, (size // tensor, tensor), mesh_dim_names=("data", "tensor"))
    if tensor > 1:
        tensor_parallel(model, mesh["tensor"], sequence=kind == "sequence")
    if kind in ("ddp", "zero1"):
        ranks.wrapped = model = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
    elif ranks.data > 1:
        over = mesh["data"]
        if kind == "hsdp" and size > parallel.shard:  # type: ignore[union-attr]
            sides = (size // parallel.shard, parallel.shard)  # type: ignore[union-attr]
            over = dist.init_device_mesh(device, sides, mesh_dim_names=("copies", "shard"))
        fully_sharded(model, over, free_after_forward=kind != "zero2")
        ranks.wrapped = model
    return model, ranks


def fully_sharded(model: nn.Module, mesh: Any, free_after_forward: bool = True) -> None:
    """FSDP2: parameters, gradients and optimizer states in slices; a block's parameters are gathered when it runs.

    On a 2-D mesh (copies, shard) the slices are cut along the second side, and the first holds copies of them (HSDP).

    `free_after_forward=True` drops them again until the backward pass (ZeRO stage 3); False keeps them (stage 2).
    Rajbhandari et al. 2020, §5.
    """
    from torch.distributed.fsdp import fully_shard

    for block in model.blocks:  # type: ignore[union-attr]
        fully_shard(block, mesh=mesh, reshard_after_forward=free_after_forward)
    # What is outside the blocks is needed first in the backward pass: torch's own choice (None) is to keep it.
    fully_shard(model, mesh=mesh, reshard_after_forward=None if free_after_forward else False)


def tensor_parallel(model: nn.Module, mesh: Any, sequence: bool = False) -> None:
    """Split attention by heads and the MLP by hidden units (Shoeybi et al. 2019, §3): first matrix by columns, second by rows.

    `sequence=True` also splits what lies between by positions (Korthikanti et al. 2022, §4.2): each all-reduce becomes an
    all-gather and a reduce-scatter, and the residual stream takes 1/t of the memory. Embedding and output layer stay whole.
    """
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        PrepareModuleInput,
        PrepareModuleOutput,
        RowwiseParallel,
        parallelize_module,
    )

    inside = Shard(1) if sequence else Replicate()
    plan: dict[str, Any] = {
        "attention.qkv": ColwiseParallel(),
        "attention.out": RowwiseParallel(output_layouts=inside),
        "mlp.up": ColwiseParallel(),
        "mlp.down": RowwiseParallel(output_layouts=inside),
    }
    # whole sequences for attention and MLP; as DTensors, so that their gradient is reduce-scattered
    if sequence:
        for part, more in (("attention", (None,)), ("mlp", ())):  # attention is also given the rotary table
            plan[part] = PrepareModuleInput(
                input_layouts=(inside, *more),
                desired_input_layouts=(Replicate(), *more),
                use_local_output=False,
            )
    for block in model.blocks:  # type: ignore[union-attr]
        _reorder_heads(block.attention.qkv.weight.data, mesh.size())
        parallelize_module(block, mesh, plan)
    if sequence:
        ends: dict[str, Any] = {
            "embed": PrepareModuleOutput(output_layouts=Replicate(), desired_output_layouts=inside),
            "head": PrepareModuleInput(
                input_layouts=inside, desired_input_layouts=Replicate(), use_local_output=True
            ),
        }
        parallelize_module(model, mesh, ends)


def sharded_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """ZeRO stage 1: each rank keeps the states of some parameters, steps those, and sends them to the others."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    return ZeroRedundancyOptimizer(  # all else stands in the groups
        optimizer.param_groups, type(optimizer), lr=optimizer.defaults["lr"]
    )


@torch.no_grad()
def _reorder_heads(weight_3HKxD: Tensor, tensor: int, back: bool = False) -> None:
    """Rows of q, k and v from (3, ranks, heads of a rank) to (ranks, 3, heads of a rank): one slice holds whole heads."""
    outer = (tensor, 3) if back else (3, tensor)
    weight_3HKxD.copy_(weight_3HKxD.clone().unflatten(0, (*outer, -1)).transpose(0, 1).flatten(0, 2))


def full_parameters(model: nn.Module, ranks: Ranks) -> dict[str, Tensor]:
    """All parameters, whole, under the names they have in one process, on the CPU of every rank. For tests and saving."""
    found = {}
    for name, parameter in model.named_parameters():
        whole = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
        whole = whole.detach().cpu().clone()
        if ranks.tensor > 1 and name.endswith(QKV):
            _reorder_heads(whole, ranks.tensor, back=True)
        found[name.removeprefix("module.")] = whole
    if ranks.stages > 1:
        found = {name: whole for part in everybody(found) for name, whole in part.items()}
    return found


def _tensor_size(parallel: Parallel, ranks: int) -> int:
    return {"tensor": ranks, "sequence": ranks, "fsdp_tensor": parallel.tensor}.get(parallel.strategy, 1)


def _local(tensor: Any) -> Tensor:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _mesh_shape(parameter: Any) -> tuple[int, ...]:
    return tuple(parameter.device_mesh.shape) if hasattr(parameter, "device_mesh") else ()


Made = TypeVar("Made")


def many() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    return dist.get_rank() if many() else 0


def world() -> int:
    return dist.get_world_size() if many() else 1


def everybody(value: Any, group: Any = None) -> list[Any]:
    """The value of each rank, in order: [value] where there is one process. `group`: by whose messages, if not the default's."""
    if not many():
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value, group)
    return values


def agree(fault: str | None, group: Any = None) -> None:
    """Raise on every rank what is wrong on one: a rank that went on alone would wait for the others for ever."""
    for found in everybody(fault, group):
        if found:
            raise InputError(found)


def together(make: Callable[[], Made], group: Any = None) -> Made:
    """What `make` makes on each rank. Raises: on every rank, in place of waiting for it, what went wrong on one."""
    try:
        made = make()
    except BaseException as error:
        everybody(str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}", group)
        raise
    agree(None, group)
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

    Without such variables (or with empty ones), or in a group that is already joined, it does nothing. Raises: InputError.
    """
    ranks = _variable("WORLD_SIZE", 1, least=1)
    if many() or ranks == 1:
        yield
        return
    _variable("RANK", 0, most=ranks - 1)
    _variable("MASTER_PORT", 0, most=65535)
    local, here = _variable("LOCAL_RANK", 0), _variable("LOCAL_WORLD_SIZE", ranks)
    # NCCL gives each rank a GPU of its own; where there are fewer, all ranks compute on the CPU
    cuda = machine.device() == "cuda" and here <= torch.cuda.device_count()
    if cuda:
        torch.cuda.set_device(local)
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


def _variable(name: str, unset: int, least: int = 0, most: int = LARGEST) -> int:
    """A whole number from the environment. Raises: InputError."""
    text = os.environ.get(name, "").strip()
    if not text:
        return unset
    return whole(
        name,
        int(text) if text.isdecimal() and len(text) < 20 else text,
        least,
        most,
        "torchrun sets it; unset it to run alone",
    )


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
