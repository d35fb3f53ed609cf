"""The training loop, and the loops beside it: what is read when, grown, delayed, by hand, killed and resumed, timed."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "loop": "Keep evaluate fit_model train",
    "step": "to train_step",
    "placement": "device_for",
    "outcome": "Watch",
    "pacing": "",
    "curriculum": "Adaptive LengthWarmup Mixture SelfPaced Stepwise",
    "stepwise": "",
    "growth": "fit_grown grown",
    "delayed": "fit_delayed",
    "live": "fit_live",
    "pupils": "",
    "trunk": "",
    "questions": "",
    "trials": "largest_difference trial trial_each",
    "ceilings": "",
    "faults": "train_and_kill",
    "broken": "",
    "broken_ranks": "",
    "miniature": "",
    "timing": "against by_threads forward_pass in_turns timed",
})  # fmt: skip
