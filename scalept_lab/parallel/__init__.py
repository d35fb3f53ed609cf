"""One run on many processes: started, spread, cut into stages, watched by the byte, kept in checkpoints; experts spread."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "launcher": "RankError launch",
    "spread": "",
    "pipeline": "measured_timeline",
    "checkpoint": "",
    "ledger": "Ledger",
    "experts": "expert_parallel",
})  # fmt: skip
