"""Pre-train an encoder, fine-tune it on pairs, and measure what that was worth."""

from scalept_lab.rooms import shown

__getattr__, __dir__, __all__ = shown(__name__, {
    "pairs": "load_pairs",
    "bert": "",
    "lora": "",
    "disturb": "",
    "calibration": "",
    "heads": "",
    "checkpoints": "load_checkpoint",
    "finetuning": "FineTuning finetune",
    "measure": "Start",
    "membership": "",
})  # fmt: skip
