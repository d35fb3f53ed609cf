"""A device that is not the CPU, for machines that have none: what forgets to put a tensor on it fails, as on a GPU.

torch lets Python stand in for a device's driver (its "private use" device). Tensors here say that they are `elsewhere:0`,
compute with the numbers of an ordinary tensor inside, and refuse to meet one that is on the CPU. Only a number (a tensor
without dimensions), and indices, may come from there, as CUDA has it.

`python tests/elsewhere.py` runs the loops and functions of `CASES` there and prints what each one raised, as JSON;
`python tests/elsewhere.py [--steps 3] NOTEBOOK` runs a notebook's cells with everything trained there. Each is a process of its
own, since torch cannot forget a device any more.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

NAME = "elsewhere"
CPU = torch.device("cpu")
MEETS_CPU = {"aten::index", "aten::index_put_", "aten::_index_put_impl_", "aten::_to_copy", "aten::copy_"}


class Elsewhere(torch.Tensor):
    """A tensor on the made-up device; `raw` has its numbers."""

    raw: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> Elsewhere:
        return torch.Tensor._make_wrapper_subclass(
            cls, raw.shape, strides=raw.stride(), storage_offset=raw.storage_offset(), dtype=raw.dtype,
            device=torch.device(NAME, 0),
        )  # fmt: skip

    def __init__(self, raw: torch.Tensor):
        self.raw = raw

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(op, *args, **(kwargs or {}))

    def __repr__(self) -> str:
        return f"{self.raw!r} on {NAME}"

    def untyped_storage(self) -> Any:
        return self.raw.untyped_storage()

    def tolist(self) -> Any:
        return self.raw.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy. Use Tensor.cpu() first")
        return self.raw.detach().numpy()

    def __deepcopy__(self, memo: dict) -> Any:
        made = Elsewhere(self.raw.detach().clone())
        made = torch.nn.Parameter(made, self.requires_grad) if isinstance(self, torch.nn.Parameter) else made
        memo[id(self)] = made
        return made


def run(op: Any, *args: Any, **kwargs: Any) -> Any:
    """An operation on tensors of this device, or that makes one: done with the numbers inside."""
    flat, form = pytree.tree_flatten((args, kwargs))
    tensors = [one for one in flat if isinstance(one, torch.Tensor)]
    ours = [one for one in tensors if isinstance(one, Elsewhere)]
    apart = [one for one in tensors if one.dim() and not isinstance(one, Elsewhere)]
    if ours and apart and op._schema.name not in MEETS_CPU:
        raise RuntimeError(f"expected all tensors on one device, found {NAME}:0 and cpu, in {op}")
    target = kwargs.get("device")
    stays = bool(ours) if target is None else torch.device(target).type == NAME
    inside = [
        one.raw if isinstance(one, Elsewhere) else CPU if isinstance(one, torch.device) else one
        for one in flat
    ]
    raw_args, raw_kwargs = pytree.tree_unflatten(inside, form)
    whose = {id(one.raw): one for one in ours} | {id(one): one for one in tensors}

    def back(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in whose:  # written in place
            return whose[id(value)]
        return Elsewhere(value) if stays else value

    return pytree.tree_map(back, op(*raw_args, **raw_kwargs))


class Factories(TorchFunctionMode):
    """`torch.tensor` and its like copy Python's numbers by themselves, which a device written in Python cannot take part in."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and str(kwargs.get("device", "")).startswith(NAME):
            return func(*args, **{**kwargs, "device": "cpu"}).to(NAME)
        return func(*args, **kwargs)


def install() -> None:
    """Make the device known, and let everything train there that asks where."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    from scalept_lab import machine

    _setup_privateuseone_for_python_backend(NAME)
    install.library = torch.library.Library("_", "IMPL")  # type: ignore[attr-defined]  # ends with its last name
    install.library.fallback(run, "PrivateUse1")  # type: ignore[attr-defined]
    Factories().__enter__()
    torch.inference_mode = torch.no_grad  # its tensors refuse to be inside others
    machine.devices = lambda: ["cpu", NAME]
    machine.device = lambda: NAME
    machine.choice = lambda: NAME


def notebook(path: str, steps: int | None = None) -> list[str]:
    """Run a notebook's code cells here. Returns a line for each cell in which two devices met, or which failed otherwise.

    `steps`: train no run longer than that. Claims then say nothing, and a cell may fail for want of a trained model: only what
    devices are to blame for is told. A sweep trains on the CPU, since its workers do not know the device.
    """
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import contextmanager

    import nbformat

    from scalept_lab.config import TrainConfig
    from scalept_lab.processes import local_processes
    from scalept_lab.study import sweep

    @contextmanager
    def on_the_cpu(todo: Any) -> Any:
        # in this process, which knows how long a run may be
        with ThreadPoolExecutor(1) if steps else local_processes(2) as pool:
            yield lambda config, folder: pool.submit(sweep.train_and_save, config, folder, "cpu")

    sweep._lanes = on_the_cpu  # type: ignore[assignment]
    if steps is not None:
        planned = TrainConfig.steps.fget  # type: ignore[attr-defined]
        TrainConfig.steps = property(lambda config: min(steps, planned(config)))  # type: ignore[assignment]
    code = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    names: dict[str, Any] = {"__name__": "__main__"}
    found = []
    for number, source in enumerate(code):
        try:
            exec(compile(source, f"cell {number}", "exec"), names)
        except Exception as error:
            if steps is None or "device" in str(error):
                found.append(f"{path}: code cell {number}: {type(error).__name__}: {error}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("notebooks", nargs="*")
    parser.add_argument("--steps", type=int)
    options = parser.parse_args()
    install()
    if options.notebooks:
        met = [line for one in options.notebooks for line in notebook(one, options.steps)]
        print("\n".join(met) or "no two devices met")
        sys.exit(bool(met))
    from elsewhere_cases import CASES

    found = {}
    for name, case in CASES.items():
        try:
            case()
            found[name] = ""
        except Exception as error:
            at = [f for f in traceback.extract_tb(error.__traceback__) if "scalept_lab" in f.filename]
            where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(at[-3:]))
            found[name] = f"{type(error).__name__}: {error} ({where})"
    print(json.dumps(found))
