"""Many runs under a budget: sweeps, a sealed prediction, the standard study, its report; and plans of runs too large for here."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "sweep": "Sweep run_all",
    "study": "Study",
    "exports": "",
    "plausible": "",
    "merging": "",
    "pooling": "pool",
    "predictions": "",
    "standard": "FIT_FROM",
    "report": "",
    "scenarios": "SCENARIOS scenario",
    "judge": "judge_of",
    "plan": "Plan bill read_plan seal",
    "review": "check",
    "rivals": "best naive score",
    "miniature": "beside_naive",
})  # fmt: skip
