"""What a learner works with: exercises, answers, hints, notebooks."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "exercises": "check claim evidence hint solution",
    "answers": "",
    "notebooks": "",
})  # fmt: skip
