"""Where a policy looks: how much attention goes from the words of a mission, and from the query, to each part of the view."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scalept_lab.errors import InputError
from scalept_lab.model.transformer import norm
from scalept_lab.vla import worlds
from scalept_lab.vla.model import Policy


@dataclass(frozen=True)
class Gaze:
    """Shares of attention, the mean over heads; rows and columns as in a picture of the view, the agent looking up."""

    words: list[str]
    words_MxRxC: np.ndarray  # in the first block, from each word to each patch
    query_RxC: np.ndarray  # in the last block, from the query


@torch.no_grad()
def attention(policy: Policy, image: np.ndarray, mission: str, history: np.ndarray | None = None) -> Gaze:
    """What a policy attends to at one step: `image` as it sees it, `history` its last actions (default: none yet).

    What is not spent on the view goes to words, past actions and the query itself.
    Raises: InputError for another view, an unknown word, or a mission longer than the policy reads.
    """
    config = policy.config
    if image.shape != (config.side, config.side, 3):
        raise InputError(
            f"image: expected {config.side} × {config.side} × 3, what the policy sees, "
            f"got {' × '.join(map(str, image.shape))}"
        )
    tokens = worlds.encode(mission, config.mission)
    tokens = tokens[tokens > 0]
    past = np.full(config.history, len(worlds.ACTIONS)) if history is None else np.asarray(history)
    inputs = (
        torch.from_numpy(np.array(part)[None]).to(policy.query.device) for part in (image, tokens, past)
    )
    x_1xLxD, meant_1xD, there_1xL = policy.tokens(*inputs)
    first_LxL = _weights(policy.blocks[0], x_1xLxD, meant_1xD, there_1xL)
    for block in policy.blocks[:-1]:
        x_1xLxD = block(x_1xLxD, meant_1xD, there_1xL)
    last_LxL = _weights(policy.blocks[-1], x_1xLxD, meant_1xD, there_1xL)
    side = config.side // config.patch
    P, M = side * side, len(tokens)

    def placed(rows_RxP: Tensor) -> np.ndarray:
        grid = rows_RxP.float().cpu().numpy().reshape(-1, side, side)
        return grid.swapaxes(1, 2) if config.view == "symbols" else grid  # cells are numbered [x, y]

    words = worlds.decode(tokens).replace(",", " ,").split()
    return Gaze(words, placed(first_LxL[P : P + M, :P]), placed(last_LxL[-1:, :P])[0])


def _weights(block: Any, x_1xLxD: Tensor, meant_1xD: Tensor, there_1xL: Tensor) -> Tensor:
    """softmax(QKᵀ/√K) of a block for one item, the mean over its heads, (L, L)."""
    scale, shift, *_ = block.modulation(meant_1xD)
    q, k, _ = block.attended(norm(x_1xLxD) * (1 + scale) + shift)
    logits_1xHxLxL = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return logits_1xHxLxL.masked_fill(~there_1xL[:, None, None], -torch.inf).softmax(-1).mean(1)[0]
