"""Checkpoints that another number of processes, or another strategy, can go on from. By torch.distributed.checkpoint (DCP).

    checkpoint.save(folder, step, model, optimizer, config.id(), {"curve": curve})   # on every rank
    path = checkpoint.latest(folder)
    extra = checkpoint.load(path, model, optimizer, config.id())                     # extra["step"] and what was given

A checkpoint is a folder `step-00000200`. DCP writes each tensor under its full name, in pieces, each rank its own;
`checkpoint.json` has the step, the run's id, what the caller adds, each rank's random state, and the sha256 of every file and of
itself. A checkpoint that is not what was written is told and passed over: `newest_whole` finds the one before.
Of the optimizer the tensors are kept (moments, step counts); its rates and the like follow from the config and the step.

Safety: nothing that a file names is executed. DCP's table of contents, `.metadata`, is a pickle, and a pickle can name any
function and call it, and change what it has named; entries of it that are no tensors are pickles too. Here an unpickler makes the
dozen classes of such a table, fills nothing but what it has made, and refuses everything else; and only tensors are read (with
`weights_only`).
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
import os
import pickle
import re
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import metadata as contents
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.tensor import DTensor, distribute_tensor

from scalept_lab import folders, outside
from scalept_lab.checks import shown
from scalept_lab.errors import InputError
from scalept_lab.parallel.spread import agree, everybody, many, rank, together, world
from scalept_lab.runs import write_atomically

KEEP = 2
MANIFEST = "checkpoint.json"
PARTS = {
    "step",
    "config_id",
    "tensor",
    "extra",
    "random",
    "files",
}  # of the manifest, which no reader does without
_STEP = re.compile(r"step-\d{8,}")


def save(
    folder: str | Path, step: int, model: nn.Module, optimizer: Any, config_id: str, extra: dict[str, Any]
) -> Path:
    """Write `folder/step-XXXXXXXX`, on every rank at once, and return it. The last two are kept.

    All is written under a temporary name; the first rank renames it when every rank has finished, so that a kill at any
    moment leaves the checkpoints before it and no half one. `extra`: JSON-able; the first rank's counts. The same step of
    the same run is not written twice. Raises: InputError if `extra` is not JSON, or the folder holds another run.
    """
    agree(_cannot_save(Path(folder), config_id, extra) if rank() == 0 else None)
    return _write(Path(folder), _Moment.of(step, model, optimizer, config_id, extra))


class Background:
    """Checkpoints that are written while training goes on; training stands still for a copy in memory alone.

        later = Background()                  # on every rank
        later.save(folder, step, …)           # as `save`; returns when the copy is made
        later.wait()                          # at the end: the last one is complete

    One is written at a time: a `save` that comes before the last has been written waits for it. The copy takes as much memory
    as parameters and moments. What went wrong while writing is raised by the next `save` or `wait`.
    """

    def __init__(self) -> None:
        # messages of its own: a checkpoint's must not meet those of the training step that goes on beside it
        self._group = dist.new_group(backend="gloo") if many() else None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(
        self,
        folder: str | Path,
        step: int,
        model: nn.Module,
        optimizer: Any,
        config_id: str,
        extra: dict[str, Any],
    ) -> None:
        """As `checkpoint.save`, but written later. Raises: as it does, and what went wrong with the one before."""
        self.wait()
        agree(_cannot_save(Path(folder), config_id, extra) if rank() == 0 else None)
        moment = _Moment.of(step, model, optimizer, config_id, extra)
        moment.tensors = BlockingAsyncStager().stage(moment.tensors)
        # a daemon: a run that fails does not stay for a checkpoint that its partners will never finish
        self._thread = threading.Thread(target=self._run, args=(Path(folder), moment), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until the last one is complete. Raises: what went wrong while it was written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, folder: Path, moment: _Moment) -> None:
        try:
            _write(folder, moment, self._group)
        except BaseException as error:
            self._error = error


@dataclass
class _Moment:
    """A run after a step: what `_write` puts into files."""

    step: int
    tensors: dict[str, Tensor]
    tensor_ranks: int
    random: dict[str, str]
    config_id: str
    extra: dict[str, Any]

    @classmethod
    def of(
        cls, step: int, model: nn.Module, optimizer: Any, config_id: str, extra: dict[str, Any]
    ) -> _Moment:
        extra = json.loads(json.dumps(extra))  # a copy: a curve grows while it is written
        return cls(step, _tensors(model, optimizer), _tensor_ranks(model), _random_state(), config_id, extra)


def _write(folder: Path, moment: _Moment, group: Any = None) -> Path:
    """`group`: whose messages are used; the default group's where it is None."""
    name = _name(moment.step)
    path, draft = folder / name, folder / f"{name}.tmp"
    if any(everybody(path.exists(), group)):
        return path

    def begin() -> None:
        with folders.writing(folder):
            for stale in folder.glob("step-*.tmp"):  # of a run that was killed while it wrote
                shutil.rmtree(stale)
            draft.mkdir(parents=True)

    together(begin if rank() == 0 else _nothing, group)
    try:
        return _fill_draft(folder, path, draft, moment, group)
    except BaseException:
        if rank() == 0:
            shutil.rmtree(draft, ignore_errors=True)  # on a full disk it stands in the way of everything else
        raise


