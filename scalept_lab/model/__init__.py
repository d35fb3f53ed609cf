"""The transformer, its optimizers, and the precision that it computes in. It knows nothing of processes or loops."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "transformer": "Transformer cross_entropy device_of",
    "optim": "learning_rate make_optimizer param_groups set_rate",
    "optimizers": "",
    "precision": "MasterWeights autocast",
    "activations": "",
    "experts": "",
    "blocks": "",
    "ravine": "",
})  # fmt: skip
