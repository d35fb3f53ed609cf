"""What a learner works with: exercises and builds, predictions, claims, and how far one has come."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "exercises": "check hint solution reset built",
    "predictions": "predict compare forecast_skill",
    "claims": "claim evidence",
    "learner": "progress",
    "overview": "course_map",
    "answers": "",
    "notebooks": "",
})  # fmt: skip