def _fill_draft(folder: Path, path: Path, draft: Path, moment: _Moment, group: Any) -> Path:
    """Write all files of a checkpoint, and give it its name. Raises: InputError, on every rank, where one cannot write."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process: that is meant
        with folders.writing(folder), _plainly():
            dcp.save(
                moment.tensors,
                storage_writer=dcp.FileSystemWriter(draft),
                process_group=group,
                no_dist=not many(),
            )
    written = everybody(
        together(lambda: {file.name: _marks(file) for file in draft.glob(f"__{rank()}_*")}, group), group
    )
    random = everybody(moment.random, group)

    def finish() -> None:
        marks = {name: mark for part in written for name, mark in part.items()}
        marks[".metadata"] = _marks(draft / ".metadata")
        manifest = {"step": moment.step, "config_id": moment.config_id, "ranks": len(random), "tensor": moment.tensor_ranks,
                    "extra": moment.extra, "random": random, "files": {name: digest for name, (digest, _) in marks.items()},
                    "sizes": {name: size for name, (_, size) in marks.items()}}  # fmt: skip
        write_atomically(draft / MANIFEST, json.dumps(outside.marked(manifest)))
        os.replace(draft, path)
        for old in _complete(folder)[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)

    together(finish if rank() == 0 else _nothing, group)
    return path


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """DCP wraps what went wrong on any rank, an interrupt too, and raises it on all. Raises: KeyboardInterrupt or OSError."""
    try:
        yield
    except CheckpointException as error:
        found: list[BaseException] = [pair[0] for pair in error.failures.values()]
        for one in found:  # a writer that finds no room fails once more while it closes its file
            found += [] if one.__context__ is None else [one.__context__]
        told = next((one for one in found if isinstance(one, KeyboardInterrupt | OSError)), None)
        raise told or OSError(" ".join(str(found[0]).split())[:100]) from None


def _nothing() -> None:
    """What the other ranks do while the first one writes: they hear whether it could."""


def latest(folder: str | Path) -> Path | None:
    """The newest complete checkpoint in `folder`, or None."""
    found = _complete(Path(folder))
    return found[-1] if found else None


def newest_whole(folder: str | Path) -> Path | None:
    """The newest checkpoint that is what was written, or None where there is none at all. On every rank at once.

    One that is damaged is told in a line on stderr. Raises: InputError where all are damaged.
    """
    paths, told = _complete(Path(folder))[::-1], ""
    for path in paths:
        fault = next((fault for fault in everybody(_fault(path)) if fault), None)
        if fault is None:
            if told and rank() == 0:
                print(f"{told}; training goes on from {path.name}", file=sys.stderr)
            return path
        told = told or fault
    agree(f"{told}; there is no other checkpoint: begin anew in another folder" if told else None)
    return None


def peek(path: Path) -> dict[str, Any]:
    """What the caller of `save` added, without loading anything. Raises: InputError if the checkpoint is damaged."""
    return _manifest(_there(path))["extra"]


def load(path: str | Path | None, model: nn.Module, optimizer: Any, config_id: str) -> dict[str, Any]:
    """Fill `model` and `optimizer`, sharded as they are now, and set torch's random state; return `extra` and its "step".

    Saved by 2 ranks and loaded by 4, or by one that shards nothing: each rank reads the pieces that it needs. Random
    states belong to a rank: those that are new keep theirs. `optimizer=None` leaves it out.

    Raises: InputError, before anything is changed, if there is no checkpoint, it belongs to another run or model, or a
    file is missing or damaged.
    """
    path = _there(path)
    agree(f"{fault}; {_instead(path)}" if (fault := _fault(path)) else None)
    manifest = _manifest(path)
    reader = ShardReader(path)
    stored = together(lambda: reader.sizes(set(manifest["files"])))
    wanted = _tensors(model, None)
    differs = next((f"{name.partition('.')[2]} is {_shape(stored.get(name))} there and {_shape(tuple(value.shape))} here"
                    for name, value in wanted.items() if stored.get(name) != tuple(value.shape)), "")  # fmt: skip
    if manifest["config_id"] != config_id:
        differs = f" ({differs})" if differs else ""
        agree(f"{path}: a checkpoint of run {manifest['config_id']}, this is run {config_id}{differs}; "
               "give the config it was saved with, or another folder to begin anew")  # fmt: skip
    agree(
        f"{path}: a checkpoint of another model: {differs}; build the model it was saved from"
        if differs
        else None
    )

    # a checkpoint has no such state where none was there: before the first step, or with plain SGD
    if any(name.startswith("optimizer.") for name in stored):
        _give_it_a_state(optimizer)
    wanted = _tensors(model, optimizer)
    lacking = next((name for name, value in wanted.items() if stored.get(name) != tuple(value.shape)), None)
    agree(f"{path}: holds no {lacking}; use the optimizer it was saved with" if lacking else None)
    then, now = manifest["tensor"], _tensor_ranks(model)
    moved = {
        name: torch.empty(value.shape)
        for name, value in wanted.items()
        if ".attention.qkv." in name and value.ndim
    }
    moved = moved if then != now else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        # writes into the tensors themselves
        dcp.load(wanted | moved, storage_reader=reader, no_dist=not many())
    for name, whole in moved.items():
        _fill(wanted[name], _heads_in_order(whole, then, now))
    if rank() < len(manifest["random"]):
        _set_random_state(manifest["random"][rank()])
    return {**manifest["extra"], "step": manifest["step"]}


# --- what is kept


def _tensors(model: nn.Module, optimizer: Any) -> dict[str, Tensor]:
    """Every tensor of the training state under a name that no strategy changes; not copies, the tensors themselves."""
    kept = {f"model.{_plain(name)}": value for name, value in model.state_dict().items()}
    names: dict[Tensor, str] = {parameter: _plain(name) for name, parameter in model.named_parameters()}
    for parameter, state in getattr(_inner(optimizer), "state", {}).items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                kept[f"optimizer.{names[parameter]}.{key}"] = value
    return kept


def _plain(name: str) -> str:
    """Without what wrappers put into a name: DistributedDataParallel, torch.compile, activation checkpointing."""
    return name.removeprefix("module.").replace("_orig_mod.", "").replace("_checkpoint_wrapped_module.", "")


def _inner(optimizer: Any) -> Any:
    """The optimizer that has the states: of a ZeroRedundancyOptimizer the one inside, with this rank's share."""
    return getattr(optimizer, "optim", optimizer)


