"""Policies that see, read and act: grid worlds, demonstrations, cloning, rollouts."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "worlds": "ACTIONS KINDS render_steps replay",
    "demos": "TEST demonstrations steps",
    "lerobot": "",
    "model": "Policy PolicyConfig attention parameters",
    "cloning": "CloneConfig Source act_in clone score",
    "rollouts": "blind decider rollout",
    "dagger": "DaggerConfig",
    "detour": "",
    "chunks": "",
    "heads": "",
})  # fmt: skip
