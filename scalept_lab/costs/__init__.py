"""What training takes before anything trains: parameters, FLOPs, memory, messages, step times. Arithmetic only, no torch."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "counts": "count count_params flops_per_token memory price seconds shape",
    "footprint": "",
    "traffic": "",
    "schedules": "",
    "planner": "estimate",
    "layouts": "Cluster Layout",
    "published": "",
    "mixtures": "",
    "failures": "",
    "numbers": "",
    "blocks": "",
    "roofline": "",
})  # fmt: skip