def _give_it_a_state(optimizer: Any) -> None:
    """Make the tensors to load into, by a step of zero gradients at rate zero: an optimizer has none before its first."""
    inner = _inner(optimizer)
    if inner is None or inner.state:
        return
    rates = [group["lr"] for group in inner.param_groups]
    for group in inner.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    inner.step()
    inner.zero_grad()
    for group, rate in zip(inner.param_groups, rates, strict=True):
        group["lr"] = rate


def _tensor_ranks(model: nn.Module) -> int:
    """How many tensor-parallel ranks share a layer; `parallel.spread` lays the rows of q, k and v out by their number."""
    meshes = [parameter.device_mesh for parameter in model.parameters() if isinstance(parameter, DTensor)]
    return max(
        (mesh["tensor"].size() for mesh in meshes if "tensor" in (mesh.mesh_dim_names or ())), default=1
    )


def _heads_in_order(weight_3HKxD: Tensor, then: int, now: int) -> Tensor:
    """Rows of q, k, v from (ranks then, 3, heads of a rank) to (ranks now, 3, heads of a rank)."""
    plain_3HKxD = weight_3HKxD.unflatten(0, (then, 3, -1)).transpose(0, 1).flatten(0, 2)
    return plain_3HKxD.unflatten(0, (3, now, -1)).transpose(0, 1).flatten(0, 2)


