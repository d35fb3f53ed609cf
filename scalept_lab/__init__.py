"""ScalePT Lab: learn to scale pre-training by doing it, on the machine you have.

    import scalept_lab as sl
    study = sl.Study("mine", budget_flops=2e12)

The rest is reached through its rooms: `sl.plots.plot_sweep(…)`, `sl.costs.count(…)`, `sl.train.fit_model(…)`.
"""

import logging

from scalept_lab.rooms import shown

__version__ = "0.1.0"

# torchao, which transformers also imports where it is installed, tells of GPU kernels that a machine without a GPU cannot load.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)

ROOMS = (
    "data",
    "costs",
    "laws",
    "model",
    "parallel",
    "train",
    "compress",
    "transfer",
    "vla",
    "plots",
    "study",
    "course",
)

__getattr__, __dir__, __all__ = shown(__name__, {
    "config": "ModelConfig TrainConfig recommend",
    "runs": "RunRecord Store read_records recorded write_records",
    "errors": "InputError",
    "machine": "",
    "folders": "",
    "processes": "",
    "data.corpora": "prepare",
    "model.transformer": "Transformer",
    "laws.fit": "fit_law fit_records",
    "laws.formulas": "LAWS",
    "study.sweep": "Sweep",
    "study.study": "Study",
    "study.pooling": "pool",
    **dict.fromkeys(ROOMS, ""),
})  # fmt: skip
