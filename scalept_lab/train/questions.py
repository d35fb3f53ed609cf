"""What a language model can do besides its loss: guess the next token, and tell the true continuation from three false ones.

A question shows the last tokens before a place in the held-out text, and four continuations: the true one, and three from
other places that follow the same two tokens. So what stands at the seam tells nothing, and a model has to use what comes before.
It takes the continuation to which it gives the most probability. Who guesses is right once in four.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scalept_lab.checks import whole
from scalept_lab.data import tokens
from scalept_lab.data.corpora import Prepared
from scalept_lab.errors import InputError
from scalept_lab.model.transformer import Transformer, device_of
from scalept_lab.train.step import to

OPTIONS, SEAM, ENDING = 4, 2, 8  # continuations; tokens that all of them follow; tokens of a continuation
CHUNK = 256  # rows at a time


@torch.no_grad()
def accuracy(model: Transformer, corpus: Prepared, windows: int = 1024) -> float:
    """The share of held-out tokens, in the windows of `loop.evaluate`, that the model would have named first."""
    x_WxL, y_WxL = tokens.eval_windows(corpus.heldout, model.config.context, windows)
    device, right = device_of(model), 0
    for at in range(0, len(x_WxL), CHUNK):
        x, y = (to(rows[at : at + CHUNK], device) for rows in (x_WxL, y_WxL))
        right += int((model(x).argmax(-1) == y).sum())
    return right / y_WxL.size


def questions(text: np.ndarray, context: int, count: int, seed: int = 0) -> np.ndarray:
    """`count` questions on a text, (count, OPTIONS, context) tokens: in each the true continuation first.

    A row is what stands before (the same in all options) and its last ENDING tokens. Raises: InputError for a text where too
    few pairs of tokens occur in four places, or a context with no room before a continuation.
    """
    text, count = np.asarray(text).astype(np.int64), whole("count", count)
    if context < ENDING + SEAM or len(text) < 2 * context:
        raise InputError(
            f"questions: expected a context of {ENDING + SEAM} tokens or more and a text of twice as many, got {context} and "
            f"{len(text)}"
        )
    place = np.arange(context - ENDING, len(text) - ENDING)  # where a continuation may begin
    pair = text[place - 2] * (text.max() + 1) + text[place - 1]
    order = np.argsort(pair, kind="stable")
    first, many = (np.searchsorted(pair[order], pair, side=side) for side in ("left", "right"))
    rng = np.random.default_rng([seed, 8])
    found: list[np.ndarray] = []
    for i in rng.permutation(len(place)):
        if len(found) == count:
            break
        true = text[place[i] : place[i] + ENDING]
        others = text[place[rng.permutation(order[first[i] : many[i]])[:40], None] + np.arange(ENDING)]
        false = np.unique(others[(others != true).any(1)], axis=0)
        if len(false) < OPTIONS - 1:
            continue
        false = rng.permutation(false)[: OPTIONS - 1]
        before = text[place[i] - (context - ENDING) : place[i]]
        found.append(np.stack([np.concatenate([before, ending]) for ending in (true, *false)]))
    if len(found) < count:
        raise InputError(f"questions: expected a text that gives {count}, got {len(found)}; ask fewer")
    return np.array(found)


@torch.no_grad()
def score(model: Transformer, asked: np.ndarray) -> float:
    """The share of `questions` whose true continuation is the most probable one."""
    device = device_of(model)
    rows = asked.reshape(-1, asked.shape[-1])
    found: list[Tensor] = []
    for at in range(0, len(rows), CHUNK):
        ids = to(rows[at : at + CHUNK], device)
        log_p = model(ids[:, :-1]).float().log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
        found.append(log_p[:, -ENDING:].sum(-1).cpu())
    log_p_QxO = torch.cat(found).reshape(len(asked), OPTIONS)
    return float((log_p_QxO[:, 0] > log_p_QxO[:, 1:].amax(1)).double().mean())
