"""ScalePT Lab: learn to scale pre-training by doing it, on the machine you have.

    import scalept_lab as sl
    study = sl.Study("mine", budget_flops=2e12)

Names are imported when they are first used, so that `import scalept_lab` costs a worker process nothing.
"""

import importlib
import logging

__version__ = "0.1.0"

# torchao, which transformers also imports where it is installed, tells of GPU kernels that a machine without a GPU cannot load.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)

_HOME = {
    "ModelConfig": "config",
    "TrainConfig": "config",
    "RunRecord": "runs",
    "Store": "runs",
    "read_records": "runs",
    "write_records": "runs",
    "prepare": "data.corpora",
    "recommend": "config",
    "Transformer": "model.transformer",
    "Sweep": "study.sweep",
    "Study": "study.study",
    "fit_law": "laws.fit",
    "fit_records": "laws.fit",
    "LAWS": "laws.formulas",
    "InputError": "errors",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"scalept_lab.{_HOME[name]}"), name)
    raise AttributeError(f"module 'scalept_lab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
