"""Grounding: which cell holds what the mission names? A stage to train before, or beside, imitating actions.

The label is in the symbols: the cells whose kind and colour are those that the mission says. Whoever makes it knows what
words and symbols mean; the policy does not. So this stage brings in knowledge that demonstrations alone do not state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scalept_lab.errors import InputError
from scalept_lab.vla import worlds
from scalept_lab.vla.demos import Steps


def targets_SxP(steps: Steps) -> np.ndarray:
    """For each step, which of the 49 cells hold an object that the mission names first (bool; none where it is out of view).

    A mission without a colour ("go to the ball") means any colour. Raises: InputError for a mission without an object.
    """
    named_Sx2 = named_objects(steps)
    kind_SxP, colour_SxP = (steps.image_Sx7x7x3[..., part].reshape(len(steps), -1) for part in (0, 1))
    right_colour = (colour_SxP == named_Sx2[:, 1:]) | (named_Sx2[:, 1:] < 0)
    return (kind_SxP == named_Sx2[:, :1]) & right_colour


def naming(steps: Steps, objects: Sequence[str]) -> np.ndarray:
    """The steps (bool) whose mission names one of `objects` first, each a colour and a kind: "red ball".

    Raises: InputError for what is no such pair.
    """
    wanted_Ox2 = np.array([worlds.named_object(worlds.encode(name)) for name in objects]).reshape(-1, 2)
    return (named_objects(steps)[:, None] == wanted_Ox2).all(-1).any(-1)


def named_objects(steps: Steps) -> np.ndarray:
    """(kind, colour) of the object that the mission of each step names first, (S, 2); see `vla.worlds.named_object`."""
    missions, which_S = np.unique(steps.mission_SxM, axis=0, return_inverse=True)
    return np.array([worlds.named_object(tokens) for tokens in missions])[which_S.reshape(-1)]


def visible(steps: Steps) -> tuple[Steps, np.ndarray]:
    """The steps at which the named object is in view, with their targets. Raises: InputError if it never is."""
    targets = targets_SxP(steps)
    seen: np.ndarray = np.any(targets, axis=1)
    if not seen.any():
        raise InputError(
            "grounding: expected steps at which the mission's object is in view, got none; take other demonstrations"
        )
    return steps.where(seen), targets[seen]


def point_loss(logits_BxP: Tensor, targets_BxP: Tensor) -> Tensor:
    """Mean −log of the probability on the right cells together, in nats: with two red balls, either is right."""
    right_B = logits_BxP.masked_fill(~targets_BxP, -torch.inf).logsumexp(-1)
    return (logits_BxP.logsumexp(-1) - right_B).mean()
