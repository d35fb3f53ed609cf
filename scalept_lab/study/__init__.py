"""Many runs under a budget: sweeps, a sealed prediction, the standard study, its report."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "sweep": "Sweep run_all",
    "study": "Study",
    "exports": "",
    "merging": "",
    "pooling": "pool",
    "predictions": "",
    "standard": "FIT_FROM",
    "report": "",
})  # fmt: skip