@torch.no_grad()
def _fill(target: Tensor, whole: Tensor) -> None:
    whole = whole.to(target.device)
    if isinstance(target, DTensor):
        whole = distribute_tensor(whole, target.device_mesh, target.placements, src_data_rank=None)
    target.copy_(whole)


def _random_state() -> dict[str, str]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return {device: base64.b64encode(state.numpy().tobytes()).decode() for device, state in states.items()}


def _set_random_state(states: dict[str, str]) -> None:
    for device, text in states.items():
        state = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
        if device == "cpu":
            torch.set_rng_state(state)
        elif torch.cuda.is_available():
            torch.cuda.set_rng_state(state)


# --- what can be wrong


def _there(path: str | Path | None) -> Path:
    if path is None or not Path(path).is_dir():
        raise InputError(
            f"no checkpoint at {path}; latest(folder) finds the newest, and is None where there is none"
        )
    return Path(path)


def _manifest(path: Path) -> dict[str, Any]:
    """What `checkpoint.json` says. Raises: InputError where it is not what was written, or stands in another's folder."""
    file = path / MANIFEST
    found = outside.json_object(file, "what was written with a checkpoint", most=10**8)
    found = outside.unmarked(file, found)
    if not found.keys() >= PARTS or not _is_manifest(found):
        raise InputError(
            f"{file}: expected {', '.join(sorted(PARTS))} as `save` writes them, got {shown(found)}"
        )
    if path.name != _name(found["step"]):
        raise InputError(f"{file}: of step {found['step']}, in the folder of {path.name}")
    return found


def _is_manifest(found: dict[str, Any]) -> bool:
    """Whether its parts are of the kinds that are used: whoever changes one can make a new checksum as well."""
    kinds = {"step": int, "tensor": int, "config_id": str, "extra": dict, "files": dict, "random": list,
             "sizes": dict}  # fmt: skip
    if (
        not all(type(found.get(name, {})) is kind for name, kind in kinds.items())
        or not 1 <= found["tensor"] <= 10**4
    ):
        return False
    size = torch.get_rng_state().numel()
    try:
        for states in found["random"]:
            lengths = {device: len(base64.b64decode(text, validate=True)) for device, text in states.items()}
            if lengths.get("cpu") != size or not all(lengths.values()):
                return False
    except (TypeError, ValueError, AttributeError):
        return False
    return True


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _cannot_save(folder: Path, config_id: str, extra: dict[str, Any]) -> str | None:
    try:
        json.dumps(extra)
    except (TypeError, ValueError) as error:
        return f"extra: expected data that JSON can hold, got some that it cannot ({error})"
    newest = latest(folder)
    theirs = config_id
    if newest:
        with contextlib.suppress(InputError):  # a damaged one says nothing of its run
            theirs = _manifest(newest)["config_id"]
    return f"{folder}: holds checkpoints of run {theirs}, this is run {config_id}; give another folder" if (
        theirs != config_id) else None  # fmt: skip


