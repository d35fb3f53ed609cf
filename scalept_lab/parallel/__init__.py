"""One run on many processes: started, spread, cut into stages, passed round a ring, watched by the byte, kept in checkpoints."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "launcher": "RankError launch",
    "spread": "",
    "pipeline": "measured_timelines",
    "orders": "run_orders",
    "overlap": "",
    "checkpoint": "",
    "ledger": "Ledger",
    "ring": "",
    "experts": "expert_parallel",
})  # fmt: skip