def _fault(path: Path) -> str | None:
    """What is wrong with the manifest, or with this rank's share of the files: together the ranks read each of them once."""
    try:
        manifest = _manifest(path)
    except InputError as error:
        return str(error)
    files, sizes = manifest["files"], manifest.get("sizes", {})  # an older checkpoint has no sizes
    for name in sorted(files)[rank() :: world()]:
        file = path / Path(name).name
        if not file.is_file():
            return f"{file}: missing"
        size = file.stat().st_size
        if sizes.get(name, size) != size or outside.file_sha256(file) != files[name]:
            return f"{file}: damaged, its content is not what was saved"
    return None


def _marks(file: Path) -> tuple[str, int]:
    """What a file is known again by: its sha256, and its bytes, which are asked first."""
    return outside.file_sha256(file), file.stat().st_size


def _instead(path: Path) -> str:
    others = [other.name for other in _complete(path.parent) if other != path]
    return (
        f"remove {path.name} to go on from {others[-1]}"
        if others
        else "there is no other checkpoint: begin anew"
    )


def _complete(folder: Path) -> list[Path]:
    """Oldest first. A folder has its name only when it is complete."""
    found = [path for path in folder.glob("step-*") if _STEP.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def _shape(size: tuple[int, ...] | None) -> str:
    return "missing" if size is None else "×".join(map(str, size)) or "a number"


KNOWN = {
    "torch.distributed.checkpoint.metadata": {*contents.__all__, "_MEM_FORMAT_ENCODING"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch": {"Size", *(name for name, value in vars(torch).items() if isinstance(value, torch.dtype))},
    "torch.serialization": {"_get_layout"},
    "pathlib": {"PosixPath", "WindowsPath"},
}
MOVED = {"pathlib._local": "pathlib"}  # Python 3.13 says so of a path; those before and after it do not


MADE = tuple(  # of which a table is made: only they are filled
    found for name in contents.__all__
    if isinstance(found := getattr(contents, name), type) and dataclasses.is_dataclass(found)
)  # fmt: skip


class _Unpickler(pickle._Unpickler):  # the one in Python, whose steps can be refused one by one
    def find_class(self, module: str, name: str) -> Any:
        module = MOVED.get(module, module)
        if name in KNOWN.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no table of contents needs")

    def load_build(self) -> None:
        """Fill an object: never a class or what else was there before, which the whole process would see changed."""
        if type(self.stack[-2]) not in (*MADE, _StorageInfo):  # type: ignore[attr-defined]
            raise pickle.UnpicklingError(f"it changes {shown(self.stack[-2])}, which it has not made")  # type: ignore[attr-defined]
        super().load_build()  # type: ignore[misc]

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}


class ShardReader(dcp.FileSystemReader):
    """DCP's reader of a folder, for tables that hold nothing but tensors in the files of that folder."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> contents.Metadata:
        with outside.opened(Path(self.path) / ".metadata", "a table of tensors") as file:
            content = file.read()
        table = _Unpickler(io.BytesIO(content)).load()
        table.storage_meta = table.storage_meta or contents.StorageMeta()
        table.storage_meta.load_id = self.load_id
        return table

    def sizes(self, files: set[str]) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor. `files`: where they may lie. Raises: InputError if anything else is in the table."""
        path = Path(self.path) / ".metadata"
        try:
            table = self.read_metadata()
            sizes = {name: tuple(entry.size) for name, entry in table.state_dict_metadata.items()}  # type: ignore[union-attr]
            places = {place.relative_path for place in table.storage_data.values()}
        except Exception as error:  # a damaged pickle raises anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"{path}: not a table of tensors ({reason}); do not load it, begin from another one"
            ) from None
        if strange := places - files:
            raise InputError(f"{path}: points to {min(strange)}, outside the checkpoint; do not load it")
        return sizes
